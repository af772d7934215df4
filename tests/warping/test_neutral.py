"""The driver's face at rest, from clips that begin anywhere."""

import numpy as np

from tests.warping.faces import face, points
from vivface.warping.gaps import lip_gaps
from vivface.warping.mesh import MESH, PosedFace
from vivface.warping.movements import mouth_movements
from vivface.warping.retargeting import Rest, Retargeting, rest_is_seen


def talking(opened: float, brows: float = 0.0, lids: float = 6.0) -> np.ndarray:
    """A driver whose jaw is open by a share."""
    shape = face(brows=brows, lids=lids)
    shape[:MESH] += opened * mouth_movements()["mouth_open"]
    return points(shape)


def chin(shape: np.ndarray) -> float:
    return float(shape[152, 1] - shape[2, 1])


def test_a_clip_that_begins_in_the_middle_of_a_word():
    frames = np.stack([talking(share) for share in [0.9, 0.8, 0.7, 0.6, 0.8, 0.9, 0.7, 0.5, 0.2, 0.0, 0.0, 0.1]])
    rest = Rest.of(frames)
    assert abs(chin(rest.shape) - chin(face())) < 1.0
    assert chin(np.median([PosedFace.of(p).shape for p in frames], 0)) > chin(face()) + 3  # what it was once taken for
    shut, _ = Retargeting(points(face()), rest)(talking(0.0))
    assert abs(chin(shut) - chin(face())) < 1.0 and np.abs(lip_gaps(shut)).max() < 1.5


def test_lips_that_never_meet_are_brought_together():
    frames = np.stack([talking(share) for share in [0.6, 0.5, 0.7, 0.6]])
    assert not rest_is_seen(frames) and rest_is_seen(np.stack([talking(0.0)] * 3))
    assert abs(chin(Rest.of(frames).shape) - chin(face())) < 2.0


def test_a_blink_and_lifted_brows_at_first():
    frames = np.stack([talking(0.0, brows=5.0, lids=0.5)] * 4 + [talking(0.0)] * 8)
    rest = Rest.of(frames)
    assert abs(rest.shape[159, 1] - face()[159, 1]) < 0.7 and abs(rest.shape[105, 1] - face()[105, 1]) < 0.7
    assert (rest.lids > 5).all()
    assert not rest_is_seen(frames[:4]) and rest_is_seen(frames)
