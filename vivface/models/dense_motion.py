"""Dense motion: where in the portrait each pixel of the re-enacted frame comes from, and what the portrait lacks.

In the terms of the first order motion model (Siarohin et al., NeurIPS 2019, sec. 3.2): candidate flows are mixed by
weights that a network predicts, with an occlusion map. The candidates here are no motion, a thin-plate spline through
the portrait's and the driver's landmarks, and a matching of features between the portrait and what the generator
imagines under the driver's motion. Either cue may be missing: without images of a generator the landmarks alone drive.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput
from torch import Tensor, nn

from vivface.models.landmark_warp import LANDMARK_GROUPS, landmark_maps, pixel_positions, thin_plate_flow, warp
from vivface.models.precision import PrecisionMixin

CANDIDATES = 3  # flows that are mixed: none, landmarks, matching
RESIDUAL_SCALE = 0.1  # of the half image: what a residual of 1 moves


@dataclass
class PortraitFeatures(BaseOutput):
    """What stays the same of a portrait over all frames.

    Attributes:
        portrait (`torch.Tensor` of shape `(batch, 3, S, S)`): The portrait.
        self_reconstruction (`torch.Tensor` of shape `(batch, 4, S, S)`): With a channel of ones, or zeros if missing.
        landmarks (`torch.Tensor` of shape `(batch, 68, 2)`, *optional*): Of the portrait.
        features (`torch.Tensor` of shape `(batch, C, S / 8, S / 8)`): For matching.
    """

    portrait: Tensor
    self_reconstruction: Tensor
    landmarks: Tensor | None
    features: Tensor


@dataclass
class DenseMotionOutput(BaseOutput):
    """Motion of a frame; positions run from -1 to 1 over the image.

    Attributes:
        flow (`torch.Tensor` of shape `(batch, 2, S, S)`): Source position minus target position, x then y.
        mask (`torch.Tensor` of shape `(batch, 1, S, S)`): Logits: is this the person, not the background?
        occlusion (`torch.Tensor` of shape `(batch, 1, S, S)`): Logits: does the portrait show what belongs here? As
            in the first order motion model, high means yes and low means that something has to be painted.
        matched (`torch.Tensor` of shape `(batch, 2, S / 8, S / 8)`): The flow of the matching alone.
    """

    flow: Tensor
    mask: Tensor
    occlusion: Tensor
    matched: Tensor


def conv(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """3 x 3 convolution, group norm, ReLU. A batch norm's statistics would mix batches that have different cues."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False),
        nn.GroupNorm(max(out_channels // 8, 1), out_channels),
        nn.ReLU(inplace=True),
    )


class FeatureTower(nn.Module):
    """Features at an eighth of the image, from images and landmark maps.

    Args:
        in_channels (`int`): Of the images together.
        widths (`tuple[int, int, int]`): Channels at 1/2, 1/4 and 1/8.
    """

    def __init__(self, in_channels: int, widths: tuple[int, int, int]):
        super().__init__()
        half, quarter, eighth = widths
        self.stem = conv(in_channels, half, 2)
        self.at_half = conv(half + len(LANDMARK_GROUPS), half)
        self.at_quarter = nn.Sequential(conv(half, quarter, 2), conv(quarter, quarter))
        self.at_eighth = nn.Sequential(conv(quarter, eighth, 2), conv(eighth, eighth))
        self.head = nn.Conv2d(eighth, eighth, 1)

    def forward(self, images: Tensor, maps: Tensor) -> Tensor:
        """Compute features.

        Args:
            images (`torch.Tensor` of shape `(batch, in_channels, S, S)`): In [-1, 1].
            maps (`torch.Tensor` of shape `(batch, 6, S / 2, S / 2)`): Landmarks, see `landmark_maps`.

        Returns:
            `torch.Tensor` of shape `(batch, widths[2], S / 8, S / 8)`: features.
        """
        x = torch.cat([self.stem(images), maps], 1)
        return self.head(self.at_eighth(self.at_quarter(self.at_half(x))))


class DenseMotionNetwork(PrecisionMixin, ModelMixin, ConfigMixin):
    """Predict how a portrait moves.

    Args:
        image_size (`int`, *optional*, defaults to 128): Height and width S of all images, a multiple of 16.
        widths (`tuple[int, int, int]`, *optional*): Channels at 1/2, 1/4 and 1/8 of the image.

    Raises:
        ValueError: If the image size is no multiple of 16.
    """

    @register_to_config
    def __init__(self, image_size: int = 128, widths: tuple[int, int, int] = (32, 48, 64)):
        super().__init__()
        if image_size % 16:
            raise ValueError(f"`image_size` is {image_size}; expected a multiple of 16.")
        half, quarter, eighth = widths
        groups = len(LANDMARK_GROUPS)
        self.portrait_tower = FeatureTower(3 + 4, widths)
        self.driven_tower = FeatureTower(4, widths)
        self.position = nn.Parameter(torch.zeros(1, eighth, image_size // 8, image_size // 8))
        self.sharpness = nn.Parameter(torch.tensor(2.0))
        # portrait and self-reconstruction warped by two candidates, the driven image, maps of both faces, two flows,
        # and how certain the matching is
        inputs = 2 * (3 + 4) + 4 + 2 * groups + 2 * 2 + 1
        self.enter = conv(inputs, half)
        self.down1 = nn.Sequential(conv(half, quarter, 2), conv(quarter, quarter))
        self.down2 = nn.Sequential(conv(quarter, eighth, 2), conv(eighth, eighth))
        self.middle = nn.Sequential(conv(2 * eighth, eighth), conv(eighth, eighth))
        self.up1 = conv(eighth + quarter, quarter)
        self.up2 = conv(quarter + half, half)
        self.mix = nn.Conv2d(half, CANDIDATES + 4, 3, 1, 1)  # weights of candidates, residual flow, mask, occlusion
        self.enlarge = nn.Conv2d(half, 16, 1)
        self.refine = conv(16 + 3 + 3, 16)
        self.finish = nn.Conv2d(16, 4, 3, 1, 1)  # residual flow, mask, occlusion
        for layer in (self.mix, self.finish):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def encode_portrait(
        self, portrait: Tensor, self_reconstruction: Tensor | None = None, landmarks: Tensor | None = None
    ) -> PortraitFeatures:
        """Do once what all frames of a portrait share.

        Args:
            portrait (`torch.Tensor` of shape `(batch, 3, S, S)`): RGB in [-1, 1].
            self_reconstruction (`torch.Tensor` of shape `(batch, 3, S, S)`, *optional*): The generator's image of the
                portrait in its own motion, RGB in [-1, 1].
            landmarks (`torch.Tensor` of shape `(batch, 68, 2)`, *optional*): Of the portrait, positions in [-1, 1].

        Returns:
            `PortraitFeatures`: for `forward`.

        Raises:
            ValueError: If an image has another shape.
        """
        self._check(portrait, "portrait")
        flagged = self._flagged(self_reconstruction, portrait, "self_reconstruction")
        features = self.portrait_tower(torch.cat([portrait, flagged], 1), self._maps(landmarks, portrait))
        return PortraitFeatures(
            portrait=portrait, self_reconstruction=flagged, landmarks=landmarks, features=features + self.position
        )

    def forward(
        self, portrait: PortraitFeatures, driven: Tensor | None = None, landmarks: Tensor | None = None
    ) -> DenseMotionOutput:
        """Predict the motion of frames.

        Args:
            portrait (`PortraitFeatures`): Of one portrait, or of one for each frame.
            driven (`torch.Tensor` of shape `(batch, 3, S, S)`, *optional*): The generator's image of the portrait under
                the driver's motion, RGB in [-1, 1].
            landmarks (`torch.Tensor` of shape `(batch, 68, 2)`, *optional*): Where the portrait's landmarks go,
                positions in [-1, 1].

        Returns:
            `DenseMotionOutput`: flow, mask, occlusion.

        Raises:
            ValueError: If both cues are missing, the portrait's landmarks are, or an image has another shape.
        """
        if driven is None and landmarks is None:
            raise ValueError("`driven` and `landmarks` are both missing; expected at least one of them.")
        if landmarks is not None and portrait.landmarks is None:
            raise ValueError("`landmarks` are given without the portrait's; give those to `encode_portrait`.")
        batch = len(driven if driven is not None else landmarks)
        image, self_image, features = (
            x.expand(batch, -1, -1, -1) for x in (portrait.portrait, portrait.self_reconstruction, portrait.features)
        )
        driven = self._flagged(driven, image, "driven")
        maps = self._maps(landmarks, image)
        target = self.driven_tower(driven, maps) + self.position
        matched, certainty = self._match(target, features)

        half = self.config.image_size // 2
        matched_half = _resize(matched, half)
        if landmarks is None:
            spline, portrait_maps = torch.zeros_like(matched_half), torch.zeros_like(maps)
        else:
            own = portrait.landmarks.expand(batch, -1, -1)
            spline = thin_plate_flow(landmarks, own, half)
            portrait_maps = self._maps(own, image)
        small, small_self = F.avg_pool2d(image, 2), F.avg_pool2d(self_image, 2)
        both = torch.cat([small, small_self], 1)
        x = [warp(both, spline), warp(both, matched_half), F.avg_pool2d(driven, 2), maps, warp(portrait_maps, spline)]
        x = torch.cat([*x, *(f.to(image.dtype) for f in (spline, matched_half, _resize(certainty, half)))], 1)
        x, mixed = self._decode(x, target)
        weights, residual, rest = mixed.float().split([CANDIDATES, 2, 2], 1)
        weights = weights.softmax(1)
        flow = weights[:, 1:2] * spline + weights[:, 2:3] * matched_half + RESIDUAL_SCALE * residual
        return self._refine(x, flow, rest, image, driven, matched)

    def _decode(self, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The U-Net at half the image: features and what is mixed from them."""
        x0 = self.enter(x)  # (batch, half, S / 2, S / 2)
        x1 = self.down1(x0)  # (batch, quarter, S / 4, S / 4)
        x2 = self.middle(torch.cat([self.down2(x1), target], 1))  # (batch, eighth, S / 8, S / 8)
        y = self.up1(torch.cat([_resize(x2, x1.shape[-1]), x1], 1))
        y = self.up2(torch.cat([_resize(y, x0.shape[-1]), x0], 1))
        return y, self.mix(y)

    def _refine(
        self, x: Tensor, flow: Tensor, rest: Tensor, image: Tensor, driven: Tensor, matched: Tensor
    ) -> DenseMotionOutput:
        """Add what only the whole resolution shows."""
        size = self.config.image_size
        flow, rest = _resize(flow, size), _resize(rest, size)
        fine = torch.cat([_resize(self.enlarge(x), size), warp(image, flow), driven[:, :3]], 1)
        fine = self.finish(self.refine(fine)).float()
        rest = rest + fine[:, 2:]
        return DenseMotionOutput(
            flow=flow + RESIDUAL_SCALE * fine[:, :2], mask=rest[:, :1], occlusion=rest[:, 1:], matched=matched
        )

    def _match(self, target: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        """For each place of the target the mean place of the source that looks alike, as a flow, and its spread."""
        size = target.shape[-1]
        with torch.autocast(target.device.type, enabled=False):  # positions need all their bits
            target, source = target.flatten(2).float(), source.flatten(2).float()
            likeness = F.normalize(target, dim=1).mT @ F.normalize(source, dim=1)
            weights = (likeness * self.sharpness.float().exp()).softmax(-1)  # (batch, target places, source places)
            places = pixel_positions(size, target).flatten(1).T  # (places, 2)
            mean = weights @ places
            spread = (weights @ places.square() - mean.square()).sum(-1, keepdim=True).clamp_min(1e-6).sqrt()
        return (mean - places).mT.unflatten(2, (size, size)), spread.mT.unflatten(2, (size, size))

    def _maps(self, landmarks: Tensor | None, like: Tensor) -> Tensor:
        half = self.config.image_size // 2
        if landmarks is None:
            return like.new_zeros(len(like), len(LANDMARK_GROUPS), half, half)
        return landmark_maps(landmarks, half).to(like.dtype)

    def _flagged(self, image: Tensor | None, like: Tensor, name: str) -> Tensor:
        """An image with a channel of ones; zeros in place of a missing one."""
        if image is None:
            return like.new_zeros(len(like), 4, *like.shape[2:])
        self._check(image, name)
        return torch.cat([image, torch.ones_like(image[:, :1])], 1)

    def _check(self, image: Tensor, name: str) -> None:
        size = self.config.image_size
        if image.dim() != 4 or image.shape[1:] != (3, size, size):
            raise ValueError(f"`{name}` has shape {tuple(image.shape)}; expected (batch, 3, {size}, {size}).")


def _resize(x: Tensor, size: int) -> Tensor:
    return F.interpolate(x, (size, size), mode="bilinear", align_corners=False)
