"""Skin around the mouth that a movement would fold is spread evenly instead.

A driver's movement that is larger than the portrait has room for, a lip that rises by more than lies between lip and
nose, would turn triangles of the surface over and tear the photograph there. Points of such triangles take the
displacement that their neighbours have on average, weighted by nearness, as the points of an elastic skin do.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from vivface.warping.lip_thickness import ROWS
from vivface.warping.lips import CORNERS
from vivface.warping.mesh import MESH, lip_loop, nearness, step, triangles
from vivface.warping.regions import part_weights

OUTER_CORNERS = np.array([61, 291])  # points of the mesh: of the mouth
THIN = 0.15  # of its area in the layout, below which a triangle is folded in the portrait itself
NEAR = 3  # steps from point to point within which what lies around a fold makes room for it
LEAST = 1.0  # square millimetres: smaller ones do not show
FOLDED = (-0.2, 0.2)  # share of its area at which a triangle is folded, and from which on it is well


class Unfolding:
    """Spreads the skin around a portrait's mouth where it would fold.

    Args:
        shape (`np.ndarray` of shape `(478, 3)`): The portrait's own face in millimetres.
    """

    def __init__(self, shape: np.ndarray):
        self._own = shape[:MESH]
        area = _areas(self._own)
        self._thin = area < np.maximum(THIN * _areas(triangles().layout), LEAST)
        self._area = np.where(self._thin, 1.0, area)

    def __call__(self, shape: np.ndarray) -> np.ndarray:
        """A shape `(478, 3)` without folds around its mouth."""
        share = self._in_folds(shape, NEAR)
        if not share.any():
            return shape
        share[ROWS] = 0
        spread = self._spread(shape, share)
        left = self._in_folds(spread, 0)[ROWS]
        if not left.any():
            return spread
        share[ROWS] = left  # the lower lip makes room where nothing else helps
        return self._spread(shape, share)

    def _folded(self, shape: np.ndarray) -> np.ndarray:
        """How far triangles `(T,)` around the mouth are folded, from 0 to 1."""
        folded = 1 - step(_areas(shape) / self._area, *FOLDED)
        folded[self._thin] = 0
        return folded

    def _in_folds(self, shape: np.ndarray, near: int) -> np.ndarray:
        """How far each point `(468,)` is in a fold or so many steps near it, from 0 to 1, and the rim of the lips 0."""
        folded, points = self._folded(shape), np.zeros(MESH)
        if folded.any():
            for _ in range(1 + near):  # the points of a fold, then those around them
                for corner in around_mouth().T:
                    np.maximum.at(points, corner, folded)
                folded = points[around_mouth()].max(1)
            points[_lips()] = 0
        return points

    def _spread(self, shape: np.ndarray, share: np.ndarray) -> np.ndarray:
        """A shape in which points move by a share `(468,)` as those around them do."""
        moved, free = shape[:MESH] - self._own, np.flatnonzero(share)
        share, near = share[free, None], nearness()[free]
        around = np.delete(near, free, 1) @ np.delete(moved, free, 0)
        spread = np.linalg.solve(np.eye(len(free)) - share * near[:, free], (1 - share) * moved[free] + share * around)
        shape = shape.copy()
        shape[free] = self._own[free] + spread
        return shape


@cache
def _lips() -> np.ndarray:
    """Points that lie where they are to lie: the rim of the lips and the corners of the mouth."""
    return np.concatenate([lip_loop(), CORNERS.ravel(), OUTER_CORNERS])


@cache
def around_mouth() -> np.ndarray:
    """Triangles `(T, 3)` of the skin around the mouth and of the lips."""
    corners = triangles().corners
    mouth = part_weights()[:MESH, 0] > 0.5
    return corners[mouth[corners].all(1) & ~np.isin(corners, lip_loop()).all(1)]


def _areas(shape: np.ndarray) -> np.ndarray:
    """Areas `(T,)` of the triangles around the mouth as the face looks into the camera, negative where turned over."""
    return _signs() * _signed(shape)


@cache
def _signs() -> np.ndarray:
    """1 or -1 for the triangles around the mouth `(T,)`, as their corners lie one after the other in the layout."""
    return np.sign(_signed(triangles().layout))


def _signed(shape: np.ndarray) -> np.ndarray:
    a, b, c = (shape[corner, :2] for corner in around_mouth().T)
    first, second = b - a, c - a
    return (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]) / 2
