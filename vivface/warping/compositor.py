"""Frames of a moving photograph: skin, eyes and mouth, each in its own layer."""

from __future__ import annotations

import cv2
import numpy as np

from vivface.faces.pose import HeadPose
from vivface.warping.mesh import (
    IRISES,
    LID_CORNERS,
    LOWER_LID,
    LOWER_LIP,
    MOUTH_CORNERS,
    UPPER_LID,
    UPPER_LIP,
    PosedFace,
    mirror,
    place,
)
from vivface.warping.mouth import MouthLayer
from vivface.warping.surface import HeadSurface, source_positions

BASE = 256  # pixels at which the flow is computed; eyes and mouth at the photograph's own
MARGIN = 0.03  # crops around eyes and mouth


class PhotoCompositor:
    """A photograph that moves.

    Args:
        photo (`np.ndarray` of shape `(size, size, 3)`): The aligned portrait, uint8 RGB.
        points (`np.ndarray` of shape `(478, 3)`): Its face, see `vivface.warping.mesh`.
    """

    def __init__(self, photo: np.ndarray, points: np.ndarray):
        self.photo, self.points, self.size = photo, points, len(photo)
        self.surface = HeadSurface(points)
        self.face = PosedFace.of(points)
        self.mouth = MouthLayer(photo, points, lip_loop())

    def __call__(self, shape: np.ndarray, pose: HeadPose) -> np.ndarray:
        """The photograph under a shape `(478, 3)` and a pose: uint8 RGB `(size, size, 3)`."""
        target, source, size = self.surface.target(shape, pose), self.surface.source, self.size
        order, corners = self.surface.order(target), self.surface.corners
        base = min(BASE, size)
        where = source_positions(target, source, corners, order, (0, 0, base, base), base)
        where = cv2.resize(where, (size, size), interpolation=cv2.INTER_LINEAR)
        points = place(shape, pose)
        for loop in (lip_loop(), *eye_loops()):
            box = _box(points[loop], size)
            if box is not None:
                left, top, right, bottom = box
                where[top:bottom, left:right] = source_positions(target, source, corners, order, box, size)
        frame = _sample(self.photo, where)
        for side in (0, 1):
            self._eye(frame, side, shape, pose)
        rim = points[lip_loop()]
        if (box := _box(rim, size)) is not None:
            self.mouth(frame, _polygon(rim, box, size), box, shape, pose)
        return frame

    def _eye(self, frame: np.ndarray, side: int, shape: np.ndarray, pose: HeadPose) -> None:
        """Draw an eye as it lies behind its lids."""
        size, loop = self.size, eye_loops()[side]
        target = place(shape[loop], pose)
        box = _box(target, size)
        if box is None:
            return
        own = self.face.shape
        gaze = (shape[IRISES[side]][0] - own[IRISES[side]][0])[:2]
        center, own_center = (s[loop][[0, 8]].mean(0) for s in (shape, own))
        gaze -= (center - own_center)[:2]
        # where the lids' rim would lie on the photograph's eyeball
        behind = shape[loop] - center + own_center
        width = np.abs(behind[:, 0] - own_center[0]).max()
        inner = 1 - ((behind[:, 0] - own_center[0]) / width).clip(-1, 1) ** 2
        behind[:, :2] -= gaze * inner[:, None]
        for part in (slice(1, 8), slice(9, 16)):  # lids wider open than the photograph's: stretch what is there
            limit = own[loop][part, 1]
            low = part.start == 1
            behind[part, 1] = np.minimum(behind[part, 1], limit) if low else np.maximum(behind[part, 1], limit)
        source = place(behind, self.face.pose)
        where = source_positions(target, source, _fan(), range(len(_fan())), box, size)
        left, top, right, bottom = box
        mask = _polygon(target, box, size)[..., None]
        part = frame[top:bottom, left:right]
        part[:] = np.round(part + mask * (_sample(self.photo, where).astype(np.float32) - part)).astype(np.uint8)


def lip_loop() -> np.ndarray:
    """Points of the inner rim of the lips, in order `(20,)`."""
    return np.concatenate([MOUTH_CORNERS[:1], UPPER_LIP, MOUTH_CORNERS[1:], LOWER_LIP[::-1]])


def eye_loops() -> tuple[np.ndarray, np.ndarray]:
    """Points of the rims of the right and of the left eye, in order: corner, lower lid, corner, upper lid `(16,)`."""
    right = np.concatenate([LID_CORNERS[:1], LOWER_LID, LID_CORNERS[1:], UPPER_LID[::-1]])
    return right, mirror()[right]


def _fan() -> np.ndarray:
    """Triangles between the lids, by numbers of `eye_loops`."""
    out = []
    lower, upper = [0, 1, 2, 3, 4, 5, 6, 7, 8], [0, 15, 14, 13, 12, 11, 10, 9, 8]
    for k in range(8):
        a, b, c, d = lower[k], lower[k + 1], upper[k], upper[k + 1]
        out += [[a, b, d]] if k == 0 else [[a, b, c]] if k == 7 else [[a, b, d], [a, d, c]]
    return np.array(out)


def _box(points: np.ndarray, size: int) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom in pixels around points, or None outside the image."""
    low = np.floor((points[:, :2].min(0) - MARGIN) * size).astype(int).clip(0, size)
    high = np.ceil((points[:, :2].max(0) + MARGIN) * size).astype(int).clip(0, size)
    return None if (high - low < 1).any() else (int(low[0]), int(low[1]), int(high[0]), int(high[1]))


def _polygon(points: np.ndarray, box: tuple[int, int, int, int], size: int) -> np.ndarray:
    """A soft polygon in a box: float32 in [0, 1]."""
    left, top, right, bottom = box
    mask = np.zeros(((bottom - top) * 2, (right - left) * 2), np.uint8)
    pixels = np.round(((points[:, :2] * size - (left, top)) * 2 - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(mask, [pixels], 255, cv2.LINE_AA, 4)
    mask = cv2.resize(mask, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(mask, (0, 0), max(size / 800, 0.4)).astype(np.float32) / 255


def _sample(photo: np.ndarray, where: np.ndarray) -> np.ndarray:
    size = len(photo)
    return cv2.remap(
        photo, where[..., 0] * size - 0.5, where[..., 1] * size - 0.5, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
