"""Rings of points around a face: ears, hair and neck, at the depths that a head has there.

The outer ring lies on the outline of head and hair, as far as the portrait shows where they end, at the depth at which
a head is widest; two more lie on the way there. On a side that turns away these are on a curve like that of a skull,
whose outline is round; on a side that turns to the camera on an even slope, which stretches hair the least. All move
with the head; below the ears they follow less and less, down to neck and shoulders, which stay. Depths and how far
they follow were fitted to renders of turned heads, 16 people.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from vivface.warping.mesh import PosedFace, place, step, triangles

WIDEST = 86.0, 95.0  # millimetres behind the middle of the face where a head is widest: upwards, sideways
ROUND = 4.0, 1.6  # exponent of the way to the outline, of which that depth is a power: upwards, sideways ...
EVEN = 2.8, 1.0  # ... and on a side that turns to the camera
INNER = 1.23, 0.6  # reach of the inner ring at most, in widths of the face, and of the way to the outer one
MIDDLE = 0.6  # of the way from there to the outer one at which the middle one lies
OUTER = 0.976  # of the way to the outline of the head at which the outer one lies: on the person
OPEN = 1.8  # reach of the outer one where no outline is found: long hair, shoulders
TYPICAL = 1.5  # ... and where nobody has looked for one
REACH = (1.1, 1.8)  # least and most where one is
PLACES = 51  # looked at on the way
OPAQUE = 0.5  # opacity of the person at the outline
BEHIND = 25.0, 46.0, 60.0  # millimetres behind the outline of the face where rings lie around heads without an outline
BELOW = (40.0, 60.0)  # millimetres below the eyes where there is neck, not the outline of a head
EARS = 0.35  # sine of the angle below the middle of the face down to which rings follow the head: ears ...
BENDS = 0.3  # ... and the power of what is more with which they follow less, down to not at all
CLEAR = (1.06, 1.096, 1.12)  # times the reach of the face in the portrait at which a ring lies at least
EVENED = 2  # times that what is found is made even along the outline


def head_rings(face: PosedFace, reach: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Points around a face.

    Args:
        face (`PosedFace`): The face.
        reach (`np.ndarray` of shape `(N,)`, *optional*): Of the outline of head and hair, see `outline_of_head`. By
            default that of most heads, and rings less deep: a background that moves with the head is not to fold.

    Returns:
        Two `np.ndarray`: rings `(2, 3, N, 3)`, round and even, from the inner to the outer one, millimetres; and how
        far they follow the head `(N,)`.
    """
    outline = face.shape[triangles().outline]
    known, reach = reach is not None, np.full(len(outline), TYPICAL) if reach is None else reach
    middle, away, up, depth = _from_middle(outline)
    down = away[:, 1] / np.maximum(np.linalg.norm(away, axis=1), 1e-9)
    inner, outer = np.minimum(INNER[0], 1 + INNER[1] * (OUTER * reach - 1)), OUTER * reach
    reaches = np.stack([inner, inner + MIDDLE * (outer - inner), outer])
    rings = np.stack([middle + away * reaches[..., None]] * 2)
    if known:
        powers = np.array([ROUND, EVEN])[..., None]
        powers = powers[:, 1] + (powers[:, 0] - powers[:, 1]) * up**2
        way = ((reaches - 1) / (outer - 1)) ** powers[:, None]
        rings[..., 2] = outline[:, 2] + way * np.maximum(depth - outline[:, 2], 0)
    else:
        rings[..., 2] = outline[:, 2] + np.array(BEHIND)[:, None]
    return rings, 1 - (np.maximum(down - EARS, 0) / (1 - EARS)) ** BENDS


