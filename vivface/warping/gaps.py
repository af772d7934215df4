"""Set how far the lips are apart, and the lids, with what lies around them."""

from __future__ import annotations

from functools import cache

import numpy as np

from vivface.warping.mesh import (
    LID_CORNERS,
    LOWER_LID,
    LOWER_LIP,
    MESH,
    MOUTH_CORNERS,
    UPPER_LID,
    UPPER_LIP,
    lip_loop,
    mirror,
    step,
    triangles,
)

LEAST_LIDS = 0.14  # gap of a driver's open lids at least, per width of the eye: some begin with lids lowered
SHUT_SHARE, OPEN_SHARE = (0.3, 0.7), 1.4  # of that gap: shut lids, and those that are not; most people's open ones
NEARLY_SHUT = (3.5, 4.8)  # millimetres between lids up to which an eye is shut, too, if the other one is
LOWER_SHARE = 0.75  # of a change of the lips' gap, how much the lower lip takes
LIP_REACH = (7.0, 14.0)  # millimetres along and across the lips over which a change of their gap fades
CORNER_REACH = 14.0  # millimetres from the lips over which a change of the corners of the mouth fades
SHUT_LIDS = (1.0, 3.0)  # millimetres: lids that are closer open as those of the mean face; farther apart, as they are
LID_REACH = 5.0  # millimetres over which a change of the lids fades


def lip_gaps(shape: np.ndarray) -> np.ndarray:
    """Gaps `(9,)` at the pairs of points of the lips, millimetres."""
    return shape[LOWER_LIP, 1] - shape[UPPER_LIP, 1]


def mouth_width(shape: np.ndarray) -> np.ndarray:
    """Distance of the inner corners of the mouth of shapes `(..., 478, 3)`: `(...)`, millimetres."""
    return np.linalg.norm(shape[..., MOUTH_CORNERS[1], :] - shape[..., MOUTH_CORNERS[0], :], axis=-1)


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
        upper, lower = both_sides(UPPER_LID)[side], both_sides(LOWER_LID)[side]
        each = shape[lower, 1] - shape[upper, 1]  # (7,)
        wanted = max(gaps[side], 0.0)
        scaled, opened = np.maximum(each, 0) * wanted / max(found[side], 0.3), step(found[side], *SHUT_LIDS)
        change = each - (opened * scaled + (1 - opened) * wanted * open_lid_shape())  # down
        shape[:MESH, 1] += lid_weights(side) @ change
    return shape


def open_lids(shape: np.ndarray) -> np.ndarray:
    """Gaps `(2,)` of a face's lids when they are open, millimetres: its own, or most people's where it shuts them."""
    gaps, least = lid_gaps(shape), least_lids(shape)
    shut = both_shut(1 - step(gaps / least, *SHUT_SHARE), gaps)
    return gaps + shut * np.maximum(OPEN_SHARE * least - gaps, 0)


def both_shut(shut: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """How far eyes are shut `(2,)`, in [0, 1], by their own lids and each other's.

    The mesh seldom sees both eyes of a laughing face alike. Of a wink the other eye stays open.

    Args:
        shut (`np.ndarray` of shape `(2,)`): The same by their own lids, in [0, 1].
        gaps (`np.ndarray` of shape `(2,)`): Of the lids, millimetres.
    """
    return np.maximum(shut, shut.max() * (1 - step(gaps, *NEARLY_SHUT)))


def lid_gaps(shape: np.ndarray) -> np.ndarray:
    """Mean gap of the lids `(2,)`, right and left, millimetres."""
    upper, lower = both_sides(UPPER_LID), both_sides(LOWER_LID)
    return (shape[lower, 1] - shape[upper, 1]).mean(1)


def least_lids(shape: np.ndarray) -> np.ndarray:
    """Gaps `(2,)` below which lids are not taken for open, millimetres."""
    corners = shape[both_sides(LID_CORNERS)]  # (2, 2, 3)
    return LEAST_LIDS * np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1)


def both_sides(points: np.ndarray) -> np.ndarray:
    """Points of the right eye with those of the left `(2, n)`."""
    return np.stack([points, mirror()[points]])


@cache
def lip_weights() -> np.ndarray:
    """`(468, 9)`: how far each point follows a change of the gap at each pair of points of the lips."""
    layout = triangles().layout
    upper, lower = layout[UPPER_LIP], layout[LOWER_LIP]
    line = np.concatenate([layout[MOUTH_CORNERS[:1]], (upper + lower) / 2, layout[MOUTH_CORNERS[1:]]])
    middle = np.interp(layout[:, 0], line[:, 0], line[:, 1])
    below = layout[:, 1] > middle
    rim = np.where(
        below, np.interp(layout[:, 0], lower[:, 0], lower[:, 1]), np.interp(layout[:, 0], upper[:, 0], upper[:, 1])
    )
    beyond = np.where(below, layout[:, 1] - rim, rim - layout[:, 1]).clip(0)
    along, across = LIP_REACH
    near = np.exp(-(((layout[:, :1] - upper[None, :, 0]) / along) ** 2) / 2 * 4)
    near /= np.maximum(near.sum(1, keepdims=True), 1.0)
    weights = near * np.exp(-((beyond / across) ** 2))[:, None]
    weights *= np.where(below, LOWER_SHARE, LOWER_SHARE - 1)[:, None]
    rows = np.eye(len(UPPER_LIP))
    weights[UPPER_LIP], weights[LOWER_LIP] = (LOWER_SHARE - 1) * rows, LOWER_SHARE * rows
    weights[MOUTH_CORNERS] = 0
    return weights


@cache
def mouth_corner_weights() -> np.ndarray:
    """`(468,)`: how far each point moves to the right in the image when the corners of the mouth move inwards by 1."""
    layout = triangles().layout
    corners = layout[MOUTH_CORNERS]
    aside = ((layout[:, 0] - corners[:, 0].mean()) / (np.ptp(corners[:, 0]) / 2)).clip(-1, 1)
    away = np.linalg.norm(layout[:, None, :2] - layout[None, lip_loop(), :2], axis=2).min(1)
    return -aside * np.exp(-((away / CORNER_REACH) ** 2))


@cache
def open_lid_shape() -> np.ndarray:
    """Gaps `(7,)` along the lids of an open eye, as many times their mean."""
    layout = triangles().layout
    gaps = layout[LOWER_LID, 1] - layout[UPPER_LID, 1]
    return gaps / gaps.mean()


@cache
def lid_weights(side: int) -> np.ndarray:
    """`(468, 7)`: how far each point follows the points of an upper lid down."""
    layout = triangles().layout
    upper, lower, corners = (both_sides(points)[side] for points in (UPPER_LID, LOWER_LID, LID_CORNERS))
    distance = np.linalg.norm(layout[:, None, :2] - layout[None, upper, :2], axis=2)  # (468, 7)
    weights = np.exp(-((distance / LID_REACH) ** 2))
    weights /= np.maximum(weights.sum(1, keepdims=True), 1.0)
    order = np.argsort(layout[upper, 0])
    weights[layout[:, 1] > np.interp(layout[:, 0], layout[upper[order], 0], layout[upper[order], 1]) + 0.2] = 0
    weights[lower], weights[corners] = 0, 0
    weights[upper] = np.eye(len(upper))
    return weights
