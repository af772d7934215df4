"""Colours for places that a photograph does not show, from those around them.

Pull and push on a pyramid: Gortler et al., The Lumigraph, SIGGRAPH 1996.
"""

from __future__ import annotations

import cv2
import numpy as np

COARSE, FINE = 32.0, 3.0  # pixels of what is computed small: of the reach of details, of a standard deviation


def spread(image: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Colours of known pixels spread over the others, the coarser the farther away.

    Args:
        image (`np.ndarray` of shape `(height, width, C)`): float32.
        known (`np.ndarray` of shape `(height, width)`): float32, 1 where the image is known, else 0.

    Returns:
        `np.ndarray` of shape `(height, width, C)`: The image where it is known.
    """
    weights = known[..., None]
    if min(image.shape[:2]) < 2 or known.all():
        return image
    half = _fewer(image.shape[1::-1], 2)
    sums = cv2.resize(image * weights, half, interpolation=cv2.INTER_AREA)
    shares = cv2.resize(known, half, interpolation=cv2.INTER_AREA)
    coarse = sums / np.maximum(shares, 1e-6)[..., None]
    coarse = spread(coarse, (shares > 0).astype(np.float32))
    coarse = cv2.resize(coarse, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return coarse + weights * (image - coarse)


def with_border(picture: np.ndarray, low: np.ndarray, high: np.ndarray, border: int) -> np.ndarray:
    """A box of a picture, which may reach beyond its border.

    Args:
        picture (`np.ndarray` of shape `(height, width, C)`): uint8.
        low, high (`np.ndarray` of shape `(2,)`): First pixel of the box and the one after its last, x and y.
        border (`int`): What lies beyond, OpenCV's border mode; black where the box misses the picture.
    """
    first, last = (np.clip(corner, 0, picture.shape[1::-1]) for corner in (low, high))
    part = picture[first[1] : last[1], first[0] : last[0]]
    if 0 in part.shape[:2]:
        return np.zeros((*(high - low)[::-1], *picture.shape[2:]), picture.dtype)
    (left, top), (right, bottom) = first - low, high - last
    border = border if min(part.shape[:2]) > 1 else cv2.BORDER_REPLICATE  # a single pixel has no reflection
    return cv2.copyMakeBorder(part, top, bottom, left, right, border)


def reflected(details: np.ndarray, known: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """What is known, mirrored at its border into what is not.

    Args:
        details (`np.ndarray` of shape `(height, width, C)`): float32.
        known (`np.ndarray` of shape `(height, width)`): float32, 1 where they are known, else 0; somewhere 1.
        reach (`float`): Pixels from the border up to which there are any.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: The details, and how far they count `(height, width)`: 1 at the border, 0 far
        from it and where the mirror image is not known either.
    """
    size, less = known.shape[::-1], max(round(reach / COARSE), 1)
    few = _fewer(size, less)
    unknown = (cv2.resize(known, few, interpolation=cv2.INTER_AREA) < 0.999).astype(np.uint8)
    distance, number = cv2.distanceTransformWithLabels(unknown, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    places = np.stack(np.meshgrid(*(np.arange(count, dtype=np.float32) for count in few)), -1)
    nearest = np.zeros((number.max() + 1, 2), np.float32)
    nearest[number[unknown == 0]] = places[unknown == 0]
    away = cv2.GaussianBlur(nearest[number] - places, (0, 0), reach / less / 8)
    away, distance = (cv2.resize(less * field, size, interpolation=cv2.INTER_LINEAR) for field in (away, distance))
    x, y = (np.arange(count, dtype=np.float32) for count in size)
    where = x[None] + 2 * away[..., 0], y[:, None] + 2 * away[..., 1]
    share = cv2.remap(known, *where, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    share *= np.clip(1 - distance / reach, 0, 1)
    found = cv2.remap(details, *where, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return found.reshape(details.shape), share


def smooth(image: np.ndarray, known: np.ndarray, sigma: float) -> np.ndarray:
    """An image without details, of what is known only.

    Args:
        image (`np.ndarray` of shape `(height, width, 3)`): float32.
        known (`np.ndarray` of shape `(height, width)`): float32, 1 where it is known, else 0.
        sigma (`float`): Pixels, standard deviation.

    Returns:
        `np.ndarray` of shape `(height, width, 3)`: Of no meaning far from what is known.
    """
    size, less = known.shape[::-1], max(round(sigma / FINE), 1)
    few = _fewer(size, less)
    sums, weights = (
        cv2.GaussianBlur(cv2.resize(part, few, interpolation=cv2.INTER_AREA), (0, 0), sigma / less)
        for part in (image * known[..., None], known)
    )
    return cv2.resize(sums / np.maximum(weights, 1e-6)[..., None], size, interpolation=cv2.INTER_LINEAR)


def continued(
    image: np.ndarray, known: np.ndarray, sigma: float, reach: float, grain: np.ndarray | float = 0.0
) -> np.ndarray:
    """What is known goes on where nothing is: its smooth colours spread, its details mirrored a little way.

    Args:
        image (`np.ndarray` of shape `(height, width, 3)`): float32.
        known (`np.ndarray` of shape `(height, width)`): float32, 1 where it is known, else 0; somewhere 1.
        sigma (`float`): Pixels, standard deviation of what is smooth.
        reach (`float`): Pixels from the border up to which there are details.
        grain (`np.ndarray` of shape `(height, width, 1)`, *optional*): What is there instead of details farther away.

    Returns:
        `np.ndarray` of shape `(height, width, 3)`: About the image itself where it is known.
    """
    plain = smooth(image, known, sigma)
    details, share = reflected(image - plain, known, reach)
    return spread(plain, known) + grain + share[..., None] * (details - grain)


def _fewer(size: tuple[int, int], less: int) -> tuple[int, int]:
    """Width and height of a picture with `less` times less of both."""
    return max(size[0] // less, 1), max(size[1] // less, 1)
