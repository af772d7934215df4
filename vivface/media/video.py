"""Streaming decoding of videos: one frame at a time, upright, with its exact time."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import chain
from pathlib import Path
from types import TracebackType

import cv2

from vivface.errors import MediaError, OptionError
from vivface.media.animation import AnimatedImage, is_animation
from vivface.media.containers import input_path
from vivface.media.decoding import DecodedVideo, VideoFrame

MAX_PIXELS = 36_000_000  # a little more than 8K UHD
_TOLERANCE = Fraction(1, 10)  # of a frame, by which rates and lengths may disagree
_MISSING = Fraction(1, 5)  # seconds: less at the start of a clip is not worth a word

__all__ = ["MAX_PIXELS", "VideoFrame", "VideoReader"]


class VideoReader:
    """Read a video, or an animated image, frame by frame; no more than two frames are held in memory.

    The constructor opens the file and decodes its first frame, so that a file that cannot be used is refused at once.
    The first `iter()` goes on from there; each later one reads the file again from the start.

    Args:
        path (`str` or `os.PathLike`): A video of one of `vivface.media.containers.FORMATS`, or an animated image.
        start (`float`, *optional*, defaults to 0): Seconds to skip, counted from the start of the video.
        duration (`float`, *optional*): Seconds to read from there; by default all.
        max_pixels (`int`, *optional*, defaults to 36,000,000): Width times height beyond which a video is refused.
        max_frames (`int`, *optional*): Most frames to read, whatever the file declares; by default all.

    Attributes:
        path (`pathlib.Path`): The file.
        size (`tuple[int, int]`): Width and height of the upright frames, in pixels.
        fps (`Fraction`): Average frames per second; only frames' times are exact when the rate varies.
        time_base (`Fraction`): Seconds per unit of `VideoFrame.pts`; differences of `VideoFrame.time` are multiples.
        duration (`Fraction | None`): Seconds of what is read, as the file declares.
        frames_estimate (`int | None`): Number of frames of it, for progress bars.
        has_audio (`bool`): Whether there is an audio track.
        start (`Fraction`): Seconds from the start of the file's clock to the first frame that is read, whose time is
            0: give it to `VideoWriter(audio_start=...)`.
        warnings (`list[str]`): What went wrong without stopping the reading; complete once reading ends.

    Raises:
        MediaError: If the file is missing, empty, not a video, without a video stream, without one frame that can be
            decoded, or larger than `max_pixels`.
        OptionError: If `start`, `duration` or `max_frames` is out of range.

    Example:

        with VideoReader("clip.mp4") as video:
            for frame in video:
                print(frame.time, frame.image.shape)
    """

    def __init__(
        self,
        path: str | os.PathLike,
        start: float | Fraction = 0,
        duration: float | Fraction | None = None,
        max_pixels: int = MAX_PIXELS,
        max_frames: int | None = None,
    ) -> None:
        if not 0 <= start < float("inf"):
            raise OptionError(f"`start` is {start} seconds, but has to be 0 or more.")
        if duration is not None and not 0 < duration < float("inf"):
            raise OptionError(f"`duration` is {duration} seconds, but has to be more than 0.")
        if max_frames is not None and max_frames < 1:
            raise OptionError(f"`max_frames` is {max_frames}, but has to be 1 or more.")
        self.path = input_path(path)
        self.warnings: list[str] = []
        self._warn = partial(_add_warning, self.warnings, self.path.name)  # no reference to self: no cycle
        self._part = None if duration is None else _seconds(duration)
        self._max_frames = max_frames
        self._closed = False
        self._from = _seconds(start)
        self._source = _open_source(self.path, max_pixels, self._warn)
        frames = self._source.frames(self._from)
        first = next(frames, None)
        if first is None:
            where = f" from {float(start):g} seconds on" if start > 0 else ""
            raise MediaError(f"Cannot read {str(self.path)!r}: there is no frame{where} that can be decoded.")
        self._begun: tuple[VideoFrame, Iterator[VideoFrame]] | None = (first, frames)
        self.start = first.time
        if start == 0 and first.time > _MISSING:
            self._warn(f"its first {float(first.time):.1f} s cannot be decoded and were left out")
        self.size = (first.image.shape[1], first.image.shape[0])
        self.time_base, self.fps, self.has_audio = self._source.time_base, self._source.fps, self._source.has_audio
        whole = self._source.length
        rest = None if whole is None else max(whole - self.start, Fraction(0))
        self.duration = min((seconds for seconds in (rest, self._part) if seconds is not None), default=None)
        self.frames_estimate = self._estimate()

    def _estimate(self) -> int | None:
        count = self._source.frame_count
        whole = count is not None and self.start == 0 and self.duration == self._source.length
        if not whole:
            by_time = None if self.duration is None else max(math.ceil(self.duration * self.fps - _TOLERANCE), 1)
            count = min((number for number in (count, by_time) if number is not None), default=None)
        return min((number for number in (count, self._max_frames) if number is not None), default=None)

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; an iteration that has begun ends when it is asked for its next frame, or is dropped."""
        self._closed = True
        if self._begun is not None:
            self._begun[1].close()
            self._begun = None

    def __iter__(self) -> Iterator[VideoFrame]:
        if self._closed:
            raise ValueError("The VideoReader is closed.")
        if self._begun is not None:
            (first, rest), self._begun = self._begun, None
            frames = chain([first], rest)
        else:
            self.warnings.clear()
            frames = rest = self._source.frames(self._from)
        with closing(rest):
            yield from self._limited(frames)

    def _limited(self, frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
        for index, frame in enumerate(frames):
            time = frame.time - self.start
            if self._closed or (self._part is not None and time >= self._part):
                return
            if self._max_frames is not None and index == self._max_frames:
                self._warn(f"only the first {index} frames were read, and the rest was left out")
                return
            image = frame.image
            if image.shape[1::-1] != self.size:
                self._warn("the frame size changes within the clip; all frames are scaled to that of the first")
                image = cv2.resize(image, self.size, interpolation=cv2.INTER_AREA)
            yield replace(frame, time=time, image=image)


def _open_source(path: Path, max_pixels: int, warn: Callable[[str], None]) -> DecodedVideo | AnimatedImage:
    try:
        return DecodedVideo(path, max_pixels, warn)
    except MediaError:
        if is_animation(path):
            return AnimatedImage(path, max_pixels, warn)
        raise


def _seconds(value: float | Fraction) -> Fraction:
    """A time that was meant: 0.2 is 1/5, not the float next to it."""
    return Fraction(value).limit_denominator(1_000_000) if isinstance(value, float) else Fraction(value)


def _add_warning(warnings: list[str], name: str, message: str) -> None:
    message = f"{name}: {message}"
    if message not in warnings:
        warnings.append(message)
