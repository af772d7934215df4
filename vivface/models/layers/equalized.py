"""Layers with an equalized learning rate (Karras et al., "Progressive Growing of GANs", sec. 4.1).

Weights are stored with unit variance and multiplied by `1 / sqrt(fan_in)` in the forward pass, so that every layer
learns at the same speed under an optimiser that normalises gradients.

The activation of StyleGAN2's layers is a leaky ReLU of slope 0.2, times sqrt 2 to keep the variance of a normal input.
The factor goes into weight and bias, lrelu(x) sqrt 2 = lrelu(x sqrt 2), so that it costs no pass over the result.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SQRT_2 = math.sqrt(2.0)


class EqualizedLinear(nn.Module):
    """Linear map with an equalized learning rate.

    Args:
        in_features (`int`): Entries of the input's last axis.
        out_features (`int`): Entries of the output's last axis.
        bias_init (`float`, *optional*, defaults to 0.0): Value every bias entry contributes at the start.
        lr_multiplier (`float`, *optional*, defaults to 1.0): Weight and bias learn this many times faster or slower.
        init_gain (`float`, *optional*, defaults to 1.0): Standard deviation of the output for a unit-variance input
            at the start of training.
        activate (`bool`, *optional*, defaults to `False`): Whether leaky ReLU times sqrt 2 follows.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias_init: float = 0.0,
        lr_multiplier: float = 1.0,
        init_gain: float = 1.0,
        activate: bool = False,
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) * (init_gain / lr_multiplier))
        self.bias = nn.Parameter(torch.full((out_features,), bias_init / lr_multiplier))
        gain = SQRT_2 if activate else 1.0
        self.weight_scale = gain * lr_multiplier / math.sqrt(in_features)
        self.bias_scale = gain * lr_multiplier
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        """`(..., in_features)` to `(..., out_features)`."""
        x = F.linear(x, self.weight * self.weight_scale, self.bias * self.bias_scale)
        return F.leaky_relu_(x, 0.2) if self.activate else x


class EqualizedConv2d(nn.Module):
    """Square convolution with an equalized learning rate, "same" padding unless told otherwise.

    Args:
        in_channels (`int`): Channels of the input.
        out_channels (`int`): Channels of the output.
        kernel_size (`int`): Height and width of the kernel.
        stride (`int`, *optional*, defaults to 1): Step in pixels.
        padding (`int`, *optional*): Zeros around the input; defaults to `kernel_size // 2`.
        bias (`bool`, *optional*, defaults to `True`): Whether a bias is added.
        init_gain (`float`, *optional*, defaults to 1.0): As for `EqualizedLinear`.
        activate (`bool`, *optional*, defaults to `False`): As for `EqualizedLinear`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int | None = None,
        bias: bool = True,
        init_gain: float = 1.0,
        activate: bool = False,
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size) * init_gain)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.gain = SQRT_2 if activate else 1.0
        self.weight_scale = self.gain / math.sqrt(in_channels * kernel_size**2)
        self.stride = stride
        self.padding = kernel_size // 2 if padding is None else padding
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, in_channels, height, width)` to `(batch, out_channels, height / stride, width / stride)`."""
        bias = None if self.bias is None else self.bias * self.gain
        x = F.conv2d(x, self.weight * self.weight_scale, bias, stride=self.stride, padding=self.padding)
        return F.leaky_relu_(x, 0.2) if self.activate else x
