"""Soft maps of the regions of a face, drawn from its 68 landmarks."""

from __future__ import annotations

import cv2
import numpy as np

REGIONS = ("face", "eyes", "brows", "mouth")
#: What the codec tells apart: `"jaw"` is chin and jaw without the lips, `"gaze"` the middle of both eyes.
ATTRIBUTE_REGIONS = ("mouth", "jaw", "eyes", "gaze", "brows")
PUPIL = 0.3  # half axes of the gaze region per width of the eye
PART_EYES, PART_BROWS = (slice(36, 42), slice(42, 48)), (slice(17, 22), slice(22, 27))
LIPS, JAW, NOSE = slice(48, 68), slice(4, 13), slice(27, 36)


def region_maps(landmarks: np.ndarray, size: int) -> np.ndarray:
    """Soft maps of face, eyes, brows and mouth.

    Args:
        landmarks (`np.ndarray` of shape `(68, 2)`): In fractions of the crop.
        size (`int`): Size of the maps, pixels.

    Returns:
        `np.ndarray` of shape `(4, size, size)`: uint8, 0..255, in the order of `REGIONS`.
    """
    maps = _Canvas(landmarks, 4, size)
    maps.hull(0, slice(0, 68), 0.04)
    for part in PART_EYES:
        maps.hull(1, part, 0.04)
    for part in PART_BROWS:
        maps.hull(2, part, 0.03)
    maps.hull(3, LIPS, 0.04)
    return maps.soft(size)


def attribute_maps(landmarks: np.ndarray, size: int) -> np.ndarray:
    """Soft maps of the face and of what the codec tells apart in it.

    Args:
        landmarks (`np.ndarray` of shape `(68, 2)`): In fractions of the crop.
        size (`int`): Size of the maps, pixels.

    Returns:
        `np.ndarray` of shape `(6, size, size)`: float32 in [0, 1]: the face, then `ATTRIBUTE_REGIONS`.
    """
    maps = _Canvas(landmarks, 6, size)
    maps.hull(0, slice(0, 68), 0.04)
    maps.hull(1, LIPS, 0.04)
    maps.hull(2, JAW, 0.04)
    maps.maps[2][maps.maps[1] > 0] = 0
    for part in PART_EYES:
        maps.hull(3, part, 0.05)
        maps.disc(4, part)
    for part in PART_BROWS:
        maps.hull(5, part, 0.04)
    return maps.soft(size).astype(np.float32) / 255


def part_masks(landmarks: np.ndarray, size: int) -> np.ndarray:
    """Masks of eyes, nose and mouth, as `vivface.editing.local_channels` names them.

    Args:
        landmarks (`np.ndarray` of shape `(68, 2)`): In fractions of the crop.
        size (`int`): Size of the masks, pixels.

    Returns:
        `np.ndarray` of shape `(3, size, size)`: bool.
    """
    maps = _Canvas(landmarks, 3, 2 * size)  # which draws at half the size
    for part in PART_EYES:
        maps.hull(0, part, 0.03)
    maps.hull(1, NOSE, 0.02)
    maps.hull(2, LIPS, 0.02)
    return np.stack([cv2.resize(each, (size, size), interpolation=cv2.INTER_NEAREST) for each in maps.maps]) > 0


class _Canvas:
    """Maps at half size, drawn with fractions of a pixel and blurred at the end."""

    def __init__(self, landmarks: np.ndarray, count: int, size: int):
        self._coarse = max(32, size // 2)
        self._landmarks = np.asarray(landmarks, np.float64)
        self._points = np.rint((landmarks * self._coarse - 0.5) * 16).astype(np.int32)  # 4 fractional bits
        self.maps = np.zeros((count, self._coarse, self._coarse), np.uint8)

    def hull(self, index: int, part: slice, margin: float) -> None:
        outline = cv2.convexHull(self._points[part])
        cv2.fillConvexPoly(self.maps[index], outline, 255, shift=4)
        cv2.polylines(self.maps[index], [outline], True, 255, max(1, round(margin * self._coarse)), shift=4)

    def disc(self, index: int, part: slice) -> None:
        eye = self._landmarks[part]
        radius = PUPIL * float(np.linalg.norm(eye[3] - eye[0])) * self._coarse
        center = np.rint((eye.mean(0) * self._coarse - 0.5) * 16).astype(int)
        cv2.circle(self.maps[index], center.tolist(), max(round(radius * 16), 16), 255, -1, shift=4)

    def soft(self, size: int) -> np.ndarray:
        radius = max(3, self._coarse // 16 | 1)
        return np.stack([cv2.resize(cv2.blur(m, (radius, radius)), (size, size)) for m in self.maps])
