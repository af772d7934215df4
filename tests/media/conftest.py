"""Clips made on the spot with plain PyAV, so that the tests do not read what the code under test wrote."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

BEEP_FROM, BEEP_TO = 1.5, 1.7  # seconds


def picture(index: int, width: int, height: int) -> np.ndarray:
    """A grey level that tells the frame's number (modulo 64), uint8 (height, width, 3)."""
    return np.full((height, width, 3), 4 * index % 256, np.uint8)


def _samples(first: int, count: int, rate: int) -> np.ndarray:
    """Silence but for the beep, int16 (1, 2 * count), two channels interleaved."""
    time = np.arange(first, first + count) / rate
    wave = 12000 * np.sin(2 * np.pi * 1000 * time) * ((time >= BEEP_FROM) & (time < BEEP_TO))
    return np.repeat(wave.astype(np.int16), 2)[None]


@pytest.fixture
def make_clip(tmp_path: Path) -> Callable[..., Path]:
    """Write a clip into the test's folder: `make_clip("a.mkv", video="mpeg4", sound="flac", frames=50)`."""

    def make(
        name: str,
        video: str = "libx264",
        sound: str | None = None,
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
    ) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w") as output:
            stream = output.add_stream(video, rate=fps)
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
            voice = output.add_stream(sound, rate=rate) if sound else None
            if voice is not None:
                voice.layout = "stereo"
            for index in range(frames):
                image = images[index] if images else picture(index, *size)
                frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixels)
                for plane, code in zip(frame.planes, codes or (), strict=False):
                    plane.update(bytes([round(code)]) * plane.buffer_size)
                time = times[index] if times else index / Fraction(fps)
                frame.time_base = stream.codec_context.time_base
                frame.pts = round(time / frame.time_base)
                output.mux(stream.encode(frame))
                if voice is not None:
                    count = round(rate / fps)
                    part = av.AudioFrame.from_ndarray(_samples(index * count, count, rate), "s16", "stereo")
                    part.sample_rate, part.pts, part.time_base = rate, index * count, Fraction(1, rate)
                    output.mux(voice.encode(part))
            output.mux(stream.encode(None))
            if voice is not None:
                output.mux(voice.encode(None))
        return path

    return make


@pytest.fixture(scope="session")
def hard_dir(media_dir: Path) -> Path:
    """Awkward files that users upload."""
    return media_dir / "hard"
