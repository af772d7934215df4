"""Person against background (model card "MediaPipe Selfie Segmentation"), the square network.

MobileNetV3's blocks (Howard et al., Searching for MobileNetV3, ICCV 2019, fig. 4) and its head with few channels
(section 6.4), then a decoder that lets features of the encoder through where the coarser ones ask for them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vivface.faces.networks.layers import SameConv2d, check_input, depthwise, pointwise, upsample


class SqueezeExcite(nn.Module):
    """A factor in [0, 1] for each channel, from the mean of all.

    Args:
        channels, middle (`int`): Widths of the features and between both layers.
    """

    def __init__(self, channels: int, middle: int):
        super().__init__()
        self.squeeze, self.excite = pointwise(channels, middle), pointwise(middle, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Factors `(batch, channels, 1, 1)` of features `(batch, channels, height, width)`."""
        mean = F.adaptive_avg_pool2d(x, 1)
        return torch.sigmoid(self.excite(F.relu(self.squeeze(mean))))


class InvertedResidual(nn.Module):
    """Block of MobileNetV3: pointwise to many channels, depthwise, squeeze and excite, pointwise to few.

    Args:
        in_channels, middle, out_channels (`int`): Widths before, between and after.
        kernel_size (`int`): Of the depthwise convolution.
        stride (`int`): 1 or 2.
        squeezed (`int`, *optional*, defaults to 0): Width between the layers of squeeze and excite; 0: none.
        activation (`type`, *optional*, defaults to `torch.nn.ReLU`): After both convolutions.
    """

    def __init__(
        self,
        in_channels: int,
        middle: int,
        out_channels: int,
        kernel_size: int,
        stride: int,
        squeezed: int = 0,
        activation: type[nn.Module] = nn.ReLU,
    ):
        super().__init__()
        self.expand = nn.Sequential(pointwise(in_channels, middle), activation())
        self.spatial = nn.Sequential(
            SameConv2d(middle, middle, kernel_size, stride, groups=middle),
            activation(),
        )
        self.gate = SqueezeExcite(middle, squeezed) if squeezed else None
        self.project = pointwise(middle, out_channels)
        self.adds = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Transform features `(batch, in_channels, height, width)`, which `stride` divides."""
        y = self.spatial(self.expand(x))
        if self.gate is not None:
            y = y * self.gate(y)
        y = self.project(y)
        return y + x if self.adds else y


class GatedSkip(nn.Module):
    """Twice the resolution: coarse features, and those of the encoder as far as both ask for them.

    Args:
        coarse, channels (`int`): Widths of the coarse features and of the encoder's.
    """

    def __init__(self, coarse: int, channels: int):
        super().__init__()
        self.lateral = pointwise(coarse, channels)
        self.gate = SqueezeExcite(channels, channels)
        self.mix = nn.Sequential(pointwise(channels, channels), nn.ReLU())
        self.spatial = nn.Sequential(depthwise(channels), nn.ReLU())

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Features `(batch, channels, height, width)` of coarse ones of half the size and the encoder's."""
        x = self.lateral(upsample(x))
        x = self.mix(skip * self.gate(skip + x) + x)
        return x + self.spatial(x)


class PersonSegmentation(nn.Module):
    """How likely each pixel belongs to a person."""

    image_size = 256

    def __init__(self) -> None:
        super().__init__()
        swish = nn.Hardswish
        self.stem = nn.Sequential(SameConv2d(3, 16, 3, 2), swish())
        self.fine = InvertedResidual(16, 16, 16, 3, 2, squeezed=8)
        self.middle = nn.Sequential(InvertedResidual(16, 72, 24, 3, 2), InvertedResidual(24, 88, 24, 3, 1))
        self.coarse = nn.Sequential(
            InvertedResidual(24, 96, 32, 5, 2, 24, swish),
            InvertedResidual(32, 128, 32, 5, 1, 32, swish),
            InvertedResidual(32, 128, 32, 5, 1, 32, swish),
            InvertedResidual(32, 96, 32, 5, 1, 24, swish),
            InvertedResidual(32, 96, 32, 5, 1, 24, swish),
        )
        self.head, self.head_gate = pointwise(32, 128), pointwise(32, 128)
        self.to_middle, self.to_fine, self.to_stem = GatedSkip(128, 24), GatedSkip(24, 16), GatedSkip(16, 16)
        self.out = nn.ConvTranspose2d(16, 1, 2, 2)

    def forward(self, image: Tensor) -> Tensor:
        """Segment images.

        Args:
            image (`torch.Tensor` of shape `(batch, 3, 256, 256)`): RGB in [0, 1].

        Returns:
            `torch.Tensor` of shape `(batch, 1, 256, 256)`: Probabilities.

        Raises:
            ValueError: If the shape is another one.
        """
        check_input(image, self.image_size)
        stem = self.stem(image)
        fine = self.fine(stem)
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        x = F.relu(self.head(coarse)) * torch.sigmoid(self.head_gate(F.adaptive_avg_pool2d(coarse, 1)))
        x = self.to_middle(x, middle)
        x = self.to_fine(x, fine)
        x = self.to_stem(x, stem)
        return torch.sigmoid(self.out(x))
