"""Facts about the streams of an opened file: which video is meant, where its clock starts, its rate, its length."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from vivface.media.containers import open_input

_PLAUSIBLE_FPS = (Fraction(1, 10), Fraction(300))
_LARGEST_SCAN = 1 << 30  # bytes of a file that is read once to measure its length
_MEASURED_BY_FFMPEG = ("mpegts", "mpeg")  # have no declared length: FFmpeg takes it from their time stamps
_HIDDEN = 2  # AVINDEX_DISCARD_FRAME: decoded, but hidden by an edit list


def main_video(container: InputContainer) -> VideoStream | None:
    """The video stream to read: FFmpeg's choice, but never cover art; `None` where there is none."""
    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    best = container.streams.best("video")
    return best if best in streams else next(iter(streams), None)


def clock_origin(container: InputContainer) -> Fraction:
    """The time stamp, in seconds, at which a file begins: that of its first video frame, else of its first stream.

    Clocks start anywhere: a piece of a live stream continues the clock of the stream.
    """
    video = main_video(container)
    if video is not None:
        return start_of(video)
    return max(min((start_of(stream) for stream in container.streams), default=Fraction(0)), Fraction(0))


def start_of(stream: Stream) -> Fraction:
    """The first time stamp of a stream, in seconds; 0 where it is unknown."""
    if stream.start_time is None or not stream.time_base:
        return Fraction(0)
    return stream.start_time * Fraction(stream.time_base)


def pixel_aspect(stream: VideoStream) -> Fraction:
    """Width of a pixel over its height; 1 where it is unknown or nonsense."""
    aspect = stream.sample_aspect_ratio
    return aspect if aspect and Fraction(1, 4) <= aspect <= 4 else Fraction(1)


def frame_rate(stream: VideoStream) -> Fraction:
    """Average frames per second; a rate that no camera has is a container's placeholder, and is measured instead."""
    low, high = _PLAUSIBLE_FPS
    measured = None
    if stream.frames and stream.duration:
        measured = Fraction(stream.frames) / (stream.duration * stream.time_base)
    for rate in (stream.average_rate, stream.guessed_rate, measured):
        if rate and low <= rate <= high:
            return Fraction(rate)
    return Fraction(25)


def length_and_frames(path: Path, container: InputContainer, stream: VideoStream) -> tuple[Fraction | None, int | None]:
    """How long the video lasts from `clock_origin` on, in seconds, and how many frames it shows, where known.

    A file that starts at 0 is believed. Where the clock starts elsewhere, a declared duration may be the time of the
    end, and recordings of browsers declare none: there the packets are counted, without decoding them.
    """
    declared = None
    if stream.duration:
        declared = stream.duration * Fraction(stream.time_base)
    elif container.duration:
        declared = Fraction(container.duration, av.time_base)
    shown = _shown_in_index(stream)
    late = start_of(stream) > 1 / frame_rate(stream)
    doubtful = declared is None or late or (shown is not None and shown < stream.frames)
    if doubtful and container.format.name not in _MEASURED_BY_FFMPEG and path.stat().st_size <= _LARGEST_SCAN:
        measured = _scan(path, stream.index)
        if measured is not None:
            return measured
    return declared, shown or stream.frames or None


def _shown_in_index(stream: VideoStream) -> int | None:
    """Number of frames that the index of an MP4 shows, where the index is complete."""
    entries = stream.index_entries
    if not stream.frames or len(entries) < stream.frames:
        return None
    return sum(not entry.flags & _HIDDEN for entry in entries)


def _scan(path: Path, index: int) -> tuple[Fraction, int] | None:
    """Length and number of frames by the packets' time stamps."""
    count, end = 0, None
    with open_input(path) as container:
        stream = container.streams[index]
        step = max(round(1 / frame_rate(stream) / stream.time_base), 1)
        origin, base = clock_origin(container), Fraction(stream.time_base)
        try:
            for packet in container.demux(stream):
                if packet.pts is None or packet.is_discard or not packet.size:
                    continue
                count += 1
                finish = packet.pts + (packet.duration or step)
                end = finish if end is None else max(end, finish)
        except av.error.FFmpegError:
            pass  # a damaged end: what was counted up to there is what can be read
    return (max(end * base - origin, Fraction(0)), count) if count else None
