"""The jaw goes down with an opening mouth: the mesh network sees less than half of it.

On renders of known truth the chin of the mesh goes down by 0.41 of the way that it goes, while the gap of the lips
comes close once it is corrected (`vivface.warping.retargeting.lips_apart`). So the chin follows the gap.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from vivface.faces.ibug import MESH_POINTS
from vivface.warping.mesh import (
    LOWER_LIP,
    MESH,
    MOUTH_CORNERS,
    UPPER_LIP,
    eye_loops,
    lip_loop,
    triangles,
)

CHIN = (15, 16, 17, 18, 200, 199, 175, 152)  # points of the mesh: down the middle, from lower lip to the lowest
CHIN_SHARE = 0.7  # of the gap of the lips, how far the chin goes down
TEETH = 10.0  # millimetres that the lips of a portrait may be apart although its jaw is shut: a smile shows teeth
JAW_LINE = (0.0, 0.03, 0.14, 0.3, 0.38, 0.52, 0.72, 0.91, 1.0)  # how far landmarks 0 to 8 go down, as the chin does
CORNERS = 0.35  # the same of the corners of the mouth
NOSE_TIP = 4  # point of the mesh: what is above it stays


def jaw_drop(seen: float, gap: float, own: float) -> float:
    """How much farther the chin goes down than the mesh says, millimetres, at least 0.

    Args:
        seen (`float`): How far the mesh's chin went down, millimetres.
        gap (`float`): How far the lips are to be apart in the middle, millimetres.
        own (`float`): How far they are apart in the portrait.
    """
    return max(CHIN_SHARE * (gap - max(own - TEETH, 0.0)) - max(seen, 0.0), 0.0)


@cache
def jaw_weights() -> np.ndarray:
    """How far each point of the mesh follows the chin down `(468,)`, in [0, 1].

    The jaw line moves nearly as that of rendered heads, whose chins (0.45, 0.64, 0.87 beside the middle) become more
    pointed than a stiff bone would; the middle of the lower lip moves with the chin; the upper lip and what lies above
    the tip of the nose do not move; all between moves as the mean of its neighbours.
    """
    layout = triangles().layout
    known = np.full(MESH, np.nan)
    known[layout[:, 1] < layout[NOSE_TIP, 1]] = 0
    known[MESH_POINTS[:17]] = JAW_LINE + JAW_LINE[-2::-1]
    known[list(CHIN)] = 1
    known[UPPER_LIP] = 0
    along = np.sin(np.linspace(0, np.pi, len(LOWER_LIP) + 2))[1:-1] ** 0.5
    known[LOWER_LIP] = CORNERS + (1 - CORNERS) * along
    known[MOUTH_CORNERS] = CORNERS
    free = np.isnan(known)
    near = _neighbours()
    weights = known.copy()
    weights[free] = np.linalg.solve((np.eye(MESH) - near)[np.ix_(free, free)], near[np.ix_(free, ~free)] @ known[~free])
    return weights


def _neighbours() -> np.ndarray:
    """`(468, 468)`: the mean of the points around each point, not across mouth and eyes."""
    corners = triangles().corners
    inside = np.any([np.isin(corners, loop).all(1) for loop in (lip_loop(), *eye_loops())], 0)
    near = np.zeros((MESH, MESH))
    for a, b in ((0, 1), (1, 2), (2, 0)):
        first, second = corners[~inside, a], corners[~inside, b]
        near[first, second] = near[second, first] = 1
    return near / np.maximum(near.sum(1, keepdims=True), 1)
