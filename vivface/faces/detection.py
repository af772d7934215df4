"""Find faces of any size with the two BlazeFace networks: the whole image first, then tiles of it.

Anchors, decoding and the weighted fusion of overlapping boxes follow Bazarevsky et al., BlazeFace, CVPR workshops
2019, sec. 3, with the thresholds that MediaPipe publishes for these networks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from vivface.engines import Engine
from vivface.faces.landmarks import overlap
from vivface.faces.networks import FullRangeDetector, ShortRangeDetector, load_network

SAME_FACE = 0.3  # overlap of two boxes of one face
TILE = 768  # size of the smallest tiles in pixels: a face of 40 pixels covers a twentieth of it
TILE_OVERLAP = 0.25  # of a tile
DARK, BRIGHT, MAX_GAIN = 0.4, 0.8, 6.0  # images whose brightest parts stay below DARK are lit up to BRIGHT


@dataclass(frozen=True)
class Detection:
    """A face as a detector sees it.

    Attributes:
        box (`np.ndarray` of shape `(4,)`): x0, y0, x1, y1 in pixels, from brows to chin.
        points (`np.ndarray` of shape `(6, 2)`): In pixels: the person's right eye, left eye, tip of the nose, mouth,
            right and left ear.
        score (`float`): Probability, in (0, 1).
    """

    box: np.ndarray
    points: np.ndarray
    score: float

    @property
    def angle(self) -> float:
        """Roll in radians, clockwise in the image, from eyes and mouth: 0 when upright."""
        eyes = self.points[1] - self.points[0]
        down = self.points[3] - self.points[:2].mean(0)
        across = eyes + np.array([down[1], -down[0]])
        return math.atan2(across[1], across[0])


class FaceDetector:
    """Detectors for near and for far faces.

    Args:
        device (`str`, *optional*, defaults to `"cpu"`): Where the networks compute.
        engine (`Engine`, *optional*): Computes them in place of PyTorch.

    Raises:
        BackendError: If weights are missing or damaged.
    """

    def __init__(self, device: str = "cpu", engine: Engine | None = None):
        self.device = torch.device(device)
        self.near = load_network("short_range_detector", self.device, engine)
        self.far = load_network("full_range_detector", self.device, engine)
        self._anchors = {id(network): anchor_centers(network) for network in (self.near, self.far)}

    def whole(self, image: np.ndarray, min_score: float) -> list[Detection]:
        """Faces that are larger than about a twentieth of the image.

        Args:
            image (`np.ndarray` of shape `(H, W, 3)`): uint8 RGB.
            min_score (`float`): Least probability.

        Returns:
            `list[Detection]`: The surest first.
        """
        square, scale, offset = letterbox(image, self.far.image_size)
        small = cv2.resize(square, (self.near.image_size,) * 2, interpolation=cv2.INTER_AREA)
        found = self._run(self.far, square, min_score) + self._run(self.near, small, min_score)
        return fuse([_moved(face, 1 / scale, offset) for face in found])

    def tiles(self, image: np.ndarray, size: int, min_score: float) -> list[Detection]:
        """Smaller faces: those larger than about a twentieth of `size` pixels; arguments and result as of `whole`."""
        found = []
        step = max(1, round(size * (1 - TILE_OVERLAP)))
        height, width = image.shape[:2]
        for top in tile_starts(height, size, step):
            for left in tile_starts(width, size, step):
                square, scale, offset = letterbox(image[top : top + size, left : left + size], self.far.image_size)
                corner = np.array([left, top]) + offset
                found += [_moved(face, 1 / scale, corner) for face in self._run(self.far, square, min_score)]
        return fuse(found)

    def _run(
        self, network: ShortRangeDetector | FullRangeDetector, square: np.ndarray, min_score: float
    ) -> list[Detection]:
        """Detections in a square image of the network's size, in units of its side."""
        size = network.image_size
        pixels = torch.from_numpy(square).to(self.device).permute(2, 0, 1)[None]
        with torch.inference_mode():
            scores, boxes = network(pixels / 127.5 - 1)
        scores = torch.sigmoid(scores[0, :, 0].float()).cpu().numpy()
        rows = np.flatnonzero(scores > min_score)
        values = boxes[0].float().cpu().numpy()[rows].reshape(-1, 8, 2) / size
        centers = self._anchors[id(network)][rows]
        found = []
        for score, (middle, extent, *points), anchor in zip(scores[rows], values, centers, strict=True):
            if (extent > 0).all():
                box = np.concatenate([anchor + middle - extent / 2, anchor + middle + extent / 2])
                found.append(Detection(box, anchor + np.array(points), float(score)))
        return found


