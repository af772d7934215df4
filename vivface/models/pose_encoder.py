"""Pose encoder of HyperReenact: the last feature map of a ResNet-50 in DECA's layout.

He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016), table 1, with the stride in the 3x3 convolution;
Feng et al., "Learning an Animatable Detailed 3D Face Model from In-The-Wild Images" (DECA, SIGGRAPH 2021), sec. 4.1.
DECA's weights are for non-commercial use only; none come with this package.
"""

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from vivface.models.layers.norm import BatchNorm2d
from vivface.models.precision import PrecisionMixin

EXPANSION = 4  # a unit's output has so many times its inner channels
REDUCTION = 32  # of the image by the whole network


class Bottleneck(nn.Module):
    """1x1, 3x3 (strided) and 1x1 convolution with batch norms, plus a shortcut; ReLU after the sum.

    Args:
        in_channels (`int`): Channels of the input.
        width (`int`): Inner channels; the output has four times as many.
        stride (`int`): Step of the 3x3 convolution and of the shortcut.
    """

    def __init__(self, in_channels: int, width: int, stride: int):
        super().__init__()
        out_channels = width * EXPANSION
        self.conv1 = nn.Conv2d(in_channels, width, kernel_size=1, bias=False)
        self.bn1 = BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, kernel_size=1, bias=False)
        self.bn3 = BatchNorm2d(out_channels)
        self.downsample = None
        self.stride = stride
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False), BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, in_channels, height, width)` to `(batch, 4 width, height / stride, width / stride)`."""
        branch = F.relu(self.bn1(self.conv1(x)))
        branch = F.relu(self.bn2(self.conv2(branch)))
        branch = self.bn3(self.conv3(branch))
        # Subsampled before the 1x1 convolution, as in `layers/residual.py`
        x = x if self.stride == 1 else x[:, :, :: self.stride, :: self.stride]
        return F.relu(branch + (x if self.downsample is None else self.downsample(x)))


class PoseEncoder(PrecisionMixin, ModelMixin, ConfigMixin):
    """Feature map of a face from which pose and expression can be read. At the defaults it is ResNet-50 without head.

    Args:
        image_size (`int`, *optional*, defaults to 224): Height and width of the image, a multiple of 32.
        width (`int`, *optional*, defaults to 64): Channels of the first convolution; the map has 32 times as many.
        units (`tuple[int, ...]`, *optional*): Residual units of the four stages.

    Raises:
        ValueError: If the image size is no such multiple.
    """

    @register_to_config
    def __init__(self, image_size: int = 224, width: int = 64, units: tuple[int, ...] = (3, 4, 6, 3)):
        super().__init__()
        if image_size <= 0 or image_size % REDUCTION:
            raise ValueError(f"`image_size` is {image_size}; expected a multiple of {REDUCTION}.")
        if len(units) != 4:
            raise ValueError(f"`units` has {len(units)} entries; expected four stages.")
        self.conv1 = nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = BatchNorm2d(width)
        in_channels = width
        for stage, count in enumerate(units):
            inner = width * 2**stage
            layers = []
            for unit in range(count):
                layers.append(Bottleneck(in_channels, inner, stride=2 if stage > 0 and unit == 0 else 1))
                in_channels = inner * EXPANSION
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        self.channels = in_channels
        self.side = image_size // REDUCTION

    def forward(self, image: Tensor) -> Tensor:
        """Encode (HyperReenact's E_p).

        Args:
            image (`torch.Tensor` of shape `(batch, 3, image_size, image_size)`): RGB in [-1, 1]; the network itself
                takes [0, 1].

        Returns:
            `torch.Tensor` of shape `(batch, 32 width, image_size / 32, image_size / 32)`: At least 0.

        Raises:
            ValueError: If the image has another shape.
        """
        size = self.config.image_size
        if image.ndim != 4 or image.shape[1:] != (3, size, size):
            raise ValueError(f"`image` has shape {tuple(image.shape)}; expected (batch, 3, {size}, {size}).")
        x = ((image + 1.0) * 0.5).contiguous(memory_format=torch.channels_last)
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return x
