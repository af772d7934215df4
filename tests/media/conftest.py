"""Clips made on the spot with plain PyAV, so that the tests do not read what the code under test wrote."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

BEEP_FROM, BEEP_TO = 1.5, 1.7  # seconds


def gray_image(index: int, width: int, height: int) -> np.ndarray:
    """A grey level that tells the frame's number (modulo 64), uint8 (height, width, 3)."""
    return np.full((height, width, 3), 4 * index % 256, np.uint8)


def _samples(first: int, count: int, rate: int) -> np.ndarray:
    """Silence but for the beep, int16 (1, 2 * count), two channels interleaved."""
    time = np.arange(first, first + count) / rate
    wave = 12000 * np.sin(2 * np.pi * 1000 * time) * ((time >= BEEP_FROM) & (time < BEEP_TO))
    return np.repeat(wave.astype(np.int16), 2)[None]


@pytest.fixture
def make_clip(tmp_path: Path) -> Callable[..., Path]:
    """Write a clip into the test's folder: `make_clip("a.mkv", video="mpeg4", audio="flac", frames=50)`."""

    def make(
        name: str,
        video: str = "libx264",
        audio: str | None = None,
        frames: int = 50,
        fps: int | Fraction = 25,
        size: tuple[int, int] = (64, 48),
        pixels: str = "yuv420p",
        rate: int = 44100,
        times: list[Fraction] | None = None,
        images: list[np.ndarray] | None = None,
        codes: list[float] | None = None,  # Y, Cb, Cr of all pixels, instead of images
        matrix: tuple[int, ...] | None = None,
        aspect: Fraction | None = None,
        tags: dict[str, int] | None = None,
        key_frames: int = 10,
        clock: Fraction | int = 0,  # time stamp of the first frame, seconds
        options: dict[str, str] | None = None,  # of the video codec
        muxer: dict[str, str] | None = None,  # options of the container
    ) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w", options=muxer or {}) as output:
            stream = output.add_stream(video, rate=fps, options=options or {})
            stream.width, stream.height, stream.pix_fmt = *size, pixels
            ticks = Fraction(fps).numerator
            stream.codec_context.time_base = Fraction(1, ticks if ticks > 1000 else 1000 * ticks)
            stream.codec_context.gop_size = key_frames
            if video in ("mpeg4", "mpeg2video", "mjpeg", "gif", "apng"):  # know whole frames only
                stream.codec_context.time_base = 1 / Fraction(fps)
            for tag, value in (tags or {}).items():
                setattr(stream.codec_context, tag, value)
            if matrix is not None:
                stream.set_display_matrix(matrix)
            if aspect is not None:
                stream.codec_context.sample_aspect_ratio = aspect
            voice = output.add_stream(audio, rate=rate) if audio else None
            if voice is not None:
                voice.layout = "stereo"
            for index in range(frames):
                image = images[index] if images else gray_image(index, *size)
                frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixels)
                for plane, code in zip(frame.planes, codes or (), strict=False):
                    plane.update(bytes([round(code)]) * plane.buffer_size)
                time = times[index] if times else index / Fraction(fps)
                frame.time_base = stream.codec_context.time_base
                frame.pts = round((time + clock) / frame.time_base)
                output.mux(stream.encode(frame))
                if voice is not None:
                    count = round(rate / fps)
                    part = av.AudioFrame.from_ndarray(_samples(index * count, count, rate), "s16", "stereo")
                    part.sample_rate, part.time_base = rate, Fraction(1, rate)
                    part.pts = index * count + round(clock * rate)
                    output.mux(voice.encode(part))
            output.mux(stream.encode(None))
            if voice is not None:
                output.mux(voice.encode(None))
        return path

    return make


@pytest.fixture
def remux(tmp_path: Path) -> Callable[..., Path]:
    """Copy packets into another file: `remux(path, "b.mp4", skip=5)` leaves out the first five of the video."""

    def copy(source: Path, name: str, skip: int = 0, muxer: dict[str, str] | None = None) -> Path:
        with av.open(str(source)) as given, av.open(str(tmp_path / name), "w", options=muxer or {}) as output:
            targets = {stream.index: output.add_stream_from_template(stream) for stream in given.streams}
            for packet in given.demux():
                if packet.dts is None:
                    continue
                if packet.stream.type == "video" and skip > 0:
                    skip -= 1
                    continue
                packet.stream = targets[packet.stream.index]
                output.mux(packet)
        return tmp_path / name

    return copy


@pytest.fixture(scope="session")
def reports_dir(shared_dir: Path) -> Path:
    """Files of users on which comparable tools failed."""
    return shared_dir / "reports"


@pytest.fixture(scope="session")
def hard_dir(media_dir: Path) -> Path:
    """Awkward files that users upload."""
    return media_dir / "hard"
