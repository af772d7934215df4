"""One way to write a result, whatever its format."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from vivface.files import check_output
from vivface.media.writer import WRITE_SUFFIXES, Finish, VideoWriter

if TYPE_CHECKING:
    from vivface.media.gif import GifWriter

OUTPUT_SUFFIXES = (*WRITE_SUFFIXES, ".gif")


def open_writer(
    path: str | os.PathLike,
    size: tuple[int, int],
    fps: Fraction | int,
    time_base: Fraction | None = None,
    audio_from: str | os.PathLike | None = None,
    *,
    audio_start: float | Fraction = 0,
    audio_duration: float | Fraction | None = None,
    finish: Finish | None = None,
) -> VideoWriter | GifWriter:
    """A writer of frames for the format that `path` names; use it as a context manager.

    Args:
        path (`str` or `os.PathLike`): Ends in .mp4, .mov, .mkv or .gif.
        size (`tuple[int, int]`): Width and height of the images, in pixels.
        fps (`Fraction`): Frames per second.
        time_base (`Fraction`, *optional*): Seconds per unit of the time stamps, such as `VideoReader.time_base`.
        audio_from (`str` or `os.PathLike`, *optional*): A file whose audio is taken.
        audio_start (`float`, *optional*, defaults to 0): Seconds of that file that become time 0, such as
            `VideoReader.start`.
        audio_duration (`float`, *optional*): Seconds of audio to take; by default all the rest.
        finish (callable, *optional*): As for `VideoWriter`.

    Returns:
        `VideoWriter` or `GifWriter`: Both have `write(image, time, duration)`, `size`, `frames` and `warnings`.

    Raises:
        MediaError: If the suffix is another one, `path` cannot be written, or `audio_from` cannot be read.
    """
    suffix = Path(check_output(path, OUTPUT_SUFFIXES)).suffix.lower()
    if suffix == ".gif":
        from vivface.media.gif import GifWriter

        return GifWriter(path, size, fps, time_base, audio_from, finish)
    part = dict(audio_start=audio_start, audio_duration=audio_duration)
    return VideoWriter(path, size, fps, time_base, audio_from, **part, finish=finish)
