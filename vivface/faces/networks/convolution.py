"""A convolution as a plain function, which pads nothing that it need not pad."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def convolution(
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
    margins: tuple[int, ...] | None,
) -> Callable[[Tensor], Tensor]:
    """The function.

    Args:
        weight, bias, stride, padding, dilation, groups: As of `torch.nn.Conv2d`.
        margins (`tuple[int, ...]` or None): As of `SameConv2d`: zeros at left, right, top and bottom.

    Returns:
        `Callable`: From features to features.
    """
    if margins is None:
        return lambda x: torch.conv2d(x, weight, bias, stride, padding, dilation, groups)
    before, after = margins[:2]
    if groups == 1 or after != before + 1:
        return lambda x: torch.conv2d(F.pad(x, margins), weight, bias, stride, padding, dilation, groups)
    # Depthwise: a row and a column of zeros in the kernel cost less than copying the features.
    larger = F.pad(weight, (1, 0, 1, 0))
    return lambda x: torch.conv2d(x, larger, bias, stride, after, dilation, groups)
