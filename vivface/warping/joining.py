"""Points of several drivers in one motion."""

import numpy as np

from vivface.warping.mesh import PosedFace, place
from vivface.warping.retargeting import REST_FRAMES, Rest, expression_between


def on_face_of(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The second driver's movements on the first one's face, so that a change of drivers moves nothing.

    Retargeting takes one face at rest for a whole motion. What another driver's face at rest differs by is taken back,
    as far as it is due to the person and not to an expression at the beginning.

    Args:
        first, second (`np.ndarray` of shape `(frames, 478, 3)`): Points in the drivers' crops, see
            `vivface.warping.mesh`.

    Returns:
        `np.ndarray` of shape `(frames, 478, 3)`: Of the second's frames.
    """
    ours, theirs = (Rest.of(points[:REST_FRAMES]).shape for points in (first, second))
    person = ours - theirs - expression_between(theirs, ours)
    faces = [PosedFace.of(points) for points in second]
    return np.stack([place(face.shape + person, face.pose) for face in faces])
