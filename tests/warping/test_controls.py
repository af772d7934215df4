"""Sliders of a face: what they move, and that they leave the rest alone."""

import numpy as np
import pytest

from tests.warping.faces import face, points, turned
from vivface.errors import OptionError
from vivface.faces.pose import angles_of
from vivface.warping.controls import CONTROLS, PRESETS, ControlledFace, check_expression
from vivface.warping.gaps import lip_gaps
from vivface.warping.gaze import iris_places
from vivface.warping.mesh import MOUTH_CORNERS, PosedFace
from vivface.warping.regions import BROWS
from vivface.warping.retargeting import lid_gaps

PORTRAIT = PosedFace.of(points(face()))
OWN = PORTRAIT.shape


def shape(**values: float) -> np.ndarray:
    return ControlledFace(PORTRAIT)(values)[0]


def test_nothing_leaves_the_face_alone():
    still, pose = ControlledFace(PORTRAIT)({})
    assert np.allclose(still, OWN, atol=0.3) and np.allclose(pose.turn, PORTRAIT.pose.turn)


def test_smiles_lift_the_corners_and_frowns_lower_them():
    corners = [(shape(smile=amount) - OWN)[MOUTH_CORNERS, 1].mean() for amount in (1, -1)]
    assert corners[0] < -3 and corners[1] > 1
    assert np.ptp(shape(smile=1)[MOUTH_CORNERS, 0]) > np.ptp(OWN[MOUTH_CORNERS, 0]) + 4


def test_the_mouth_opens_and_shuts():
    assert lip_gaps(shape(mouth_open=1))[4] > 15 and (shape(mouth_open=1) - OWN)[152, 1] > 6
    opened = PosedFace.of(points(face(lips=12)))
    shut = ControlledFace(opened)({"mouth_open": -1})[0]
    assert np.abs(lip_gaps(shut)).max() < 0.1 and (shut - opened.shape)[152, 1] < -2


@pytest.mark.parametrize("name", ["smile", "pucker", "stretch"])
def test_lips_stay_as_far_apart(name):
    assert np.allclose(lip_gaps(shape(**{name: 1})), lip_gaps(OWN), atol=0.05)


def test_a_pucker_narrows_the_mouth():
    assert np.ptp(shape(pucker=1)[MOUTH_CORNERS, 0]) < np.ptp(OWN[MOUTH_CORNERS, 0]) - 4


def test_lids_and_winks():
    assert (lid_gaps(shape(lids=-1)) < 0.3).all() and (lid_gaps(shape(lids=1)) > lid_gaps(OWN) + 1.5).all()
    right, left = lid_gaps(shape(wink_left=1))
    assert left < 0.3 and right == pytest.approx(lid_gaps(OWN)[0], abs=0.3)


def test_gaze_goes_where_it_says():
    change = (iris_places(shape(gaze_x=15, gaze_y=10)) - iris_places(OWN)).mean(0)
    assert change[0] == pytest.approx(-10.5 * np.sin(np.radians(15)), abs=0.1)
    assert change[1] == pytest.approx(10.5 * np.sin(np.radians(10)), abs=0.1)


def test_one_brow_alone():
    change = -(shape(brow_right=1) - OWN)[:, 1]
    assert change[BROWS].mean() > 3 and abs(change[336]) < 0.7 and abs(change[13]) < 0.1
    assert abs(change[159]) < 1  # the lid hardly


def test_the_head_turns_about_its_neck():
    _, pose = ControlledFace(PORTRAIT)({"yaw": 20, "pitch": -5, "roll": 10})
    assert np.allclose(np.degrees(angles_of(pose.turn)), [20, -5, 10], atol=1.5)
    assert ControlledFace(PORTRAIT)({"yaw": 20})[1].center[0] < PORTRAIT.pose.center[0] - 0.05


def test_both_sides_move_alike():
    mirrored = np.abs(shape(smile=1, brows=1, grin=1) - OWN)
    assert np.allclose(mirrored[78], mirrored[308], atol=0.1) and np.allclose(mirrored[105], mirrored[334], atol=0.3)


@pytest.mark.parametrize("wrong", [{"smirk": 1}, {"smile": 2}, {"yaw": float("nan")}, {"lids": True}, [1]])
def test_what_is_not_understood(wrong):
    with pytest.raises(OptionError):
        check_expression(wrong)


def test_presets_are_in_range():
    for name, values in PRESETS.items():
        assert check_expression(values), name
        assert np.isfinite(ControlledFace(PosedFace.of(points(face(), turned(15))))(values)[0]).all()


def test_every_control_says_what_it_does():
    for control in CONTROLS.values():
        assert control.low <= 0 < control.high and control.help and control.step > 0
