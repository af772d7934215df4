"""What a face does: lids, lips, brows, gaze and head pose as numbers, frame by frame.

Angles follow `vivface.faces.pose`: yaw > 0 toward the image's left edge, pitch > 0 down, roll > 0 clockwise in the
image, in degrees. Left and right are the person's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import numpy as np

from vivface.faces.ibug import eye_distance
from vivface.faces.mesh_reader import EYE_CORNERS, FacePoints
from vivface.faces.pose import INNER_LIPS, calibrated, head_pose
from vivface.faces.smoothing import OneEuroFilter, Seconds

LOWER_LIDS, UPPER_LIDS = slice(2, 7), slice(10, 15)  # of an eye's contour: middle of both lids, outside in
CONTOUR_CORNERS = (0, 8)  # of an eye's contour: outer and inner corner
BROWS = ((70, 63, 105, 66, 107), (300, 293, 334, 296, 336))  # points of the mesh: right, left; upper edge
MOUTH_CORNERS = (61, 291)  # points of the mesh
HIDDEN_FROM, HIDDEN_AT = 35.0, 60.0  # degrees of yaw at which the far side of the face begins to be and is hidden
SHARP_EYE = 10.0  # pixels between the corners of an eye from which on it is fully trusted
EYE_SPAN, EYE_RADIUS = 90.0, 12.0  # millimetres: between the outer corners of the eyes; of an eyeball; adults' means
CORNER_DEPTH = 5.0  # millimetres from the iris of an eye that looks ahead back to the line between its corners
IRIS_HEIGHT = -1.0  # millimetres from that line down to the iris
MISPLACED = 0.25  # widths of the eye between its corners in the mesh and in its own crop: then one of them is wrong


@dataclass(frozen=True)
class FaceState:
    """What a face does in one frame.

    Attributes:
        lid_right, lid_left (`float`): Opening of an eye: gap of the lids per width of the eye; 0 shut, about 0.3 open.
        mouth_open (`float`): Gap of the inner lips per distance of the outer eye corners; 0 shut.
        mouth_width (`float`): Distance of the corners of the mouth in the same unit.
        brow_right, brow_left (`float`): Height of a brow over the eye in the same unit.
        gaze_yaw, gaze_pitch (`float`): Direction of the eyes relative to the head, degrees.
        yaw, pitch, roll (`float`): Head pose, degrees.
        confidence (`tuple[float, ...]`): One for each of the values above, in their order, in [0, 1]: 0 where nothing
            was seen and the value is that of an earlier frame.
    """

    lid_right: float
    lid_left: float
    mouth_open: float
    mouth_width: float
    brow_right: float
    brow_left: float
    gaze_yaw: float
    gaze_pitch: float
    yaw: float
    pitch: float
    roll: float
    confidence: tuple[float, ...]

    @property
    def values(self) -> tuple[float, ...]:
        """The values, in the order of `STATE_NAMES`."""
        return tuple(getattr(self, name) for name in STATE_NAMES)

    def as_array(self) -> np.ndarray:
        """Values `(11,)`, float32, in the order of `STATE_NAMES`."""
        return np.array(self.values, np.float32)

    @classmethod
    def from_arrays(cls, values: np.ndarray, confidence: np.ndarray) -> FaceState:
        """A state from its values `(11,)` and their confidence `(11,)`.

        Raises:
            ValueError: If an array has another shape.
        """
        values, confidence = np.asarray(values), np.asarray(confidence)
        if values.shape != (len(STATE_NAMES),) or confidence.shape != values.shape:
            raise ValueError(
                f"values and confidence have shapes {values.shape} and {confidence.shape}, "
                f"expected ({len(STATE_NAMES)},) for both"
            )
        return cls(*map(float, values), confidence=tuple(map(float, confidence)))


STATE_NAMES = tuple(field.name for field in fields(FaceState))[:-1]


def read_state(points: FacePoints) -> FaceState:
    """The state of a face in one frame, not smoothed.

    Args:
        points (`FacePoints`): What the network says, of `Face.points`.

    Returns:
        `FaceState`: The state.
    """
    mesh, unit = points.mesh, eye_distance(points.mesh)
    pose = head_pose(mesh)
    angles = calibrated(pose.angles)
    flat = (mesh - pose.center) @ pose.turn / unit  # as the mean face is turned: x right, y down
    lids = [lid_opening(points, side) for side in (0, 1)]
    eye_line = flat[[corner for pair in EYE_CORNERS for corner in pair], 1].mean()
    brows = [float(eye_line - flat[list(brow), 1].mean()) for brow in BROWS]
    gaze = np.degrees(gaze_angles(points, angles))
    mouth_open = max(float(flat[INNER_LIPS[1], 1] - flat[INNER_LIPS[0], 1]), 0.0)
    mouth_width = float(np.linalg.norm(flat[MOUTH_CORNERS[1]] - flat[MOUTH_CORNERS[0]]))
    values = (*lids, mouth_open, mouth_width, *brows, *map(float, gaze), *map(float, np.degrees(angles)))
    return FaceState(*values, confidence=_confidence(points, math.degrees(angles[0])))


def lid_opening(points: FacePoints, side: int) -> float:
    """Gap of the lids per width of the person's right (0) or left (1) eye, from its contour."""
    contour = points.contours[side][:, :2]
    across = (contour[CONTOUR_CORNERS[1]] - contour[CONTOUR_CORNERS[0]]) * (1, -1)[side]  # left to right in the image
    width = max(math.hypot(*across), 1e-6)
    down = np.array([-across[1], across[0]]) / width
    gap = float(((contour[LOWER_LIDS] - contour[UPPER_LIDS]) @ down).mean())
    depth = points.mesh[list(EYE_CORNERS[side])]
    return max(gap, 0.0) / max(float(np.linalg.norm(depth[1] - depth[0])), 1e-6)


