"""Which part of a picture each of several heads may move.

Every place belongs to the head whose face is nearest, measured in sizes of that face, so that large heads, which are in
front, have the larger share. At the border between two heads nothing moves. Where faces overlap, the larger one is in
front.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from vivface.warping.head_window import Window
from vivface.warping.mesh import step

RESOLUTION = 640  # pixels of the picture's longer side at which distances are measured
BAND = 0.3  # difference of the distances to two faces, in sizes of a face, from which on places move freely


class Territories:
    """Shares of a picture.

    Args:
        faces (sequence of `np.ndarray` of shape `(N, >= 2)`): Points of each face in pixels of the picture.
        size (`tuple[int, int]`): Width and height of the picture in pixels.
    """

    def __init__(self, faces: Sequence[np.ndarray], size: tuple[int, int]):
        self._scale = min(1.0, RESOLUTION / max(size))
        shape = tuple(max(round(length * self._scale), 1) for length in size[::-1])
        hulls = [cv2.convexHull(((face[:, :2] + 0.5) * self._scale - 0.5).astype(np.float32)) for face in faces]
        extents = [max(float(np.sqrt(cv2.contourArea(hull))), 1.0) for hull in hulls]
        away = np.stack([_away(hull, extent, max(extents), shape) for hull, extent in zip(hulls, extents, strict=True)])
        self._free = [_free(away, number) for number in range(len(faces))]

    def of(self, number: int, window: Window) -> np.ndarray:
        """How far pixels of a window may move with a head, float32 `(drawn, drawn)` from 0 to 1."""
        at = [
            ((start + (np.arange(window.drawn) + 0.5) * window.size / window.drawn) * self._scale - 0.5).astype(
                np.float32
            )
            for start in (window.left, window.top)
        ]
        x, y = np.meshgrid(*at)
        return cv2.remap(self._free[number], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _away(hull: np.ndarray, extent: float, largest: float, shape: tuple[int, ...]) -> np.ndarray:
    """Distance to a face in sizes of it; below 0 on it, the more the larger it is."""
    face = np.zeros(shape, np.uint8)
    cv2.fillConvexPoly(face, np.round(hull).astype(np.int32), 1)
    if not face.any():  # beyond the picture
        return np.full(shape, np.float32(np.hypot(*shape) / extent))
    return np.where(face > 0, -extent / largest, cv2.distanceTransform(1 - face, cv2.DIST_L2, 3) / extent)


def _free(away: np.ndarray, number: int) -> np.ndarray:
    others = np.delete(away, number, 0)
    if not len(others):
        return np.ones(away.shape[1:], np.float32)
    return step(others.min(0) - away[number], 0.0, BAND).astype(np.float32)
