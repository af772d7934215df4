"""Refinement network R: identity detail is returned to a re-enacted image.

ViVFace, sec. "Stage-II Model". The aligner (R_align) and the modulator (R_modu) follow HFGI (Wang et al., CVPR 2022).

    aligned = aligner(I', I_ref);  scale, shift = modulator(I', aligned);  f' = f (1 + scale) + shift

I' is the stage I image, I_ref the reference, f the generator's feature map after its first 64x64 convolution. The paper
writes alpha and beta for 1 + scale and shift.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput
from torch import Tensor, nn

from vivface.models.layers.equalized import EqualizedConv2d
from vivface.models.layers.residual import residual_stage, stem
from vivface.models.precision import PrecisionMixin
from vivface.models.stylegan2 import StyleGAN2Generator, SynthesisState


@dataclass
class RefinementOutput(BaseOutput):
    """The aligned reference, and the change of the generator's feature map.

    Args:
        aligned (`torch.Tensor` of shape `(batch, 3, image_size, image_size)`): RGB, about [-1, 1].
        scale (`torch.Tensor` of shape `(batch, feature_channels, feature_size, feature_size)`): About 0.
        shift (`torch.Tensor` of shape `(batch, feature_channels, feature_size, feature_size)`): About 0.
    """

    aligned: Tensor
    scale: Tensor = None  # always given; offloading hooks build the output from a dict
    shift: Tensor = None


class Aligner(nn.Module):
    """Redraw the reference in the pose of the stage I image: three stages down, three up, with skips (R_align).

    Args:
        widths (`Sequence[int]`): Channels at 1, 1/2, 1/4 and 1/8 of the image.
    """

    def __init__(self, widths: Sequence[int]):
        super().__init__()
        w1, w2, w3, w4 = widths
        self.stem = stem(6, w1)
        self.down1 = residual_stage(w1, [w2] * 3, stride=2)
        self.down2 = residual_stage(w2, [w3] * 3, stride=2)
        self.down3 = residual_stage(w3, [w4] * 3, stride=2)
        self.up1 = residual_stage(w4 + w3, [w4, w2, w2], stride=1)
        self.up2 = residual_stage(w2 + w2, [w2, w1, w1], stride=1)
        self.up3 = residual_stage(w1 + w1, [w1, 3, 3], stride=1)

    def forward(self, x: Tensor) -> Tensor:
        """Align.

        Args:
            x (`torch.Tensor` of shape `(batch, 6, image_size, image_size)`): Stage I image and reference, in [-1, 1].

        Returns:
            `torch.Tensor` of shape `(batch, 3, image_size, image_size)`: RGB, about [-1, 1].
        """
        x1 = self.stem(x)  # (batch, w1, image_size, image_size)
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        x4 = self.down3(x3)  # (batch, w4, image_size / 8, image_size / 8)
        y = self.up1(torch.cat([_resize(x4, x3.shape[2]), x3], dim=1))
        y = self.up2(torch.cat([_resize(y, x2.shape[2]), x2], dim=1))
        return self.up3(torch.cat([_resize(y, x1.shape[2]), x1], dim=1))  # (batch, 3, image_size, image_size)


class Modulator(nn.Module):
    """Stage I image and aligned reference -> scale and shift (R_modu).

    Args:
        widths (`Sequence[int]`): Channels at 1, 1/2, ... of the image.
        hidden (`int`): Channels between the two last convolutions.
        feature_channels (`int`): Channels of the generator's feature map.
        feature_size (`int`): Height and width of the generator's feature map.
    """

    def __init__(self, widths: Sequence[int], hidden: int, feature_channels: int, feature_size: int):
        super().__init__()
        first, *others = widths
        last = others[-1]
        self.stem = stem(6, first)
        self.downs = nn.ModuleList(residual_stage(a, [b] * 3, stride=2) for a, b in zip(widths, others, strict=False))
        self.scale1 = EqualizedConv2d(last, hidden, 3, activate=True)
        self.scale2 = EqualizedConv2d(hidden, feature_channels, 3, init_gain=0.0)  # training starts without a change
        self.shift1 = EqualizedConv2d(last, hidden, 3, activate=True)
        self.shift2 = EqualizedConv2d(hidden, feature_channels, 3, init_gain=0.0)
        self.feature_size = feature_size

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the change of the feature map.

        Args:
            x (`torch.Tensor` of shape `(batch, 6, image_size, image_size)`): Stage I image and aligned reference, in
                [-1, 1].

        Returns:
            Two `torch.Tensor` of shape `(batch, feature_channels, feature_size, feature_size)`: scale and shift.
        """
        x = self.stem(x)
        for down in self.downs:
            x = down(x)
        scale = self.scale2(self.scale1(x))
        shift = self.shift2(self.shift1(x))
        return _resize(scale, self.feature_size), _resize(shift, self.feature_size)


