"""Where a head looks: the rigid turn between the mean face and a mesh.

Axes are those of the image: x right, y down, z away from the camera. Yaw > 0 turns the face toward the image's left
edge, pitch > 0 down, roll > 0 clockwise in the image; the turn is `R_y(yaw) R_x(pitch) R_z(roll)`, as in the truth of
`training/synthetic`. The turn that lays one set of points onto another in least squares: Umeyama, Least-Squares
Estimation of Transformation Parameters Between Two Point Patterns, PAMI 1991.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from safetensors.numpy import load

OUTER_CORNERS = (33, 263)  # points of the mesh: the outer corners of the eyes, left to right in the image
INNER_LIPS = (13, 14)  # points of the mesh: middle of the upper and of the lower lip


@dataclass(frozen=True)
class HeadPose:
    """Rigid placement of a head.

    Attributes:
        turn (`np.ndarray` of shape `(3, 3)`): Rotation from the mean face to the head.
        scale (`float`): Pixels of the image per millimetre of the mean face.
        center (`np.ndarray` of shape `(3,)`): Where the mean face's origin lies, in pixels.
    """

    turn: np.ndarray
    scale: float
    center: np.ndarray

    @property
    def angles(self) -> np.ndarray:
        """Yaw, pitch, roll `(3,)` in radians, as the networks see them; depths come out too flat, see `calibrated`."""
        return angles_of(self.turn)


@cache
def calibration() -> dict[str, np.ndarray]:
    """What `training/tools/calibrate_faces.py` measured, by name; read once.

    Returns:
        `dict[str, np.ndarray]`: `canonical` `(468, 3)`, the mean face in millimetres; `rigid` `(468,)`, weights of its
        points; and matrices of linear corrections: `pose`, `landmarks`.
    """
    return load((files("vivface.faces") / "weights" / "calibration.safetensors").read_bytes())


def head_pose(mesh: np.ndarray, canonical: np.ndarray | None = None, rigid: np.ndarray | None = None) -> HeadPose:
    """The pose that lays the mean face onto a mesh.

    Args:
        mesh (`np.ndarray` of shape `(468, 3)`): In pixels.
        canonical (`np.ndarray` of shape `(468, 3)`, *optional*): The mean face; that of the package by default.
        rigid (`np.ndarray` of shape `(468,)`, *optional*): Weights of its points, of sum 1.
    """
    canonical = calibration()["canonical"] if canonical is None else canonical
    rigid = calibration()["rigid"] if rigid is None else rigid
    source_mean, target_mean = rigid @ canonical, rigid @ mesh
    source, target = canonical - source_mean, mesh - target_mean
    u, singular, vt = np.linalg.svd((target * rigid[:, None]).T @ source)
    flip = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    turn = (u * flip) @ vt
    scale = float((singular * flip).sum() / (rigid @ (source**2).sum(1)))
    return HeadPose(turn, scale, target_mean - scale * turn @ source_mean)


def angles_of(turn: np.ndarray) -> np.ndarray:
    """Yaw, pitch, roll `(3,)` in radians of a rotation `(3, 3)`."""
    pitch = math.asin(max(-1.0, min(1.0, -turn[1, 2])))
    return np.array([math.atan2(turn[0, 2], turn[2, 2]), pitch, math.atan2(turn[1, 0], turn[1, 1])])


def turn_of(angles: np.ndarray) -> np.ndarray:
    """The rotation `(3, 3)` of yaw, pitch, roll `(3,)` in radians."""
    (cy, cp, cr), (sy, sp, sr) = np.cos(angles), np.sin(angles)
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return about_y @ about_x @ about_z


def calibrated(angles: np.ndarray) -> np.ndarray:
    """Yaw, pitch, roll as renders of known pose say, from those that the mesh shows; radians."""
    return pose_features(angles) @ calibration()["pose"]


def pose_features(angles: np.ndarray) -> np.ndarray:
    """`(7,)`: what the linear correction of yaw, pitch and roll is linear in."""
    yaw, pitch, roll = angles
    return np.array([1.0, yaw, pitch, roll, yaw * pitch, yaw * roll, pitch * roll])
