"""The ways in which systems cut faces, by name."""

from collections.abc import Callable

import numpy as np

from vivface.faces.alignment import ffhq_quad
from vivface.faces.voxceleb import deca_quad, voxceleb_quad

#: Name of a crop -> its square for 68 landmarks. "stable" takes FFHQ's, and follows slow movement only; "still"
#: takes FFHQ's of the first face of a video, upright, and stays there.
CROPS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "ffhq": ffhq_quad,
    "stable": ffhq_quad,
    "still": ffhq_quad,
    "voxceleb": voxceleb_quad,
    "deca": deca_quad,
}


def face_quad(landmarks: np.ndarray, crop: str) -> np.ndarray:
    """The square that a crop takes around a face.

    Args:
        landmarks (`np.ndarray` of shape `(68, 2)`): iBUG landmarks in pixels.
        crop (`str`): A key of `CROPS`.

    Returns:
        `np.ndarray` of shape `(4, 2)`, float64: the quad.

    Raises:
        ValueError: If the landmarks have another shape, are not finite, or have no extent.
    """
    return CROPS[crop](landmarks)
