"""The rims of a photograph's eyes, so that nothing of the open eye is left to see once its lids are shut.

The networks see the rims where the white of the eye ends. Behind that lie the bright edge of the lower lid, lashes of
the upper one and the corners, which shut lids hide. They count as parts of the eye here: at rest nothing changes, and
as the upper lid comes down it brings its lashes and covers the rest.
"""

from __future__ import annotations

import numpy as np

from vivface.warping.gaps import both_sides, lid_gaps
from vivface.warping.mesh import LID_CORNERS, LOWER_LID, UPPER_LID, PosedFace, place, step

LASHES, EDGE = 0.5, 0.9  # millimetres that the upper and the lower rim lie lower
OUTER, INNER = 1.2, 0.6  # millimetres that the corners lie farther out
ARCH = np.array([0.4, 0.8, 1.0, 1.0, 1.0, 0.8, 0.4])  # along the lids, from one corner to the other
OPEN = (1.0, 4.0)  # millimetres between lids: at the first they are shut already, at the second open


def with_hidden_rims(points: np.ndarray) -> np.ndarray:
    """Points of a portrait whose eyes have the rims that shut lids hide.

    Args:
        points (`np.ndarray` of shape `(478, 3)`): A face in a crop, see `vivface.warping.mesh`.

    Returns:
        `np.ndarray` of shape `(478, 3)`: Lids and corners of open eyes moved, the others as given.
    """
    face = PosedFace.of(points)
    shape, opened = face.shape.copy(), step(lid_gaps(face.shape), *OPEN)
    for side in (0, 1):
        shape[both_sides(UPPER_LID)[side], 1] += opened[side] * LASHES * ARCH
        shape[both_sides(LOWER_LID)[side], 1] += opened[side] * EDGE * ARCH
        outer, inner = both_sides(LID_CORNERS)[side]
        away = np.sign(shape[outer, 0] - shape[inner, 0])
        shape[outer, 0] += opened[side] * OUTER * away
        shape[inner, 0] -= opened[side] * INNER * away
    return place(shape, face.pose)
