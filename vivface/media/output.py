"""One way to write a result, whatever its format."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from vivface.errors import OptionError
from vivface.files import check_output
from vivface.media.coding import QUALITY
from vivface.media.sequence import SequenceWriter, check_sequence, is_sequence
from vivface.media.writer import WRITE_SUFFIXES, Finish, VideoWriter

if TYPE_CHECKING:
    from vivface.media.gif import GifWriter

OUTPUT_SUFFIXES = (*WRITE_SUFFIXES, ".gif")


def check_film(path: str | os.PathLike) -> Path:
    """Make sure that a film can be written, before any work is done for it.

    Args:
        path (`str` or `os.PathLike`): Ends in one of `OUTPUT_SUFFIXES`, or stands for numbered images
            (`frames/%05d.png`).

    Returns:
        `pathlib.Path`: `path`.

    Raises:
        MediaError: If it cannot be written.
    """
    return check_sequence(path) if is_sequence(path) else check_output(path, OUTPUT_SUFFIXES)


def open_writer(
    path: str | os.PathLike,
    size: tuple[int, int],
    fps: Fraction | int,
    time_base: Fraction | None = None,
    audio_from: str | os.PathLike | None = None,
    *,
    audio_start: float | Fraction = 0,
    audio_duration: float | Fraction | None = None,
    codec: str = "auto",
    quality: float = QUALITY,
    alpha: bool = False,
    finish: Finish | None = None,
) -> VideoWriter | GifWriter | SequenceWriter:
    """A writer of frames for the format that `path` names; use it as a context manager.

    Args:
        path (`str` or `os.PathLike`): Ends in .mp4, .mov, .mkv, .webm, .webp or .gif, or stands for numbered images
            (`frames/%05d.png`).
        size (`tuple[int, int]`): Width and height of the images, in pixels.
        fps (`Fraction`): Frames per second.
        time_base (`Fraction`, *optional*): Seconds per unit of the time stamps, such as `VideoReader.time_base`.
        audio_from (`str` or `os.PathLike`, *optional*): A file whose audio is taken.
        audio_start (`float`, *optional*, defaults to 0): Seconds of that file that become time 0, such as
            `VideoReader.start`.
        audio_duration (`float`, *optional*): Seconds of audio to take; by default all the rest.
        codec (`str`, *optional*, defaults to "auto"), quality (`float`, *optional*, defaults to 80): As for
            `VideoWriter`. GIF and PNG have neither.
        alpha (`bool`, *optional*, defaults to False): Whether images have a fourth channel, their opacity, which .mov,
            .webm, .webp and PNG keep.
        finish (callable, *optional*): As for `VideoWriter`.

    Returns:
        `VideoWriter`, `GifWriter` or `SequenceWriter`: All have `write(image, time, duration)`, `size`, `frames` and
        `warnings`.

    Raises:
        MediaError: If the suffix is another one, `path` cannot be written, or `audio_from` cannot be read.
        OptionError: If the format does not take the codec, or `quality` is out of its range.
        BackendError: If this FFmpeg lacks the encoder.
    """
    suffix = check_film(path).suffix.lower()
    if suffix in (".gif", ".png"):
        if codec != "auto":
            raise OptionError(f"A {suffix} file has no choice of codecs, but {codec!r} was asked for.")
        if suffix == ".png":
            return SequenceWriter(path, size, fps, audio_from, finish, alpha=alpha)
        if alpha:
            raise OptionError("A GIF keeps no soft transparency: write .mov, .webm, .webp or numbered PNG files.")
        from vivface.media.gif import GifWriter

        return GifWriter(path, size, fps, time_base, audio_from, finish)
    part = dict(audio_start=audio_start, audio_duration=audio_duration)
    return VideoWriter(
        path, size, fps, time_base, audio_from, **part, codec=codec, quality=quality, alpha=alpha, finish=finish
    )
