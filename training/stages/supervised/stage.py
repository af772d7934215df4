"""The supervised stage: its networks, a step, checkpoints with measured batch-norm statistics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.data import GridBatches, StackedGrids
from training.ground_truth import IdentityEmbeddings, MotionLabelEncoder
from training.losses import psnr
from training.networks import batch_norms, freeze_batch_norm, scale_heads
from training.stages.base import Stage, tile
from training.stages.supervised.labels import labels_of_targets, pixel_weights
from training.stages.supervised.options import SupervisedOptions
from training.stages.supervised.rendering import GridOutput, render_grids
from training.stages.supervised.terms import StepData, weighted_terms
from vivface.errors import OptionError
from vivface.models import (
    DeformationTransformer,
    HybridEncoder,
    IdentityNetwork,
    RefinementNetwork,
    StyleGAN2Generator,
)

SYSTEM = {
    "generator": StyleGAN2Generator,
    "encoder": HybridEncoder,
    "transformer": DeformationTransformer,
    "refinement": RefinementNetwork,
}
FIRST_MEASURED = 10**6  # index of batches that no run trains on


class SupervisedStage(Stage):
    """Train encoder, transformer, generator and refinement on grids of identities and motions (see the package)."""

    options_class = SupervisedOptions

    def build(self) -> None:
        """Add the four networks and the map of labels, with one optimiser, and the frozen networks of the terms.

        Raises:
            OptionError: If the coarse size is below 64 or above the generator's.
        """
        options = self.options
        for name, kind in SYSTEM.items():
            self.add_network(name, self.make(kind, name), average=True)
        generator = self.networks["generator"]
        if not 64 <= options.coarse_size <= generator.config.size:
            raise OptionError(f"options.coarse_size is {options.coarse_size}, expected 64 to {generator.config.size}")
        self.coarse_layer = generator.rgb_layer(options.coarse_size)
        if not self.is_pretrained("encoder"):
            scale_heads(self.networks["encoder"], options.head_gain)
        if options.encoder_features > 0 or options.encoder_codes > 0:
            self.add_network("frozen_encoder", self.make(HybridEncoder, "frozen_encoder"), trained=False)
        if options.identity > 0 or options.perceptual > 0:
            self.add_network("recognizer", self.make(IdentityNetwork, "recognizer"), trained=False)
        self.add_network("motion_labels", self.label_encoder(generator))
        if "identity_embeddings" in self.preset.networks:  # of an autodecoder run
            self.add_network("identity_embeddings", self.make(IdentityEmbeddings, "identity_embeddings"), trained=False)
        groups = [
            {"params": list(self.networks[name].parameters()), "lr_scale": getattr(options, f"{name}_lr", 1.0)}
            for name in (*SYSTEM, "motion_labels")
        ]
        self.add_optimizer("main", parameters=groups)
        self.last_batch: dict[str, Tensor] | None = None

    def label_encoder(self, generator: StyleGAN2Generator) -> MotionLabelEncoder:
        """The map from labels to motion codes: that of an autodecoder run, or a fresh one for the present labels."""
        if "motion_labels" in self.preset.networks:
            return self.make(MotionLabelEncoder, "motion_labels")
        batches = (self.dataset()[FIRST_MEASURED + k] for k in range(self.options.label_batches))
        labels = torch.cat([labels_of_targets(batch).flatten(0, 1) for batch in batches])
        encoder = MotionLabelEncoder(labels.shape[1], generator.config.motion_codes, generator.config.style_dim)
        encoder.measure(labels)
        return encoder

    def dataset(self) -> StackedGrids:
        """Several grids of identities and motions per batch; opened once."""
        if not hasattr(self, "_dataset"):
            grids = GridBatches(self.preset.data, self.preset.loop.seed)
            self._dataset = StackedGrids(grids, self.options.groups_per_step)
        return self._dataset

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor | float]:
        """Update all four networks.

        Args:
            batch (`dict[str, torch.Tensor]`): Stacked grids.

        Returns:
            `dict`: Weighted terms, their sum, PSNR and the share of the motion that is shown.
        """
        options, fraction = self.options, self.fraction()
        if fraction >= options.freeze_batch_norm_from:
            freeze_batch_norm(self.networks["encoder"], self.networks["refinement"])
        source, driving = batch["source"], batch["driving"]
        self.last_batch = {"source": source, "driving": driving[:, :1], "target": batch["target"]}
        target = batch["target"].flatten(0, 2)  # (pairs, 3, size, size)
        weight = pixel_weights(target, batch["regions"].flatten(0, 2), options)
        full_size = self.draw_full_size(batch["target"].shape[:3])
        with self.autocast():
            teacher = self.networks["motion_labels"](labels_of_targets(batch)[: self.teacher_grids(len(source))])
            refine = full_size is not None and fraction >= options.refine_from
            output = self.render(self.networks, source, driving, full_size, refine=refine, teacher=teacher)
            data = StepData(options, self.networks, fraction, batch, output, target, weight, full_size)
            terms = weighted_terms(data)
            loss = sum(terms.values())
        self.update("main", loss)
        scalars = {"loss": loss, "psnr_coarse": psnr(*data.coarse[:2]), "motion_share": data.coarse_motion[1]}
        if full_size is not None:
            scalars["psnr_stage1"] = psnr(output.images.image, data.full[0])
            scalars["psnr"] = psnr(output.images.best, data.full[0])
        return scalars | terms

    def draw_full_size(self, shape: torch.Size) -> Tensor | None:
        """Pairs of a step that are made at full size: all motions of some identities, or None early in the run."""
        motions, identities = shape[2], shape[:2].numel()
        rows = torch.randperm(identities, device=self.device)[: self.options.full_size_identities]
        if self.fraction() < self.options.full_size_from:
            return None
        return (rows[:, None] * motions + torch.arange(motions, device=self.device)).flatten()

    def teacher_grids(self, grids: int) -> int:
        """How many grids of a step are driven by codes of the labels."""
        options = self.options
        return round(options.teacher_forcing * grids) if self.fraction() < options.teacher_forcing_until else 0

    def render(
        self, networks: dict, source: Tensor, driving: Tensor, full_size: Tensor | None, **options
    ) -> GridOutput:
        """`render_grids` at the coarse size of the preset."""
        return render_grids(networks, source, driving, coarse_layer=self.coarse_layer, full_size=full_size, **options)

    def save_checkpoint(self, folder: Path) -> None:
        """Write each trained network with averaged weights and the batch-norm statistics that belong to them."""
        self.recalibrate_batch_norm()
        super().save_checkpoint(folder)

    @torch.no_grad()
    def recalibrate_batch_norm(self) -> None:
        """Measure the batch-norm statistics that belong to the averaged weights.

        Those of the last steps belong to other weights and to batches of a few images; networks that use them show
        saturated colours.
        """
        networks = {name: self.averaged(name) for name in SYSTEM}
        norms = batch_norms(*networks.values())
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over all batches
            norm.train()
        for index in range(self.options.bn_recalibration_batches):
            batch = self.dataset()[FIRST_MEASURED + index]
            source, driving = batch["source"].to(self.device), batch["driving"].to(self.device)
            self.render(networks, source, driving, self.all_pairs(batch["target"]), refine=True)
        for norm in norms:
            norm.momentum = 0.1
            norm.eval()

    def all_pairs(self, target: Tensor) -> Tensor:
        """Indices of all pairs of a batch of targets `(grids, identities, motions, ...)`."""
        return torch.arange(target.shape[:3].numel(), device=self.device)

    @torch.no_grad()
    def sample_grid(self) -> np.ndarray | None:
        """A row of driving frames; below, a row per identity: source; target, stage I and refined of each motion."""
        if self.last_batch is None:
            return None
        source, driving, target = (self.last_batch[name] for name in ("source", "driving", "target"))
        networks = {name: self.averaged(name) for name in SYSTEM}
        images = self.render(networks, source, driving, self.all_pairs(target), refine=True).images
        columns = (target, *(x.unflatten(0, target.shape[:3]) for x in (images.image, images.refined)))
        blank = torch.full_like(source[0, 0], -1)
        rows = []
        for grid in range(len(source)):
            rows.append([blank, *(image for frame in driving[grid, 0] for image in (frame, blank, blank))])
            for identity in range(source.shape[1]):
                images = [x[grid, identity, j] for j in range(driving.shape[2]) for x in columns]
                rows.append([source[grid, identity], *images])
        return tile(rows)