class RefinementNetwork(PrecisionMixin, ModelMixin, ConfigMixin):
    """Return identity detail of a reference image to a stage I image (ViVFace, sec. "Stage-II Model").

    Args:
        image_size (`int`, *optional*, defaults to 256): Height and width at which it sees images, a multiple of 8.
        feature_channels (`int`, *optional*, defaults to 512): Channels of the generator at 64x64.
        aligner_widths (`tuple[int, ...]`, *optional*): Channels of the aligner at 1, 1/2, 1/4 and 1/8.
        modulator_widths (`tuple[int, ...]`, *optional*): Channels of the modulator at 1, 1/2 and 1/4; two
            numbers stop at 1/2, which fits a feature map half as large as the image.
        hidden (`int`, *optional*, defaults to 512): Channels between the modulator's two last convolutions.
        feature_size (`int`, *optional*, defaults to 64): Height and width of the generator's feature map.

    Raises:
        ValueError: If the image size is no multiple of 8.
    """

    @register_to_config
    def __init__(
        self,
        image_size: int = 256,
        feature_channels: int = 512,
        aligner_widths: tuple[int, ...] = (16, 32, 48, 64),
        modulator_widths: tuple[int, ...] = (32, 48, 64),
        hidden: int = 512,
        feature_size: int = 64,
    ):
        super().__init__()
        if image_size % 8:
            raise ValueError(f"`image_size` is {image_size}; expected a multiple of 8.")
        self.aligner = Aligner(aligner_widths)
        self.modulator = Modulator(modulator_widths, hidden, feature_channels, feature_size)

    def forward(self, stage1_image: Tensor, reference: Tensor) -> RefinementOutput:
        """Align the reference, then compute scale and shift of the generator's feature map.

        Args:
            stage1_image (`torch.Tensor` of shape `(batch, 3, size, size)`): Stage I image of any size, in [-1, 1].
            reference (`torch.Tensor` of shape `(batch or 1, 3, size, size)`): Another view of the person, of any size,
                in [-1, 1].

        Returns:
            `RefinementOutput`: Aligned reference, scale and shift.
        """
        stage1_image = self._resized(stage1_image)
        aligned = self.align(stage1_image, reference)
        scale, shift = self.modulation(stage1_image, aligned)
        return RefinementOutput(aligned, scale, shift)

    def align(self, stage1_image: Tensor, reference: Tensor) -> Tensor:
        """The reference in the pose of the stage I image.

        Args:
            stage1_image (`torch.Tensor` of shape `(batch, 3, size, size)`): As for `forward`.
            reference (`torch.Tensor` of shape `(batch or 1, 3, size, size)`): As for `forward`.

        Returns:
            `torch.Tensor` of shape `(batch, 3, image_size, image_size)`: RGB, about [-1, 1].
        """
        return self.aligner(self._joined(stage1_image, reference))

    def modulation(self, stage1_image: Tensor, aligned: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and shift of the generator's feature map.

        Args:
            stage1_image (`torch.Tensor` of shape `(batch, 3, size, size)`): As for `forward`.
            aligned (`torch.Tensor` of shape `(batch, 3, image_size, image_size)`): From `align`.

        Returns:
            Two `torch.Tensor` of shape `(batch, feature_channels, feature_size, feature_size)`: scale and shift.
        """
        return self.modulator(self._joined(stage1_image, aligned))

    @staticmethod
    def fuse(feature: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """Change the generator's feature map: f' = f (1 + scale) + shift.

        Args:
            feature, scale, shift (`torch.Tensor` of shape `(batch, channels, height, width)`): All alike.

        Returns:
            `torch.Tensor` of the same shape.
        """
        return feature * (1 + scale) + shift

    def _joined(self, first: Tensor, second: Tensor) -> Tensor:
        first, second = self._resized(first), self._resized(second)
        joined = torch.cat(
            [first, second.expand(first.shape[0], -1, -1, -1)], dim=1
        )  # (batch, 6, image_size, image_size)
        return joined.contiguous(memory_format=torch.channels_last)

    def _resized(self, image: Tensor) -> Tensor:
        """Plain bilinear resampling, as in the paper: at 1024 it reads the middle 2x2 of every 4x4 block."""
        return _resize(image, self.config.image_size)


def generate_refined(
    generator: StyleGAN2Generator, refinement: RefinementNetwork, styles: Sequence[Tensor], reference: Tensor
) -> tuple[Tensor, Tensor]:
    """Render stage I, then render again with refined features (ViVFace, sec. "Stage-II Model": I'' = G(f')).

    Both networks are called as modules, so that hooks and compiled networks take part. The second pass resumes at the
    layer that the refinement changes.

    Args:
        generator (`StyleGAN2Generator`): Of at least 64 x 64.
        refinement (`RefinementNetwork`): R.
        styles (`Sequence[torch.Tensor]`): `(batch or 1, input channels)` for every layer: A(W) + S'.
        reference (`torch.Tensor` of shape `(batch or 1, 3, size, size)`): The portrait, in [-1, 1].

    Returns:
        Two `torch.Tensor` of shape `(batch, 3, size, size)`, RGB, about [-1, 1]: stage I image and refined image.
    """
    state = generator(styles=styles, stop_after=generator.refinement_layer)
    stage1_image = generator(styles=styles, resume=state)
    changes = refinement(stage1_image, reference)
    feature = refinement.fuse(state.feature, changes.scale, changes.shift)
    return stage1_image, generator(styles=styles, resume=SynthesisState(state.layer, feature, state.rgb))


def _resize(x: Tensor, size: int) -> Tensor:
    if x.shape[2] == size and x.shape[3] == size:
        return x
    return F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)
