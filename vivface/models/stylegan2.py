"""StyleGAN2 generator with an open StyleSpace: G and A of ViVFace (sec. "Framework Design" and "Stage-I Model").

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (CVPR 2020), sec. 2 and appendix B.

    z --mapping--> w --(repeat, edit)--> W+ --A--> StyleSpace (one modulation vector a layer) --synthesis--> image

ViVFace adds motion codes S to the StyleSpace of an identity code W and renders G(A(W) + S) (eq. 3). So the affine maps
A can be applied apart from the synthesis (`to_stylespace`): a source's styles are computed once for all frames. The
synthesis can stop after any layer and resume from there, so that a second pass repeats only what changed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn

from vivface.models.layers.styled import MappingNetwork, StyledConv, ToRGB
from vivface.models.precision import PrecisionMixin

NOISE_MODES = ("fixed", "random", "none")


@dataclass
class SynthesisState:
    """Where a synthesis stopped.

    Args:
        layer (`str`): The last layer that ran, for example `"convs.6"`.
        feature (`torch.Tensor` of shape `(batch, channels, height, width)`): Output of the last convolution layer.
        rgb (`torch.Tensor` of shape `(batch, 3, height, width)` or `None`): Sum of the to-RGB layers so far, at the
            size of the last of them; `None` before the first.
    """

    layer: str
    feature: Tensor
    rgb: Tensor | None

    def to(self, *args, **kwargs) -> "SynthesisState":
        """A state whose tensors are moved or cast; arguments as for `torch.Tensor.to`. Offloading hooks call it."""
        rgb = None if self.rgb is None else self.rgb.to(*args, **kwargs)
        return SynthesisState(self.layer, self.feature.to(*args, **kwargs), rgb)


def published_channels(size: int, channel_multiplier: int = 2) -> list[int]:
    """Channels from 4x4 up to `size`, of the published configs f (multiplier 2) and e (multiplier 1).

    Args:
        size (`int`): Size of the image, a power of two from 8.
        channel_multiplier (`int`, *optional*, defaults to 2): Factor from 64x64 up.

    Returns:
        `list[int]`: One entry for 4x4, 8x8, ..., `size`.
    """
    sizes = [4 * 2**i for i in range(int(math.log2(size)) - 1)]
    return [512 if each <= 32 else 16384 * channel_multiplier // each for each in sizes]


class StyleGAN2Generator(PrecisionMixin, ModelMixin, ConfigMixin):
    """StyleGAN2 generator. At the defaults it is the published 1024 x 1024 one (config f), parameter for parameter.

    W+ has `num_latents` = 2 log2(size) - 2 vectors. A to-RGB layer shares its vector with the next block's first
    convolution: `conv1` 0; `to_rgb1`, `convs.0` 1; `convs.1` 2; `to_rgbs.0`, `convs.2` 3; ...

    Args:
        size (`int`, *optional*, defaults to 1024): Height and width of the image in pixels, a power of two from 8.
        style_dim (`int`, *optional*, defaults to 512): Entries of z and of w.
        mapping_layers (`int`, *optional*, defaults to 8): Layers from z to w.
        channels (`list[int]`, *optional*): Channels at 4x4, 8x8, ..., `size`; defaults to the published table.
        channel_multiplier (`int`, *optional*, defaults to 2): Factor of the published table from 64x64 up.
        motion_codes (`int`, *optional*, defaults to 10): How many W+ indices take a motion code.

    Raises:
        ValueError: If the size is not a power of two from 8, the channels do not match it, or there are more motion
            codes than latents.
    """

    @register_to_config
    def __init__(
        self,
        size: int = 1024,
        style_dim: int = 512,
        mapping_layers: int = 8,
        channels: list[int] | None = None,
        channel_multiplier: int = 2,
        motion_codes: int = 10,
    ):
        super().__init__()
        if size < 8 or size & (size - 1):
            raise ValueError(f"`size` is {size}; expected a power of two from 8.")
        channels = list(channels) if channels is not None else published_channels(size, channel_multiplier)
        blocks = int(math.log2(size)) - 2
        self.num_latents = 2 * blocks + 2
        if len(channels) != blocks + 1:
            raise ValueError(f"`channels` has {len(channels)} entries; expected {blocks + 1} for size {size}.")
        if motion_codes > self.num_latents:
            raise ValueError(f"`motion_codes` is {motion_codes}; expected at most {self.num_latents} for size {size}.")

        self.mapping = MappingNetwork(style_dim, mapping_layers)
        self.register_buffer("latent_avg", torch.zeros(style_dim))

        self.constant = nn.Parameter(torch.randn(1, channels[0], 4, 4))
        self.conv1 = StyledConv(channels[0], channels[0], style_dim, size=4, upsample=False)
        self.to_rgb1 = ToRGB(channels[0], style_dim)
        self.convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleList()
        for k in range(blocks):
            wide, narrow, block_size = channels[k], channels[k + 1], 8 * 2**k
            self.convs.append(StyledConv(wide, narrow, style_dim, block_size, upsample=True))
            self.convs.append(StyledConv(narrow, narrow, style_dim, block_size, upsample=False))
            self.to_rgbs.append(ToRGB(narrow, style_dim))

        # Layers in call order, and the W+ index that each of them reads
        self.layer_names = ["conv1", "to_rgb1"]
        self.layer_latents = [0, 1]
        for k in range(blocks):
            self.layer_names += [f"convs.{2 * k}", f"convs.{2 * k + 1}", f"to_rgbs.{k}"]
            self.layer_latents += [2 * k + 1, 2 * k + 2, 2 * k + 3]

    @property
    def refinement_layer(self) -> str:
        """Name of the first 64x64 convolution, whose output the refinement network changes.

        Raises:
            ValueError: If the generator is smaller than 64 x 64.
        """
        if self.config.size < 64:
            raise ValueError(f"a generator of size {self.config.size} has no 64x64 layer; expected a size from 64.")
        return "convs.6"

    def rgb_layer(self, size: int) -> str:
        """Name of the layer after which the summed RGB has `size` x `size` pixels, a power of two from 4."""
        return "to_rgb1" if size == 4 else f"to_rgbs.{int(math.log2(size)) - 3}"

    # Latents ---------------------------------------------------------------------------------------------------------

    def truncate(self, w: Tensor, psi: float) -> Tensor:
        """Move w toward the mean latent: `avg + psi (w - avg)`.

        Args:
            w (`torch.Tensor` of shape `(..., style_dim)`): Codes of W or W+.
            psi (`float`): Unitless; 0 gives the mean latent, 1 changes nothing.

        Returns:
            `torch.Tensor` of shape `(..., style_dim)`.
        """
        return self.latent_avg + psi * (w - self.latent_avg)

    @apply_forward_hook
    def sample_latents(self, batch: int, truncation: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """Draw identity codes.

        Args:
            batch (`int`): How many.
            truncation (`float`, *optional*, defaults to 1.0): Unitless, in [0, 1]; 0 gives the mean face.
            generator (`torch.Generator`, *optional*): Source of z, on the CPU or on the network's device.

        Returns:
            `torch.Tensor` of shape `(batch, num_latents, style_dim)`: one w, repeated.
        """
        device = generator.device if generator is not None else self.latent_avg.device
        z = torch.randn(batch, self.config.style_dim, generator=generator, device=device, dtype=torch.float32)
        w = self.truncate(self.mapping(z.to(self.latent_avg)), truncation)
        return w[:, None].expand(-1, self.num_latents, -1)

    @apply_forward_hook
    def to_stylespace(self, w_plus: Tensor) -> list[Tensor]:
        """Apply the affine maps: A(W) of eq. 3.

        Args:
            w_plus (`torch.Tensor` of shape `(batch, num_latents, style_dim)`): Identity code.

        Returns:
            `list[torch.Tensor]`: `(batch, input channels)` for every layer, in call order.

        Raises:
            ValueError: If the code has another shape.
        """
        return self._styles(w_plus)

    def add_motion(self, styles: Sequence[Tensor], motion: Tensor) -> list[Tensor]:
        """Add code i to every layer that reads W+ index i: A(W) + S of eq. 3.

        A layer with C inputs takes the first C entries of the code.

        Args:
            styles (`Sequence[torch.Tensor]`): From `to_stylespace`; a batch of one serves every motion.
            motion (`torch.Tensor` of shape `(batch, motion_codes, style_dim)`): Motion codes.

        Returns:
            `list[torch.Tensor]`: New styles; the layers beyond the codes are the given ones.

        Raises:
            ValueError: If the codes have another shape.
        """
        expected = (self.config.motion_codes, self.config.style_dim)
        if motion.ndim != 3 or motion.shape[1:] != expected:
            raise ValueError(
                f"`motion` has shape {tuple(motion.shape)}; expected (batch, {expected[0]}, {expected[1]})."
            )
        moved = []
        for style, index in zip(styles, self.layer_latents, strict=True):
            if index < motion.shape[1]:
                code = motion[:, index, : style.shape[1]]  # (batch, at most C)
                style = style + F.pad(code, (0, style.shape[1] - code.shape[1]))
            moved.append(style)
        return moved

    # Images ----------------------------------------------------------------------------------------------------------

    def forward(
        self,
        w_plus: Tensor | None = None,
        motion: Tensor | None = None,
        *,
        styles: Sequence[Tensor] | None = None,
        offsets: Sequence[Tensor | None] | None = None,
        noise: str = "fixed",
        resume: SynthesisState | None = None,
        stop_after: str | None = None,
    ) -> Tensor | SynthesisState:
        """Render an identity code or its styles, moved by motion codes: G(A(W) + S) (eq. 3).

        Args:
            w_plus (`torch.Tensor` of shape `(batch, num_latents, style_dim)`, *optional*): Identity code.
            motion (`torch.Tensor` of shape `(batch, motion_codes, style_dim)`, *optional*): Motion codes to add.
            styles (`Sequence[torch.Tensor]`, *optional*): In place of `w_plus`: `(batch or 1, input channels)` for
                every layer, in call order, as `to_stylespace` and `add_motion` give.
            offsets (`Sequence[torch.Tensor | None]`, *optional*): Relative changes of the weights, from a hypernetwork:
                `(batch or 1, output channels, input channels)` for every layer in call order, None where there is
                none, as for every to-RGB layer.
            noise (`str`, *optional*, defaults to `"fixed"`): `"fixed"` adds the stored maps, `"random"` fresh ones,
                `"none"` nothing.
            resume (`SynthesisState`, *optional*): Go on after the layer where an earlier call stopped.
            stop_after (`str`, *optional*): Name of a layer after which to stop.

        Returns:
            `torch.Tensor` of shape `(batch, 3, size, size)`: RGB, about [-1, 1], not clamped. With `stop_after`, a
            `SynthesisState`.

        Raises:
            ValueError: If not one of `w_plus` and `styles` is given, or a shape, the number of styles or offsets, the
                noise mode or a layer name is wrong.
        """
        if (w_plus is None) == (styles is None):
            raise ValueError(f"{'neither' if styles is None else 'both'} of `w_plus` and `styles` given; expected one.")
        styles = self._styles(w_plus) if styles is None else styles
        self._check_synthesis(styles, noise, resume, stop_after)
        if motion is not None:
            styles = self.add_motion(styles, motion)

        offsets = [None] * len(styles) if offsets is None else self._checked_offsets(offsets)

        batch = max(given.shape[0] for given in (*styles, *offsets) if given is not None)
        styles = [style.expand(batch, -1) for style in styles]
        if resume is None:
            first, feature, rgb = 0, self.constant.expand(batch, -1, -1, -1), None
        else:
            first, feature, rgb = self.layer_names.index(resume.layer) + 1, resume.feature, resume.rgb
        feature = feature.contiguous(memory_format=torch.channels_last)

        layers = self._layers()
        for i in range(first, len(layers)):
            if isinstance(layers[i], ToRGB):
                rgb = layers[i](feature, styles[i], rgb)  # (batch, 3, height, width)
            else:
                feature = layers[i](feature, styles[i], noise, offsets[i])  # (batch, channels, height, width)
            if self.layer_names[i] == stop_after:
                return SynthesisState(self.layer_names[i], feature, rgb)
        return rgb

    def _styles(self, w_plus: Tensor) -> list[Tensor]:
        if w_plus.ndim != 3 or w_plus.shape[1:] != (self.num_latents, self.config.style_dim):
            raise ValueError(
                f"`w_plus` has shape {tuple(w_plus.shape)}; "
                f"expected (batch, {self.num_latents}, {self.config.style_dim})."
            )
        return [
            layer.modulation(w_plus[:, index]) for layer, index in zip(self._layers(), self.layer_latents, strict=True)
        ]

    def _check_synthesis(
        self, styles: Sequence[Tensor], noise: str, resume: SynthesisState | None, stop_after: str | None
    ) -> None:
        names = self.layer_names
        if noise not in NOISE_MODES:
            raise ValueError(f"`noise` is {noise!r}; expected one of {', '.join(NOISE_MODES)}.")
        if len(styles) != len(names):
            raise ValueError(f"`styles` has {len(styles)} entries; expected {len(names)}, one a layer.")
        for argument, name in (("stop_after", stop_after), ("resume", resume and resume.layer)):
            if name is not None and name not in names:
                raise ValueError(f"`{argument}` names layer {name!r}; expected one of {', '.join(names)}.")

    def _checked_offsets(self, offsets: Sequence[Tensor | None]) -> list[Tensor | None]:
        if len(offsets) != len(self.layer_names):
            raise ValueError(f"`offsets` has {len(offsets)} entries; expected {len(self.layer_names)}, one a layer.")
        for name, layer, offset in zip(self.layer_names, self._layers(), offsets, strict=True):
            expected = None if isinstance(layer, ToRGB) else tuple(layer.weight.shape[:2])
            if offset is not None and (offset.ndim != 3 or offset.shape[1:] != expected):
                words = "no offset" if expected is None else f"(batch, {expected[0]}, {expected[1]})"
                raise ValueError(f"`offsets` has shape {tuple(offset.shape)} for {name}; expected {words}.")
        return list(offsets)

    def _layers(self) -> list[nn.Module]:
        """The layers in call order."""
        return [self.get_submodule(name) for name in self.layer_names]
