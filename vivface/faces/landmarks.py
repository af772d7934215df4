"""A face with its 68 landmarks, and the one small interface behind which they are found.

All coordinates are pixels of the picture given (x right, y down, the centre of the top left pixel is `(0, 0)`).
Landmarks follow the iBUG 68-point order (Sagonas et al., 300 Faces in-the-Wild Challenge, ICCVW 2013).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from vivface.errors import NoFaceError

if TYPE_CHECKING:
    from vivface.faces.mesh_reader import FacePoints

Effort = Literal["low", "normal", "high"]


@dataclass(frozen=True)
class Face:
    """One face in one picture.

    Attributes:
        box (`np.ndarray` of shape `(4,)`): float64 x0, y0, x1, y1 as the backend's detector would give it.
        landmarks (`np.ndarray` of shape `(68, 2)`): float64.
        score (`float`): The detector's confidence; its scale belongs to the backend, higher is surer.
        memory (`object`, *optional*): What the backend wants to find again when it follows this face.
        points (`FacePoints`, *optional*): Mesh and eyes, from backends that see them: what `FaceState` is read from.
    """

    box: np.ndarray
    landmarks: np.ndarray
    score: float
    memory: object = field(default=None, repr=False, compare=False)
    points: FacePoints | None = field(default=None, repr=False, compare=False)

    @property
    def center(self) -> np.ndarray:
        """Centre of the box, `(2,)`."""
        return np.array([self.box[0] + self.box[2], self.box[1] + self.box[3]]) * 0.5

    @property
    def width(self) -> float:
        """Width of the box in pixels."""
        return float(self.box[2] - self.box[0])


class LandmarkBackend(Protocol):
    """Finds faces and follows them."""

    name: str

    def detect(self, image: np.ndarray, *, effort: Effort = "normal", near: Face | None = None) -> list[Face]:
        """All faces, the largest first.

        Args:
            image (`np.ndarray` of shape `(H, W, 3)`): uint8 RGB.
            effort (`str`, *optional*, defaults to `"normal"`): `"low"` looks for large faces only, `"normal"` goes on
                to smaller ones until it finds any, `"high"` looks for faces of every size.
            near (`Face`, *optional*): Where to look first; a face found there ends the search.
        """
        ...

    def refine(self, image: np.ndarray, face: Face) -> Face | None:
        """The same face in the next frame, or None when it is not there any more."""
        ...


def choose_face(faces: list[Face], index: int | None = None, where: str = "the picture") -> Face:
    """The largest face, or the one asked for (0 is the largest).

    Raises:
        NoFaceError: If there is no such face; the message tells how many were found in `where`.
    """
    if not faces:
        raise NoFaceError(f"No face was found in {where}: give one that shows an upright face clearly.")
    if index is None:
        return faces[0]
    if not 0 <= index < len(faces):
        found = "1 face was" if len(faces) == 1 else f"{len(faces)} faces were"
        raise NoFaceError(
            f"Face {index} was asked for, but {found} found in {where}: "
            f"give a number from 0 (the largest face) to {len(faces) - 1}."
        )
    return faces[index]


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes `(4,)`."""
    inner = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0).prod()
    return float(inner / max((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - inner, 1e-9))
