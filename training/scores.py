"""What the validations of stages I and II share."""

from __future__ import annotations

from torch import Tensor, nn

from training.arguments import AugmentOptions, Preset
from training.data import PairBatches, open_clips
from vivface.metrics.l1 import l1
from vivface.metrics.psnr import psnr
from vivface.metrics.ssim import ssim


def held_out_pairs(preset: Preset, masks: bool = False, landmarks: bool = False) -> PairBatches:
    """The triples of people that a run does not train on, without augmentation.

    They come from the folders `data.validation`; else from those that `data.held_out` or the split of prepared clips
    keeps from training.

    Args:
        preset (`Preset`): Of the run.
        masks, landmarks (`bool`, *optional*, default to False): See `PairBatches`.

    Raises:
        OptionError: If fewer than two people are held out.
    """
    data, split = preset.data, "validation"
    still = AugmentOptions(appearance=0.0, source_jitter=0.0, stretch=0.0)
    if data.validation:
        data = data.model_copy(update={"folders": data.validation, "held_out": 0.0})
        split = "all" if data.kind == "prepared" else "train"
    clips = open_clips(data, split, preset.loop.seed)
    data = data.model_copy(update={"augment": still, "order": "random"})
    return PairBatches(clips, data, preset.loop.seed + 1, masks, landmarks)


def image_scores(image: Tensor, target: Tensor, perceptual: nn.Module) -> dict[str, Tensor]:
    """L1, PSNR, SSIM and the run's perceptual distance (`features`), means over a batch.

    Args:
        image, target (`torch.Tensor` of shape `(batch, 3, size, size)`): RGB in [-1, 1]; the image is clamped.
        perceptual (`nn.Module`): LPIPS or its stand-in, see `training.perceptual`.
    """
    image = image.clamp(-1, 1)
    scores = {name: measure(image, target).mean() for name, measure in (("l1", l1), ("psnr", psnr), ("ssim", ssim))}
    return {**scores, "features": perceptual(image, target)}
