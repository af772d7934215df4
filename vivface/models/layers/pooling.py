"""Average pooling between any two sizes, on any device."""

import torch
import torch.nn.functional as F
from torch import Tensor

# Devices whose adaptive pooling takes every size. On MPS one size must divide the other (pytorch issue 96056).
ADAPTIVE_DEVICES = ("cpu", "cuda")


def average_pool(x: Tensor, size: int) -> Tensor:
    """`adaptive_avg_pool2d`; where a device lacks it, a product with one small matrix for rows and one for columns.

    Args:
        x (`torch.Tensor` of shape `(batch, channels, height, width)`): Any range.
        size (`int`): Height and width of the result.

    Returns:
        `torch.Tensor` of shape `(batch, channels, size, size)`: Pixel i is the mean of the input's pixels from
        `floor(i length / size)` to `ceil((i + 1) length / size) - 1`, in both directions.
    """
    return F.adaptive_avg_pool2d(x, size) if x.device.type in ADAPTIVE_DEVICES else pool_by_matrices(x, size)


def pool_by_matrices(x: Tensor, size: int) -> Tensor:
    """`average_pool` from operations that every device has; arguments and result as there."""
    rows, columns = (_window_means(length, size, x) for length in x.shape[2:])
    return rows @ x @ columns.T  # (size, height) (batch, channels, height, width) (width, size)


def _window_means(length: int, size: int, like: Tensor) -> Tensor:
    """`(size, length)`: row i averages the window of output i."""
    output, position = (torch.arange(n, device=like.device) for n in (size, length))
    first = output * length // size
    last = ((output + 1) * length - 1) // size
    inside = (position >= first[:, None]) & (position <= last[:, None])
    return inside.to(like.dtype) / (last - first + 1)[:, None].to(like.dtype)
