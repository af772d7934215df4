"""Images next to each other: source | driving | result, frame by frame in the same stream."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np


def side_by_side(images: Sequence[np.ndarray], height: int | None = None) -> np.ndarray:
    """Scale images to one height and put them next to each other, from left to right.

    Args:
        images (sequence of `np.ndarray` of shape `(height, width, 3)`, `uint8`): RGB.
        height (`int`, *optional*): Of the result, in pixels; by default that of the tallest image.

    Returns:
        `np.ndarray` of shape `(height, sum of the scaled widths, 3)`, `uint8`: RGB. Proportions are kept.

    Raises:
        ValueError: If there is no image.
    """
    if not images:
        raise ValueError("`images` is empty, but needs at least one image.")
    height = height or max(image.shape[0] for image in images)
    return np.hstack([_scaled(image, height) for image in images])


def _scaled(image: np.ndarray, height: int) -> np.ndarray:
    if image.shape[0] == height:
        return image
    width = max(round(image.shape[1] * height / image.shape[0]), 1)
    interpolation = cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=interpolation)
