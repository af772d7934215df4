"""The jaw goes down with an opening mouth: the mesh shows two thirds of it.

On renders of known truth the chin of the mesh goes down by two thirds of the way that it goes, while the gap of the
lips comes close. So the chin follows the gap. The numbers are those of `training.tools.fit_warping`.
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
    from_others,
    neighbours,
    step,
    triangles,
)

CHIN = (15, 16, 17, 18, 200, 199, 175, 152)  # points of the mesh: down the middle, from lower lip to the lowest
CHIN_SHARE = 0.65  # of the gap of the lips, how far the chin goes down
SMILE_PARTS = 10.0  # millimetres that a full smile parts the lips
TEETH_SHOW = (8.0, 20.0)  # millimetres between lips: up to here teeth show, from there on the jaw is down
JAW_LINE = (0.0, 0.03, 0.13, 0.3, 0.35, 0.48, 0.66, 0.88, 1.0)  # how far landmarks 0 to 8 go down, as the chin does
CORNERS = 0.35  # the same of the corners of the mouth
NOSE_TIP = 4  # point of the mesh: what is above it stays


def with_jaw_down(shape: np.ndarray, own: np.ndarray, opened: float) -> np.ndarray:
    """A shape `(478, 3)` whose chin is as far down as the mouth is opened, or up where a portrait's open jaw shuts.

    Args:
        shape (`np.ndarray` of shape `(478, 3)`): A face as the mesh has it, millimetres.
        own (`np.ndarray` of shape `(478, 3)`): The face that it was made of.
        opened (`float`): How much farther the jaw is to open the lips, millimetres, negative if it shuts them; see
            `gap_of_jaw`.
    """
    seen, wanted = shape[CHIN[-1], 1] - own[CHIN[-1], 1], CHIN_SHARE * opened
    shape = shape.copy()
    shape[:MESH, 1] += jaw_weights() * (max(wanted - max(seen, 0.0), 0.0) if opened >= 0 else min(wanted - seen, 0.0))
    return shape


def gap_of_jaw(gaps: np.ndarray, smile: float) -> float:
    """What of the gaps of the lips `(9,)` is due to the jaw, millimetres: a smile parts them, too."""
    return max(float(gaps[len(gaps) // 2]) - SMILE_PARTS * min(max(smile, 0.0), 1.0), 0.0)


def gap_of_own_jaw(gaps: np.ndarray) -> float:
    """The same of a single photograph, whose smile is not known for sure: small gaps show teeth, large ones a jaw."""
    gap = float(gaps[len(gaps) // 2])
    return gap * float(step(gap, *TEETH_SHOW))


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
    free = np.flatnonzero(np.isnan(known))
    known[free] = from_others(neighbours(), free) @ np.nan_to_num(known)
    return known
