"""Improved residual units, with and without squeeze-and-excitation, and the trunk they form.

Units: "IR" and "IR-SE" of ArcFace (Deng et al., sec. 3.1) with the SE block of Hu et al.
The trunk is shared by the face encoder and the identity network.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from vivface.models.layers.norm import BatchNorm2d


class SqueezeExcite(nn.Module):
    """Rescale channels by a gate computed from their means (Hu et al., CVPR 2018).

    Args:
        channels (`int`): Channels of input and output.
        reduction (`int`, *optional*, defaults to 16): How many times fewer channels the gate's hidden layer has.
    """

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.reduce = nn.Conv2d(channels, hidden, kernel_size=1, bias=False)
        self.expand = nn.Conv2d(hidden, channels, kernel_size=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, channels, height, width)` to the same shape."""
        means = x.mean(dim=(2, 3), keepdim=True)  # (batch, channels, 1, 1)
        return x * self.expand(F.relu(self.reduce(means))).sigmoid()


class ResidualUnit(nn.Module):
    """BN, conv, PReLU, strided conv, BN, (SE), plus a shortcut; no activation after the sum.

    Args:
        in_channels (`int`): Channels of the input.
        out_channels (`int`): Channels of the output.
        stride (`int`, *optional*, defaults to 1): Step of the second convolution and of the shortcut.
        squeeze_excite (`bool`, *optional*, defaults to `False`): Whether the branch ends in an SE block.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, squeeze_excite: bool = False):
        super().__init__()
        self.norm1 = BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False)
        self.activation = nn.PReLU(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False)
        self.norm2 = BatchNorm2d(out_channels)
        self.gate = SqueezeExcite(out_channels) if squeeze_excite else nn.Identity()
        self.stride = stride
        if in_channels == out_channels:
            self.shortcut = None  # plain subsampling
        else:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False),
                BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, in_channels, height, width)` to `(batch, out_channels, height / stride, width / stride)`."""
        branch = self.activation(self.conv1(self.norm1(x)))
        branch = self.gate(self.norm2(self.conv2(branch)))
        # Subsampled before the 1x1 convolution: a strided one gives the same, but the backward pass of oneDNN's writes
        # out of bounds for few channels in channels-last order (torch 2.x on CPUs).
        x = x if self.stride == 1 else x[:, :, :: self.stride, :: self.stride]
        return branch + (x if self.shortcut is None else self.shortcut(x))


def residual_stage(in_channels: int, widths: Sequence[int], stride: int, squeeze_excite: bool = False) -> nn.Sequential:
    """Residual units in a row.

    Args:
        in_channels (`int`): Channels of the input.
        widths (`Sequence[int]`): Output channels of every unit.
        stride (`int`): Of the first unit; the others have 1.
        squeeze_excite (`bool`, *optional*, defaults to `False`): Whether the units end in an SE block.

    Returns:
        `torch.nn.Sequential`: The units.
    """
    units = []
    for i, width in enumerate(widths):
        units.append(ResidualUnit(in_channels, width, stride if i == 0 else 1, squeeze_excite))
        in_channels = width
    return nn.Sequential(*units)


def stem(in_channels: int, out_channels: int) -> nn.Sequential:
    """3x3 convolution, batch norm, PReLU, at full resolution.

    Args:
        in_channels (`int`): Channels of the input.
        out_channels (`int`): Channels of the output.

    Returns:
        `torch.nn.Sequential`: The three layers.
    """
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
        BatchNorm2d(out_channels),
        nn.PReLU(out_channels),
    )


class ResidualTrunk(nn.Module):
    """Stem and stages of IR-SE units; every stage halves the image.

    Args:
        widths (`Sequence[int]`): Channels of the stem, then of every stage.
        units (`Sequence[int]`): Units of every stage: one entry fewer than `widths`.

    Raises:
        ValueError: If the lengths do not fit together.
    """

    def __init__(self, widths: Sequence[int], units: Sequence[int]):
        super().__init__()
        if len(widths) != len(units) + 1:
            raise ValueError(f"`widths` has {len(widths)} entries and `units` {len(units)}; expected one more width.")
        self.stem = stem(3, widths[0])
        self.stages = nn.ModuleList(
            residual_stage(widths[i], [widths[i + 1]] * count, stride=2, squeeze_excite=True)
            for i, count in enumerate(units)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Run stem and stages.

        Args:
            image (`torch.Tensor` of shape `(batch, 3, height, width)`): RGB in [-1, 1].

        Returns:
            `list[torch.Tensor]`: Output of every stage, at 1/2, 1/4, ... of the image.
        """
        x = self.stem(image)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features
