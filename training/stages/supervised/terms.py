"""The loss terms of the supervised stage, one function each, and the table that adds them.

A term is left out where its weight is 0 and where what it needs is not there: images at full size or refined (early in
the run), a network that the preset does not name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.ground_truth import code_error, identity_code_error, motion_code_errors
from training.losses import motion_error, pyramid_l1
from training.stages.supervised.labels import labels_of_driving, labels_of_sources
from training.stages.supervised.options import SupervisedOptions
from training.stages.supervised.rendering import GridOutput


@dataclass
class StepData:
    """A step after its forward pass: everything that terms are made of.

    Attributes:
        options (`SupervisedOptions`): Weights and settings.
        networks (mapping): Of the stage.
        fraction (`float`): Of the run that is done.
        batch (`dict[str, torch.Tensor]`): Stacked grids.
        output (`GridOutput`): What the networks made of them.
        target (`torch.Tensor` of shape `(pairs, 3, size, size)`): In [-1, 1].
        weight (`torch.Tensor` of shape `(pairs, 1, size, size)`): Of pixels, with mean 1.
        full_size (`torch.Tensor` of int, *optional*): Pairs that were made at full size.
    """

    options: SupervisedOptions
    networks: Mapping[str, nn.Module]
    fraction: float
    batch: dict[str, Tensor]
    output: GridOutput
    target: Tensor
    weight: Tensor
    full_size: Tensor | None

    @cached_property
    def coarse(self) -> tuple[Tensor, Tensor, Tensor]:
        """Image, target and pixel weights of every pair at coarse size."""
        image = self.output.images.small
        size = image.shape[-2:]
        return image, *(F.interpolate(x, size, mode="area") for x in (self.target, self.weight))

    @cached_property
    def full(self) -> tuple[Tensor, Tensor]:
        """Target and pixel weights of the pairs at full size."""
        return self.target[self.full_size], self.weight[self.full_size]

    @cached_property
    def coarse_motion(self) -> tuple[Tensor, Tensor]:
        """Motion error of the coarse images, and the share of the motion that they show."""
        return motion_error(*(x.unflatten(0, self.batch["target"].shape[:3]) for x in self.coarse))

    @cached_property
    def motion_codes(self) -> dict[str, Tensor]:
        """Errors of the motion codes of all sources and driving frames."""
        encoder = self.networks["motion_labels"]
        with torch.no_grad():
            labels = torch.cat([labels_of_sources(self.batch), labels_of_driving(self.batch)])
            target = encoder(labels).float()
        return motion_code_errors(encoder, self.output.motion, target)

    @cached_property
    def frozen_encoder(self) -> tuple[Tensor, Tensor]:
        """Distances of features and of codes that the frozen encoder finds in outputs and targets."""
        networks = self.networks
        return encoder_distances(
            networks["frozen_encoder"], networks["motion_labels"], self.output.images.best, self.full[0]
        )

    @cached_property
    def recognizer(self) -> tuple[Tensor, Tensor]:
        """Distances of embeddings and of features of the recognizer, over coarse and full-size images."""
        pairs = [self.coarse[:2]]
        if self.full_size is not None:
            pairs.append((self.output.images.best, self.full[0]))
        return recognizer_distances(self.networks["recognizer"], pairs)


def coarse(step: StepData) -> Tensor:
    """Weighted L1 on a pyramid of three scales and L1 of its edges, on the 64 x 64 image of every pair."""
    return pyramid_l1(*step.coarse, edge_weight=step.options.edges)


def pixels(step: StepData) -> Tensor:
    """The same at full size, on the pairs that are made at full size."""
    return pyramid_l1(step.output.images.image, *step.full, edge_weight=step.options.edges)


def refined(step: StepData) -> Tensor:
    """The same on the refined image."""
    return pyramid_l1(step.output.images.refined, *step.full, edge_weight=step.options.edges)


def motion_refined(step: StepData) -> Tensor:
    """Motion error of the refined images."""
    motions = step.batch["driving"].shape[2]
    images = (step.output.images.refined, *step.full)
    return motion_error(*(x.unflatten(0, (1, -1, motions)) for x in images))[0]


def aligned(step: StepData) -> Tensor:
    """L1 of the aligned reference against the target."""
    image = step.output.images.aligned
    return (image - F.interpolate(step.full[0], image.shape[-2:], mode="bilinear")).abs().mean()


def identity_codes(step: StepData) -> Tensor:
    """Error against the identity codes of an autodecoder run; fades out."""
    fading = 1.0 - step.fraction / step.options.identity_codes_until
    seeds = torch.cat([step.batch["identity_seed"].flatten(), step.batch["driving_identity_seed"].flatten()])
    return fading * identity_code_error(step.output.identity, seeds, step.networks["identity_embeddings"])


def latent_delta(step: StepData) -> Tensor:
    """Variance of the identity codes over their W+ layers (keeps W+ near W; e4e, sec. 4.1)."""
    identity = step.output.identity
    return (identity - identity.mean(1, keepdim=True)).square().mean()


def _always(step: StepData) -> bool:
    return True


def _at_full_size(step: StepData) -> bool:
    return step.full_size is not None


def _is_refined(step: StepData) -> bool:
    return step.output.images.refined is not None


def _embeddings_count(step: StepData) -> bool:
    return "identity_embeddings" in step.networks and step.fraction < step.options.identity_codes_until


# Name, which is that of the weight's option -> what it is, and when it applies.
TERMS: dict[str, tuple[Callable[[StepData], Tensor], Callable[[StepData], bool]]] = {
    "coarse": (coarse, _always),
    "motion": (lambda step: step.coarse_motion[0], _always),
    "motion_codes": (lambda step: step.motion_codes["motion_codes"], _always),
    "controls": (lambda step: step.motion_codes["controls"], _always),
    "angles": (lambda step: step.motion_codes["angles"], _always),
    "identity_codes": (identity_codes, _embeddings_count),
    "motion_norm": (lambda step: step.output.motion.square().mean(), _always),  # ViVFace, the "S norm"
    "latent_delta": (latent_delta, _always),
    "pixels": (pixels, _at_full_size),
    "encoder_features": (lambda step: step.frozen_encoder[0], _at_full_size),
    "encoder_codes": (lambda step: step.frozen_encoder[1], _at_full_size),
    "refined": (refined, _is_refined),
    "aligned": (aligned, _is_refined),
    "motion_refined": (motion_refined, _is_refined),
    "identity": (lambda step: step.recognizer[0], _always),
    "perceptual": (lambda step: step.recognizer[1], _always),
}


def weighted_terms(step: StepData) -> dict[str, Tensor]:
    """All terms that apply, times their weights."""
    weights = {name: getattr(step.options, name) for name in TERMS}
    return {
        name: weights[name] * term(step) for name, (term, applies) in TERMS.items() if weights[name] and applies(step)
    }


def encoder_distances(
    encoder: nn.Module, label_encoder: nn.Module, image: Tensor, target: Tensor
) -> tuple[Tensor, Tensor]:
    """How far apart a frozen encoder finds output and target.

    Args:
        encoder (`HybridEncoder`): Frozen.
        label_encoder (`MotionLabelEncoder`): Decodes its motion codes.
        image, target (`torch.Tensor` of shape `(batch, 3, size, size)`): In [-1, 1].

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: L1 of feature maps, as a fraction of the target's mean magnitude; squared
        errors of motion codes, of controls and angles decoded from them, and of identity codes, in variances.
    """
    with torch.no_grad():
        target_maps = encoder.features(target)
        expected = encoder.read(target_maps, memory=False)
    maps = encoder.features(image)
    codes = encoder.read(maps, memory=False)
    pairs = zip(maps, target_maps, strict=True)
    features = sum((a - b).abs().mean() / b.abs().mean().clamp_min(1e-3) for a, b in pairs)
    motion = motion_code_errors(label_encoder, codes.motion, expected.motion.float())
    return features, sum(motion.values()) + code_error(codes.identity, expected.identity.float())


def recognizer_distances(recognizer: nn.Module, pairs: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """How far apart the recognizer finds outputs and targets.

    Args:
        recognizer (`IdentityNetwork`): Frozen.
        pairs (`list`): Outputs and targets `(batch, 3, size, size)`, of several sizes; every image counts the same.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: 1 - cosine of embeddings, and distance of feature maps in the face crop.
    """
    output, target = (torch.cat([recognizer.crop(images) for images in column]) for column in zip(*pairs, strict=True))
    return recognizer.compare(output, target)
