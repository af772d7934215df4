"""Images as arrays and as tensors: uint8 RGB in [0, 255] and floating point in [-1, 1]."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def to_tensor(
    images: np.ndarray | Sequence[np.ndarray],
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Images of one size as a batch for a network.

    Args:
        images (`numpy.ndarray` of shape `(batch, height, width, 3)`, or a sequence of `(height, width, 3)`): uint8 RGB.
        device (`torch.device`, *optional*): Where the batch goes; the CPU by default.
        dtype (`torch.dtype`, *optional*, defaults to `torch.float32`): Of the batch.

    Returns:
        `torch.Tensor` of shape `(batch, 3, height, width)`: RGB in [-1, 1].

    Raises:
        ValueError: If the images are not uint8 with three channels.
    """
    images = np.asarray(images) if isinstance(images, np.ndarray) else np.stack(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(
            f"`images` has shape {images.shape} and type {images.dtype}; expected (batch, height, width, 3) of uint8."
        )
    batch = torch.from_numpy(images).to(device)
    return (batch.permute(0, 3, 1, 2).to(torch.float32) / 127.5 - 1).to(dtype)


def to_images(tensor: Tensor) -> np.ndarray:
    """What a network made, as images.

    Args:
        tensor (`torch.Tensor` of shape `(..., 3, height, width)`): RGB; values beyond [-1, 1] are clamped.

    Returns:
        `numpy.ndarray` of shape `(..., height, width, 3)`: uint8 RGB.
    """
    levels = (tensor.detach().float().clamp(-1, 1) + 1).mul(127.5).round().to(torch.uint8)
    return levels.movedim(-3, -1).contiguous().cpu().numpy()
