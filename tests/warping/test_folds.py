"""Skin that has no room for a movement is spread evenly, and all other skin is left alone."""

import numpy as np

from tests.warping.faces import face
from vivface.warping.folds import FOLDED, Unfolding, _areas, around_mouth
from vivface.warping.lip_thickness import MIDDLE, ROWS
from vivface.warping.mesh import LOWER_LIP, UPPER_LIP, lip_loop


def moved_by(lips: np.ndarray, down: float, reach: float) -> np.ndarray:
    """A face whose lips, and the skin within some millimetres of them, have moved down."""
    shape = face()
    away = np.linalg.norm(shape[:468, None, :2] - shape[None, lips, :2], axis=2).min(1)
    shape[:468, 1] += down * np.exp(-((away / reach) ** 2))
    return shape


def shares(shape: np.ndarray) -> np.ndarray:
    """Areas of the triangles around the mouth, of those in the face at rest; without those that are thin there."""
    unfolding = Unfolding(face())
    return (_areas(shape) / unfolding._area)[~unfolding._thin]


def test_a_face_that_moves_a_little_is_left_alone():
    moved = face(lips=5.0)
    assert shares(moved).min() > FOLDED[1]
    assert Unfolding(face())(moved) is moved


def test_a_lip_that_rises_beyond_the_skin_above_it_folds_nothing():
    moved = moved_by(UPPER_LIP, -9.0, 5.0)
    assert shares(moved).min() < 0
    found = Unfolding(face())(moved)
    assert shares(found).min() > 0
    assert np.array_equal(found[lip_loop()], moved[lip_loop()])  # lips stay where they are
    far = ~np.isin(np.arange(len(moved)), around_mouth())
    assert np.array_equal(found[far], moved[far])


def test_skin_moves_smoothly_into_a_fold():
    """No jump between a frame before the skin folds and one after."""
    places = []
    for lift in np.linspace(0, 9, 65):
        places.append(Unfolding(face())(moved_by(UPPER_LIP, -lift, 5.0)))
    steps = np.abs(np.diff(places, axis=0)).max((1, 2))
    assert steps.max() < 6 * np.median(steps)


def test_a_lower_lip_over_the_chin_spreads_the_skin_and_stays_as_thick():
    lip = np.concatenate([LOWER_LIP, ROWS[:-1, 1:-1].ravel()])
    moved = moved_by(lip, 12.0, 8.0)
    assert shares(moved).min() < 0
    found = Unfolding(face())(moved)
    assert shares(found).min() > 0
    assert np.allclose(found[ROWS[:-1, MIDDLE]], moved[ROWS[:-1, MIDDLE]])
