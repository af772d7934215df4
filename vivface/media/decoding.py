"""Frames of a video file as libav decodes it, from any time on, whatever state the file is in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from vivface.errors import MediaError
from vivface.media.color import FrameDecoder
from vivface.media.containers import open_input
from vivface.media.deinterlace import deinterlaced
from vivface.media.seeking import seek_before, seek_targets
from vivface.media.tracks import clock_origin, frame_rate, length_and_frames, main_video, pixel_aspect

_UNEXPLAINED_GAP = Fraction(1, 2)  # seconds by which frames may end before the whole file does
_CLEARLY = Fraction(1, 4)  # of a frame: durations that differ by less are rounded


@dataclass(frozen=True)
class VideoFrame:
    """One decoded frame.

    Attributes:
        image (`np.ndarray` of shape `(height, width, 3)`, `uint8`): RGB, upright, square pixels.
        time (`Fraction`): Seconds at which the frame is shown.
        pts (`int`): The time stamp that the file has for it, in units of the reader's `time_base`.
        duration (`Fraction`): Seconds for which it is shown.
    """

    image: np.ndarray
    time: Fraction
    pts: int
    duration: Fraction


class DecodedVideo:
    """A video file, opened; its first pass goes on with the container that the constructor opened.

    Args:
        path (`pathlib.Path`): The file.
        max_pixels (`int`): Width times height beyond which it is refused.
        warn (callable `str -> None`): Receives what went wrong without stopping the reading.

    Attributes:
        time_base (`Fraction`): Seconds per unit of the time stamps.
        fps (`Fraction`): Average frames per second.
        has_audio (`bool`): Whether there is an audio track.
        length (`Fraction | None`): Seconds, where known.
        frame_count (`int | None`): Frames that are shown, where known.

    Raises:
        MediaError: If the file is no video that can be read.
    """

    def __init__(self, path: Path, max_pixels: int, warn: Callable[[str], None]) -> None:
        self._path = path
        self._max_pixels = max_pixels
        self._warn = warn
        self._opened: InputContainer | None = open_input(path)
        try:
            stream = self._video(self._opened)
            self.time_base = Fraction(stream.time_base)
            self.fps = frame_rate(stream)
            self.has_audio = bool(self._opened.streams.audio)
            self.length, self.frame_count = length_and_frames(path, self._opened, stream)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the container that no pass has taken over yet."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def frames(self, start: Fraction) -> Iterator[VideoFrame]:
        """Frames shown at `start` or later, with times that count from the start of the file.

        Args:
            start (`Fraction`): Seconds.

        Returns:
            iterator of `VideoFrame`: In the order in which they are shown; one more frame is decoded ahead.

        Raises:
            MediaError: While it is read, if the frames become larger than `max_pixels` or cannot be converted.
        """
        for target in seek_targets(start):
            container, self._opened = self._opened or open_input(self._path), None
            try:
                stream = self._video(container)
                if target is not None and not seek_before(container, stream, target):
                    continue
                reading = _Pass(container, stream, self.fps, self._warn)
                timed = reading.timed()
                first = next(timed, None)
                if target is not None and (first is None or first[1] > start):
                    continue
                if first is not None:
                    yield from self._shown(reading, chain([first], timed), start)
                return
            except (av.error.FFmpegError, ValueError) as error:
                reason = getattr(error, "strerror", None) or error
                raise MediaError(f"Cannot read {str(self._path)!r}: it cannot be decoded ({reason}).") from error
            finally:
                container.close()

    def _shown(
        self, reading: _Pass, timed: Iterable[tuple[av.VideoFrame, Fraction, int]], start: Fraction
    ) -> Iterator[VideoFrame]:
        decoder, aspect = FrameDecoder(), pixel_aspect(reading.stream)
        held: VideoFrame | None = None  # how long it is shown is known when the next one comes
        own: Fraction | None = None  # what the file says about it
        for frame, time, pts in timed:
            if time < start:
                continue
            self._check_pixels(frame.width, frame.height)
            image = decoder(frame, aspect)
            if held is not None:
                yield replace(held, duration=time - held.time)
            held = VideoFrame(image, time, pts, duration=1 / self.fps)
            own = frame.duration * self.time_base if frame.duration else None
        if held is None:
            return
        if not reading.cut_off:
            held = self._last(held, own, declared=bool(reading.stream.duration))
        yield held

    def _last(self, frame: VideoFrame, own: Fraction | None, declared: bool) -> VideoFrame:
        """The last frame, which is shown until the end that the file declares, unless that is out of all proportion."""
        if self.length is None:
            return frame
        rest = self.length - frame.time
        if declared:
            if rest > 0 and (own is None or rest - own <= _UNEXPLAINED_GAP):
                return replace(frame, duration=rest)
            return frame if own is None else replace(frame, duration=own)
        if own is not None and abs(own - frame.duration) * self.fps > _CLEARLY and own - rest <= _UNEXPLAINED_GAP:
            frame = replace(frame, duration=own)
        if rest - frame.duration > _UNEXPLAINED_GAP:
            end = float(frame.time + frame.duration)
            self._warn(f"its frames end at {end:.1f} s of {float(self.length):.1f} s; it may be cut off")
        return frame

    def _video(self, container: InputContainer) -> VideoStream:
        name = repr(str(self._path))
        stream = main_video(container)
        if stream is None:
            raise MediaError(f"Cannot read {name} as a video: it has no video stream.")
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
                f"Cannot read {str(self._path)!r}: its frames have {width} x {height} pixels, and at most "
                f"{self._max_pixels} are accepted, so make it smaller."
            )


class _Pass:
    """One decoding of an opened file, from where it stands."""

    def __init__(
        self, container: InputContainer, stream: VideoStream, fps: Fraction, warn: Callable[[str], None]
    ) -> None:
        self.stream = stream
        self.cut_off = False
        self._container = container
        self._fps = fps
        self._warn = warn

    def timed(self) -> Iterator[tuple[av.VideoFrame, Fraction, int]]:
        """Decoded frames with their times and time stamps, which always increase; a damaged end is warned of."""
        origin, base = clock_origin(self._container), Fraction(self.stream.time_base)
        step = max(round(1 / self._fps / base), 1)
        pts = None
        for frame in deinterlaced(self._decoded(), self.stream):
            stored = frame.pts
            if pts is not None:
                stored = pts + step if stored is None else max(stored, pts + 1)  # time never stands still
            pts = round(origin / base) if stored is None else stored
            yield frame, pts * base - origin, pts

    def _decoded(self) -> Iterator[av.VideoFrame]:
        """Decode until the end, or until the first error that comes after a frame."""
        count = 0
        packets = self._container.demux(self.stream)
        while True:
            try:
                packet = next(packets, None)
                frames = [] if packet is None else packet.decode()
            except av.error.FFmpegError as error:
                if count:
                    reason = f"{count} frames were read up to there ({error.strerror})"
                    self._warn(f"the file is damaged or cut off; {reason}")
                    self.cut_off = True
                    return
                continue  # perhaps a later packet can be decoded
            if packet is None:
                return
            count += len(frames)
            yield from frames
