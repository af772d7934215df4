"""68 iBUG landmarks from the points of the mesh and the contours of the eyes.

Each landmark is the point of the mesh at its place (lids: of the eyes' contours), moved by a small correction that is
linear in head pose, opening of the mouth and the shape of the face. The correction was fitted so that the square of
`ffhq_quad` is the one that dlib's landmarks give, which the published checkpoints expect; see `docs/faces.md`. The six
points of an eye move together: how far its lids are open stays what the network saw.
"""

from __future__ import annotations

import math

import numpy as np

from vivface.faces.mesh_reader import FacePoints, roll_of
from vivface.faces.pose import INNER_LIPS, OUTER_CORNERS, HeadPose, calibration, head_pose

# fmt: off
MESH_POINTS = np.array([
    127, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 356,  # jaw line
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,  # brows
    168, 197, 5, 4, 75, 97, 2, 326, 305,  # nose
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,  # lids, replaced by the contours'
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,  # outer lips
    78, 82, 13, 312, 308, 317, 14, 87,  # inner lips
])
MIDDLE = (33, 263, 61, 291)  # points of the mesh: outer corners of the eyes, corners of the mouth
EYE_POINTS = ([0, 11, 13, 8, 5, 3], [8, 13, 11, 0, 3, 5])  # of the contours, in the order of the landmarks
EYES = (slice(36, 42), slice(42, 48))
# fmt: on


def raw_landmarks(points: FacePoints) -> np.ndarray:
    """Landmarks `(68, 2)` before the correction, in pixels."""
    landmarks = points.mesh[MESH_POINTS, :2].copy()
    for side in (0, 1):
        landmarks[EYES[side]] = points.contours[side][EYE_POINTS[side], :2]
    return landmarks


def ibug_landmarks(points: FacePoints) -> np.ndarray:
    """The 68 landmarks of a face.

    Args:
        points (`FacePoints`): What the network says.

    Returns:
        `np.ndarray` of shape `(68, 2)`, float64: pixels of the image, iBUG order.
    """
    correction = np.tensordot(landmark_features(points), calibration()["landmarks"], 1)  # (68, 2)
    return raw_landmarks(points) + correction @ local_axes(points.mesh)


def local_axes(mesh: np.ndarray) -> np.ndarray:
    """`(2, 2)`: right and down as the face sees them, in pixels of the image, of the length of the eyes' distance."""
    angle, unit = roll_of(mesh), eye_distance(mesh)
    cosine, sine = unit * math.cos(angle), unit * math.sin(angle)
    return np.array([[cosine, sine], [-sine, cosine]])


def eye_distance(mesh: np.ndarray) -> float:
    """Distance of the outer corners of the eyes in pixels, depth included: hardly changes when the head turns."""
    return max(float(np.linalg.norm(mesh[OUTER_CORNERS[1]] - mesh[OUTER_CORNERS[0]])), 1e-6)


def landmark_features(points: FacePoints, pose: HeadPose | None = None) -> np.ndarray:
    """`(109,)`: what the correction is linear in: head pose, opening of the mouth, and where landmarks 17 to 67 lie."""
    yaw, pitch, _ = (pose or head_pose(points.mesh)).angles
    opening = float(np.linalg.norm(points.mesh[INNER_LIPS[1]] - points.mesh[INNER_LIPS[0]])) / eye_distance(points.mesh)
    upright = (raw_landmarks(points)[17:] - points.mesh[list(MIDDLE), :2].mean(0)) @ np.linalg.inv(
        local_axes(points.mesh)
    )
    return np.concatenate([[1.0, yaw, pitch, yaw**2, pitch**2, yaw * pitch, opening], upright.ravel()])
