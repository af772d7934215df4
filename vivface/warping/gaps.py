"""Set how far the lips are apart, and the lids, with what lies around them."""

from __future__ import annotations

import numpy as np

from vivface.warping.mesh import LOWER_LID, LOWER_LIP, MESH, UPPER_LID, UPPER_LIP, mirror
from vivface.warping.retargeting import least_lids, lid_gaps, lid_weights, lip_weights


def lip_gaps(shape: np.ndarray) -> np.ndarray:
    """Gaps `(9,)` at the pairs of points of the lips, millimetres."""
    return shape[LOWER_LIP, 1] - shape[UPPER_LIP, 1]


def with_lip_gaps(shape: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """A shape `(478, 3)` with other gaps `(9,)` of its lips; the lower lip takes most of the change."""
    shape = shape.copy()
    shape[:MESH, 1] += lip_weights() @ (gaps - lip_gaps(shape))
    return shape


def with_lid_gaps(shape: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """A shape `(478, 3)` whose lids are so far apart; the upper lids move.

    Args:
        shape (`np.ndarray` of shape `(478, 3)`): Millimetres, see `PosedFace`.
        gaps (`np.ndarray` of shape `(2,)`): Mean gap of the right and of the left lids, millimetres.
    """
    found = lid_gaps(shape)
    shape = shape.copy()
    for side in (0, 1):
        upper, lower = (points if side == 0 else mirror()[points] for points in (UPPER_LID, LOWER_LID))
        each = shape[lower, 1] - shape[upper, 1]  # (7,)
        change = each - each * max(gaps[side], 0.0) / max(found[side], 0.3)  # down
        shape[:MESH, 1] += lid_weights(side) @ np.where(each < 0, each, change)
    return shape


def open_lids(shape: np.ndarray) -> np.ndarray:
    """Gaps `(2,)` of a face's lids when they are open, millimetres: its own, unless it shuts them."""
    return np.maximum(lid_gaps(shape), least_lids(shape))
