"""What the validations of stages I and II share."""

from __future__ import annotations

from torch import Tensor, nn

from training.arguments import AugmentOptions, Preset
from training.data import PairBatches, open_clips
from vivface.metrics.l1 import l1
from vivface.metrics.psnr import psnr
from vivface.metrics.ssim import ssim


def held_out_pairs(preset: Preset) -> PairBatches:
    """The triples of people that a run does not train on, without augmentation.

    Raises:
        OptionError: If fewer than two people are held out.
    """
    still = AugmentOptions(appearance=0.0, source_jitter=0.0, stretch=0.0)
    data = preset.data.model_copy(update={"augment": still, "order": "random"})
    return PairBatches(open_clips(preset.data, "validation", preset.loop.seed), data, preset.loop.seed + 1)


def image_scores(image: Tensor, target: Tensor, perceptual: nn.Module) -> dict[str, Tensor]:
    """L1, PSNR, SSIM and the run's perceptual distance (`features`), means over a batch.

    Args:
        image, target (`torch.Tensor` of shape `(batch, 3, size, size)`): RGB in [-1, 1]; the image is clamped.
        perceptual (`nn.Module`): LPIPS or its stand-in, see `training.perceptual`.
    """
    image = image.clamp(-1, 1)
    scores = {name: measure(image, target).mean() for name, measure in (("l1", l1), ("psnr", psnr), ("ssim", ssim))}
    return {**scores, "features": perceptual(image, target)}
