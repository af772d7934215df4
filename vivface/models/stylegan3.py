"""StyleGAN3 generator with an open StyleSpace and the transformation of its Fourier features as an input.

Karras et al., "Alias-Free Generative Adversarial Networks" (NeurIPS 2021), sec. 3, appendices C and F.

    z --mapping--> w --(repeat, edit)--> W+ --A--> styles --synthesis--> image
                                 transform -----------^

The image is a signal on the plane that every layer samples without aliasing. So it moves as a whole with the Fourier
features it starts from: by any translation (configurations T and R) and any rotation (R alone).
"""

from collections.abc import Sequence

import numpy as np
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn

from vivface.models.layers.alias_free import AliasFreeConv, AliasFreeToRGB, FourierFeatures, Signal
from vivface.models.layers.styled import MappingNetwork
from vivface.models.precision import PrecisionMixin
from vivface.models.stylegan2 import SynthesisState

CONFIGURATIONS = ("T", "R")
LAYERS = 14  # convolutions between Fourier features and to-RGB
CRITICAL_LAYERS = 2  # the last of them, whose cutoff is half the sampling rate
FIRST_CUTOFF, FIRST_STOPBAND = 2.0, 2.0**2.1
LAST_STOPBAND = 2.0**0.3  # of the last cutoff
MARGIN = 10  # samples around the image in all layers but the last two
OUTPUT_SCALE = 0.25


def image_transform(rotation: Tensor | float = 0.0, translation: Tensor | Sequence[float] = (0.0, 0.0)) -> Tensor:
    """The `transform` that rotates the image about its centre and then moves it.

    Args:
        rotation (`torch.Tensor` of shape `(batch,)` or `float`, *optional*): Radians, counterclockwise.
        translation (`torch.Tensor` of shape `(batch, 2)` or pair of `float`, *optional*): To the right and down, in
            sides of the image.

    Returns:
        `torch.Tensor` of shape `(batch, 3, 3)`: Inverse of that motion, as `StyleGAN3Generator` takes it.

    Raises:
        ValueError: If a shape is wrong.
    """
    angle = torch.atleast_1d(torch.as_tensor(rotation, dtype=torch.get_default_dtype()))
    shift = torch.as_tensor(translation, dtype=angle.dtype, device=angle.device)
    shift = shift[None] if shift.ndim == 1 else shift
    shapes_fit = angle.ndim == 1 and shift.ndim == 2 and shift.shape[1] == 2
    if not shapes_fit or len({1, len(angle), len(shift)}) > 2:
        raise ValueError(
            f"`rotation` has shape {tuple(angle.shape)} and `translation` {tuple(shift.shape)}; expected (batch,) and "
            "(batch, 2)."
        )
    cosine, sine = angle.cos(), angle.sin()
    inverse = torch.stack([torch.stack([cosine, -sine], 1), torch.stack([sine, cosine], 1)], 1)  # (batch, 2, 2)
    batch = max(len(angle), len(shift))
    transform = torch.eye(3, dtype=angle.dtype, device=angle.device).repeat(batch, 1, 1)
    transform[:, :2, :2] = inverse
    transform[:, :2, 2:] = -inverse @ shift[:, :, None]
    return transform


def published_channels(size: int, configuration: str) -> list[int]:
    """Channels of the released generators, which have half the base below 512.

    Args:
        size (`int`): Size of the image.
        configuration (`str`): `"T"`, or `"R"` with twice the channels.

    Returns:
        `list[int]`: One entry for each of the 14 convolutions.
    """
    factor = 2 if configuration == "R" else 1
    base = (32768 if size >= 512 else 16384) * factor
    return [round(min(base / 2 / cutoff, 512 * factor)) for cutoff in _progression(FIRST_CUTOFF, size / 2)[:-1]]


def layer_signals(size: int, channels: Sequence[int]) -> list[Signal]:
    """Sampling of every layer's output: 14 convolutions and to-RGB; the Fourier features are sampled as the first.

    Args:
        size (`int`): Size of the image.
        channels (`Sequence[int]`): Of the convolutions.

    Returns:
        `list[Signal]`: 15 entries.
    """
    cutoffs = _progression(FIRST_CUTOFF, size / 2)
    stopbands = _progression(FIRST_STOPBAND, size / 2 * LAST_STOPBAND)
    rates = 2 ** np.ceil(np.log2(np.minimum(2 * stopbands, size)))
    half_widths = np.maximum(stopbands, rates / 2) - cutoffs
    sizes = np.append(rates[:-2] + 2 * MARGIN, [size, size])
    return [
        Signal(channel, int(samples), int(rate), float(cutoff), float(half_width))
        for channel, samples, rate, cutoff, half_width in zip(
            [*channels, 3], sizes, rates, cutoffs, half_widths, strict=True
        )
    ]


