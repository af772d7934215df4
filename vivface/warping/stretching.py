"""Skin that a turn draws out: smooth there, where a few pixels of the photograph would become streaks.

A cheek that is seen at a grazing angle has few pixels across and many along it. Turned to the camera it is stretched in
one direction only, and every pore becomes a line. How much a triangle is stretched is the inverse of the smaller
singular value of the affine map from the frame to the photograph.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from vivface.warping.mesh import MESH, from_outline, step

STREAKS = (2.2, 4.0)  # times as long as in the photograph: skin begins to get smooth, is
NEAR_OUTLINE = (22.0, 32.0)  # millimetres from the outline of the face: eyes, nose and lips stay as they are
SMOOTH = 0.007  # crops: standard deviation of what makes skin smooth


def streaks(tables: np.ndarray, corners: np.ndarray, points: int) -> np.ndarray:
    """How far the places of points are drawn out in one direction.

    Args:
        tables (`np.ndarray` of shape `(C, 5, T + 1)`): See `vivface.warping.surface.affine_tables`.
        corners (`np.ndarray` of shape `(T, 3)`): Points of the triangles.
        points (`int`): Number of points; those of the mesh come first, the others never count.

    Returns:
        `np.ndarray` of shape `(points,)`: From 0, as the photograph shows it, to 1.
    """
    a, b, c, d = (tables[k, axis, :-1] for k in (0, 1) for axis in (0, 1))
    squares, area = a * a + b * b + c * c + d * d, np.abs(a * d - b * c)
    most = np.sqrt((squares + np.sqrt(np.maximum(squares * squares - 4 * area * area, 0))) / 2)
    drawn = step(most / np.maximum(area, 1e-9), *STREAKS)  # (T,)
    sums = np.bincount(corners.ravel(), np.repeat(drawn, 3), points)
    found = sums / np.maximum(np.bincount(corners.ravel(), minlength=points), 1)
    found[:MESH] *= _beside()
    found[MESH:] = 0
    return found


@cache
def _beside() -> np.ndarray:
    """Where on the face skin may get smooth `(468,)`, from 0 to 1."""
    return 1 - step(from_outline(), *NEAR_OUTLINE)


def smoothed(source: np.ndarray, crop: float) -> np.ndarray:
    """A photograph without its details, of which those of a person do not mix with what is behind.

    Args:
        source (`np.ndarray` of shape `(height, width, 3 or 4)`): uint8 RGB, or RGBA.
        crop (`float`): Pixels of a crop in it.

    Returns:
        `np.ndarray` of the same shape: uint8; opacity as it was.
    """
    sigma = SMOOTH * crop
    if source.shape[2] == 3:
        return cv2.GaussianBlur(source, (0, 0), sigma)
    weight = source[..., 3:].astype(np.float32) / 255 + 1e-3
    colors = cv2.GaussianBlur(source[..., :3] * weight, (0, 0), sigma)
    colors /= cv2.GaussianBlur(weight, (0, 0), sigma)[..., None]
    return np.dstack([np.round(colors).clip(0, 255).astype(np.uint8), source[..., 3]])
