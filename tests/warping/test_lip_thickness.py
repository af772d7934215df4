"""The lower lip of an open mouth keeps its thickness, and the skin below it lies below it."""

import numpy as np
import pytest

from tests.warping.faces import face
from vivface.warping.gaps import mouth_corner_weights, mouth_width
from vivface.warping.jaw import CHIN, NOSE_TIP, with_jaw_down
from vivface.warping.lip_thickness import (
    BORDER,
    LEAST_CHIN,
    MIDDLE,
    MOST_FULL,
    OPEN,
    ROWS,
    THICKNESS,
    UPPER_BORDER,
    with_fuller_lips,
    with_own_lower_lip,
)
from vivface.warping.lips import ROUND, UPPER_ROWS, rounded
from vivface.warping.mesh import LOWER_LIP, lip_loop


def opened(gap: float, jaw: float = 0.65) -> np.ndarray:
    """A face whose lips are apart as a mesh network has it: rows of the lower lip do not follow its rim."""
    shape, rim = face(), face(lips=gap)
    shape = with_jaw_down(shape, shape, jaw * gap)
    shape[LOWER_LIP] = rim[LOWER_LIP]
    shape[LOWER_LIP, 1] += gap / 2
    return shape


def thickness(shape: np.ndarray) -> float:
    return float(shape[17, 1] - shape[14, 1])


def test_lips_that_are_nearly_shut_are_left_alone():
    shape = face(lips=0.9 * OPEN[0])
    assert with_own_lower_lip(shape, face(), face(), face()) is shape


@pytest.mark.parametrize("gap", [18.0, 30.0, 45.0])
def test_an_open_mouth_has_the_portraits_lower_lip(gap: float):
    own, shape = face(), opened(gap)
    assert thickness(shape) < 0.6 * thickness(own)
    found = with_own_lower_lip(shape, own, own, own)
    assert thickness(found) == pytest.approx(thickness(own), rel=0.1)
    assert np.array_equal(found[lip_loop()], shape[lip_loop()])  # it opens as far as it did
    middle = ROWS[:, 4]
    assert (np.diff(found[[14, *middle, CHIN[-1]], 1]) > 0).all()  # from the rim to the chin, one below the other
    left = found[CHIN[-1], 1] - found[17, 1]
    assert left > 0.99 * LEAST_CHIN * (own[CHIN[-1], 1] - own[17, 1])


def test_a_drivers_lip_that_gets_thinner_makes_the_portraits_thinner_but_no_line():
    own, thin = face(), face()
    thin[BORDER, 1] = thin[LOWER_LIP, 1] + 0.9 * (thin[BORDER, 1] - thin[LOWER_LIP, 1])
    line = face()
    line[BORDER, 1] = line[LOWER_LIP, 1] + 0.1
    shapes = [with_own_lower_lip(opened(30.0), own, driver, own) for driver in (own, thin, line)]
    assert thickness(shapes[1]) / thickness(shapes[0]) == pytest.approx(0.9, abs=0.02)
    assert thickness(shapes[2]) / thickness(shapes[0]) == pytest.approx(THICKNESS[0], abs=0.02)


def test_nothing_jumps_while_the_mouth_opens():
    own = face()
    shapes = np.stack([with_own_lower_lip(opened(gap), own, own, own) for gap in np.linspace(2, 40, 153)])
    steps = np.linalg.norm(np.diff(shapes, axis=0), axis=2).max(1)
    assert steps.max() < 1.6  # millimetres a quarter of a millimetre of gap


def test_only_what_is_below_the_upper_lip_moves():
    own, shape = face(), opened(30.0)
    moved = np.abs(with_own_lower_lip(shape, own, own, own) - shape).max(1)
    assert moved[ROWS[:, MIDDLE]].min() > 1
    assert moved[UPPER_ROWS].max() == 0
    assert moved[:468][own[:468, 1] < own[NOSE_TIP, 1]].max() < 0.1 * moved.max()


def test_corners_of_a_wide_open_mouth_are_round_and_sharp_ones_stay():
    smile, wide = face(lips=4.0)[lip_loop()], opened(40.0)[lip_loop()]
    assert rounded(smile) is smile
    found = rounded(wide)
    away = np.linalg.norm(wide[:, None, :2] - found[None, :, :2], axis=2).min(1)
    assert 0.5 < away[[0, len(wide) // 2]].min() and away.max() < ROUND
    steps = np.diff(np.concatenate([found, found[:2]]), axis=0)[:, :2]
    turns = np.abs(np.angle(np.exp(1j * np.diff(np.arctan2(steps[:, 1], steps[:, 0])))))
    assert np.degrees(turns.max()) < 25


def test_lips_get_fuller_when_a_smile_goes():
    own = face(lips=8.0)
    narrow = own.copy()
    narrow[:468, 0] += mouth_corner_weights() * 0.12 * mouth_width(own)  # either side
    found = with_fuller_lips(narrow, own)
    for rim, border, most in ((13, 0, MOST_FULL[0]), (14, 17, MOST_FULL[1])):
        before, after = (abs(shape[border, 1] - shape[rim, 1]) for shape in (own, found))
        wanted = min(mouth_width(own) / mouth_width(narrow), most)
        assert after / before == pytest.approx(wanted, abs=0.02) and wanted > 1.1
    assert np.array_equal(found[lip_loop()], narrow[lip_loop()])
    column = [164, *UPPER_BORDER[4:5], 13, 14, *ROWS[:, 4]]
    assert (np.diff(found[column, 1]) > 0).all()
    assert with_fuller_lips(own, own) is own
    wide = 1.2 * own
    assert with_fuller_lips(wide, own) is wide
