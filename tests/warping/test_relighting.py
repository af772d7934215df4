"""The other side of a face takes the light of the side that it stands for."""

import numpy as np

from tests.warping.faces import UPRIGHT, face, points
from vivface.warping.relighting import relit, with_other_side


def lit_from_aside(size: int, right: tuple[float, float, float]) -> np.ndarray:
    """A square photograph whose left half is grey and whose right half has another colour; a soft border between."""
    across = 1 / (1 + np.exp(-(np.arange(size) / size - 0.5) / 0.02))
    row = 100 + across[:, None] * (np.array(right) - 100)
    return np.broadcast_to(row[None], (size, size, 3)).round().astype(np.uint8)


def test_both_halves_take_the_colour_of_the_other():
    photo = lit_from_aside(512, (200, 150, 60))
    shown = relit(photo, points(face())[:468], UPRIGHT, 1.0).astype(int)
    assert np.allclose(shown[256, 180], (200, 150, 60), atol=20)
    assert np.allclose(shown[256, 332], (100, 100, 100), atol=20)


def test_a_face_in_even_light_and_what_lies_beside_it_stay():
    even = np.full((512, 512, 3), 120, np.uint8)
    assert np.abs(relit(even, points(face())[:468], UPRIGHT, 1.0).astype(int) - 120).max() <= 1
    photo = lit_from_aside(512, (200, 150, 60))
    shown = relit(photo, points(face())[:468], UPRIGHT, 1.0)
    assert np.array_equal(shown[:20], photo[:20]) and np.array_equal(shown[:, :20], photo[:, :20])


def test_texture_and_opacity_are_kept():
    rng = np.random.default_rng(0)
    photo = np.dstack([lit_from_aside(512, (200, 200, 200)), rng.integers(0, 256, (512, 512), np.uint8)])
    photo[::8, :, :3] //= 2  # stripes, which are no light
    shown = relit(photo, points(face())[:468], UPRIGHT, 1.0)
    assert np.array_equal(shown[..., 3], photo[..., 3])
    dark, bright = shown[256, 180, 0], shown[260, 180, 0]
    assert 0.4 < dark / bright < 0.6


def test_half_of_both_sides_is_no_head_that_one_looks_through():
    own = np.zeros((4, 6, 4), np.uint8)
    own[:, :3] = (200, 100, 0, 255)  # beside it nothing
    other = np.full((4, 6, 4), (0, 100, 200, 255), np.uint8)

    def mixed(share):
        return with_other_side(own, other, np.full((4, 6), share, np.float32)).astype(int)

    half = mixed(0.5)
    assert (half[..., 3] == 255).all()
    assert np.abs(half[:, :3, :3] - 100).max() <= 1 and np.abs(half[:, 3:, :3] - other[0, 0, :3]).max() <= 1
    assert np.array_equal(mixed(0.0), own) and np.array_equal(mixed(1.0)[..., 3], other[..., 3])
    assert np.abs(mixed(1.0) - other).max() <= 1
    plain = with_other_side(own[..., :3], other[..., :3], np.full((4, 6), 0.25, np.float32))
    assert np.abs(plain[0, 0].astype(int) - (150, 100, 50)).max() <= 1
