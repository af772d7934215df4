"""Stage II: the refinement network; encoder, transformer and generator are frozen (ViVFace, sec. "Stage II").

Every sample is a target frame I and a reference I_r: nine times in ten another frame of the same video, else the target
itself. With E, T, G as in stage I, all codes those of the target, and W_edit a disturbance (`training.disturbances`):

    image     I' = G(A(W + W_edit) + T(S, M))   the target encoded and decoded, disturbed as reenactment disturbs it
    refined   G from the feature map R changes   must give I: R restores from I_r what the disturbance removed
    aligned   the reference as R warps it        must give I as well

The reference enters R alone. With `stage1_picture: reference`, a variant of ours, identity and memory are the
reference's, so that I' also has the errors of reenactment, as it does in use.

Weights as in the authors' code: MSE 1, perceptual 0.8, identity 0.1, L1 of the aligned reference 0.1. The text (eq. 9)
has no identity term and an L2 norm instead of L1: `identity: 0`, `aligned_norm: l2`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from training.arguments import Options, option
from training.data import PairBatches, open_clips
from training.disturbances import Disturbance, Disturbances
from training.losses import identity_loss
from training.networks import Reenactment, reenact
from training.perceptual import build_perceptual
from training.scores import held_out_pairs, image_scores
from training.stages.base import Stage, tile
from vivface.models import (
    DeformationTransformer,
    HybridEncoder,
    IdentityNetwork,
    RefinementNetwork,
    StyleGAN2Generator,
)


class RefinementOptions(Options):
    """Settings of stage II; the defaults are the published ones."""

    perceptual: Literal["lpips-alex", "recognizer-features"] = option(
        "lpips-alex", "'lpips-alex' (needs its weights) or 'recognizer-features' (networks.recognizer)"
    )
    pixel: float = option(1.0, "weight of the mean squared error of the refined image")
    features: float = option(0.8, "weight of its perceptual distance")
    identity: float = option(0.1, "weight of its identity loss")
    aligned: float = option(0.1, "weight of the aligned reference's distance")
    aligned_norm: Literal["l1", "l2"] = option("l1", "its norm: 'l1', the authors' code; 'l2', the paper's text")
    stage1_picture: Literal["target", "reference"] = option(
        "target", "whose identity the stage I image has: 'target', as published; 'reference', as in use (ours)"
    )
    transformer: bool = option(True, "false: without T, as stage I was trained without it")
    noise: Literal["random", "fixed"] = option("random", "noise maps of the generator: fresh, as published, or its own")
    other_frame: float = option(0.9, "probability that the reference is another frame than the target")
    disturbances: dict[str, Disturbance] = option({}, "name (hair, age, ...) -> edit; shares add up to at most 1")
    random_shift: float = option(0.1, "largest norm of the random shift of samples that no disturbance takes")


class RefinementStage(Stage):
    """Train `refinement` (optimiser `main`)."""

    options_class = RefinementOptions

    def build(self) -> None:
        """Add the frozen networks and the refinement network.

        Raises:
            OptionError: If networks, data or disturbances do not fit together.
        """
        kinds = {"generator": StyleGAN2Generator, "encoder": HybridEncoder, "recognizer": IdentityNetwork}
        if self.options.transformer:
            kinds["transformer"] = DeformationTransformer
        for name, kind in kinds.items():
            self.add_network(name, self.make(kind, name), trained=False)
        generator = self.networks["generator"]
        self.check_data_size(self.networks["encoder"].config.image_size, "encoder")
        self.add_network("refinement", self.make(RefinementNetwork, "refinement"), average=True)
        self.perceptual = build_perceptual(self.options.perceptual, self.networks["recognizer"]).to(self.device)
        options = self.options
        self.disturbances = Disturbances(options.disturbances, options.random_shift, generator, self.device)
        self.add_optimizer("main", "refinement")
        self.last_batch: dict[str, Tensor] | None = None

    def dataset(self) -> PairBatches:
        """Triples: `source` is the target, `same` the reference; `other` appears in the sample grid only."""
        return PairBatches(
            open_clips(self.preset.data, seed=self.preset.loop.seed), self.preset.data, self.preset.loop.seed
        )

    def validation_dataset(self) -> PairBatches:
        """Triples of people that are not trained on, not augmented."""
        return held_out_pairs(self.preset)

    def validate(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """How well the averaged network restores targets that are disturbed as in training."""
        target, reference = batch["source"], batch["same"]
        person = target if self.options.stage1_picture == "target" else reference
        output = self.refine(self.averaged("refinement"), person, target, reference, disturb=True)
        scores = {f"{k}/refined": v for k, v in image_scores(output.refined, target, self.perceptual).items()}
        recognizer = self.networks["recognizer"]
        scores["likeness/refined"] = (recognizer.embed(target) * recognizer.embed(output.refined)).sum(1).mean()
        return scores

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor | float]:
        """Update the refinement network.

        Args:
            batch (`dict[str, torch.Tensor]`): An item of `PairBatches`.

        Returns:
            `dict`: Weighted terms, their sum, and the mean squared error of the stage I image.
        """
        options, target = self.options, batch["source"]
        self.last_batch = batch

        # 1. References and the disturbed stage I images.
        another = torch.rand(len(target), 1, 1, 1, device=self.device) < options.other_frame
        reference = torch.where(another, batch["same"], target)
        with self.autocast():
            person = target if options.stage1_picture == "target" else reference
            refinement = self.networks["refinement"]
            output = self.refine(refinement, person, target, reference, disturb=True, noise=options.noise)

        # 2. Losses at the encoder's size.
        terms = {"pixel": options.pixel * F.mse_loss(output.refined, target)}
        with self.autocast():
            terms["features"] = options.features * self.perceptual(output.refined, target).float()
            recognizer = self.networks["recognizer"]
            with torch.no_grad():
                known = recognizer.embed(target)
            identity = identity_loss(recognizer.embed(output.refined), known)
        terms["identity"] = options.identity * identity.float()
        expected = F.adaptive_avg_pool2d(target, output.aligned.shape[-1])
        distance = F.l1_loss if options.aligned_norm == "l1" else F.mse_loss
        terms["aligned"] = options.aligned * distance(output.aligned, expected)
        loss = torch.stack(list(terms.values())).sum()
        self.update("main", loss)
        return {"loss": loss, "pixel_before": F.mse_loss(output.image, target), **terms}

    def refine(
        self,
        refinement: RefinementNetwork,
        person: Tensor,
        driving: Tensor,
        reference: Tensor,
        disturb: bool = False,
        noise: str = "fixed",
    ) -> Reenactment:
        """A person in the motion of a frame, refined by a reference.

        Args:
            refinement (`RefinementNetwork`): The network, or its average.
            person (`torch.Tensor` of shape `(batch, 3, size, size)`): In [-1, 1]. Gives identity code and memory.
            driving (`torch.Tensor` of the same shape): Gives the motion.
            reference (`torch.Tensor` of the same shape): Seen by the refinement network.
            disturb (`bool`, *optional*, defaults to False): Disturb the identity codes.
            noise (`str`, *optional*, defaults to `"fixed"`): The generator's noise maps.

        Returns:
            `Reenactment`: Float32, `image` and `refined` at the encoder's size.
        """
        encoder = self.networks["encoder"]
        with torch.no_grad():
            codes = encoder(person)
            same = driving is person
            motion = codes.motion if same else encoder(driving, identity=False, memory=False).motion
            identity = codes.identity.float()
            if disturb:
                identity = identity + self.disturbances(identity)
        networks = self.networks | {"refinement": refinement}
        output = reenact(networks, identity, codes.memory, motion, reference=reference, noise=noise)
        size = encoder.config.image_size
        image, refined = (F.adaptive_avg_pool2d(x.float(), size) for x in (output.image, output.refined))
        return Reenactment(None, image, refined, output.aligned.float())

    def batch_images(self, batch: dict[str, Tensor]) -> int:
        return len(batch["source"])

    def checkpoint_extra(self, folder: Path) -> None:
        """Write the frozen networks too: the refinement fits no others."""
        for name in ("generator", "encoder", "transformer"):
            if name in self.networks:
                self.networks[name].save_pretrained(folder / name)

    @torch.no_grad()
    def sample_grid(self) -> np.ndarray | None:
        """Rows of: reference, target, stage I, aligned reference, refined; other, and it driving the reference."""
        if self.last_batch is None:
            return None
        target, reference, other = (self.last_batch[name][:6] for name in ("source", "same", "other"))
        refinement, size = self.averaged("refinement"), target.shape[-1]
        person = target if self.options.stage1_picture == "target" else reference
        output = self.refine(refinement, person, target, reference)
        cross = self.refine(refinement, reference, other, reference)  # as in use
        aligned = F.interpolate(output.aligned, (size, size))
        columns = (reference, target, output.image, aligned, output.refined, other, cross.image, cross.refined)
        return tile([list(row) for row in zip(*columns, strict=True)])
