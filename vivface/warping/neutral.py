"""A driver's neutral face, from frames that need not show it.

A clip may begin in the middle of a word, in a blink or with raised brows. Each part of the face is taken from those
frames in which it is most at rest: the mouth where the lips are closest and neither smile nor are pursed, the lids
where they are open; brows are at rest most of the time. Lips that stay apart in all frames are brought together as a
jaw that shuts would do it.
"""

from __future__ import annotations

import numpy as np

from vivface.warping.gaps import mouth_width
from vivface.warping.mesh import LOWER_LIP, MESH, UPPER_LIP
from vivface.warping.movements import mouth_movements
from vivface.warping.regions import part_weights

CALM_MOUTH = (10, 30)  # percentiles of the mouth's effort up to which frames count, and may count ...
CALM_WITHIN = 1.5  # ... if they are within so many millimetres of the least
OPEN_LIDS = 50  # percentile of the lids' gaps from which on frames count
MOST_SHUT = 2.0  # millimetres between lips that touch, as the network sees them, at most
SMILE_MILLIMETRES = 6.0  # effort of a full smile, as of lips that are so far apart
PURSED_BELOW, PURSED_SHARE = (
    42.0,
    0.5,
)  # millimetres of a mouth's width below which it is pursed; effort of a millimetre


def neutral_shape(shapes: np.ndarray, lids: np.ndarray, smiles: np.ndarray) -> np.ndarray:
    """The face at rest.

    Args:
        shapes (`np.ndarray` of shape `(T, 478, 3)`): Of a driver, millimetres, see `PosedFace`.
        lids (`np.ndarray` of shape `(T, 2)`): Gaps of the lids, millimetres.
        smiles (`np.ndarray` of shape `(T,)`): How much the driver smiles, up to a constant; 1 is a full smile.

    Returns:
        `np.ndarray` of shape `(478, 3)`.
    """
    pursed = PURSED_SHARE * np.maximum(PURSED_BELOW - mouth_width(shapes), 0)
    effort = mean_lip_gaps(shapes) + SMILE_MILLIMETRES * smiles + pursed
    opened = lids.mean(1)
    least, most = np.percentile(effort, CALM_MOUTH)
    chosen = (
        effort <= np.clip(effort.min() + CALM_WITHIN, least, most),
        opened >= np.percentile(opened, OPEN_LIDS),
        np.ones(len(shapes), bool),
    )
    medians = np.stack([np.median(shapes[rows], 0) for rows in chosen], 1)  # (478, 3 parts, 3)
    return shut((part_weights()[..., None] * medians).sum(1))


def shut(shape: np.ndarray) -> np.ndarray:
    """A shape `(478, 3)` whose lips touch, or nearly so: its jaw is raised as far as they are apart."""
    jaw = mouth_movements()["mouth_open"]
    apart = mean_lip_gaps(shape[None])[0] - MOST_SHUT
    shape = shape.copy()
    shape[:MESH] -= max(apart, 0.0) / mean_lip_gaps(jaw[None])[0] * jaw
    return shape


def mean_lip_gaps(shapes: np.ndarray) -> np.ndarray:
    """Mean gap of the lips `(T,)` of shapes `(T, 478, 3)`, millimetres."""
    return (shapes[:, LOWER_LIP, 1] - shapes[:, UPPER_LIP, 1]).mean(1)
