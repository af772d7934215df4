"""Animated images as videos: every format works, with its frame durations."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vivface.errors import MediaError
from vivface.media import VideoReader

DURATIONS = [100, 200, 40, 80, 120]  # milliseconds


@pytest.fixture
def make_animation(tmp_path: Path):
    def make(name: str, mode: str = "RGB", **options) -> Path:
        images = [Image.new("RGB", (64, 48), (40 * index + 20,) * 3).convert(mode) for index in range(5)]
        images[0].save(tmp_path / name, save_all=True, append_images=images[1:], duration=DURATIONS, **options)
        return tmp_path / name

    return make


@pytest.mark.parametrize("name", ["a.webp", "a.avif", "a.gif", "a.png"])
class TestEveryFormat:
    def test_frames_and_times(self, make_animation, name: str):
        with VideoReader(make_animation(name)) as video:
            assert (video.size, video.frames_estimate, video.has_audio) == ((64, 48), 5, False)
            read = list(video)
            assert len(list(video)) == 5  # a second pass
        assert [frame.time for frame in read] == [Fraction(sum(DURATIONS[:index]), 1000) for index in range(5)]
        assert [frame.duration for frame in read] == [Fraction(length, 1000) for length in DURATIONS]
        means = [frame.image.mean() for frame in read]
        assert means == pytest.approx([40 * index + 20 for index in range(5)], abs=4)

    def test_a_part(self, make_animation, name: str):
        with VideoReader(make_animation(name), start=0.2, duration=0.12) as video:
            assert [float(frame.time) for frame in video] == [0, 0.04]
            assert video.start == Fraction(3, 10)

    def test_limits(self, make_animation, name: str):
        path = make_animation(name)
        with pytest.raises(MediaError, match="64 x 48"):
            VideoReader(path, max_pixels=64 * 48 - 1)
        with VideoReader(path, max_frames=2) as video:
            assert len(list(video)) == 2 and len(video.warnings) == 1


def test_transparent_pixels_become_white(tmp_path: Path):
    images = [Image.new("RGBA", (16, 16), (0, 255, 0, 0)) for _ in range(3)]
    for index, image in enumerate(images):
        image.putpixel((index, 0), (200, 0, 0, 255))
    images[0].save(tmp_path / "a.webp", save_all=True, append_images=images[1:], duration=50, lossless=True)
    with VideoReader(tmp_path / "a.webp") as video:
        for index, frame in enumerate(video):
            assert (frame.image[0, index] == (200, 0, 0)).all() and (frame.image[8:] == 255).all()


def test_frames_without_a_duration_are_shown_as_browsers_do(tmp_path: Path):
    images = [Image.new("RGB", (16, 16), (60 * index,) * 3) for index in range(3)]
    images[0].save(tmp_path / "a.webp", save_all=True, append_images=images[1:], duration=0)
    with VideoReader(tmp_path / "a.webp") as video:
        assert [frame.duration for frame in video] == [Fraction(1, 10)] * 3


def test_one_frame_is_a_still_image(tmp_path: Path):
    Image.new("RGB", (16, 16)).save(tmp_path / "a.webp")
    with pytest.raises(MediaError, match="still image"):
        VideoReader(tmp_path / "a.webp")


def test_damaged_animations_never_crash(make_animation):
    path = make_animation("a.webp")
    data = path.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(data[: random.integers(len(data) // 2, len(data) + 1)])
        for at in random.integers(0, len(damaged), random.integers(0, 8)):
            damaged[at] = random.integers(0, 256)
        path.write_bytes(damaged)
        try:
            with VideoReader(path, max_pixels=10**6) as video:
                times = [frame.time for frame in video]
            assert times == sorted(set(times))
        except MediaError as error:
            assert "a.webp" in str(error)
