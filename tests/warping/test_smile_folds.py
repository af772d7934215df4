"""Folds between nose and mouth where cheeks smile."""

import cv2
import numpy as np
import pytest

from tests.warping.faces import UPRIGHT, face, points, turned
from vivface.warping.mesh import MOUTH_CORNERS, place
from vivface.warping.smile_folds import LINE, SmileFolds, smiles

SIZE = 512


def smiling(by: float, sides: tuple[int, ...] = (0, 1)) -> np.ndarray:
    """A face whose corners of the mouth are so many millimetres farther out, and as many up."""
    shape = face()
    for side in sides:
        shape[MOUTH_CORNERS[side]] += [by if side else -by, -by, 0]
    return shape


def skin(grey: bool = False) -> np.ndarray:
    light = np.linspace(0.5, 1.0, SIZE)[:, None, None]
    return (light * np.full((SIZE, SIZE, 3), (190, 190, 190) if grey else (210, 160, 130))).astype(np.uint8)


def drawn(photo: np.ndarray, shape: np.ndarray, side: int = 0, pose=UPRIGHT) -> np.ndarray:
    """How many levels a frame of a portrait gets lighter, float `(SIZE, SIZE, 3)`."""
    frame = photo.copy()
    SmileFolds(lambda: photo, points(face())).draw(frame, side, shape, pose)
    return frame.astype(float) - photo


def at(change: np.ndarray, side: int, beside: float, pose=UPRIGHT) -> float:
    """The change in the middle of a fold, so many millimetres towards the cheek."""
    x = -beside if side == 0 else beside
    middle = face()[LINE[2] if side == 0 else 426][None] + [x, 0, 0]
    x, y = (place(middle, pose)[0, :2] * SIZE).astype(int)
    return float(change[y - 1 : y + 2, x - 1 : x + 2].mean())


def test_a_face_at_rest_stays_as_it_is():
    assert not drawn(skin(), face()).any() and not drawn(skin(), smiling(0.4)).any()
    assert not drawn(skin(), smiling(-5.0)).any()


@pytest.mark.parametrize("pose", [UPRIGHT, turned(yaw=20, roll=8)], ids=["ahead", "turned"])
@pytest.mark.parametrize("side", [0, 1])
def test_a_smile_darkens_the_fold_and_lightens_the_cheek(side, pose):
    little, much = (drawn(skin(), smiling(by), side, pose) for by in (2.0, 5.0))
    assert at(much, side, 0.0, pose) < at(little, side, 0.0, pose) < -1
    assert at(much, side, 0.0, pose) < -8
    assert at(much, side, 5.0, pose) > 0.5 > abs(at(much, side, 14.0, pose))
    assert np.isfinite(much).all() and much.min() > -50


def test_cheeks_smile_by_themselves():
    shape = smiling(5.0, sides=(1,))
    assert np.allclose(smiles(shape, face()), [0, 1])
    assert not drawn(skin(), shape, 0).any() and drawn(skin(), shape, 1).any()


def test_a_fold_that_the_photograph_shows_is_not_drawn_again():
    folded = skin()
    line = (place(face()[LINE], UPRIGHT)[:, :2] * SIZE).round().astype(np.int32)
    cv2.polylines(folded, [line], False, (100, 70, 60), 5, cv2.LINE_AA)
    assert np.abs(drawn(folded, smiling(5.0))).max() <= 1 < np.abs(drawn(folded, smiling(5.0), side=1)).max()


def test_a_grey_photograph_stays_grey():
    change = drawn(skin(grey=True), smiling(5.0))
    assert change.min() < -8 and np.ptp(change, axis=2).max() <= 1
    assert np.ptp(drawn(skin(), smiling(5.0)), axis=2).max() > 2
