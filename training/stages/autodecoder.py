"""Autodecoder stage: transformer and generator learn to show known identities doing known motions, without an encoder.

Every synthetic identity gets a free code, every motion the code that a linear map makes of its labels; the networks
that turn the two into the image are trained (Bojanowski et al., "Optimizing the Latent Space of Generative Networks",
ICML 2018, with the ground truth as second half of the code). Without an encoder a step costs a sixth, and the codes are
free of noise: a fresh generator ignores noisy motion codes for very long. The supervised stage then starts from these
networks and teaches their codes to an encoder.

Terms (weights in the preset):
    coarse          as in the supervised stage, on the colour skip; 32 x 32 images first, 64 x 64 later
    motion          as in the supervised stage
    identity_norm   mean square of the identity codes
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.arguments import Options, option
from training.data import FrameBatches, region_weights
from training.ground_truth import IdentityEmbeddings, MotionLabelEncoder, motion_labels
from training.losses import motion_error, psnr, pyramid_l1
from training.networks import reenact
from training.stages.base import Stage, tile
from vivface.models import DeformationTransformer, StyleGAN2Generator


class AutodecoderOptions(Options):
    """Settings of the autodecoder stage."""

    sizes: dict[str, float] = option({"32": 0.0, "64": 0.35}, "image size: fraction of the run from which it is used")
    memory_tokens: int = option(64, "tokens of the learned memory that stands for a source's")
    deformation_gain: float = option(2.0, "factor on a fresh transformer's output, so that motion shows from the start")
    edges: float = option(1.0, "weight of the edge term inside the pixel term")
    motion: float = option(0.2, "weight of the error in the differences between an identity's images")
    identity_norm: float = option(1e-3, "weight of the mean square of the identity codes")
    regions: dict[str, float] = option(
        {"face": 1.0, "eyes": 4.0, "brows": 1.0, "mouth": 3.0}, "additional weight of a region's pixels"
    )
    identity_lr: float = option(1.0, "learning rate of the identity codes as a multiple of the optimiser's")
    transformer_lr: float = option(0.03, "learning rate of the transformer as a multiple of the optimiser's")
    motion_labels_lr: float = option(0.03, "the same for the map from labels to motion codes")


class AutodecoderStage(Stage):
    """Train generator and transformer with free identity codes and codes of the labels (see the file's head)."""

    options_class = AutodecoderOptions

    def build(self) -> None:
        """Add generator, transformer, both kinds of codes and a learned memory, with one optimiser."""
        options = self.options
        generator = self.add_network("generator", self.make(StyleGAN2Generator, "generator"), average=True)
        transformer = self.make(DeformationTransformer, "transformer")
        with torch.no_grad():
            transformer.blocks[-1].norm3.weight.mul_(options.deformation_gain)
        self.add_network("transformer", transformer, average=True)
        width = generator.config.style_dim
        labels = self.dataset().labels()
        label_encoder = MotionLabelEncoder(labels.shape[1], generator.config.motion_codes, width)
        label_encoder.measure(labels)
        self.add_network("motion_labels", label_encoder, average=True)
        self.add_network("identity_embeddings", IdentityEmbeddings(self.dataset().seeds(), width), average=True)
        self.add_network("memory", Memory(options.memory_tokens, width), average=True)
        scales = {
            "identity_embeddings": options.identity_lr,
            "transformer": options.transformer_lr,
            "motion_labels": options.motion_labels_lr,
        }
        groups = [
            {"params": list(network.parameters()), "lr_scale": scales.get(name, 1.0)}
            for name, network in self.networks.items()
        ]
        self.add_optimizer("main", parameters=groups)
        self.last_batch: dict[str, Tensor] | None = None

    def dataset(self) -> FrameBatches:
        """Frames of synthetic people in fixed crops; opened once."""
        if not hasattr(self, "_dataset"):
            self._dataset = FrameBatches(self.preset.data, self.preset.loop.seed)
        return self._dataset

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor | float]:
        """Update all networks on P identities with J motions each.

        Args:
            batch (`dict[str, torch.Tensor]`): An item of `FrameBatches`.

        Returns:
            `dict`: Weighted terms, their sum, PSNR and the share of the motion that is shown.
        """
        options, target = self.options, batch["image"]  # (identities, motions, 3, size, size)
        self.last_batch = {name: value[:4, :2] if value.dim() > 1 else value[:4] for name, value in batch.items()}
        size = self.image_size()
        grid = target.shape[:2]
        weight = region_weights(batch["regions"], 1.0, **options.regions).flatten(0, 1)
        weight = weight / weight.mean()
        target, weight = (F.interpolate(x, (size, size), mode="area") for x in (target.flatten(0, 1), weight))
        with self.autocast():
            image = self.render(self.networks, batch, size)
            motion, motion_share = motion_error(*(x.unflatten(0, (1, *grid)) for x in (image, target, weight)))
            terms = {
                "coarse": pyramid_l1(image, target, weight, edge_weight=options.edges),
                "motion": options.motion * motion,
                "identity_norm": options.identity_norm * self.networks["identity_embeddings"].codes.square().mean(),
            }
            loss = sum(terms.values())
        self.update("main", loss)
        return {"loss": loss, "psnr_coarse": psnr(image, target), "motion_share": motion_share, **terms}

    def image_size(self) -> int:
        """Size of the images that are trained at present."""
        return max(int(size) for size, since in self.options.sizes.items() if self.fraction() >= since)

    def render(self, networks: dict[str, nn.Module], batch: dict[str, Tensor], size: int) -> Tensor:
        """Images of every identity doing each of its motions.

        Args:
            networks (`dict[str, nn.Module]`): Those of the stage, or their averages.
            batch (`dict[str, torch.Tensor]`): An item of `FrameBatches`.
            size (`int`): Size of the images; below the generator's they come from its colour skip.

        Returns:
            `torch.Tensor` of shape `(identities * motions, 3, size, size)`: About [-1, 1].
        """
        generator = networks["generator"]
        labels = motion_labels(batch["controls"], batch["pose"], batch["landmarks"])  # (identities, motions, labels)
        motion = networks["motion_labels"](labels).flatten(0, 1)
        identity = networks["identity_embeddings"](batch["identity_seed"])
        identity = identity[:, None].expand(-1, generator.num_latents, -1)
        memory = networks["memory"]()
        if size == generator.config.size:
            return reenact(networks, identity, memory, motion).image
        small_layer = generator.rgb_layer(size)
        return reenact(networks, identity, memory, motion, small_layer=small_layer, rendered=None).small

    def sample_grid(self) -> np.ndarray | None:
        """A row per identity: target and output of each motion."""
        if self.last_batch is None:
            return None
        size = self.image_size()
        with torch.no_grad():
            image = self.render({name: self.averaged(name) for name in self.networks}, self.last_batch, size)
        target = F.interpolate(self.last_batch["image"].flatten(0, 1), (size, size), mode="area")
        identities, motions = self.last_batch["image"].shape[:2]
        return tile([[x[p * motions + j] for j in range(motions) for x in (target, image)] for p in range(identities)])


class Memory(nn.Module):
    """A learned memory that stands for every source's.

    Args:
        tokens (`int`): Tokens.
        width (`int`): Width of a token.
    """

    def __init__(self, tokens: int, width: int):
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(1, tokens, width))

    def forward(self) -> Tensor:
        """The memory `(1, tokens, width)`."""
        return self.tokens
