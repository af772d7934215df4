"""Hybrid encoder: a face becomes an identity code, motion codes and a memory.

ViVFace, "Enhancing Identity-Deformation Disentanglement in StyleGAN for One-Shot Face Video Re-Enactment" (AAAI 2025),
sec. "Stage-I Model", eq. 1: W_I = E_id(f_I), S_I = E_defor(f_I). The trunk, the feature pyramid and the identity heads
are those of e4e (Tov et al., SIGGRAPH 2021).

    trunk -> c1, c2, c3 (1/4, 1/8, 1/16 of the image)
    p2 = up(c3) + lateral(c2),  p1 = up(p2) + lateral(c1)
    styles 0..2 read c3, 3..6 read p2, the rest p1; memory = c3
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput
from torch import Tensor, nn

from vivface.models.layers.equalized import EqualizedLinear
from vivface.models.layers.residual import ResidualTrunk
from vivface.models.precision import PrecisionMixin

FIRST_STYLE_OF_LEVEL = (0, 3, 7)  # levels c3, p2, p1
HEAD_INIT_GAIN = 0.1  # codes start close to the mean latent (identity) and to zero (motion)


@dataclass
class HybridEncoderOutput(BaseOutput):
    """What a face is encoded to; what was not asked for is `None`.

    Args:
        identity (`torch.Tensor` of shape `(batch, num_latents, style_dim)`): Code in W+, the mean latent included.
        motion (`torch.Tensor` of shape `(batch, motion_codes, style_dim)`): Generic motion codes, about zero.
        memory (`torch.Tensor` of shape `(batch, tokens, style_dim)`): Features at 1/16, row by row.
    """

    identity: Tensor | None = None
    motion: Tensor | None = None
    memory: Tensor | None = None


class StyleHead(nn.Module):
    """Strided convolutions down to one pixel, then a linear map for each of `count` styles.

    Args:
        dim (`int`): Channels of the feature map and entries of a style.
        size (`int`): Height and width of the feature map, a power of two.
        count (`int`): Styles that share the convolutions.
    """

    def __init__(self, dim: int, size: int, count: int):
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(dim, dim, kernel_size=3, stride=2, padding=1) for _ in range(int(math.log2(size)))
        )
        for conv in self.convs:  # the default would lose the signal on the way
            nn.init.kaiming_normal_(conv.weight, a=0.01)
            nn.init.zeros_(conv.bias)
        self.linears = nn.ModuleList(EqualizedLinear(dim, dim, init_gain=HEAD_INIT_GAIN) for _ in range(count))

    def forward(self, feature: Tensor) -> Tensor:
        """Read the styles off a feature map.

        Args:
            feature (`torch.Tensor` of shape `(batch, dim, size, size)`): One level of the pyramid.

        Returns:
            `torch.Tensor` of shape `(batch, count, dim)`.
        """
        x = feature
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.01)
        x = x.flatten(1)  # (batch, dim)
        return torch.stack([linear(x) for linear in self.linears], dim=1)  # (batch, count, dim)


class StyleHeads(nn.Module):
    """The heads of all styles of one kind, on the levels of the pyramid.

    Args:
        count (`int`): Styles.
        dim (`int`): Entries of a style.
        sizes (`Sequence[int]`): Height and width of c3, p2, p1.
        shared (`bool`): Whether the styles of one level share their convolutions, or each has its own.
    """

    def __init__(self, count: int, dim: int, sizes: Sequence[int], shared: bool):
        super().__init__()
        self.heads = nn.ModuleList()
        self.levels = []  # of every head: 0 reads c3, 1 p2, 2 p1
        for level, first in enumerate(FIRST_STYLE_OF_LEVEL):
            end = FIRST_STYLE_OF_LEVEL[level + 1] if level < 2 else count
            styles = max(min(end, count) - first, 0)
            groups = [styles] if shared and styles else [1] * styles
            self.heads.extend(StyleHead(dim, sizes[level], group) for group in groups)
            self.levels += [level] * len(groups)

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        """Read the styles off the pyramid.

        Args:
            pyramid (`Sequence[torch.Tensor]`): c3, p2, p1, each `(batch, dim, size, size)` of its size.

        Returns:
            `torch.Tensor` of shape `(batch, count, dim)`.
        """
        return torch.cat([head(pyramid[level]) for head, level in zip(self.heads, self.levels, strict=True)], dim=1)


class HybridEncoder(PrecisionMixin, ModelMixin, ConfigMixin):
    """Encode a face into identity code, motion codes and memory (ViVFace, eq. 1).

    At the defaults it is the published encoder. A slim one takes its widths from the config and shares heads.

    Args:
        image_size (`int`, *optional*, defaults to 256): Height and width of the image, a power of two from 32.
        widths (`tuple[int, ...]`, *optional*): Channels of the stem and of the four stages.
        units (`tuple[int, ...]`, *optional*): Residual units of the four stages.
        num_latents (`int`, *optional*, defaults to 18): Vectors of the identity code; 18 for a 1024 generator.
        motion_codes (`int`, *optional*, defaults to 10): Motion codes.
        style_dim (`int`, *optional*, defaults to 512): Entries of a code; equals the last width.
        shared_heads (`bool`, *optional*, defaults to `False`): Whether the styles of one pyramid level share the
            strided convolutions (identity and motion apart), each with a linear map of its own.

    Raises:
        ValueError: If the image size is no power of two from 32 or `style_dim` is not the last width.
    """

    @register_to_config
    def __init__(
        self,
        image_size: int = 256,
        widths: tuple[int, ...] = (64, 64, 128, 256, 512),
        units: tuple[int, ...] = (3, 4, 14, 3),
        num_latents: int = 18,
        motion_codes: int = 10,
        style_dim: int = 512,
        shared_heads: bool = False,
    ):
        super().__init__()
        if image_size < 32 or image_size & (image_size - 1):
            raise ValueError(f"`image_size` is {image_size}; expected a power of two from 32.")
        if len(widths) != 5 or style_dim != widths[-1]:
            raise ValueError(
                f"`widths` is {tuple(widths)}; expected five numbers, the last being style_dim {style_dim}."
            )
        sizes = (image_size // 16, image_size // 8, image_size // 4)  # of c3, p2, p1
        self.trunk = ResidualTrunk(widths, units)
        self.lateral_c2 = nn.Conv2d(widths[3], style_dim, kernel_size=1)
        self.lateral_c1 = nn.Conv2d(widths[2], style_dim, kernel_size=1)
        self.identity_heads = StyleHeads(num_latents, style_dim, sizes, shared_heads)
        self.motion_heads = StyleHeads(motion_codes, style_dim, sizes, shared_heads)
        self.register_buffer("latent_avg", torch.zeros(style_dim))

    def forward(
        self, image: Tensor, *, identity: bool = True, motion: bool = True, memory: bool = True
    ) -> HybridEncoderOutput:
        """Encode; what is not asked for costs nothing (ViVFace, eq. 1).

        Args:
            image (`torch.Tensor` of shape `(batch, 3, image_size, image_size)`): RGB in [-1, 1].
            identity (`bool`, *optional*, defaults to `True`): Whether to compute the identity code.
            motion (`bool`, *optional*, defaults to `True`): Whether to compute the motion codes.
            memory (`bool`, *optional*, defaults to `True`): Whether to return the memory.

        Returns:
            `HybridEncoderOutput`: What was asked for.

        Raises:
            ValueError: If the image has another shape.
        """
        return self.read(self.features(image), identity=identity, motion=motion, memory=memory)

    def features(self, image: Tensor) -> list[Tensor]:
        """Feature maps of the trunk.

        Args:
            image (`torch.Tensor` of shape `(batch, 3, image_size, image_size)`): RGB in [-1, 1].

        Returns:
            `list[torch.Tensor]`: At 1/2, 1/4 (c1), 1/8 (c2) and 1/16 (c3) of the image.

        Raises:
            ValueError: If the image has another shape.
        """
        size = self.config.image_size
        if image.ndim != 4 or image.shape[1:] != (3, size, size):
            raise ValueError(f"`image` has shape {tuple(image.shape)}; expected (batch, 3, {size}, {size}).")
        return self.trunk(image.contiguous(memory_format=torch.channels_last))

    def read(
        self, features: Sequence[Tensor], *, identity: bool = True, motion: bool = True, memory: bool = True
    ) -> HybridEncoderOutput:
        """The codes, from the feature maps.

        Args:
            features (`Sequence[torch.Tensor]`): From `features`.
            identity, motion, memory (`bool`, *optional*, default to `True`): As for `forward`.

        Returns:
            `HybridEncoderOutput`: What was asked for.
        """
        _, c1, c2, c3 = features
        if identity or motion:
            p2 = _upsample_to(c3, c2) + self.lateral_c2(c2)
            p1 = _upsample_to(p2, c1) + self.lateral_c1(c1)
        return HybridEncoderOutput(
            identity=self._identity([c3, p2, p1]) if identity else None,
            motion=self.motion_heads([c3, p2, p1]) if motion else None,
            memory=c3.flatten(2).transpose(1, 2) if memory else None,  # (batch, tokens, style_dim)
        )

    def _identity(self, pyramid: Sequence[Tensor]) -> Tensor:
        """Style 0 is the base of all others, and the mean latent is added to each."""
        styles = self.identity_heads(pyramid)
        return torch.cat([styles[:, :1], styles[:, :1] + styles[:, 1:]], dim=1) + self.latent_avg


def _upsample_to(coarse: Tensor, fine: Tensor) -> Tensor:
    return F.interpolate(coarse, size=fine.shape[2:], mode="bilinear", align_corners=True)
