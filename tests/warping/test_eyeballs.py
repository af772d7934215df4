"""Eyes that are drawn where a portrait keeps its own shut."""

import numpy as np
import pytest

from tests.warping.faces import UPRIGHT, face, points, turned
from vivface.faces.pose import HeadPose
from vivface.warping.compositor import PhotoCompositor
from vivface.warping.eyeballs import DrawnEyes, shade_of_lid, shut_eyes
from vivface.warping.gaps import least_lids, lid_gaps, open_lids, with_lid_gaps
from vivface.warping.mesh import IRISES, UPPER_LID, place

SIZE = 384
SKIN = (200, 150, 120)


def photo(light: float = 1.0) -> np.ndarray:
    return np.full((576, 576, 3), np.multiply(SKIN, light), np.uint8)


def shown(lids: float, opened: float, pose: HeadPose = UPRIGHT, light: float = 1.0) -> np.ndarray:
    """A photograph of lids so far apart when they are opened: float `(SIZE, SIZE, 3)`."""
    own = face(lids=lids)
    compositor = PhotoCompositor(photo(light), points(own), SIZE, matte=False)
    return compositor(with_lid_gaps(own, np.full(2, opened)), pose).astype(float)


def at(frame: np.ndarray, side: int, pose: HeadPose, aside: float = 0.0) -> np.ndarray:
    """The colour so many millimetres beside an iris."""
    middle = place(face()[IRISES[side]][:1] + [aside, 0, 0], pose)[0, :2]
    return frame[tuple((middle[::-1] * SIZE).astype(int))]


@pytest.mark.parametrize("pose", [UPRIGHT, turned(yaw=20, roll=10, shift=(0.05, 0.02))], ids=["ahead", "turned"])
@pytest.mark.parametrize("side", [0, 1])
def test_shut_eyes_open_with_a_pupil_in_white(pose, side):
    frame = shown(0.5, 9.0, pose)
    white = max((at(frame, side, pose, aside) for aside in (-8.0, 8.0)), key=np.sum)
    assert at(frame, side, pose).max() < 40
    assert white.mean() > 90 and np.ptp(white) < np.ptp(SKIN)


def test_eyes_that_the_photograph_shows_are_its_own():
    assert np.allclose(at(shown(5.0, 9.0), 0, UPRIGHT), SKIN, atol=2)


def test_shut_eyes_that_stay_shut_are_not_drawn():
    assert np.allclose(at(shown(0.0, 0.0), 0, UPRIGHT), SKIN, atol=2)


def test_drawn_eyes_take_the_light_of_the_face():
    bright, dim = (at(shown(0.5, 9.0, light=light), 0, UPRIGHT, 8.0).mean() for light in (1.0, 0.4))
    assert dim == pytest.approx(0.4 * bright, rel=0.1)


def test_a_face_that_opens_its_eyes_opens_them_as_most_people_do():
    shut, half = face(lids=0.5), face(lids=4.0)
    assert np.all(open_lids(shut) > 1.2 * least_lids(shut))
    assert np.allclose(open_lids(half), lid_gaps(half))


def test_lids_open_in_an_arch_whatever_shut_ones_look_like():
    shut = face(lids=0.4)
    shut[160, 1] -= 0.4  # twice as far open as its neighbours
    frames = [with_lid_gaps(shape, np.full(2, 8.0)) for shape in (shut, face(lids=0.4))]
    assert np.abs(frames[0][UPPER_LID] - frames[1][UPPER_LID]).max() < 1e-6


def test_nothing_is_drawn_for_open_eyes():
    assert np.all(DrawnEyes(photo(), points(face(lids=4.0))).strengths(face(lids=8.0)) == 0)


def test_eyes_are_shut_together_but_for_a_wink():
    laughing, winking = (with_lid_gaps(face(lids=8.0), np.array(gaps)) for gaps in ([0.5, 3.2], [0.5, 8.0]))
    assert np.allclose(shut_eyes(laughing), 1)
    assert np.all(open_lids(laughing) > 1.2 * least_lids(laughing))
    assert np.allclose(shut_eyes(winking), [1, 0]) and open_lids(winking)[1] == lid_gaps(winking)[1]


def test_a_lid_that_comes_down_shades_the_eye_below_it():
    own, box = face(lids=9.0), (0, 0, SIZE, SIZE)
    assert shade_of_lid(box, 0, with_lid_gaps(own, np.full(2, 10.0)), own, UPRIGHT, SIZE) is None
    shades = []
    for opened in (7.5, 5.0):
        shape = with_lid_gaps(own, np.full(2, opened))
        shade = shade_of_lid(box, 0, shape, own, UPRIGHT, SIZE)
        x, y = (place(shape[UPPER_LID[3:4]], UPRIGHT)[0, :2] * SIZE).astype(int)
        shades.append(shade[y + 1 : y + 8, x])
        assert 0 < shade.min() and shade.max() <= 1 and (np.diff(shades[-1]) > 0).all()
    assert (shades[1] < shades[0]).all()
