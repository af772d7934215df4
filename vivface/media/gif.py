"""Animated GIFs, by a writer with the interface of `VideoWriter`.

moviepy takes a second to import, which is why it is imported when a GIF is finished.
"""

from __future__ import annotations

import math
import os
import tempfile
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np

from vivface.errors import MediaError
from vivface.files import check_output, complete_file
from vivface.media.audio import silence_of
from vivface.media.containers import input_path
from vivface.media.provenance import mark_gif
from vivface.media.writer import Finish, VideoWriter

GIF_SUFFIXES = (".gif",)
_SHORTEST_STEP = 4  # hundredths of a second: what GIF counts in; browsers slow down much shorter ones
_TEMPORARY_CRF = 8  # of the video that holds the frames until all are there: finer than 256 colours can show


class GifWriter:
    """Write frames as they come to an endless animated GIF, marked as synthetic.

    Use it as `VideoWriter`. The frames wait in a temporary video on the disk, so memory does not grow with their
    number. GIF has 256 colours a frame, at most 25 frames a second and no audio: keep it short and small.

    Args:
        path (`str` or `os.PathLike`): Ends in .gif.
        size (`tuple[int, int]`): Width and height of the images, in pixels.
        fps (`Fraction`): Frames per second.
        time_base (`Fraction`, *optional*): As for `VideoWriter`.
        audio_from (`str` or `os.PathLike`, *optional*): A file; a warning says that its audio is not in the result.
        finish (callable, *optional*): As for `VideoWriter`.

    Attributes:
        frames (`int`): Frames written so far.
        warnings (`list[str]`): What the result lacks.

    Raises:
        MediaError: If `path` cannot be written (before any work), or no frame was written.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        size: tuple[int, int],
        fps: Fraction | int,
        time_base: Fraction | None = None,
        audio_from: str | os.PathLike | None = None,
        finish: Finish | None = None,
    ) -> None:
        self.path = check_output(path, GIF_SUFFIXES)
        self.size = size
        self.fps = Fraction(fps).limit_denominator(100_000)
        self.warnings: list[str] = []
        self._time_base = time_base
        self._finishing = finish
        if audio_from is not None:
            self.warnings += silence_of(input_path(audio_from), "a GIF")

    @property
    def frames(self) -> int:
        """Frames written so far."""
        return self._video.frames

    def __enter__(self) -> GifWriter:
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="vivface-"))
            self._video = VideoWriter(
                Path(folder) / "frames.mp4",
                self.size,
                self.fps,
                self._time_base,
                crf=_TEMPORARY_CRF,
                preset="ultrafast",
            )
            self._video.__enter__()
            self._cleanup = stack.pop_all()
        return self

    def write(self, image: np.ndarray, time: Fraction | None = None, duration: Fraction | None = None) -> None:
        """Append a frame, as `VideoWriter.write` does.

        Args:
            image (`np.ndarray` of shape `(height, width, 3)`, `uint8`): RGB.
            time (`Fraction`, *optional*): Seconds; by default one step of `fps` after the frame before.
            duration (`Fraction`, *optional*): Seconds; only the last frame's matters.

        Raises:
            ValueError: If `image` has another shape or type, or `time` does not increase.
            MediaError: If the disk is full.
        """
        self._video.write(image, time, duration)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._cleanup:
            try:
                self._video.__exit__(kind, error, trace)
            except MediaError as caught:  # of the temporary file, whose name means nothing to a user
                raise MediaError(str(caught).replace(str(self._video.path), str(self.path))) from caught
            if kind is None:
                _convert(self._video.path, self.path, _step_of(self.fps), self.size, self._finishing)


def _convert(video: Path, path: Path, fps: float, size: tuple[int, int], finish: Finish | None) -> None:
    from moviepy import VideoFileClip

    with complete_file(path) as temporary:
        try:
            with VideoFileClip(str(video), audio=False) as clip:
                shown = clip.cropped(x2=size[0], y2=size[1])  # odd sizes grew by one pixel in the video
                shown.write_gif(str(temporary), fps=fps, loop=0, logger=None)
            mark_gif(temporary)
            if finish is not None:
                finish(temporary, path)
        except OSError as error:
            raise MediaError(f"Cannot write {str(path)!r}: {error.strerror or error}.") from error


def _step_of(fps: Fraction) -> float:
    """The fastest rate up to `fps` whose frames last whole hundredths of a second, so that a GIF keeps its length."""
    return 100 / max(math.ceil(100 / fps), _SHORTEST_STEP)
