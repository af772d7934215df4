"""What is measured on 68 landmarks and head poses: openings of lids and lips, height of brows, angles between poses."""

from __future__ import annotations

import numpy as np

from vivface.faces.pose import angles_of, turn_of

LEFT, RIGHT = slice(42, 48), slice(36, 42)


def lids(landmarks: np.ndarray) -> float:
    """Mean opening of both eyes: gap of the lids per width of the eye."""
    openings = []
    for eye in (landmarks[RIGHT], landmarks[LEFT]):
        gap = np.linalg.norm(eye[1] - eye[5]) + np.linalg.norm(eye[2] - eye[4])
        openings.append(gap / 2 / np.linalg.norm(eye[0] - eye[3]))
    return float(np.mean(openings))


def mouth(landmarks: np.ndarray) -> float:
    """Mean gap of the inner lips per distance of the eyes."""
    gaps = [np.linalg.norm(landmarks[a] - landmarks[b]) for a, b in ((61, 67), (62, 66), (63, 65))]
    return float(np.mean(gaps) / eyes_apart(landmarks))


def brows(landmarks: np.ndarray) -> float:
    """Mean height of the brows over the corners of the eyes per distance of the eyes, upright."""
    across = landmarks[45] - landmarks[36]
    down = np.array([-across[1], across[0]]) / np.linalg.norm(across)
    corners = landmarks[[36, 39, 42, 45]].mean(0)
    return float((corners - landmarks[17:27].mean(0)) @ down / eyes_apart(landmarks))


def eyes_apart(landmarks: np.ndarray) -> float:
    """Distance between the middles of the eyes."""
    return float(np.linalg.norm(landmarks[RIGHT].mean(0) - landmarks[LEFT].mean(0)))


def landmark_error(landmarks: np.ndarray, truth: np.ndarray, first: int = 17) -> float:
    """Mean distance of the landmarks from `first` on, in percent of the eyes' distance; 17: without the jaw line."""
    return float(100 * np.linalg.norm(landmarks - truth, axis=1)[first:].mean() / eyes_apart(truth))


def turn_between(a: np.ndarray, b: np.ndarray) -> float:
    """Angle in degrees between two head poses `(3,)` in degrees."""
    between = turn_of(np.radians(a)).T @ turn_of(np.radians(b))
    return float(np.degrees(np.arccos(np.clip((np.trace(between) - 1) / 2, -1, 1))))


def turned_image(pose: np.ndarray, angle: float) -> np.ndarray:
    """A head pose against the axes of a crop.

    Args:
        pose (`np.ndarray` of shape `(3,)`): Yaw, pitch, roll in degrees against the axes of the whole image.
        angle (`float`): By which the crop's axes are turned clockwise in the image, radians.

    Returns:
        `np.ndarray` of shape `(3,)`: Degrees.
    """
    cosine, sine = np.cos(angle), np.sin(angle)
    back = np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])
    return np.degrees(angles_of(back @ turn_of(np.radians(pose))))
