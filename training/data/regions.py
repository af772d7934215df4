"""Soft maps of the regions of a face, and pixel weights made of them."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

REGIONS = ("face", "eyes", "brows", "mouth")


def region_maps(landmarks: np.ndarray, size: int) -> np.ndarray:
    """Soft maps of face, eyes, brows and mouth.

    Args:
        landmarks (`np.ndarray` of shape `(68, 2)`): In fractions of the crop.
        size (`int`): Size of the maps, pixels.

    Returns:
        `np.ndarray` of shape `(4, size, size)`: uint8, 0..255, in the order of `REGIONS`.
    """
    coarse = max(32, size // 2)
    points = np.rint((landmarks * coarse - 0.5) * 16).astype(np.int32)  # 4 fractional bits
    maps = np.zeros((4, coarse, coarse), np.uint8)

    def hull(index: int, part: slice, margin: float) -> None:
        outline = cv2.convexHull(points[part])
        cv2.fillConvexPoly(maps[index], outline, 255, shift=4)
        cv2.polylines(maps[index], [outline], True, 255, max(1, round(margin * coarse)), shift=4)

    hull(0, slice(0, 68), 0.04)
    hull(1, slice(36, 42), 0.04)
    hull(1, slice(42, 48), 0.04)
    hull(2, slice(17, 22), 0.03)
    hull(2, slice(22, 27), 0.03)
    hull(3, slice(48, 68), 0.04)
    radius = max(3, coarse // 16 | 1)
    return np.stack([cv2.resize(cv2.blur(m, (radius, radius)), (size, size)) for m in maps])


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