def gaze_angles(points: FacePoints, angles: np.ndarray) -> np.ndarray:
    """Direction of the eyes relative to the head from where the irises lie between the corners of their eyes.

    An eye is a ball of 12 mm; the corners of the eyes lie `CORNER_DEPTH` behind the iris of an eye that looks ahead.

    Args:
        points (`FacePoints`): What the network says.
        angles (`np.ndarray` of shape `(3,)`): Yaw, pitch, roll of the head in radians.

    Returns:
        `np.ndarray` of shape `(2,)`: Yaw and pitch in radians, of both eyes, the better visible one counting more.
    """
    places = np.stack([_iris_place(points, side) for side in (0, 1)])  # (2, 2), millimetres
    seen = np.array([_visible(math.degrees(angles[0]), side) for side in (0, 1)]) + 1e-3
    x, y = seen @ places / seen.sum()
    yaw, pitch, _ = np.clip(angles, -1.2, 1.2)
    ahead_x = (x + CORNER_DEPTH * math.sin(yaw)) / math.cos(yaw)  # as if the head looked into the camera
    ahead_y = (y - CORNER_DEPTH * math.sin(pitch)) / math.cos(pitch) - IRIS_HEIGHT
    return np.arcsin(np.clip(np.array([-ahead_x, ahead_y]) / EYE_RADIUS, -0.9, 0.9))


def _iris_place(points: FacePoints, side: int) -> np.ndarray:
    """Centre of an iris `(2,)` from the middle between the corners of its eye, in millimetres: x right, y down."""
    left, right = points.contours[side][list(CONTOUR_CORNERS)[:: (1, -1)[side]], :2]
    across = (right - left) / max(math.hypot(*(right - left)), 1e-6)
    place = points.irises[side][0, :2] - (left + right) / 2
    return np.array([place @ across, place @ np.array([-across[1], across[0]])]) * EYE_SPAN / eye_distance(points.mesh)


def _confidence(points: FacePoints, yaw: float) -> tuple[float, ...]:
    """Of the values of a state, in their order."""
    face = 1 / (1 + math.exp(-max(min(points.presence / 5, 50.0), -50.0)))
    sides, eyes = [], []
    for side in (0, 1):
        corners = points.mesh[list(EYE_CORNERS[side]), :2]
        width = max(math.hypot(*(corners[1] - corners[0])), 1e-6)
        own = points.contours[side][list(CONTOUR_CORNERS)[:: (1, -1)[side]], :2]  # left to right in the image
        apart = np.linalg.norm(own - corners, axis=1).mean() / width
        sides.append(face * _visible(yaw, side))
        eyes.append(sides[-1] * min(width / SHARP_EYE, 1.0) * max(0.0, 1 - apart / MISPLACED))
    gaze = max(eyes)
    return (*eyes, face, face, *sides, gaze, gaze, face, face, face)


def _visible(yaw: float, side: int) -> float:
    """How much of the person's right (0) or left (1) side is seen, in [0, 1]."""
    away = yaw if side == 0 else -yaw
    return min(max((HIDDEN_AT - away) / (HIDDEN_AT - HIDDEN_FROM), 0.0), 1.0)


# Smoothing: cut-off in Hz of what stands still, and its rise per unit (or degree) a second: fast movements pass.
SMOOTHING = {
    "lid": (3.0, 30.0),
    "mouth": (3.0, 40.0),
    "brow": (2.0, 40.0),
    "gaze": (2.5, 0.6),
    "head": (1.5, 0.6),
}
GROUPS = ("lid", "lid", "mouth", "mouth", "brow", "brow", "gaze", "gaze", "head", "head", "head")


class StateSmoother:
    """Take the trembling out of consecutive states; what moves fast, as blinks and speech, passes without delay."""

    def __init__(self):
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next state is returned as it is."""
        self._filters = [OneEuroFilter(*SMOOTHING[group], speed_cutoff=8.0) for group in GROUPS]
        self._last: FaceState | None = None

    def update(self, state: FaceState | None, time_s: Seconds) -> FaceState | None:
        """The smoothed state.

        Args:
            state (`FaceState`, or None): Of this frame; None when the frame has no face.
            time_s (`float` or `Fraction`): Presentation time in seconds.

        Returns:
            `FaceState` or None: In a frame without the face the last one, with confidence 0; None before the first.
        """
        if state is not None:
            values = [f.update(value, time_s) for f, value in zip(self._filters, state.values, strict=True)]
            self._last = FaceState(*map(float, values), confidence=state.confidence)
            return self._last
        if self._last is None:
            return None
        return replace(self._last, confidence=(0.0,) * len(STATE_NAMES))
