"""The portrait's head as a surface of triangles: the face's mesh, rings around it that follow the head, and a rim.

The rings stand for ears, hair and neck: they lie around the face at a depth of their own and move with the head's pose,
less and less downwards, where the neck ends in shoulders that stay. Beyond the crop nothing moves.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from vivface.faces.pose import HeadPose
from vivface.warping.mesh import MESH, PosedFace, place, triangles

RINGS = ((1.22, 0.18, 0.0, 25.0), (1.5, 0.25, 0.1, 60.0))  # reach, more upwards, more downwards; depth in millimetres
FOLLOWS = ((1.0, 0.35), (0.9, 0.75))  # how far a ring follows the head, and how much less straight down
BEYOND = 0.25  # crops beyond which nothing moves
SUBPIXEL_BITS = 4


class HeadSurface:
    """A portrait's head.

    Args:
        points (`np.ndarray` of shape `(478, 3)`): In the portrait's crop.

    Attributes:
        corners (`np.ndarray` of shape `(T, 3)`): Points of the triangles.
        source (`np.ndarray` of shape `(P, 3)`): Points in the portrait, those of the mesh first.
    """

    def __init__(self, points: np.ndarray):
        face, surface = PosedFace.of(points), triangles()
        outline = surface.outline
        self._rings, self._follows = _rings(face.shape[outline])
        self._still = np.stack([place(ring, face.pose) for ring in self._rings])  # (rings, N, 3)
        self._rim = _rim(self._still[-1], face.pose.center)
        self.source = np.concatenate([points[:MESH], *self._still, self._rim])
        count = len(outline)
        loops = [outline, *(MESH + k * count + np.arange(count) for k in range(len(RINGS) + 1))]
        strips = [_strip(inner, outer) for inner, outer in zip(loops, loops[1:], strict=False)]
        self.corners = np.concatenate([surface.corners, *strips])
        self._around = np.arange(len(self.corners)) >= len(surface.corners)

    def target(self, shape: np.ndarray, pose: HeadPose) -> np.ndarray:
        """Points `(P, 3)` of the head under a shape `(478, 3)` and a pose."""
        moved = np.stack([place(ring, pose) for ring in self._rings])
        rings = self._still + self._follows[..., None] * (moved - self._still)
        return np.concatenate([place(shape[:MESH], pose), *rings, self._rim])

    def order(self, target: np.ndarray) -> np.ndarray:
        """Triangles `(T,)` from back to front: what lies around the face is behind it."""
        depth = target[self.corners, 2].mean(1) + 10.0 * self._around
        return np.argsort(-depth, kind="stable")


def _rings(outline: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rings `(rings, N, 3)` around the outline `(N, 3)` of a face in millimetres, and how far they follow `(rings, N)`."""
    center = np.array([0.0, outline[:, 1].mean(), outline[:, 2].mean()])
    away = outline - center
    down = np.sin(np.arctan2(away[:, 1], away[:, 0]))
    rings, follows = [], []
    for (reach, up, below, depth), (follow, less) in zip(RINGS, FOLLOWS, strict=True):
        ring = center + away * (reach + up * np.clip(-down, 0, 1) + below * np.clip(down, 0, 1))[:, None]
        ring[:, 2] += depth
        rings.append(ring)
        follows.append(follow - less * np.clip(down, 0, 1))
    return np.stack(rings), np.stack(follows)


def _rim(ring: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Points `(N, 3)` beyond the crop, straight out from a ring."""
    away = ring[:, :2] - center[:2]
    low, high = -BEYOND, 1 + BEYOND
    with np.errstate(divide="ignore"):
        steps = np.where(away > 0, (high - center[:2]) / away, (low - center[:2]) / away)
    rim = center[:2] + away * np.maximum(steps.min(1), 1.02)[:, None]
    return np.concatenate([rim, ring[:, 2:]], 1)


def _strip(inner: np.ndarray, outer: np.ndarray) -> np.ndarray:
    """Triangles `(2 N, 3)` between two closed loops of N points."""
    inner_next, outer_next = np.roll(inner, -1), np.roll(outer, -1)
    return np.concatenate([np.stack([inner, inner_next, outer], 1), np.stack([inner_next, outer_next, outer], 1)])


def source_positions(
    target: np.ndarray,
    source: np.ndarray,
    corners: np.ndarray,
    order: Sequence[int],
    box: tuple[int, int, int, int],
    size: int,
) -> np.ndarray:
    """For each pixel of a part of the target, where it lies in the source.

    Args:
        target (`np.ndarray` of shape `(P, 2 or 3)`), source (`np.ndarray` of shape `(P, 2 or 3)`): Points, from 0 to 1.
        corners (`np.ndarray` of shape `(T, 3)`): Points of the triangles.
        order (sequence of `int`): Triangles from back to front.
        box (`tuple[int, int, int, int]`): The part: left, top, right, bottom in pixels.
        size (`int`): Width and height of the whole target in pixels.

    Returns:
        `np.ndarray` of shape `(height, width, 2)`: positions x, y from 0 to 1, float32; where no triangle lies, the
        pixel's own.
    """
    left, top, right, bottom = box
    shown = np.full((bottom - top, right - left), -1, np.int32)
    one = 1 << SUBPIXEL_BITS
    pixels = np.round((target[:, :2] * size - 0.5 - (left, top)) * one).astype(np.int32)[corners]
    for triangle in order:
        cv2.fillConvexPoly(shown, pixels[triangle], int(triangle), cv2.LINE_8, SUBPIXEL_BITS)
    maps = _affine_maps(target[:, :2], source[:, :2], corners)
    u = ((np.arange(left, right, dtype=np.float32) + 0.5) / size)[None]
    v = ((np.arange(top, bottom, dtype=np.float32) + 0.5) / size)[:, None]
    here = np.stack(np.broadcast_arrays(u, v), -1)
    found = maps[shown.clip(0)]  # (height, width, 3, 2)
    moved = found[..., 0, :] * u[..., None] + found[..., 1, :] * v[..., None] + found[..., 2, :]
    return np.where(shown[..., None] < 0, here, moved)


def _affine_maps(target: np.ndarray, source: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Affine maps `(T, 3, 2)` from target to source: [x, y, 1] @ map."""
    a, b = target[corners], source[corners]  # (T, 3, 2)
    across, down = a[:, 1] - a[:, 0], a[:, 2] - a[:, 0]
    area = across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0]
    area = np.where(np.abs(area) < 1e-9, 1e-9, area)
    inverse = np.stack([np.stack([down[:, 1], -down[:, 0]], 1), np.stack([-across[:, 1], across[:, 0]], 1)], 1)
    inverse /= area[:, None, None]  # position - corner 0 -> shares along both sides: inverse @ (x, y)
    sides = np.stack([b[:, 1] - b[:, 0], b[:, 2] - b[:, 0]], 1)  # (T, 2, 2): share, xy
    linear = np.einsum("tsx,tsy->txy", inverse, sides)  # (T, x, y)
    offset = b[:, 0] - np.einsum("tx,txy->ty", a[:, 0], linear)
    return np.concatenate([linear, offset[:, None]], 1).astype(np.float32)
