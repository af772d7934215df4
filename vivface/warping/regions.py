"""Which part of the face a point of the mesh belongs to: mouth, eyes or brows; and which points move fast."""

from __future__ import annotations

from functools import cache

import numpy as np

from vivface.faces.networks.attention_mesh import EYES
from vivface.warping.mesh import MESH, POINTS, eye_loops, lip_loop, mirror, step, triangles

PARTS = ("mouth", "eyes", "brows")
BROWS = np.array([70, 63, 105, 66, 107, 46, 53, 52, 65, 55])  # of the mesh, the right brow: upper rim, lower rim
LIDS_AND_FOLDS = EYES[0, :32]  # of the right eye
CHEEK_BELOW = 9.0  # millimetres below the folds of the lower lids, where the cheek begins
FADE = 5.0  # millimetres over which one part passes into the next
QUICK = (3.0, 15.0)  # millimetres from lips and lids within which points are as fast, and from which on as slow as skin


@cache
def part_weights() -> np.ndarray:
    """`(478, 3)`: how far each point belongs to mouth (with nose, cheeks and jaw), eyes and brows (with the forehead).

    The weights of a point add up to 1. Lids and irises belong to the eyes, the brows' own points to the brows.
    """
    layout = triangles().layout[:, :2]
    eyes, brows = (layout[np.concatenate([points, mirror()[points]])] for points in (LIDS_AND_FOLDS, BROWS))
    upper = brows[np.argsort(brows[:, 0])]
    forehead = layout[layout[:, 1] < np.interp(layout[:, 0], upper[:, 0], upper[:, 1])]
    cheeks = layout[layout[:, 1] > eyes[:, 1].max() + CHEEK_BELOW]
    sets = (cheeks, eyes, np.concatenate([brows, forehead]))
    nearest = np.stack([np.linalg.norm(layout[:, None] - points[None], axis=2).min(1) for points in sets], 1)
    weights = np.exp(-2 * (nearest - nearest.min(1, keepdims=True)) / FADE)
    weights /= weights.sum(1, keepdims=True)
    irises = np.tile([0.0, 1.0, 0.0], (POINTS - MESH, 1))
    return np.concatenate([weights, irises])


@cache
def quickness() -> np.ndarray:
    """`(478,)`: 1 for lips, lids and irises, which move fast, 0 for skin that is far from them."""
    layout = triangles().layout[:, :2]
    quick = layout[np.concatenate([lip_loop(), *eye_loops()])]
    away = np.linalg.norm(layout[:, None] - quick[None], axis=2).min(1)
    return np.concatenate([1 - step(away, *QUICK), np.ones(POINTS - MESH)])
