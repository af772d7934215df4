"""The first frames of a run as a moving image, encoded beside the run."""

import os
import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from vivface.media.provenance import picture_options
from vivface.provenance import add_mark
from vivface.reenactment.rendering import RenderedFrame
from vivface.space.components import PAGE_MARK

FRAMES = 24
SIZE = 320  # longer side in pixels


class FirstFrames:
    """Collects the first frames; an animated WebP, marked as synthetic, appears when there are enough.

    Args:
        path (`pathlib.Path`): The .webp file to write.
        fps (`Fraction`): Frames per second.
    """

    def __init__(self, path: Path, fps: Fraction):
        self.path = path
        self._milliseconds = max(20, round(1000 / fps))
        self._frames: list[Image.Image] = []
        self._thread: threading.Thread | None = None

    def add(self, frame: RenderedFrame) -> None:
        """Take a frame; only the first ones are used."""
        if self._thread is not None:
            return
        step = max(1, max(frame.image.shape[:2]) // (2 * SIZE))
        image = Image.fromarray(np.ascontiguousarray(frame.image[::step, ::step]))
        image.thumbnail((SIZE, SIZE))
        self._frames.append(Image.fromarray(add_mark(np.asarray(image), PAGE_MARK)))
        if len(self._frames) == FRAMES:
            self._thread = threading.Thread(target=self._write, name="vivface-first-frames", daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Wait until the file is written, if it is being written."""
        if self._thread is not None:
            self._thread.join()

    def _write(self) -> None:
        frames = self._frames + self._frames[-2:0:-1]  # there and back, so that the loop has no jump
        options = dict(duration=self._milliseconds, loop=0, method=2, **picture_options(".webp"))
        unfinished = self.path.with_suffix(".part")
        try:
            frames[0].save(unfinished, "WEBP", save_all=True, append_images=frames[1:], **options)
            os.replace(unfinished, self.path)
        except OSError:  # the folder is gone: the run was stopped
            unfinished.unlink(missing_ok=True)
        self._frames = []
