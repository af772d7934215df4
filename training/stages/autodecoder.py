"""Autodecoder stage: transformer and generator learn to show known people doing known motions, without an encoder.

Every synthetic person gets a free identity code, every motion the code that a linear map makes of its truth; what is
trained is what turns the two into the person's picture (Bojanowski et al., "Optimizing the Latent Space of Generative
Networks", ICML 2018, with the truth as second half of the code). Without an encoder a step costs a sixth, and the
codes carry no noise: a fresh generator ignores noisy motion codes for very long. The known-truth stage then starts
from these networks and teaches their codes to an encoder.

Terms (weights in the preset):
    coarse      as in the known-truth stage, on the colour skip; 32 x 32 pictures first, 64 x 64 later
    motion      as in the known-truth stage
    size        mean square of the identity codes
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.arguments import option
from training.data import FrameBatches, region_weights
from training.ground_truth import PersonCodes, TruthCodes, truth_vector
from training.losses import motion_error, psnr, pyramid_l1
from training.stages.base import Stage, tile
from vivface.models import DeformationTransformer, StyleGAN2Generator


@dataclass
class AutodecoderOptions:
    """Settings of the autodecoder stage."""

    sizes: dict[str, float] = option({"32": 0.0, "64": 0.35}, "side of the pictures: from which part of the run on")
    memory_tokens: int = option(64, "tokens of the learned memory that stands for a source's")
    deformation_gain: float = option(2.0, "factor on a fresh transformer's output: motion is seen from the start")
    edges: float = option(1.0, "weight of the edge term inside the pixel term")
    motion: float = option(0.2, "weight of the error in how a person's pictures differ from motion to motion")
    size: float = option(1e-3, "weight of the mean square of the identity codes")
    regions: dict[str, float] = option(
        {"face": 1.0, "eyes": 4.0, "brows": 1.0, "mouth": 3.0}, "how much more a region's pixels weigh"
    )
    people_lr: float = option(1.0, "learning rate of the identity codes as a multiple of the optimiser's")
    transformer_lr: float = option(0.03, "learning rate of the transformer as a multiple of the optimiser's")
    truth_lr: float = option(0.03, "the same for the map from truth to motion codes")


class AutodecoderStage(Stage):
    """Train generator and transformer with free identity codes and codes of the truth (see the file's head)."""

    options_class = AutodecoderOptions

    def build(self) -> None:
        options = self.options
        generator = self.add_network("generator", self.make(StyleGAN2Generator, "generator"), average=True)
        transformer = self.make(DeformationTransformer, "transformer")
        with torch.no_grad():
            transformer.blocks[-1].norm3.weight.mul_(options.deformation_gain)
        self.add_network("transformer", transformer, average=True)
        width = generator.config.style_dim
        truths = self.dataset().truths()
        truth = TruthCodes(truths.shape[1], generator.config.motion_codes, width)
        truth.measure(truths)
        self.add_network("truth", truth, average=True)
        self.add_network("people", PersonCodes(self.dataset().seeds(), width), average=True)
        self.add_network("memory", Memory(options.memory_tokens, width), average=True)
        scales = {"people": options.people_lr, "transformer": options.transformer_lr, "truth": options.truth_lr}
        groups = [
            {"params": list(network.parameters()), "lr_scale": scales.get(name, 1.0)}
            for name, network in self.networks.items()
        ]
        self.add_optimizer("main", parameters=groups)
        self.seen: dict[str, Tensor] | None = None

    def dataset(self) -> FrameBatches:
        if not hasattr(self, "_dataset"):
            self._dataset = FrameBatches(self.preset.data, self.preset.loop.seed)
        return self._dataset

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor | float]:
        options, target = self.options, batch["image"]  # (people, motions, 3, size, size)
        self.seen = {name: value[:4, :2] if value.dim() > 1 else value[:4] for name, value in batch.items()}
        side = self.side()
        grid = target.shape[:2]
        weight = region_weights(batch["regions"], 1.0, **options.regions).flatten(0, 1)
        weight = weight / weight.mean()
        target, weight = (F.interpolate(x, (side, side), mode="area") for x in (target.flatten(0, 1), weight))
        with self.autocast():
            image = self.show(self.networks, batch, side)
            motion, motion_share = motion_error(*(x.unflatten(0, (1, *grid)) for x in (image, target, weight)))
            terms = {
                "coarse": pyramid_l1(image, target, weight, edge_weight=options.edges),
                "motion": options.motion * motion,
                "size": options.size * self.networks["people"].codes.square().mean(),
            }
            loss = sum(terms.values())
        self.update("main", loss)
        return {"loss": loss, "psnr_coarse": psnr(image, target), "motion_share": motion_share, **terms}

    def side(self) -> int:
        """Side of the pictures that are trained at present."""
        return max(int(side) for side, since in self.options.sizes.items() if self.fraction() >= since)

    def show(self, networks: dict[str, nn.Module], batch: dict[str, Tensor], side: int) -> Tensor:
        """Pictures `(people * motions, 3, side, side)` of every person doing every one of their motions."""
        generator = networks["generator"]
        truth = truth_vector(batch["controls"], batch["pose"], batch["landmarks"])
        people, motions = truth.shape[:2]
        deformation = networks["transformer"](networks["truth"](truth).flatten(0, 1), networks["memory"]())
        w_plus = networks["people"](batch["person"])[:, None].expand(-1, generator.num_latents, -1)
        styles = [style.repeat_interleave(motions, 0) for style in generator.to_stylespace(w_plus)]
        styles = generator.add_motion(styles, deformation)
        if side == generator.config.size:
            return generator.synthesize(styles)
        return generator.synthesize(styles, stop_after=generator.rgb_layer(side)).rgb

    def sample_grid(self) -> np.ndarray | None:
        """A row a person: for each motion target and picture."""
        if self.seen is None:
            return None
        side = self.side()
        with torch.no_grad():
            image = self.show({name: self.averaged(name) for name in self.networks}, self.seen, side)
        target = F.interpolate(self.seen["image"].flatten(0, 1), (side, side), mode="area")
        people, motions = self.seen["image"].shape[:2]
        return tile([[x[p * motions + j] for j in range(motions) for x in (target, image)] for p in range(people)])


class Memory(nn.Module):
    """A learned memory that stands for every source's.

    Args:
        tokens (`int`): Tokens.
        width (`int`): Entries of one.
    """

    def __init__(self, tokens: int, width: int):
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(1, tokens, width))

    def forward(self) -> Tensor:
        """`(1, tokens, width)`"""
        return self.tokens
