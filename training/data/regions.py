"""Pixel weights made of the soft maps of a face's regions."""

from __future__ import annotations

import torch
from torch import Tensor

from vivface.faces.regions import REGIONS, region_maps

__all__ = ["REGIONS", "region_maps", "region_weights"]


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
