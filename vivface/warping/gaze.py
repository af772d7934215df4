"""Where eyes look: the place of the irises between the corners of the eyes.

An eye that turns by an angle moves its iris by the radius of the eyeball times the sine. Where the irises lie when a
face looks straight ahead was measured on renders that look into the camera, see `training/tools/fit_warping.py`.
"""

from __future__ import annotations

import numpy as np

from vivface.faces.pose import HeadPose, angles_of, calibrated, turn_of
from vivface.warping.mesh import IRISES, LID_CORNERS, mirror, step

EYE_RADIUS = 10.5  # millimetres from the middle of the eyeball to the iris
AHEAD = np.array([[-0.35, -1.8], [0.35, -1.8]])  # right and left iris from the middle of the corners, millimetres
MOST = np.array([4.5, 3.0])  # millimetres that an iris may move from there, across and down
LOOKS = (1.5, 3.5)  # millimetres off the camera: below, a portrait is taken to look into it; above, to look elsewhere


def iris_places(shape: np.ndarray) -> np.ndarray:
    """Right and left iris `(2, 2)` from the middle between the corners of their eyes, millimetres."""
    corners = np.stack([LID_CORNERS, mirror()[LID_CORNERS]])
    return np.stack([shape[iris][0] for iris in IRISES])[:, :2] - shape[corners].mean(1)[:, :2]


def with_irises(shape: np.ndarray, places: np.ndarray) -> np.ndarray:
    """A shape `(478, 3)` with its irises at other places `(2, 2)`, see `iris_places`."""
    change = places - iris_places(shape)
    shape = shape.copy()
    for iris, moved in zip(IRISES, change, strict=True):
        shape[iris, :2] += moved
    return shape


def toward_camera(pose: HeadPose) -> np.ndarray:
    """Where the irises of a head move that looks into the camera `(2,)`, from straight ahead, millimetres."""
    turn = turn_of(calibrated(angles_of(pose.turn)))
    camera = turn.T @ np.array([0.0, 0.0, -1.0])
    return np.clip(EYE_RADIUS * camera[:2], -MOST, MOST)


class EyeContact:
    """A portrait's irises when it looks into the camera.

    Faces differ by a millimetre in where the irises lie. A portrait that looks into the camera, or nearly so, tells
    where its own lie; one that looks elsewhere is taken for a mean face.

    Args:
        shape (`np.ndarray` of shape `(478, 3)`), pose (`HeadPose`): The portrait.
    """

    def __init__(self, shape: np.ndarray, pose: HeadPose):
        off = iris_places(shape) - AHEAD - toward_camera(pose)
        looks = 1 - step(np.linalg.norm(off.mean(0)), *LOOKS)
        self._ahead = AHEAD + looks * off

    def __call__(self, shape: np.ndarray, pose: HeadPose) -> np.ndarray:
        """The shape `(478, 3)` under a pose, looking into the camera."""
        return with_irises(shape, self._ahead + toward_camera(pose))