def _progression(first: float, last: float) -> np.ndarray:
    """Geometric progression over the layers, constant in the critical ones."""
    exponents = np.minimum(np.arange(LAYERS + 1) / (LAYERS - CRITICAL_LAYERS), 1.0)
    return first * (last / first) ** exponents


class StyleGAN3Generator(PrecisionMixin, ModelMixin, ConfigMixin):
    """StyleGAN3 generator. At the defaults it is the published 1024 x 1024 one of configuration R.

    W+ has `num_latents` = 16 vectors, one a layer: `input` 0, `layers.0` 1, ..., `layers.14` (to-RGB) 15.

    Args:
        size (`int`, *optional*, defaults to 1024): Height and width of the image in pixels, a power of two from 32.
        configuration (`str`, *optional*, defaults to `"R"`): `"T"`: 3x3 convolutions and separable filters, follows
            translation. `"R"`: 1x1 convolutions and radial filters, follows rotation, too.
        style_dim (`int`, *optional*, defaults to 512): Entries of z and of w.
        mapping_layers (`int`, *optional*, defaults to 2): Layers from z to w.
        channels (`list[int]`, *optional*): Channels of the 14 convolutions; defaults to the published table.

    Raises:
        ValueError: If the size is not a power of two from 32, the configuration is another, or there are not 14
            channels.
    """

    @register_to_config
    def __init__(
        self,
        size: int = 1024,
        configuration: str = "R",
        style_dim: int = 512,
        mapping_layers: int = 2,
        channels: list[int] | None = None,
    ):
        super().__init__()
        if size < 32 or size & (size - 1):
            raise ValueError(f"`size` is {size}; expected a power of two from 32.")
        if configuration not in CONFIGURATIONS:
            raise ValueError(f"`configuration` is {configuration!r}; expected 'T' or 'R'.")
        channels = list(channels) if channels is not None else published_channels(size, configuration)
        if len(channels) != LAYERS:
            raise ValueError(f"`channels` has {len(channels)} entries; expected {LAYERS}.")

        self.mapping = MappingNetwork(style_dim, mapping_layers)
        self.register_buffer("latent_avg", torch.zeros(style_dim))

        signals = layer_signals(size, channels)
        rotates = configuration == "R"
        self.input = FourierFeatures(signals[0], style_dim)
        self.layers = nn.ModuleList()
        for i in range(LAYERS):
            self.layers.append(
                AliasFreeConv(
                    signals[max(i - 1, 0)],
                    signals[i],
                    style_dim,
                    kernel_size=1 if rotates else 3,
                    radial=rotates and i < LAYERS - CRITICAL_LAYERS,
                )
            )
        self.layers.append(AliasFreeToRGB(signals[-2], style_dim))

        # Layers in call order; layer i reads W+ index i
        self.layer_names = ["input"] + [f"layers.{i}" for i in range(LAYERS + 1)]
        self.num_latents = len(self.layer_names)

    def use_oversampling(self, factor: int) -> None:
        """Choose at which multiple of the larger rate of input and output the layers' leaky ReLU works.

        No weight changes. At 1 it is several times faster, and aliases: a draft from which a training may start.

        Args:
            factor (`int`): 2 as published, or 1.

        Raises:
            ValueError: If it is another.
        """
        if factor not in (1, 2):
            raise ValueError(f"`factor` is {factor!r}; expected 1 or 2.")
        for layer in self.layers[:-1]:
            layer.use_oversampling(factor)

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
        """Draw codes.

        Args:
            batch (`int`): How many.
            truncation (`float`, *optional*, defaults to 1.0): Unitless, in [0, 1]; 0 gives the mean image.
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
        """Apply the affine maps.

        Args:
            w_plus (`torch.Tensor` of shape `(batch, num_latents, style_dim)`): Code.

        Returns:
            `list[torch.Tensor]`: For the input `(batch, 4)`, a rotation (cosine, sine) and a translation times a
                common factor; then `(batch, input channels)` for every layer, in call order.

        Raises:
            ValueError: If the code has another shape.
        """
        return self._styles(w_plus)

    # Images ----------------------------------------------------------------------------------------------------------

    def forward(
        self,
        w_plus: Tensor | None = None,
        *,
        styles: Sequence[Tensor] | None = None,
        transform: Tensor | None = None,
        resume: SynthesisState | None = None,
        stop_after: str | None = None,
        magnitude_decay: float | None = None,
    ) -> Tensor | SynthesisState:
        """Render a code or its styles.

        Args:
            w_plus (`torch.Tensor` of shape `(batch, num_latents, style_dim)`, *optional*): Code.
            styles (`Sequence[torch.Tensor]`, *optional*): In place of `w_plus`: `(batch or 1, entries)` for every
                layer, in call order, as `to_stylespace` gives.
            transform (`torch.Tensor` of shape `(3, 3)` or `(batch or 1, 3, 3)`, *optional*): Inverse of a motion of
                the image, as `image_transform` gives: homogeneous, in sides of the image from its centre, x to the
                right and y down.
            resume (`SynthesisState`, *optional*): Go on after the layer where an earlier call stopped.
            stop_after (`str`, *optional*): Name of a layer after which to stop; the state's `rgb` is `None`.
            magnitude_decay (`float`, *optional*): For training: first move the running mean square of every layer's
                input toward that of this batch; the share of the old value, in [0, 1), published with 0.999.

        Returns:
            `torch.Tensor` of shape `(batch, 3, size, size)`: RGB, about [-1, 1], not clamped. With `stop_after`, a
            `SynthesisState`.

        Raises:
            ValueError: If not one of `w_plus` and `styles` is given, a shape, the number of styles or a layer name is
                wrong, or a transformation comes after the input has run.
        """
        if (w_plus is None) == (styles is None):
            raise ValueError(f"{'neither' if styles is None else 'both'} of `w_plus` and `styles` given; expected one.")
        styles = self._styles(w_plus) if styles is None else styles
        transform = transform[None] if transform is not None and transform.ndim == 2 else transform
        self._check_synthesis(styles, transform, resume, stop_after)

        batch = max(max(len(style) for style in styles), 1 if transform is None else len(transform))
        styles = [style.expand(batch, -1) for style in styles]
        first = 0 if resume is None else self.layer_names.index(resume.layer) + 1
        feature = None if resume is None else resume.feature
        for i in range(first, self.num_latents):
            if i == 0:
                feature = self.input(styles[0], transform)  # (batch, channels, height, width)
            else:
                layer = self.layers[i - 1]
                if magnitude_decay is not None:
                    with torch.no_grad():
                        square = torch.linalg.vector_norm(feature, dtype=torch.float32).square() / feature.numel()
                        layer.magnitude.lerp_(square.to(layer.magnitude), 1 - magnitude_decay)
                feature = layer(feature, styles[i])
            if self.layer_names[i] == stop_after:
                return SynthesisState(self.layer_names[i], feature, None)
        return feature * OUTPUT_SCALE

    def _styles(self, w_plus: Tensor) -> list[Tensor]:
        if w_plus.ndim != 3 or w_plus.shape[1:] != (self.num_latents, self.config.style_dim):
            raise ValueError(
                f"`w_plus` has shape {tuple(w_plus.shape)}; "
                f"expected (batch, {self.num_latents}, {self.config.style_dim})."
            )
        layers = [self.input, *self.layers]
        return [layer.modulation(w_plus[:, i]) for i, layer in enumerate(layers)]

    def _check_synthesis(
        self,
        styles: Sequence[Tensor],
        transform: Tensor | None,
        resume: SynthesisState | None,
        stop_after: str | None,
    ) -> None:
        names = self.layer_names
        if len(styles) != len(names):
            raise ValueError(f"`styles` has {len(styles)} entries; expected {len(names)}, one a layer.")
        if transform is not None and (transform.ndim != 3 or transform.shape[1:] != (3, 3)):
            raise ValueError(f"`transform` has shape {tuple(transform.shape)}; expected (batch, 3, 3).")
        for argument, name in (("stop_after", stop_after), ("resume", resume and resume.layer)):
            if name is not None and name not in names:
                raise ValueError(f"`{argument}` names layer {name!r}; expected one of {', '.join(names)}.")
        if resume is not None and transform is not None:
            raise ValueError("`transform` moves the Fourier features, which ran before `resume`; expected one of both.")