def farther_out(rings: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Of round and even rings `(2, R, N, 3)` the points that lie farther from a center `(2,)`: `(R, N, 3)`."""
    away = np.linalg.norm(rings[..., :2] - center, axis=-1, keepdims=True)
    return np.where(away[0] > away[1], *rings)


def beside_face(outline: np.ndarray) -> np.ndarray:
    """A ring `(N, 3)` around an outline `(N, 3)` at which to see how much of a side is shown, millimetres."""
    middle, away, *_ = _from_middle(outline)
    ring = middle + away * INNER[0]
    ring[:, 2] = outline[:, 2] + BEHIND[0]
    return ring


def outline_of_head(face: PosedFace, opacity: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """How far out head and hair end, in widths of the face, for each point of its outline `(N,)`.

    Args:
        face (`PosedFace`): The face.
        opacity (callable): How much of the person is at places `(M, 2)` of the crop: `(M,)`, in [0, 1].
    """
    middle, away, _, depth = _from_middle(face.shape[triangles().outline])
    reaches = np.linspace(1, REACH[1] + 0.2, PLACES)
    points = middle + away * reaches[:, None, None]
    points[..., 2] = depth
    seen = opacity(place(points.reshape(-1, 3), face.pose)[:, :2]).reshape(points.shape[:2]) > OPAQUE
    last = np.cumprod(seen, 0).sum(0) - 1
    found = reaches[np.maximum(last, 0)]
    found = np.where(found > REACH[1], OPEN, np.maximum(found, REACH[0]))
    found += step(triangles().layout[triangles().outline, 1], *BELOW) * (OPEN - found)
    found = np.median([np.roll(found, k) for k in (-1, 0, 1)], 0)
    for _ in range(EVENED):
        found = evened(found)
    return found


def evened(values: np.ndarray) -> np.ndarray:
    """Values `(N,)` along a closed loop, each with a share of those beside it."""
    return (np.roll(values, -1) + 2 * values + np.roll(values, 1)) / 4


def _from_middle(outline: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The middle of a face's outline, the ways `(N, 3)` to it, how far these go up, and where the head is widest there.

    Returns:
        Four `np.ndarray`: `(3,)` and `(N, 3)`, millimetres; `(N,)` in [0, 1]; `(N,)`, millimetres.
    """
    middle = np.array([0.0, outline[:, 1].mean(), 0.0])
    away = (outline - middle) * [1, 1, 0]
    up = np.clip(-away[:, 1] / np.maximum(np.linalg.norm(away, axis=1), 1e-9), 0, 1)
    return middle, away, up, WIDEST[1] + (WIDEST[0] - WIDEST[1]) * up


def outside_of_face(ring: np.ndarray, face: np.ndarray, clear: float) -> np.ndarray:
    """A ring `(N, 3)` with the points that a turned face `(468, 2)` covers moved out of it."""
    hull = cv2.convexHull(face.astype(np.float32))[:, 0].astype(np.float64)
    center = hull.mean(0)
    away = ring[:, :2] - center
    first, side = hull - center, np.roll(hull, -1, 0) - hull
    # reach of the hull along each direction: away * t = first + side * s with s in [0, 1]
    cross = away[:, None, 0] * side[None, :, 1] - away[:, None, 1] * side[None, :, 0]
    cross = np.where(np.abs(cross) < 1e-12, 1e-12, cross)
    t = (first[None, :, 0] * side[None, :, 1] - first[None, :, 1] * side[None, :, 0]) / cross
    s = (first[None, :, 0] * away[:, None, 1] - first[None, :, 1] * away[:, None, 0]) / cross
    reach = np.where((s >= 0) & (s <= 1) & (t > 0), t, 0).max(1)
    out = ring.copy()
    out[:, :2] = center + away * np.maximum(reach * clear, 1)[:, None]
    return out


def around(ring: np.ndarray, center: np.ndarray, beyond: float) -> np.ndarray:
    """Points `(N, 3)` beyond the crop, straight out from a ring."""
    away = ring[:, :2] - center[:2]
    low, high = -beyond, 1 + beyond
    with np.errstate(divide="ignore"):
        steps = np.where(away > 0, (high - center[:2]) / away, (low - center[:2]) / away)
    rim = center[:2] + away * np.maximum(steps.min(1), 1.02)[:, None]
    return np.concatenate([rim, ring[:, 2:]], 1)


def strip(inner: np.ndarray, outer: np.ndarray) -> np.ndarray:
    """Triangles `(2 N, 3)` between two closed loops of N points."""
    inner_next, outer_next = np.roll(inner, -1), np.roll(outer, -1)
    return np.concatenate([np.stack([inner, inner_next, outer], 1), np.stack([inner_next, outer_next, outer], 1)])
