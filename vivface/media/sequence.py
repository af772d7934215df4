"""A film as numbered PNG files in a folder of its own, by a writer with the interface of `VideoWriter`."""

from __future__ import annotations

import csv
import os
import re
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np

from vivface.errors import MediaError
from vivface.files import complete_folder
from vivface.media.audio import silence_of
from vivface.media.containers import input_path
from vivface.media.images import save_image
from vivface.media.writer import Finish

TIMES = "times.csv"
_PLACE = re.compile(r"%0?(\d*)d")


def is_sequence(path: str | os.PathLike) -> bool:
    """Whether a name stands for numbered files: it has a place for the number, such as `frames/%05d.png`."""
    return bool(_PLACE.search(Path(path).name))


def check_sequence(path: str | os.PathLike) -> Path:
    """Make sure that numbered files can be written, before any work is done for them.

    Raises:
        MediaError: If the name is not of the kind FOLDER/%05d.png, or the folder is there and holds something.
    """
    path = Path(path)
    if path.suffix.lower() != ".png" or len(_PLACE.findall(path.name)) != 1 or path.name.count("%") != 1:
        raise MediaError(f"Cannot write {str(path)!r}: numbered files are named as in FOLDER/%05d.png.")
    folder = path.parent
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise MediaError(f"Cannot write {str(path)!r}: '{folder}' is there already, so name a new or empty folder.")
    if not folder.parent.is_dir():
        raise MediaError(f"Cannot write {str(path)!r}: the folder '{folder.parent}' does not exist.")
    return path


class SequenceWriter:
    """Write frames as they come to PNG files, numbered from 0; the folder appears when all are there.

    Use it as `VideoWriter`. Beside the images, `times.csv` tells for every file when it is shown and for how long, in
    seconds.

    Args:
        path (`str` or `os.PathLike`): Such as `frames/%05d.png`; the folder must be new or empty.
        size (`tuple[int, int]`): Width and height of the images, in pixels.
        fps (`Fraction`): Frames per second.
        audio_from (`str` or `os.PathLike`, *optional*): A file; a warning says that its audio is not in the result.
        finish (callable, *optional*): As for `VideoWriter`, called for every image.
        alpha (`bool`, *optional*, defaults to False): Whether images have a fourth channel, their opacity.

    Attributes:
        frames (`int`): Frames written so far.
        warnings (`list[str]`): What the result lacks.

    Raises:
        MediaError: If the name does not fit, the folder holds something, or no frame was written.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        size: tuple[int, int],
        fps: Fraction | int,
        audio_from: str | os.PathLike | None = None,
        finish: Finish | None = None,
        *,
        alpha: bool = False,
    ) -> None:
        self.path = check_sequence(path)
        self.size = size
        self.fps = Fraction(fps).limit_denominator(100_000)
        self.frames = 0
        self.warnings = [] if audio_from is None else silence_of(input_path(audio_from), "a sequence of images")
        self._finishing = finish
        self._channels = 4 if alpha else 3
        self._shown: list[tuple[str, Fraction]] = []
        self._last: Fraction | None = None  # duration of the last frame

    def __enter__(self) -> SequenceWriter:
        with ExitStack() as stack:
            self._folder = stack.enter_context(complete_folder(self.path.parent))
            self._cleanup = stack.pop_all()
        return self

    def write(self, image: np.ndarray, time: Fraction | None = None, duration: Fraction | None = None) -> None:
        """Write a frame, as `VideoWriter.write` does.

        Args:
            image (`np.ndarray` of shape `(height, width, 3)`, `uint8`): RGB; with `alpha` RGBA.
            time (`Fraction`, *optional*): Seconds; by default one step of `fps` after the frame before.
            duration (`Fraction`, *optional*): Seconds; only the last frame's matters.

        Raises:
            ValueError: If `image` has another shape or type, or `time` does not increase.
            MediaError: If the disk is full.
        """
        shape = (self.size[1], self.size[0], self._channels)
        if not isinstance(image, np.ndarray) or image.shape != shape:
            got = getattr(image, "shape", type(image).__name__)
            raise ValueError(f"`image` has to be a uint8 array of shape {shape}, got {got}.")
        before = self._shown[-1][1] if self._shown else None
        if time is None:
            time = Fraction(0) if before is None else before + 1 / self.fps
        if before is not None and time <= before:
            raise ValueError(f"`time` has to increase from frame to frame, got {time} after {before}.")
        name = _PLACE.sub(lambda place: str(self.frames).zfill(int(place[1] or 1)), self.path.name)
        save_image(self._folder / name, image, self._finishing)
        self._shown.append((name, Fraction(time)))
        self._last = duration
        self.frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._cleanup.__exit__(kind, error, trace)
            return
        with self._cleanup:
            if not self._shown:
                raise MediaError(f"Cannot write {str(self.path)!r}: there was no frame to write.")
            end = self._shown[-1][1] + (1 / self.fps if self._last is None else self._last)
            ends = [time for _, time in self._shown[1:]] + [end]
            try:
                with open(self._folder / TIMES, "w", newline="", encoding="utf-8") as file:
                    table = csv.writer(file)
                    table.writerow(("file", "time", "duration"))
                    table.writerows(
                        (name, f"{float(time):.6f}", f"{float(end - time):.6f}")
                        for (name, time), end in zip(self._shown, ends, strict=True)
                    )
            except OSError as error:
                raise MediaError(f"Cannot write {str(self.path)!r}: {error.strerror or error}.") from error
