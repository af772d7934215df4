"""Faces made of the mean face: shapes in millimetres, and photographs in which every place can be told."""

import numpy as np

from vivface.faces.pose import HeadPose, calibration, turn_of
from vivface.warping.mesh import LID_CORNERS, LOWER_LID, LOWER_LIP, UPPER_LID, UPPER_LIP, mirror, place

UPRIGHT = HeadPose(np.eye(3), 1 / 250, np.array([0.5, 0.5, 0.0]))


def face(lips: float = 1.0, lids: float = 6.0, brows: float = 0.0) -> np.ndarray:
    """The mean face `(478, 3)` with lips and lids so many millimetres apart and brows so much higher."""
    shape = np.concatenate([calibration()["canonical"], np.zeros((10, 3))]).astype(np.float64)
    middle = (shape[UPPER_LIP, 1] + shape[LOWER_LIP, 1]) / 2
    arch = 1 - np.linspace(-1, 1, 11)[1:-1] ** 2
    shape[UPPER_LIP, 1], shape[LOWER_LIP, 1] = middle - lips * arch / 2, middle + lips * arch / 2
    for side in (0, 1):
        upper, lower, corners = (([p, mirror()[p]])[side] for p in (UPPER_LID, LOWER_LID, LID_CORNERS))
        line = shape[corners, 1].mean()
        shape[upper, 1], shape[lower, 1] = line - lids / 2, line + lids / 2
        iris = 468 + 5 * side
        shape[iris : iris + 5] = shape[corners].mean(0)
    above = np.array([70, 63, 105, 66, 107, 300, 293, 334, 296, 336])
    shape[above, 1] -= brows
    return shape


def turned(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0, shift=(0.0, 0.0), zoom: float = 1.0) -> HeadPose:
    """A pose in degrees and crops."""
    center = UPRIGHT.center + np.array([*shift, 0.0])
    return HeadPose(turn_of(np.radians([yaw, pitch, roll])), UPRIGHT.scale * zoom, center)


def points(shape: np.ndarray, pose: HeadPose = UPRIGHT) -> np.ndarray:
    """Points `(478, 3)` in a crop."""
    return place(shape, pose)


def gradient(size: int) -> np.ndarray:
    """A photograph `(size, size, 3)` whose red tells x and whose green tells y, blue 128."""
    along = np.linspace(0, 255, size)
    return np.stack(np.broadcast_arrays(along[None], along[:, None], np.full((1, 1), 128.0)), -1).astype(np.uint8)
