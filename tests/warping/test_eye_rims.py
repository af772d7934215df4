"""Rims of the eyes that shut lids hide."""

import numpy as np

from tests.warping.faces import face, points, turned
from vivface.warping.eye_rims import EDGE, LASHES, OUTER, with_hidden_rims
from vivface.warping.gaps import lid_gaps
from vivface.warping.mesh import LID_CORNERS, LOWER_LID, UPPER_LID, PosedFace, mirror

POSE = turned(yaw=15, roll=-20, shift=(0.05, 0))
NEARLY = 0.12  # millimetres: the pose is read anew


def moved(lids: float) -> np.ndarray:
    """How far points move `(478, 3)`, millimetres, whatever the pose."""
    before = points(face(lids=lids), POSE)
    return PosedFace.of(with_hidden_rims(before)).shape - PosedFace.of(before).shape


def test_open_eyes_reach_farther_and_lower():
    change = moved(8.0)
    assert np.allclose(change[UPPER_LID[3], 1], LASHES, atol=NEARLY)
    assert np.allclose(change[mirror()[LOWER_LID[3]], 1], EDGE, atol=NEARLY)
    outer = LID_CORNERS[0]
    assert np.allclose([change[outer, 0], change[mirror()[outer], 0]], [-OUTER, OUTER], atol=NEARLY)


def test_nothing_else_moves():
    change = np.linalg.norm(moved(8.0), axis=1)
    lids = np.concatenate([UPPER_LID, LOWER_LID, LID_CORNERS])
    still = np.ones(468, bool)
    still[lids] = still[mirror()[lids]] = False
    assert change[:468][still].max() < NEARLY


def test_shut_eyes_stay_shut():
    before = face(lids=0.5)
    assert np.allclose(lid_gaps(PosedFace.of(with_hidden_rims(points(before, POSE))).shape), 0.5, atol=NEARLY)
