"""What of a portrait's crop frames show: all of it, or no more than the photograph does, if this is cut closely."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from vivface.faces.alignment import crop_to_image_matrix, quad_size
from vivface.faces.pose import HeadPose

LEAST_SIZE, MOST_SIZE = 512, 1024  # pixels of a frame, unless another size is asked for
SCANNED = 100  # cells a side in which squares are looked for
MOST_BEYOND = 0.01  # share of a square that may lie beyond the photograph
AROUND_FACE = 0.02  # crops around the points of the face in the photograph that a square has at least


@dataclass(frozen=True)
class Framing:
    """The square that frames show, in crops.

    Attributes:
        left, top (`float`): Where it begins, from the left and the top of the crop.
        side (`float`): Its width and height.
    """

    left: float = 0.0
    top: float = 0.0
    side: float = 1.0

    @classmethod
    def around(cls, reach: float) -> Framing:
        """The square `reach` times as wide as the crop, about the same centre."""
        return cls((1 - reach) / 2, (1 - reach) / 2, reach)

    @classmethod
    def within(cls, photo: np.ndarray, quad: np.ndarray, points: np.ndarray) -> Framing:
        """The largest square of a crop that hardly reaches beyond the photograph, and holds what it shows of the face.

        Args:
            photo (`np.ndarray` of shape `(height, width, 3)`): The photograph.
            quad (`np.ndarray` of shape `(4, 2)`): The crop in it, pixels.
            points (`np.ndarray` of shape `(P, 2 or 3)`): Of the face in the crop, from 0 to 1.

        Returns:
            `Framing`: Of those as large, the one nearest to the crop's middle; the one that shows the least beyond the
            photograph where all of them show more than `MOST_BEYOND`.
        """
        beyond = beyond_photo(photo.shape, quad, SCANNED)
        if beyond.mean() <= MOST_BEYOND:
            return WHOLE
        cells = (points[:, :2] * SCANNED).astype(int).clip(0, SCANNED - 1)
        face = points[~beyond[cells[:, 1], cells[:, 0]], :2]
        if not len(face):
            return WHOLE
        low = np.floor((face.min(0) - AROUND_FACE) * SCANNED).clip(0, SCANNED - 1).astype(int)
        high = np.ceil((face.max(0) + AROUND_FACE) * SCANNED).clip(1, SCANNED).astype(int)
        sums = cv2.integral(beyond.astype(np.uint8))
        best, least = WHOLE, float(beyond.mean())
        for side in range(SCANNED - 1, int((high - low).max()) - 1, -1):
            (left, top), share = _best_place(sums, side, low, high)
            if share < least:
                best, least = Framing(left / SCANNED, top / SCANNED, side / SCANNED), share
            if share <= MOST_BEYOND:
                break
        return best

    def crop_size(self, size: int) -> int:
        """Width and height in pixels of the whole crop where frames have `size`: a multiple of 4 more."""
        return size + 4 * math.ceil((size / self.side - size) / 4)

    def in_pixels(self, size: int) -> tuple[Framing, int, int]:
        """The nearest square of whole pixels where frames have `size`, and where it begins in the crop, pixels."""
        whole = self.crop_size(size)
        left, top = (min(max(round(start * whole), 0), whole - size) for start in (self.left, self.top))
        return Framing(left / whole, top / whole, size / whole), left, top

    def points(self, points: np.ndarray) -> np.ndarray:
        """Points `(..., 3)` of the crop as they lie in the square."""
        return (points - [self.left, self.top, 0.0]) / self.side

    def pose(self, pose: HeadPose) -> HeadPose:
        """A pose in the crop as it is in the square."""
        return HeadPose(pose.turn, pose.scale / self.side, self.points(pose.center[None])[0])

    def cut(self, image: np.ndarray) -> np.ndarray:
        """The square of an image `(size, size, ...)` of the crop, to the nearest pixel."""
        size = len(image)
        side = min(max(round(self.side * size), 1), size)
        left, top = (min(max(round(start * size), 0), size - side) for start in (self.left, self.top))
        return image[top : top + side, left : left + side]


WHOLE = Framing()


def _best_place(sums: np.ndarray, side: int, low: np.ndarray, high: np.ndarray) -> tuple[tuple[int, int], float]:
    """Where a square of `side` cells holds those from `low` to `high` and shows the least beyond the photograph.

    Args:
        sums (`np.ndarray` of shape `(SCANNED + 1, SCANNED + 1)`): Integral image of what lies beyond it.

    Returns:
        `tuple`: Left and top, and the share beyond the photograph.
    """
    x, y = (
        np.arange(max(last - side, 0), min(first, SCANNED - side) + 1) for first, last in zip(low, high, strict=True)
    )
    x, y = (ends if len(ends) else np.array([(SCANNED - side) // 2]) for ends in (x, y))
    count = sums[y + side][:, x + side] - sums[y][:, x + side] - sums[y + side][:, x] + sums[y][:, x]
    middle = (SCANNED - side) / 2
    far = np.abs(y - middle)[:, None] + np.abs(x - middle)[None]
    allowed = max(int(count.min()), int(MOST_BEYOND * side * side))
    row, column = np.unravel_index(np.where(count <= allowed, far, np.inf).argmin(), count.shape)
    return (int(x[column]), int(y[row])), float(count[row, column]) / side**2


def beyond_photo(shape: tuple[int, ...], quad: np.ndarray, size: int) -> np.ndarray:
    """Which pixels of a crop lie beyond the border of a photograph of a shape: bool `(size, size)`."""
    matrix = crop_to_image_matrix(quad, size)
    x, y = (row[0] * np.arange(size)[None] + row[1] * np.arange(size)[:, None] + row[2] for row in matrix)
    return (x < -0.5) | (x > shape[1] - 0.5) | (y < -0.5) | (y > shape[0] - 0.5)


def enlarged(quad: np.ndarray, factor: float) -> np.ndarray:
    """A square `(4, 2)` about the same centre."""
    center = quad.mean(0)
    return center + factor * (quad - center)


def frame_size(quad: np.ndarray, framing: Framing = WHOLE) -> int:
    """Width and height in pixels at which a photograph's crop is shown, or less of it: its own, within limits, even."""
    return min(max(2 * math.ceil(min(framing.side, 1.0) * quad_size(quad) / 2), LEAST_SIZE), MOST_SIZE)
