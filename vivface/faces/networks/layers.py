"""Layers that the face networks share: residual blocks of depthwise and pointwise convolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's "same" padding, which pads less before than after when the stride is 2.

    Args:
        in_channels, out_channels, kernel_size, stride, groups (`int`): As for `torch.nn.Conv2d`; an even input is
            expected when `stride` is 2.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1):
        total = kernel_size - stride
        before = total // 2
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding=before if stride == 1 else 0, groups=groups
        )
        self.margins = None if stride == 1 else (before, total - before) * 2

    def forward(self, x: Tensor) -> Tensor:
        """Convolve.

        Args:
            x (`torch.Tensor` of shape `(batch, in_channels, height, width)`): Features.

        Returns:
            `torch.Tensor` of shape `(batch, out_channels, height / stride, width / stride)`: Features.
        """
        return super().forward(x if self.margins is None else F.pad(x, self.margins))


def depthwise(channels: int, stride: int = 1) -> SameConv2d:
    """A 3x3 convolution of each channel by itself."""
    return SameConv2d(channels, channels, 3, stride, groups=channels)


def pointwise(in_channels: int, out_channels: int) -> nn.Conv2d:
    """A 1x1 convolution."""
    return nn.Conv2d(in_channels, out_channels, 1)


def shortcut(x: Tensor, stride: int, out_channels: int) -> Tensor:
    """The input of a block in the shape of its output: the largest of 2x2 pixels, empty channels appended.

    Args:
        x (`torch.Tensor` of shape `(batch, channels, height, width)`): Features.
        stride (`int`): 1 or 2.
        out_channels (`int`): At least `channels`.

    Returns:
        `torch.Tensor` of shape `(batch, out_channels, height / stride, width / stride)`: Features.
    """
    if stride == 2:
        x = F.max_pool2d(x, 2)
    if out_channels > x.shape[1]:
        x = F.pad(x, (0, 0, 0, 0, 0, out_channels - x.shape[1]))
    return x


class BlazeBlock(nn.Module):
    """Single block of BlazeFace (Bazarevsky et al., CVPR workshops 2019, fig. 1): depthwise, pointwise, shortcut.

    Args:
        in_channels, out_channels (`int`): Widths before and after.
        stride (`int`, *optional*, defaults to 1): 1 or 2.
        prelu (`bool`, *optional*, defaults to `False`): Whether the activation learns its slope.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, prelu: bool = False):
        super().__init__()
        self.stride, self.out_channels = stride, out_channels
        self.spatial = depthwise(in_channels, stride)
        self.mix = pointwise(in_channels, out_channels)
        self.activation = nn.PReLU(out_channels) if prelu else nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Transform features.

        Args:
            x (`torch.Tensor` of shape `(batch, in_channels, height, width)`): Features.

        Returns:
            `torch.Tensor` of shape `(batch, out_channels, height / stride, width / stride)`: Features.
        """
        return self.activation(self.mix(self.spatial(x)) + shortcut(x, self.stride, self.out_channels))


class DoubleBlazeBlock(nn.Module):
    """Double block of BlazeFace (Bazarevsky et al., CVPR workshops 2019, fig. 1): two depthwise pairs, narrow between.

    Args:
        in_channels, middle, out_channels (`int`): Widths before, between and after.
        stride (`int`, *optional*, defaults to 1): 1 or 2.
    """

    def __init__(self, in_channels: int, middle: int, out_channels: int, stride: int = 1):
        super().__init__()
        self.stride, self.out_channels = stride, out_channels
        self.narrow = nn.Sequential(depthwise(in_channels, stride), pointwise(in_channels, middle), nn.ReLU())
        self.widen = nn.Sequential(depthwise(middle), pointwise(middle, out_channels))
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Transform features.

        Args:
            x (`torch.Tensor` of shape `(batch, in_channels, height, width)`): Features.

        Returns:
            `torch.Tensor` of shape `(batch, out_channels, height / stride, width / stride)`: Features.
        """
        return self.activation(self.widen(self.narrow(x)) + shortcut(x, self.stride, self.out_channels))


class Bottleneck(nn.Module):
    """Pointwise to few channels, depthwise, pointwise back, and the shortcut.

    Args:
        in_channels, middle, out_channels (`int`): Widths before, between and after.
        stride (`int`, *optional*, defaults to 1): 1 or 2; the first convolution covers `stride` x `stride` pixels.
    """

    def __init__(self, in_channels: int, middle: int, out_channels: int, stride: int = 1):
        super().__init__()
        self.stride, self.out_channels = stride, out_channels
        self.narrow = nn.Sequential(nn.Conv2d(in_channels, middle, stride, stride), nn.PReLU(middle))
        self.widen = nn.Sequential(depthwise(middle), pointwise(middle, out_channels))
        self.activation = nn.PReLU(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Transform features.

        Args:
            x (`torch.Tensor` of shape `(batch, in_channels, height, width)`): Features.

        Returns:
            `torch.Tensor` of shape `(batch, out_channels, height / stride, width / stride)`: Features.
        """
        return self.activation(self.widen(self.narrow(x)) + shortcut(x, self.stride, self.out_channels))


def by_cell(x: Tensor, values: int) -> Tensor:
    """A head's output as one row per anchor: row by row, cell by cell, anchor by anchor.

    Args:
        x (`torch.Tensor` of shape `(batch, anchors * values, height, width)`): Output of a head.
        values (`int`): Numbers per anchor.

    Returns:
        `torch.Tensor` of shape `(batch, height * width * anchors, values)`: The same numbers.
    """
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, values)


def upsample(x: Tensor) -> Tensor:
    """Twice the height and width, bilinear.

    Args:
        x (`torch.Tensor` of shape `(batch, channels, height, width)`): Features.

    Returns:
        `torch.Tensor` of shape `(batch, channels, 2 * height, 2 * width)`: Features.
    """
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def check_input(image: Tensor, side: int) -> None:
    """Raise a ValueError unless `image` is `(batch, 3, side, side)`."""
    if not isinstance(image, torch.Tensor) or image.ndim != 4 or image.shape[1:] != (3, side, side):
        got = tuple(image.shape) if isinstance(image, torch.Tensor) else type(image).__name__
        raise ValueError(f"`image` has shape {got}; expected (batch, 3, {side}, {side}).")
