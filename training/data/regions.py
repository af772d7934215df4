"""Pixel weights made of the soft maps of a face's regions."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from vivface.faces.regions import REGIONS, region_maps

__all__ = ["REGIONS", "region_maps", "region_weights"]


def feature_mask(landmarks: np.ndarray, size: int) -> np.ndarray:
    """Mask of mouth, eyes and brows, dilated: M of the feature reconstruction (hybrid latent spaces, eq. 13).

    The paper does not say how far; here by 1/32 of the crop, beyond the margins of `region_maps`.

    Args:
        landmarks (`np.ndarray` of shape `(68, 2)`): In fractions of the crop.
        size (`int`): Size of the mask, pixels.

    Returns:
        `np.ndarray` of shape `(size, size)`: float32, 0 or 1.
    """
    inside = (region_maps(landmarks, size)[1:].max(axis=0) > 0).astype(np.uint8)
    reach = max(1, round(size / 32))
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return cv2.dilate(inside, disk).astype(np.float32)


def region_weights(regions: Tensor, base: float = 1.0, **extra: float) -> Tensor:
    """Pixel weights from region maps: `base` everywhere, plus an amount for each named region.

    Args:
        regions (`torch.Tensor` of shape `(..., 4, height, width)`): In [0, 1].
        base (`float`, *optional*, defaults to 1.0): Weight of the background.
        extra (`float`): `face=1.0, eyes=4.0, brows=1.0, mouth=3.0`.

    Returns:
        `torch.Tensor` of shape `(..., 1, height, width)`: At least `base`.
    """
    amounts = torch.tensor([extra.get(name, 0.0) for name in REGIONS], device=regions.device, dtype=regions.dtype)
    return base + (regions * amounts[:, None, None]).sum(dim=-3, keepdim=True)
