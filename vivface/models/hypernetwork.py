"""HyperReenact's hypernetwork: a source's appearance and a driver's pose become changes of the generator's weights.

Bounareli et al., "HyperReenact: One-Shot Reenactment via Jointly Learning to Refine and Retarget Faces" (ICCV 2023),
sec. 3.2 and tables 6 to 9; layout and fusion as in the authors' code.

    pose map --1x1--> f_p --+
    appearance map f_a -----+-> refinement: f_r = gamma_p o f_p + beta_p + gamma_a o f_a + beta_a   (eq. 1)
    f_r --blocks--> one offset (out, in) for every convolution of the generator: weight (1 + offset)

Convolutions between layers of the first width share two large matrices; the others have a block of their own. To-RGB
layers are left alone.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn

from vivface.models.precision import PrecisionMixin

FUSIONS = ("matrix", "elementwise")
BASES = ("weights", "styles")
STYLE_FLOOR = 0.1  # below this size a style says little about what a change of it would do
SLOPE = 0.01  # of the leaky ReLU in blocks
INIT_STD = 0.01  # of the refinement's convolutions
SHARED_INIT_STD = 1 / 40  # of the shared matrices


class Modulation(nn.Module):
    """Scale and shift of a feature map, read off the map itself: one input's half of eq. 1.

    Args:
        channels (`int`): Channels of the map.
        fusion (`str`): `"matrix"` multiplies the maps of a channel as matrices, `"elementwise"` place by place.
    """

    def __init__(self, channels: int, fusion: str):
        super().__init__()
        self.gamma = nn.Conv2d(channels, channels, kernel_size=1)
        self.beta = nn.Conv2d(channels, channels, kernel_size=1)
        self.fusion = fusion
        for conv in (self.gamma, self.beta):
            nn.init.normal_(conv.weight, std=INIT_STD)
            nn.init.normal_(conv.bias, std=INIT_STD)

    def forward(self, feature: Tensor) -> Tensor:
        """gamma o f + beta: `(batch, channels, side, side)` to the same shape."""
        gamma, beta = self.gamma(feature), self.beta(feature)
        return (gamma @ feature if self.fusion == "matrix" else gamma * feature) + beta


class BlockStem(nn.Module):
    """Convolutions from the refined map down to one vector (tables 7 and 8).

    The first keeps the size of the map; each of the others takes two pixels of it, down to one.

    Args:
        channels (`int`): Channels of the map and entries of the vector.
        width (`int`): Channels in between.
        side (`int`): Height and width of the map, odd.
    """

    def __init__(self, channels: int, width: int, side: int):
        super().__init__()
        count = (side - 1) // 2
        widths = [channels, *[width] * count, channels]
        self.convs = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], kernel_size=3, padding=1 if i == 0 else 0) for i in range(count + 1)
        )

    def forward(self, refined: Tensor) -> Tensor:
        """`(batch, channels, side, side)` to `(batch, channels)`."""
        x = refined
        for conv in self.convs:
            x = F.leaky_relu(conv(x), SLOPE)
        return x.flatten(1)


class SharedMatrices(nn.Module):
    """The two linear maps that turn vectors into offsets for all layers of one width (table 7).

    Args:
        channels (`int`): Entries of a vector.
        out_channels (`int`): Inputs and outputs of the generator's layers.
    """

    def __init__(self, channels: int, out_channels: int):
        super().__init__()
        self.w1 = nn.Parameter(torch.randn(channels, out_channels) * SHARED_INIT_STD)
        self.b1 = nn.Parameter(torch.randn(out_channels) * SHARED_INIT_STD)
        self.w2 = nn.Parameter(torch.randn(channels, out_channels * channels) * SHARED_INIT_STD)
        self.b2 = nn.Parameter(torch.randn(out_channels * channels) * SHARED_INIT_STD)

    def forward(self, z: Tensor) -> Tensor:
        """`(batch, channels)` to `(batch, out_channels, out_channels)`."""
        hidden = torch.addmm(self.b2, z, self.w2).view(len(z), -1, len(self.w1))  # (batch, out, channels)
        return hidden @ self.w1 + self.b1


class SharedBlock(nn.Module):
    """A block that ends in the shared matrices (table 7).

    Args:
        channels, width, side (`int`): As for `BlockStem`.
    """

    def __init__(self, channels: int, width: int, side: int):
        super().__init__()
        self.stem = BlockStem(channels, width, side)
        self.linear = nn.Linear(channels, channels)

    def forward(self, refined: Tensor) -> Tensor:
        """`(batch, channels, side, side)` to `(batch, channels)`, for the shared matrices."""
        return self.linear(self.stem(refined))


class SpecificBlock(nn.Module):
    """A block with an output layer of its own (table 8).

    Args:
        channels, width, side (`int`): As for `BlockStem`.
        in_channels, out_channels (`int`): Of the generator's layer.
    """

    def __init__(self, channels: int, width: int, side: int, in_channels: int, out_channels: int):
        super().__init__()
        self.stem = BlockStem(channels, width, side)
        self.output = nn.Linear(channels, out_channels * in_channels)
        self.in_channels = in_channels

    def forward(self, refined: Tensor) -> Tensor:
        """`(batch, channels, side, side)` to `(batch, out_channels, in_channels)`."""
        return self.output(self.stem(refined)).view(len(refined), -1, self.in_channels)


class ReenactmentHypernetwork(PrecisionMixin, ModelMixin, ConfigMixin):
    """Offsets of a StyleGAN2 generator's weights. At the defaults it is the published one, parameter for parameter.

    Args:
        appearance_channels (`int`, *optional*, defaults to 512): Channels of the appearance map; if they are not
            `channels`, a 1x1 convolution brings them there.
        pose_channels (`int`, *optional*, defaults to 2048): Channels of the pose map.
        channels (`int`, *optional*, defaults to 512): Channels of the refined map.
        side (`int`, *optional*, defaults to 7): Height and width of all maps, odd and at least 3.
        generator_channels (`tuple[int, ...]`, *optional*): Of the generator at 4x4, 8x8, ..., its size.
        shared_width (`int`, *optional*, defaults to 128): Inner channels of the blocks with shared matrices.
        specific_width (`int`, *optional*, defaults to 256): Inner channels of the others.
        fusion (`str`, *optional*, defaults to `"matrix"`): How eq. 1 multiplies maps: `"matrix"`, channel by channel as
            matrices (the authors' code), or `"elementwise"` (the paper).
        relative_to (`str`, *optional*, defaults to `"weights"`): What the blocks give changes of: `"weights"`, the
            paper's relative ones, or `"styles"`, absolute changes d of modulated weights W (s + d), which are divided
            by the source's styles s (ours: a motion then is the same change for everybody).

    Raises:
        ValueError: If the side is even or below 3, or the fusion or what changes are relative to is another.
    """

    @register_to_config
    def __init__(
        self,
        appearance_channels: int = 512,
        pose_channels: int = 2048,
        channels: int = 512,
        side: int = 7,
        generator_channels: tuple[int, ...] = (512, 512, 512, 512, 256, 128, 64),
        shared_width: int = 128,
        specific_width: int = 256,
        fusion: Literal["matrix", "elementwise"] = "matrix",
        relative_to: Literal["weights", "styles"] = "weights",
    ):
        super().__init__()
        if side < 3 or side % 2 == 0:
            raise ValueError(f"`side` is {side}; expected an odd number from 3.")
        if fusion not in FUSIONS:
            raise ValueError(f"`fusion` is {fusion!r}; expected one of {', '.join(FUSIONS)}.")
        if relative_to not in BASES:
            raise ValueError(f"`relative_to` is {relative_to!r}; expected one of {', '.join(BASES)}.")
        self.pose_projection = nn.Conv2d(pose_channels, channels, kernel_size=1)
        self.appearance_projection = None
        if appearance_channels != channels:
            self.appearance_projection = nn.Conv2d(appearance_channels, channels, kernel_size=1)
        self.pose_modulation = Modulation(channels, fusion)
        self.appearance_modulation = Modulation(channels, fusion)

        shapes = layer_channels(generator_channels)  # of the layers in call order
        first = generator_channels[0]
        self.shared = SharedMatrices(channels, first)
        self.blocks = nn.ModuleDict()  # by the layer's place in call order
        for place, shape in enumerate(shapes):
            if shape == (first, first):
                self.blocks[str(place)] = SharedBlock(channels, shared_width, side)
            elif shape is not None:
                self.blocks[str(place)] = SpecificBlock(channels, specific_width, side, *shape)
        self.layer_count = len(shapes)

    def forward(
        self,
        appearance: Tensor,
        pose: Tensor | None = None,
        *,
        motion: Tensor | None = None,
        styles: Sequence[Tensor] | None = None,
    ) -> list[Tensor | None]:
        """What to change in the generator (HyperReenact, sec. 3.2).

        Args:
            appearance (`torch.Tensor` of shape `(batch or 1, appearance_channels, side, side)`): Of the source.
            pose (`torch.Tensor` of shape `(batch, pose_channels, side, side)`, *optional*): Of the driver.
            motion (`torch.Tensor` of shape `(batch, channels, side, side)`, *optional*): In place of `pose`, what
                `project` made of it.
            styles (`Sequence[torch.Tensor]`, *optional*): Of the source, `(batch or 1, input channels)` for every
                layer; needed where changes are relative to them.

        Returns:
            `list[torch.Tensor | None]`: For every layer of the generator in call order its relative change
            `(batch, output channels, input channels)`, None for to-RGB layers.

        Raises:
            ValueError: If not one of `pose` and `motion` is given, styles are missing, or a shape is wrong.
        """
        if styles is None and self.config.relative_to == "styles":
            raise ValueError("`styles` are missing; expected those of the source, to which changes are relative.")
        if (pose is None) == (motion is None):
            raise ValueError(f"{'neither' if pose is None else 'both'} of `pose` and `motion` given; expected one.")
        motion = self.project(pose) if motion is None else motion
        refined = self.refine(appearance, motion)
        shared = {name: block(refined) for name, block in self.blocks.items() if isinstance(block, SharedBlock)}
        offsets: list[Tensor | None] = [None] * self.layer_count
        # One product with the shared matrices, which are far larger than everything else
        parts = self.shared(torch.cat(list(shared.values()))).split(len(refined))
        for name, offset in zip(shared, parts, strict=True):
            offsets[int(name)] = offset
        for name, block in self.blocks.items():
            if name not in shared:
                offsets[int(name)] = block(refined)
        if self.config.relative_to == "styles":
            for place, style in enumerate(styles):
                if offsets[place] is not None:
                    offsets[place] = offsets[place] * _inverse(style)[:, None]
        return offsets

    @apply_forward_hook
    def project(self, pose: Tensor) -> Tensor:
        """All that is read of a pose map: its channels reduced.

        Args:
            pose (`torch.Tensor` of shape `(batch, pose_channels, side, side)`): From the pose encoder.

        Returns:
            `torch.Tensor` of shape `(batch, channels, side, side)`.

        Raises:
            ValueError: If the map has another shape.
        """
        self._check("pose", pose, self.config.pose_channels)
        return self.pose_projection(pose)

    def refine(self, appearance: Tensor, motion: Tensor) -> Tensor:
        """Join appearance and pose (eq. 1).

        Args:
            appearance (`torch.Tensor` of shape `(batch or 1, appearance_channels, side, side)`): Of the source.
            motion (`torch.Tensor` of shape `(batch, channels, side, side)`): From `project`.

        Returns:
            `torch.Tensor` of shape `(batch, channels, side, side)`.

        Raises:
            ValueError: If a map has another shape.
        """
        self._check("appearance", appearance, self.config.appearance_channels)
        self._check("motion", motion, self.config.channels)
        if self.appearance_projection is not None:
            appearance = self.appearance_projection(appearance)
        return self.pose_modulation(motion) + self.appearance_modulation(appearance)

    def _check(self, name: str, feature: Tensor, channels: int) -> None:
        expected = (channels, self.config.side, self.config.side)
        if feature.ndim != 4 or tuple(feature.shape[1:]) != expected:
            raise ValueError(
                f"`{name}` has shape {tuple(feature.shape)}; expected (batch, {', '.join(map(str, expected))})."
            )


def _inverse(style: Tensor) -> Tensor:
    """1 / s, which fades where s is small: there no relative change can make W (s + d) of W s."""
    return style / (style.square() + STYLE_FLOOR**2)


def layer_channels(generator_channels: Sequence[int]) -> list[tuple[int, int] | None]:
    """Inputs and outputs of a generator's convolutions in call order, None for to-RGB layers.

    Args:
        generator_channels (`Sequence[int]`): At 4x4, 8x8, ..., the generator's size.

    Returns:
        `list[tuple[int, int] | None]`: As `StyleGAN2Generator.layer_names`.
    """
    first = generator_channels[0]
    shapes: list[tuple[int, int] | None] = [(first, first), None]
    for wide, narrow in zip(generator_channels, generator_channels[1:], strict=False):
        shapes += [(wide, narrow), (narrow, narrow), None]
    return shapes
