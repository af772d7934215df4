"""Colours for places that a photograph does not show, from those around them.

Pull and push on a pyramid: Gortler et al., The Lumigraph, SIGGRAPH 1996.
"""

from __future__ import annotations

import cv2
import numpy as np


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
    half = (max(image.shape[1] // 2, 1), max(image.shape[0] // 2, 1))
    sums = cv2.resize(image * weights, half, interpolation=cv2.INTER_AREA)
    shares = cv2.resize(known, half, interpolation=cv2.INTER_AREA)
    coarse = sums / np.maximum(shares, 1e-6)[..., None]
    coarse = spread(coarse, (shares > 0).astype(np.float32))
    coarse = cv2.resize(coarse, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return coarse + weights * (image - coarse)
