"""Interlaced clips become whole frames, as many and at the same times."""

from fractions import Fraction

import numpy as np
import pytest

from vivface.media import VideoReader


def moving(index: int) -> np.ndarray:
    """A bright square on its way to the right, uint8 (96, 128, 3)."""
    image = np.full((96, 128, 3), 40, np.uint8)
    image[24:72, 2 * index : 2 * index + 32] = 200
    return image


def woven(first: int, second: int) -> np.ndarray:
    """Two moments in the lines of one frame, the earlier one on top."""
    image = moving(first)
    image[1::2] = moving(second)[1::2]
    return image


def comb(image: np.ndarray) -> float:
    """How much lines differ from both neighbours."""
    gray = image[..., 1].astype(int)
    return np.abs(2 * gray[1:-1] - gray[:-2] - gray[2:])[30:60].mean()


FRAMES = [woven(2 * index, 2 * index + 1) for index in range(20)]
INTERLACED = {"options": {"x264-params": "tff=1"}}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {"video": "libx264", **INTERLACED}),
        ("a.ts", {"video": "libx264", **INTERLACED}),
        ("a.mpg", {"video": "mpeg2video", "options": {"flags": "+ildct+ilme", "field_order": "tt"}}),
    ],
)
def test_lines_of_two_moments_become_one(make_clip, name: str, options: dict):
    plain = {key: value for key, value in options.items() if key != "options"}
    with VideoReader(make_clip(f"plain_{name}", frames=20, size=(128, 96), images=FRAMES, **plain)) as video:
        combed = list(video)
    with VideoReader(make_clip(name, frames=20, size=(128, 96), images=FRAMES, **options)) as video:
        read = list(video)
    assert len(read) == len(combed) == 20
    assert comb(combed[10].image) > 8
    assert max(comb(frame.image) for frame in read[1:-1]) < 0.4 * comb(combed[10].image)
    assert [frame.time for frame in read] == [frame.time for frame in combed]
    assert [frame.duration for frame in read] == [frame.duration for frame in combed]
    centre = [np.argwhere(frame.image[:, :, 1] > 120)[:, 1].mean() for frame in read]
    assert np.diff(centre) == pytest.approx(4, abs=1.5)  # none is late, none is doubled


def test_a_part(make_clip):
    path = make_clip("a.mp4", frames=20, size=(128, 96), images=FRAMES, **INTERLACED)
    with VideoReader(path) as video:
        whole = list(video)
    with VideoReader(path, start=Fraction(10, 25)) as video:
        part = list(video)
    assert len(part) == 10
    assert np.abs(part[3].image.astype(int) - whole[13].image).mean() < 1


def test_colours_and_turns_stay(make_clip):
    images = [np.full((96, 128, 3), (200, 60, 30), np.uint8)] * 4
    turned = (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path = make_clip("a.mp4", frames=4, size=(128, 96), images=images, matrix=turned, **INTERLACED)
    with VideoReader(path) as video:
        assert video.size == (96, 128)
        for frame in video:
            assert np.abs(frame.image.reshape(-1, 3).mean(0) - (200, 60, 30)).max() < 6
