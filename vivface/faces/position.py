"""Where a face is in a picture: the canonical transformation (Video2StyleGAN, sec. 3.3.1, eq. 4-6).

    e = mean of both eyes' landmarks,   v = mean of the mouth's - e
    r = angle between v and its direction in the canonical face
    t = e - e', e' being where the canonical face has its eyes

FFHQ's square holds these numbers: it lies at e + 0.1 v, turned with the face, so that the face in it is the canonical
one. Its centre and its angle in a square that stands still are t and r. Read off like this they are those of the very
crop that the network saw, and a crop that is moved back lies exactly where it was.

The paper prints r as a cosine, which has no sign; it is an angle here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vivface.faces.alignment import make_quad, quad_angle, quad_axes, quad_center, quad_size


@dataclass(frozen=True)
class Position:
    """How a face lies against the canonical one.

    Attributes:
        right, down (`float`): Translation, in sides of the square that stands still.
        angle (`float`): Rotation about the centre of the face's own square, radians, clockwise in the picture.
    """

    right: float = 0.0
    down: float = 0.0
    angle: float = 0.0


def still_square(quad: np.ndarray) -> np.ndarray:
    """The upright square of the place and the size of a face, against which the frames that follow are measured.

    Args:
        quad (`np.ndarray` of shape `(4, 2)`): FFHQ's square of the face, see `ffhq_quad`.

    Returns:
        `np.ndarray` of shape `(4, 2)`: A quad.
    """
    return make_quad(quad_center(quad), quad_size(quad) / 2)


def position_of(quad: np.ndarray, square: np.ndarray) -> Position:
    """The canonical transformation of a face, t and r of eq. 4-6.

    Args:
        quad (`np.ndarray` of shape `(4, 2)`): FFHQ's square of the face, pixels.
        square (`np.ndarray` of shape `(4, 2)`): The square that stands still, pixels.
    """
    axes = np.stack(quad_axes(square), axis=1)  # columns: right, down
    right, down = np.linalg.solve(axes, quad_center(quad) - quad_center(square))
    angle = math.remainder(quad_angle(quad) - quad_angle(square), 2 * math.pi)
    return Position(float(right), float(down), angle)
