"""How thick lips are: the lower one stays as it is when the mouth opens, and both get fuller when a smile goes.

The mesh network draws the lower lip of a wide open mouth as a thin line, and the skin of the chin right below or even
above it: its chin goes down too little. So the rows of the lip lie below its rim as far as they do in the portrait, and
the skin from there to the jaw moves as its neighbours do on average.

A smile draws lips out. Where a portrait's smile is taken back, the upper lip gets as much thicker as the mouth gets
less wide; the lower one, which a smile rolls in less, by a few hundredths.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from vivface.faces.ibug import MESH_POINTS
from vivface.warping.gaps import lip_gaps, mouth_width
from vivface.warping.jaw import CHIN, jaw_weights
from vivface.warping.lips import CORNERS, LOWER_ROWS, UPPER_ROWS
from vivface.warping.mesh import LOWER_LIP, MESH, MOUTH_CORNERS, UPPER_LIP, from_others, nearness, step, triangles

BORDER = np.array([146, 91, 181, 84, 17, 314, 405, 321, 375])  # points of the mesh: where the lower lip meets the skin
SKIN = np.array([43, 106, 182, 83, 18, 313, 406, 335, 273])  # ... and skin right below
ROWS = np.stack([*LOWER_ROWS[1:], BORDER, SKIN])  # below the rim of the lip
UPPER_BORDER = np.array([185, 40, 39, 37, 0, 267, 269, 270, 409])  # the same of the upper lip
ABOVE = np.stack([*UPPER_ROWS[1:], UPPER_BORDER, [186, 92, 165, 167, 164, 393, 391, 322, 410]])  # the rim of its own
MOST_FULL = 1.4, 1.15  # times as thick as in the photograph that the upper lip and the lower one get
SKIN_FOLLOWS = 0.6  # how far the skin beyond a lip moves with its border
MIDDLE = slice(2, 7)  # of a row: where its thickness is seen
ALONG = np.array([0.2, 0.5, 0.8, 0.95, 1.0, 0.95, 0.8, 0.5, 0.2])  # of a row: how far it does; corners stay
THICKNESS = (0.8, 1.25)  # of the portrait's, as the driver's gets thinner or thicker: least and most
OPEN = (6.0, 16.0)  # millimetres between the lips from which the lip begins to keep its thickness, and does
LEAST_CHIN = 0.5  # of the way from the lip down to the chin that is left at least
CHIN_WIDTH = 42.0  # millimetres beside the middle within which skin below the lip is spread


def with_own_lower_lip(shape: np.ndarray, own: np.ndarray, driver: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """A shape whose lower lip is as thick as the portrait's when the mouth is open, or was in the portrait.

    Args:
        shape (`np.ndarray` of shape `(478, 3)`): The portrait's face under the driver's motion, millimetres.
        own (`np.ndarray` of shape `(478, 3)`): The portrait's face.
        driver, rest (`np.ndarray` of shape `(478, 3)`): The driver's face now and at rest.

    Returns:
        `np.ndarray` of shape `(478, 3)`.
    """
    gap = max(float(lip_gaps(face)[len(LOWER_LIP) // 2]) for face in (shape, own))
    share = float(step(gap, *OPEN))
    if share == 0:
        return shape
    shape = shape.copy()
    thicker = float(np.clip(_thickness(driver) / max(_thickness(rest), 1.0), *THICKNESS))
    turns = _turns(own, shape)
    for row in ROWS:
        offset = np.einsum("nij,nj->ni", turns, own[row, :2] - own[LOWER_LIP, :2])
        wanted = shape[LOWER_LIP, :2] + thicker * offset
        shape[row, :2] += share * ALONG[:, None] * (wanted - shape[row, :2])
    lip, chin = BORDER[len(BORDER) // 2], CHIN[-1]
    lacking = LEAST_CHIN * (own[chin, 1] - own[lip, 1]) - (shape[chin, 1] - shape[lip, 1])
    shape[:MESH, 1] += share * max(lacking, 0.0) * _below_lips()
    moved = shape[:MESH, :2] - own[:MESH, :2]
    free, from_others = _spread()
    shape[free, :2] += share * (from_others @ moved - moved[free])
    return shape


def with_fuller_lips(shape: np.ndarray, own: np.ndarray) -> np.ndarray:
    """A shape whose lips are thicker than in the photograph by as much as its mouth is less wide.

    Args:
        shape (`np.ndarray` of shape `(478, 3)`): The portrait's face without its smile, millimetres.
        own (`np.ndarray` of shape `(478, 3)`): The portrait's face.

    Returns:
        `np.ndarray` of shape `(478, 3)`.
    """
    wider = float(mouth_width(own) / max(float(mouth_width(shape)), 1.0))
    if wider <= 1:
        return shape
    shape, middle = shape.copy(), len(LOWER_LIP) // 2
    for rim, (*lip, skin), most in ((UPPER_LIP, ABOVE, MOST_FULL[0]), (LOWER_LIP, ROWS, MOST_FULL[1])):
        before, now = (face[lip[-1][middle], 1] - face[rim[middle], 1] for face in (own, shape))
        grows = max(min(wider, most) * before / now - 1, 0.0) if abs(now) > 1 else 0.0
        moved = grows * ALONG * (shape[lip, 1] - shape[rim, 1])  # (rows, 9)
        shape[lip, 1] += moved
        shape[skin, 1] += SKIN_FOLLOWS * moved[-1]
    return shape


def _turns(own: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """How the rim of the lower lip turns in the image plane, from one shape to another: rotations `(9, 2, 2)`."""
    rim = np.concatenate([MOUTH_CORNERS[:1], LOWER_LIP, MOUTH_CORNERS[1:]])
    before, after = (np.arctan2(*(s[rim[2:], :2] - s[rim[:-2], :2]).T[::-1]) for s in (own, shape))
    cos, sin = np.cos(after - before), np.sin(after - before)
    return np.stack([np.stack([cos, -sin], 1), np.stack([sin, cos], 1)], 1)


def _thickness(shape: np.ndarray) -> float:
    return float((shape[BORDER, 1] - shape[LOWER_LIP, 1])[MIDDLE].mean())


@cache
def _below_lips() -> np.ndarray:
    """How far points go down with the chin where the lips stay: `(468,)`, in [0, 1]."""
    weights = jaw_weights().copy()
    weights[np.concatenate([UPPER_ROWS.ravel(), LOWER_LIP, ROWS.ravel(), CORNERS.ravel()])] = 0
    return weights


@cache
def _spread() -> tuple[np.ndarray, np.ndarray]:
    """Points `(N,)` of the skin between lip and jaw, and their movements as those of the others: `(N, 468)`."""
    layout = triangles().layout
    lip = layout[BORDER]
    below = layout[:, 1] > np.interp(layout[:, 0], lip[:, 0], lip[:, 1]) + 0.1
    free = below & (np.abs(layout[:, 0]) < CHIN_WIDTH)
    free[np.concatenate([LOWER_LIP, ROWS.ravel(), CORNERS.ravel(), MESH_POINTS[:17], triangles().outline])] = False
    free = np.flatnonzero(free)
    return free, from_others(nearness(), free)
