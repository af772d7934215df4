"""Streaming decoding of videos: one frame at a time, upright, with its exact time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from types import TracebackType

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from vivface.errors import MediaError, OptionError
from vivface.media.color import FrameDecoder
from vivface.media.containers import clock_origin, input_path, open_input, seek_before

MAX_PIXELS = 36_000_000  # a little more than 8K UHD
_PLAUSIBLE_FPS = (Fraction(1, 10), Fraction(300))
_UNEXPLAINED_GAP = Fraction(1, 2)  # seconds by which pictures may end before the whole file does
_HDR_TRANSFERS = (16, 18)  # PQ and HLG of ITU-T H.273


@dataclass(frozen=True)
class VideoFrame:
    """One decoded frame.

    Attributes:
        image: `uint8`, (H, W, 3), RGB, upright, square pixels.
        time: Seconds at which the frame is shown.
        pts: The same as stored, in units of the reader's `time_base`.
        duration: Seconds for which it is shown.
    """

    image: np.ndarray
    time: Fraction
    pts: int
    duration: Fraction


class VideoReader:
    """Read a video frame by frame; only the frame that was asked for last is held in memory.

    The file is opened, and its first frame decoded, by the constructor, so that a file that cannot be used is
    refused at once. Each `iter()` reads it anew from the start.

    Args:
        path: A video in one of the formats of `vivface.media.containers`.
        start: Seconds to skip. The first frame at or after `start` then has time 0.
        duration: Seconds to read from there; `None` reads to the end.
        max_pixels: Width times height beyond which a video is refused.

    Attributes:
        path (`pathlib.Path`): The file.
        size (`tuple[int, int]`): Width and height of the upright frames, in pixels.
        fps (`Fraction`): Average frames per second; only frames' times are exact when the rate varies.
        time_base (`Fraction`): Seconds per unit of `VideoFrame.pts`; every `VideoFrame.time` is a multiple of it
            (or, where the file's clock starts elsewhere, differs by a constant).
        duration (`Fraction | None`): Seconds, as the file declares, of the part that is read.
        frames_estimate (`int | None`): Number of frames of that part, for progress bars.
        has_audio (`bool`): Whether there is a sound track.
        start (`Fraction`): Seconds into the file at which the first frame that is read is shown (0 when nothing is
            skipped): give it to `VideoWriter(audio_start=...)`.
        warnings (`list[str]`): What went wrong without stopping the reading; complete once reading ends.

    Raises:
        MediaError: If the file is missing, empty, not a video, without a video stream, without one frame that can
            be decoded, or larger than `max_pixels`.
        OptionError: If `start` or `duration` is out of range.

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
    ) -> None:
        if start < 0:
            raise OptionError(f"`start` is {start} seconds, but has to be 0 or more.")
        if duration is not None and duration <= 0:
            raise OptionError(f"`duration` is {duration} seconds, but has to be more than 0.")
        self.path = input_path(path)
        self.warnings: list[str] = []
        self._max_pixels = max_pixels
        self._part = None if duration is None else Fraction(duration)
        self._closed = False
        with open_input(self.path) as container:
            stream = self._video_stream(container)
            self.time_base = Fraction(stream.time_base)
            self.fps = _frame_rate(stream)
            self.has_audio = bool(container.streams.audio)
            whole = _declared_duration(container, stream)
            frames = stream.frames
            first = self._first_frame(container, stream, Fraction(start))
        self.start = first.time if start > 0 else Fraction(0)
        self.size = (first.image.shape[1], first.image.shape[0])
        rest = None if whole is None else max(whole - self.start, Fraction(0))
        self.duration = min((seconds for seconds in (rest, self._part) if seconds is not None), default=None)
        if frames and self.duration == whole:
            self.frames_estimate = frames
        else:
            self.frames_estimate = None if self.duration is None else max(round(self.duration * self.fps), 1)

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all iterations; each closes its file when it is asked for its next frame, or is dropped."""
        self._closed = True

    def __iter__(self) -> Iterator[VideoFrame]:
        if self._closed:
            raise ValueError("The VideoReader is closed.")
        self.warnings.clear()
        with open_input(self.path) as container:
            for frame in self._decode(container, self._video_stream(container), self.start, self.size):
                time = frame.time - self.start
                if self._closed or (self._part is not None and time >= self._part):
                    return
                yield replace(frame, time=time)

    def _video_stream(self, container: InputContainer) -> VideoStream:
        name = repr(str(self.path))
        streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]  # cover art
        if not streams:
            raise MediaError(f"Cannot read {name} as a video: it has no video stream.")
        best = container.streams.best("video")
        stream = best if best in streams else streams[0]
        if stream.codec_context is None:
            raise MediaError(f"Cannot read {name}: its video codec is not supported, so convert it to H.264.")
        self._check_pixels(stream.codec_context.width, stream.codec_context.height)
        # Slices, not frames: with frame threads the error of a damaged packet is lost.
        stream.thread_type = "SLICE"
        stream.codec_context.options = {"max_pixels": str(self._max_pixels)}
        return stream

    def _check_pixels(self, width: int, height: int) -> None:
        if width * height > self._max_pixels:
            raise MediaError(
                f"Cannot read {str(self.path)!r}: its frames have {width} x {height} pixels, and at most "
                f"{self._max_pixels} are accepted, so make it smaller."
            )

    def _first_frame(self, container: InputContainer, stream: VideoStream, start: Fraction) -> VideoFrame:
        first = next(self._decode(container, stream, start), None)
        if first is None:
            where = f" from {float(start):g} seconds on" if start > 0 else ""
            raise MediaError(f"Cannot read {str(self.path)!r}: there is no frame{where} that can be decoded.")
        return first

    def _decode(
        self, container: InputContainer, stream: VideoStream, start: Fraction, size: tuple[int, int] | None = None
    ) -> Iterator[VideoFrame]:
        """Frames shown at `start` or later, with the times of the file, scaled to `size` (width, height) if given."""
        decoder = FrameDecoder()
        origin = clock_origin(container)
        seek_before(container, stream, start)
        aspect = _pixel_aspect(stream)
        step = max(round(1 / self.fps / self.time_base), 1)
        pts = None
        held: VideoFrame | None = None  # how long it is shown is known when the next one comes
        try:
            for frame in _coded_frames(container, stream):
                stored = frame.pts
                if pts is not None:
                    stored = pts + step if stored is None else max(stored, pts + 1)  # time never stands still
                pts = stored or 0
                time = pts * self.time_base - origin
                if time < start:
                    continue
                self._check_pixels(frame.width, frame.height)
                if frame.color_trc in _HDR_TRANSFERS:
                    self._warn("the clip is HDR and its brightness is not converted, so colours may look pale")
                image = decoder(frame, aspect)
                if size is not None and image.shape[1::-1] != size:
                    self._warn("the frame size changes within the clip; all frames are scaled to that of the first")
                    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
                if held is not None:
                    yield replace(held, duration=time - held.time)
                held = VideoFrame(image, time, pts, duration=1 / self.fps)
        except _CutOffError as error:
            self._warn(str(error))
        else:
            if held is not None and stream.duration:
                end = ((stream.start_time or 0) + stream.duration) * self.time_base - origin
                if end > held.time:
                    held = replace(held, duration=end - held.time)
            elif held is not None and container.duration:
                end, declared = held.time + held.duration, Fraction(container.duration, av.time_base)
                if declared - end > _UNEXPLAINED_GAP:
                    self._warn(f"its pictures end at {float(end):.1f} s of {float(declared):.1f} s; it may be cut off")
        if held is not None:
            yield held

    def _warn(self, message: str) -> None:
        message = f"{self.path.name}: {message}"
        if message not in self.warnings:
            self.warnings.append(message)


class _CutOffError(Exception):
    """Some frames were decoded, then the file turned out to be damaged."""


def _coded_frames(container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
    """Decode until the end, or until the first error that comes after a frame.

    Raises:
        _CutOffError: At that error.
    """
    count = 0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            frames = [] if packet is None else packet.decode()
        except av.error.FFmpegError as error:
            if count:
                reason = f"the file is damaged or cut off; {count} frames were read up to there ({error.strerror})"
                raise _CutOffError(reason) from error
            continue  # perhaps a later packet can be decoded
        if packet is None:
            return
        count += len(frames)
        yield from frames


def _pixel_aspect(stream: VideoStream) -> Fraction:
    """Width of a pixel over its height; 1 where it is unknown or nonsense."""
    aspect = stream.sample_aspect_ratio
    return aspect if aspect and Fraction(1, 4) <= aspect <= 4 else Fraction(1)


def _frame_rate(stream: VideoStream) -> Fraction:
    """Average frames per second; a rate that no camera has is a container's placeholder, and is measured instead."""
    low, high = _PLAUSIBLE_FPS
    measured = None
    if stream.frames and stream.duration:
        measured = Fraction(stream.frames) / (stream.duration * stream.time_base)
    for rate in (stream.average_rate, stream.guessed_rate, measured):
        if rate and low <= rate <= high:
            return Fraction(rate)
    return Fraction(25)


def _declared_duration(container: InputContainer, stream: VideoStream) -> Fraction | None:
    if stream.duration:
        return stream.duration * Fraction(stream.time_base)
    return Fraction(container.duration, av.time_base) if container.duration else None
