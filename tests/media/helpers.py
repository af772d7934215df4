"""What tests of results share: a copy of a clip as a re-enactment makes it, and what plain PyAV sees in a file."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from vivface.media import VideoReader, VideoWriter


def copy(source: Path, target: Path, **options) -> VideoWriter:
    """Read and write a clip as a re-enactment does."""
    part = {key: options.pop(key) for key in ("start", "duration") if key in options}
    with (
        VideoReader(source, **part) as video,
        VideoWriter(
            target,
            video.size,
            video.fps,
            video.time_base,
            audio_from=source,
            audio_start=video.start,
            audio_duration=part.get("duration"),
            **options,
        ) as writer,
    ):
        for frame in video:
            writer.write(frame.image, frame.time, frame.duration)
    return writer


def stored_times(path: Path) -> list[Fraction]:
    """Times of the frames as any program sees them, without decoding."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return sorted(p.pts * stream.time_base for p in container.demux(stream) if p.size)


def audio_packets(path: Path) -> list[tuple[int, int, int, bytes]]:
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        return [(p.pts, p.dts, p.duration, bytes(p)) for p in container.demux(stream) if p.size]


def beep_times(path: Path) -> tuple[float, float]:
    """Seconds at which the audio of a clip is loud for the first and the last time."""
    with av.open(str(path)) as container:
        loud = []
        for frame in container.decode(audio=0):
            samples = np.abs(frame.to_ndarray().astype(float)).max(0)
            if not frame.format.is_planar:
                samples = samples.reshape(-1, frame.layout.nb_channels).max(1)
            samples /= np.iinfo(np.int16).max if frame.format.name.startswith("s16") else 1
            loud += (frame.time + np.flatnonzero(samples > 0.15) / frame.sample_rate).tolist()
    return min(loud), max(loud)
