"""Discriminators: StyleGAN2's for images, and a small one for identity codes.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (CVPR 2020), residual discriminator with
minibatch standard deviation. The latent discriminator is that of e4e (Tov et al., SIGGRAPH 2021), as in ViVFace.
"""

import math

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from vivface.models.layers.equalized import SQRT_2, EqualizedConv2d, EqualizedLinear
from vivface.models.layers.fir import blur, blur_downsample
from vivface.models.precision import PrecisionMixin
from vivface.models.stylegan2 import published_channels

STATISTICS_GROUP = 4  # samples that share one standard deviation


class DownBlock(nn.Module):
    """Two convolutions and a linear shortcut to half the size; the sum keeps its variance.

    Args:
        in_channels (`int`): Channels of the input.
        out_channels (`int`): Channels of the output.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv1 = EqualizedConv2d(in_channels, in_channels, 3, activate=True)
        self.conv2 = EqualizedConv2d(in_channels, out_channels, 3, stride=2, padding=0, activate=True)
        self.skip = EqualizedConv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, in_channels, height, width)` to `(batch, out_channels, height / 2, width / 2)`."""
        y = self.conv1(x)
        y = self.conv2(blur(y, padding=2))
        return (y + self.skip(blur_downsample(x))) / SQRT_2


class StyleGAN2Discriminator(PrecisionMixin, ModelMixin, ConfigMixin):
    """Tell real images from generated ones (StyleGAN2, residual discriminator).

    Args:
        size (`int`, *optional*, defaults to 1024): Height and width of the image, a power of two from 8.
        channels (`list[int]`, *optional*): Channels at 4x4, 8x8, ..., `size`; defaults to the published table.
        channel_multiplier (`int`, *optional*, defaults to 2): Factor of the published table from 64x64 up.

    Raises:
        ValueError: If the size is not a power of two from 8 or the channels do not match it.
    """

    @register_to_config
    def __init__(self, size: int = 1024, channels: list[int] | None = None, channel_multiplier: int = 2):
        super().__init__()
        if size < 8 or size & (size - 1):
            raise ValueError(f"`size` is {size}; expected a power of two from 8.")
        channels = list(channels) if channels is not None else published_channels(size, channel_multiplier)
        blocks = int(math.log2(size)) - 2
        if len(channels) != blocks + 1:
            raise ValueError(f"`channels` has {len(channels)} entries; expected {blocks + 1} for size {size}.")
        self.from_rgb = EqualizedConv2d(3, channels[-1], 1, activate=True)
        self.blocks = nn.ModuleList(DownBlock(channels[i], channels[i - 1]) for i in range(blocks, 0, -1))
        self.last_conv = EqualizedConv2d(channels[0] + 1, channels[0], 3, activate=True)
        self.linear1 = EqualizedLinear(channels[0] * 16, channels[0], activate=True)
        self.linear2 = EqualizedLinear(channels[0], 1)

    def forward(self, image: Tensor) -> Tensor:
        """Judge images.

        Args:
            image (`torch.Tensor` of shape `(batch, 3, size, size)`): RGB in [-1, 1].

        Returns:
            `torch.Tensor` of shape `(batch, 1)`: Logits, positive for real.
        """
        x = self.from_rgb(image.contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            x = block(x)
        x = torch.cat([x, _minibatch_deviation(x)], dim=1)  # (batch, channels + 1, 4, 4)
        x = self.last_conv(x)
        x = self.linear1(x.flatten(1))
        return self.linear2(x)


class LatentDiscriminator(PrecisionMixin, ModelMixin, ConfigMixin):
    """Tell codes w of the mapping network from encoded ones (ViVFace, latent regularization L_d).

    Args:
        style_dim (`int`, *optional*, defaults to 512): Entries of w and of the hidden layers.
        layers (`int`, *optional*, defaults to 4): Linear layers, the last of which gives the logit.
    """

    @register_to_config
    def __init__(self, style_dim: int = 512, layers: int = 4):
        super().__init__()
        widths = [style_dim] * layers + [1]
        self.linears = nn.ModuleList(nn.Linear(widths[i], widths[i + 1]) for i in range(layers))

    def forward(self, w: Tensor) -> Tensor:
        """Judge codes.

        Args:
            w (`torch.Tensor` of shape `(..., style_dim)`): Single codes of W.

        Returns:
            `torch.Tensor` of shape `(..., 1)`: Logits, positive for codes of the mapping network.
        """
        for layer in self.linears[:-1]:
            w = F.leaky_relu(layer(w), 0.2)
        return self.linears[-1](w)


def _minibatch_deviation(x: Tensor) -> Tensor:
    """Mean standard deviation over groups of the batch, as one constant map a sample: `(batch, 1, height, width)`.

    A batch that is no multiple of the group is one group.
    """
    batch, channels, height, width = x.shape
    group = STATISTICS_GROUP if batch % STATISTICS_GROUP == 0 else batch
    grouped = x.reshape(group, -1, channels, height, width)
    deviation = (grouped.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))  # (batch / group)
    return deviation.repeat(group)[:, None, None, None].expand(-1, 1, height, width)
