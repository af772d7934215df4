"""Edits of a photograph: what an edit does to the generator's image is done to the photograph.

Where points of the face move, the photograph is warped; what changes beside that, as colour or wrinkles, is added, at
the generator's resolution. The idea of adding a change instead of replacing an image: expression ratio images (Liu et
al., Expressive Expression Mapping with Ratio Images, SIGGRAPH 2001).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from vivface.faces.alignment import to_crop, whole_quad
from vivface.faces.mesh_backend import MeshBackend
from vivface.faces.paste import soft_mask
from vivface.faces.pose import HeadPose
from vivface.warping.compositor import SURROUNDINGS, PhotoCompositor
from vivface.warping.mesh import PosedFace, face_points, place

READ_SIZE = 256  # pixels at which faces of generated images are read
MOST_CHANGE = 90.0  # levels that are added or taken at most


@dataclass(frozen=True)
class PhotoEdit:
    """The difference of two images of one person in one crop.

    Attributes:
        shape (`np.ndarray` of shape `(478, 3)`): How far points move, millimetres.
        turn (`np.ndarray` of shape `(3, 3)`): How the head turns.
        change (`np.ndarray` of shape `(S, S, 3)`): What is added once points have moved, levels, float32.
    """

    shape: np.ndarray
    turn: np.ndarray
    change: np.ndarray

    @classmethod
    def between(cls, before: np.ndarray, after: np.ndarray) -> PhotoEdit:
        """The edit that made one generated image into another.

        Args:
            before (`np.ndarray` of shape `(S, S, 3)`), after (`np.ndarray` of shape `(S, S, 3)`): uint8 RGB.
        """
        backend = MeshBackend()
        faces = [_read(backend, image) for image in (before, after)]
        if None in faces:
            change = after.astype(np.float32) - before
            return cls(np.zeros((478, 3)), np.eye(3), _softened(change))
        own, new = (PosedFace.of(face) for face in map(_points, faces))
        shape, turn = new.shape - own.shape, new.pose.turn @ own.pose.turn.T
        size = len(before)
        wide = cv2.copyMakeBorder(before, *[round(size * (SURROUNDINGS - 1) / 2)] * 4, cv2.BORDER_REFLECT_101)
        moved = PhotoCompositor(wide, place(own.shape, own.pose), size)(new.shape, new.pose)
        return cls(shape, turn, _softened(after.astype(np.float32) - moved))

    def apply(self, wide: np.ndarray, points: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Edit a photograph.

        Args:
            wide (`np.ndarray` of shape `(H, H, 3)`): The portrait's crop and what lies around it, `SURROUNDINGS` times
                as wide, uint8 RGB.
            points (`np.ndarray` of shape `(478, 3)`): Its face in the crop.
            size (`int`): Width and height of the crop in pixels.

        Returns:
            `tuple[np.ndarray, np.ndarray]`: the same two, edited.
        """
        shape, pose = self._moved(points)
        crop = PhotoCompositor(wide, points, size)(shape, pose).astype(np.float32)
        change = cv2.resize(self.change, (size, size), interpolation=cv2.INTER_CUBIC)
        return with_crop(wide, crop + change), place(shape, pose)

    def points(self, points: np.ndarray) -> np.ndarray:
        """Where the points `(478, 3)` of the face in the crop are once it is edited."""
        return place(*self._moved(points))

    def _moved(self, points: np.ndarray) -> tuple[np.ndarray, HeadPose]:
        face = PosedFace.of(points)
        pose = HeadPose(self.turn @ face.pose.turn, face.pose.scale, face.pose.center)
        return face.shape + self.shape, pose


def with_crop(wide: np.ndarray, crop: np.ndarray) -> np.ndarray:
    """A square of the photograph with another crop `(size, size, 3)` in its middle, blended in at the border."""
    size, start = len(crop), (len(wide) - len(crop)) // 2
    out = wide.copy()
    part = out[start : start + size, start : start + size]
    blended = part + soft_mask(size)[..., None] * (crop.astype(np.float32) - part)
    part[:] = np.round(blended).clip(0, 255).astype(np.uint8)
    return out


def _read(backend: MeshBackend, image: np.ndarray):
    large = cv2.resize(image, (READ_SIZE, READ_SIZE), interpolation=cv2.INTER_CUBIC)
    found = backend.detect(large, effort="low")
    return found[0] if found else None


def _points(face) -> np.ndarray:
    whole = whole_quad(READ_SIZE)
    return to_crop(face_points(face.points), whole)


def _softened(change: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(change, (0, 0), 0.8).clip(-MOST_CHANGE, MOST_CHANGE)
