"""The jaw goes down with the mouth, as far as renders of known truth say."""

import numpy as np
import pytest

from tests.warping.faces import face, points
from vivface.faces.ibug import MESH_POINTS
from vivface.warping.controls import ControlledFace
from vivface.warping.jaw import CHIN, CHIN_SHARE, gap_of_jaw, gap_of_own_jaw, jaw_weights, with_jaw_down
from vivface.warping.mesh import LOWER_LIP, MESH, UPPER_LIP, PosedFace, mirror
from vivface.warping.retargeting import Rest, Retargeting


def chin(shape: np.ndarray) -> float:
    return float(shape[CHIN[-1], 1])


def test_the_upper_face_stays_and_the_chin_goes_all_the_way():
    weights = jaw_weights()
    assert weights.min() == 0 and weights.max() == 1
    assert (weights[UPPER_LIP] == 0).all() and (weights[list(CHIN)] == 1).all()
    assert (weights[face()[:MESH, 1] < 0] == 0).all()  # eyes and forehead
    assert np.allclose(weights, weights[mirror()], atol=0.02)
    jaw = weights[MESH_POINTS[:9]]
    assert (np.diff(jaw) >= 0).all() and jaw[0] == 0


@pytest.mark.parametrize("seen", [0.0, 5.0, 30.0])
def test_the_chin_follows_the_gap(seen):
    own = face()
    shape = own.copy()
    shape[list(CHIN), 1] += seen
    moved = with_jaw_down(shape, own, 20.0)
    assert chin(moved) - chin(own) == pytest.approx(max(CHIN_SHARE * 20, seen))
    assert np.array_equal(with_jaw_down(shape, own, 0.0), shape)  # no farther up than it is


@pytest.mark.parametrize("seen", [-20.0, 0.0, 5.0])
def test_an_open_jaw_shuts(seen):
    own = face(lips=30.0)
    shape = own.copy()
    shape[list(CHIN), 1] += seen
    moved = with_jaw_down(shape, own, -20.0)
    assert chin(moved) - chin(own) == pytest.approx(min(-CHIN_SHARE * 20, seen))
    assert np.array_equal(moved[UPPER_LIP], own[UPPER_LIP])


def test_a_driver_who_opens_the_mouth_lowers_the_chin_which_the_mesh_hardly_shows():
    own, rest = face(), Rest.of(np.stack([points(face())] * 5))
    shape, _ = Retargeting(points(own), rest)(points(face(lips=20.0)))
    gap = float((shape[LOWER_LIP, 1] - shape[UPPER_LIP, 1])[4])
    assert chin(shape) - chin(own) == pytest.approx(CHIN_SHARE * gap, abs=1.5)


def test_an_open_mouth_in_the_photograph_has_its_jaw_down_already():
    rest = Rest.of(np.stack([points(face())] * 5))
    own = face(lips=24.0)
    for gap in (22.0, 18.0, 0.5):
        shape, _ = Retargeting(points(own), rest)(points(face(lips=gap)))
        opened = float((shape[LOWER_LIP, 1] - shape[UPPER_LIP, 1])[4]) - 24
        assert chin(shape) - chin(own) == pytest.approx(CHIN_SHARE * opened, abs=0.5)


def test_teeth_in_a_smile_are_no_open_jaw():
    gaps = np.full(9, 8.0)
    assert gap_of_own_jaw(gaps) == 0 and gap_of_own_jaw(3 * gaps) == 24
    assert gap_of_jaw(gaps, smile=1.0) == 0 and gap_of_jaw(gaps, smile=-0.3) == 8


def test_the_control_of_the_mouth_lowers_the_chin():
    portrait = PosedFace.of(points(face()))
    opened, _ = ControlledFace(portrait)({"mouth_open": 1.0})
    gap = (opened[LOWER_LIP, 1] - opened[UPPER_LIP, 1])[4]
    assert 0.5 * gap < chin(opened) - chin(portrait.shape) < gap
