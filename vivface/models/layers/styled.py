"""Layers of the StyleGAN2 generator: mapping network, styled convolution, to-RGB.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (CVPR 2020), sec. 2 and appendix B.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vivface.models.layers.equalized import SQRT_2, EqualizedLinear
from vivface.models.layers.fir import upsample_fir
from vivface.models.layers.modulated import modulated_conv2d


class MappingNetwork(nn.Module):
    """z -> w: normalisation, then equalized layers that learn 100 times slower than the synthesis.

    Args:
        style_dim (`int`): Entries of z, of w and of the hidden layers.
        layers (`int`): Linear layers, each with an activation.
    """

    def __init__(self, style_dim: int, layers: int):
        super().__init__()
        self.layers = nn.ModuleList(
            EqualizedLinear(style_dim, style_dim, lr_multiplier=0.01, activate=True) for _ in range(layers)
        )

    def forward(self, z: Tensor) -> Tensor:
        """Map latents to w.

        Args:
            z (`torch.Tensor` of shape `(batch, style_dim)`): Normally distributed; its length does not matter.

        Returns:
            `torch.Tensor` of shape `(batch, style_dim)`: w.
        """
        x = z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)
        for layer in self.layers:
            x = layer(x)
        return x


class StyledConv(nn.Module):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU.

    Args:
        in_channels (`int`): Channels of the input, and entries of the layer's style.
        out_channels (`int`): Channels of the output.
        style_dim (`int`): Entries of w.
        size (`int`): Height and width of the output in pixels.
        upsample (`bool`): Whether the input is half as large.
    """

    def __init__(self, in_channels: int, out_channels: int, style_dim: int, size: int, upsample: bool):
        super().__init__()
        self.modulation = EqualizedLinear(style_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_weight = nn.Parameter(torch.zeros(1))
        self.register_buffer("noise_map", torch.randn(1, 1, size, size))
        self.upsample = upsample

    def forward(self, feature: Tensor, style: Tensor, noise: str, offset: Tensor | None = None) -> Tensor:
        """Convolve with the weight that the style modulates.

        Args:
            feature (`torch.Tensor` of shape `(batch, in_channels, height, width)`): `size` or half of it.
            style (`torch.Tensor` of shape `(batch, in_channels)`): Modulation, about 1.
            noise (`str`): `"fixed"` adds the stored map, `"random"` a fresh one, `"none"` nothing.
            offset (`torch.Tensor` of shape `(batch or 1, out_channels, in_channels)`, *optional*): Relative change of
                the weight.

        Returns:
            `torch.Tensor` of shape `(batch, out_channels, size, size)`.
        """
        # lrelu(x) sqrt 2 = lrelu(x sqrt 2): the gain goes into the three terms instead of a full-size pass.
        # What follows the convolution happens in place; no layer's gradient needs the values that are overwritten.
        x = modulated_conv2d(
            feature,
            self.weight,
            style,
            upsample=self.upsample,
            gain=SQRT_2,
            bias=self.bias * SQRT_2,
            offset=offset,
        )
        if noise != "none":
            noise_map = self.noise_map if noise == "fixed" else torch.randn_like(x[:, :1])
            x.add_((noise_map * (self.noise_weight * SQRT_2)).to(x.dtype))
        return F.leaky_relu_(x, 0.2)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to RGB without demodulation, added to the upsampled RGB of the layers before.

    Args:
        in_channels (`int`): Channels of the input, and entries of the layer's style.
        style_dim (`int`): Entries of w.
    """

    def __init__(self, in_channels: int, style_dim: int):
        super().__init__()
        self.modulation = EqualizedLinear(style_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(3, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, feature: Tensor, style: Tensor, rgb: Tensor | None) -> Tensor:
        """Add this layer's colours.

        Args:
            feature (`torch.Tensor` of shape `(batch, in_channels, height, width)`): Output of a styled convolution.
            style (`torch.Tensor` of shape `(batch, in_channels)`): Modulation, about 1.
            rgb (`torch.Tensor` of shape `(batch, 3, height / 2, width / 2)` or `None`): Sum of the layers before.

        Returns:
            `torch.Tensor` of shape `(batch, 3, height, width)`: RGB, about [-1, 1].
        """
        # One (3, channels) matrix a sample: small enough to be modulated whatever the batch
        scale = 1.0 / math.sqrt(self.weight.shape[1])
        weight = self.weight[:, :, 0, 0] * style[:, None, :] * scale  # (batch, 3, channels)
        x = torch.einsum("bchw,boc->bohw", feature, weight.to(feature.dtype))
        x = x + self.bias.to(x.dtype)[:, None, None]
        return x if rgb is None else x + upsample_fir(rgb)
