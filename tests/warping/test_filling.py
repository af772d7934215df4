"""Colours for what a photograph does not show."""

import numpy as np
import pytest

from vivface.warping.filling import reflected, spread

SIZE = 120


def hole(left: int = 40, right: int = 80) -> np.ndarray:
    """What is known around a gap from top to bottom: float32 `(SIZE, SIZE)`."""
    known = np.ones((SIZE, SIZE), np.float32)
    known[:, left:right] = 0
    return known


def stripes() -> np.ndarray:
    """Lines across, float32 `(SIZE, SIZE, 1)`."""
    return np.where(np.arange(SIZE) // 6 % 2, 50.0, -50.0).astype(np.float32)[:, None, None].repeat(SIZE, 1)


def test_what_is_known_stays_and_the_rest_lies_between():
    image = np.zeros((SIZE, SIZE, 3), np.float32)
    image[:, 80:] = 100
    found = spread(image * hole()[..., None], hole())
    assert np.array_equal(found[hole() > 0], image[hole() > 0])
    across = found[60, 40:80, 0]
    assert across[0] < 30 and across[-1] > 70 and 30 < across[20] < 70


def test_lines_go_on_behind_a_gap():
    details, share = reflected(stripes() * hole()[..., None], hole(), 30.0)
    near = np.s_[10:-10, 42:46]
    assert share[near].min() > 0.5
    assert np.corrcoef(details[near].ravel(), stripes()[near].ravel())[0, 1] > 0.9


@pytest.mark.parametrize("left, right", [(40, 80), (0, 100)])
def test_nothing_is_made_up_far_from_what_is_known(left, right):
    known = hole(left, right)
    details, share = reflected(np.ones((SIZE, SIZE, 1), np.float32) * known[..., None], known, 15.0)
    assert share[:, left + 18 : right - 18].max(initial=0) == 0
    assert np.isfinite(details).all()


def test_a_mirror_image_that_is_not_known_does_not_count():
    known = np.zeros((SIZE, SIZE), np.float32)
    known[:, 58:62] = 1  # a narrow strip: what lies 10 pixels beside it would be mirrored from beyond it
    _, share = reflected(np.zeros((SIZE, SIZE, 1), np.float32), known, 40.0)
    assert share[:, 75].max() < 0.05