def anchor_centers(network: ShortRangeDetector | FullRangeDetector) -> np.ndarray:
    """Centres `(anchors, 2)` of a detector's anchors, x and y in [0, 1], in the order of its output."""
    centers = []
    for cells, count in network.anchors:
        middle = (np.arange(cells) + 0.5) / cells
        y, x = np.meshgrid(middle, middle, indexing="ij")
        centers.append(np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2), count, axis=0))
    return np.concatenate(centers)


def letterbox(image: np.ndarray, size: int) -> tuple[np.ndarray, float, np.ndarray]:
    """The image in the middle of a black square.

    Returns:
        `tuple[np.ndarray, float, np.ndarray]`: uint8 `(size, size, 3)`; sides of the square per pixel of the image;
        and the position `(2,)` of the square's corner in the image.
    """
    height, width = image.shape[:2]
    longest = max(height, width)
    new = (max(1, round(width * size / longest)), max(1, round(height * size / longest)))
    interpolation = cv2.INTER_AREA if longest > size else cv2.INTER_LINEAR
    resized = cv2.resize(image, new, interpolation=interpolation)
    left, top = (size - new[0]) // 2, (size - new[1]) // 2
    square = np.zeros((size, size, 3), np.uint8)
    square[top : top + new[1], left : left + new[0]] = light_up(resized)
    return square, 1 / longest, -np.array([left, top]) * longest / size - 0.5


def light_up(image: np.ndarray) -> np.ndarray:
    """A dark image made brighter by one factor; others stay as they are."""
    green = image[::4, ::4, 1]
    if np.count_nonzero(green >= math.ceil(DARK * 255)) > 0.02 * green.size + 1:  # so is the percentile, at less cost
        return image
    bright = float(np.percentile(green, 98)) / 255
    if bright >= DARK:
        return image
    return cv2.convertScaleAbs(image, alpha=min(BRIGHT / max(bright, 1e-3), MAX_GAIN))


def tile_starts(length: int, size: int, step: int) -> list[int]:
    """Where tiles of `size` begin so that they cover `length` pixels, at most `step` apart."""
    if length <= size:
        return [0]
    count = math.ceil((length - size) / step) + 1
    return [round(start) for start in np.linspace(0, length - size, count)]


def fuse(found: list[Detection]) -> list[Detection]:
    """One detection for each group that overlaps: their mean, weighted by score, with the best score."""
    left = sorted(found, key=lambda face: -face.score)
    fused = []
    while left:
        group = [face for face in left if overlap(face.box, left[0].box) > SAME_FACE]
        left = [face for face in left if not any(face is other for other in group)]
        weights = np.array([face.score for face in group])
        weights /= weights.sum()
        box = sum(weight * face.box for weight, face in zip(weights, group, strict=True))
        points = sum(weight * face.points for weight, face in zip(weights, group, strict=True))
        fused.append(Detection(box, points, group[0].score))
    return fused


def _moved(face: Detection, scale: float, offset: np.ndarray) -> Detection:
    return Detection(face.box * scale + np.tile(offset, 2), face.points * scale + offset, face.score)
