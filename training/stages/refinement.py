"""Stage II: the refinement network; encoder, transformer and generator are frozen (ViVFace, sec. "Stage II").

Every sample is a target frame and a reference: nine times in ten another frame of the same video, else the target
itself. The stage I image shows the reference's person in the target's motion, with an identity code that is disturbed
on purpose (hair, age, or a small random shift), as reenactment disturbs it; the refinement network has to restore from
the reference what the disturbance removed. The refined image must give the target, and so must the aligned reference.

Weights as published: MSE 1, perceptual 0.8, identity 0.1, L1 of the aligned reference 0.1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from training.arguments import Options, option
from training.data import PairBatches, open_clips
from training.losses import identity_loss
from training.networks import Reenactment, reenact
from training.perceptual import build_perceptual
from training.stages.base import Stage, tile
from vivface.errors import OptionError
from vivface.models import (
    DeformationTransformer,
    HybridEncoder,
    IdentityNetwork,
    RefinementNetwork,
    StyleGAN2Generator,
)


class Disturbance(Options):
    """An edit of identity codes: a step along one of the directions in a file."""

    file: str = option("", "safetensors with a tensor `direction`: (d), (num_latents, d) or (n, num_latents, d)")
    share: float = option(1 / 3, "fraction of the samples that it disturbs")
    low: float = option(1.0, "shortest step, in lengths of the direction")
    high: float = option(2.5, "longest step")
    both_ways: bool = option(True, "half of the steps go backward")


class RefinementOptions(Options):
    """Settings of stage II; the defaults are the published ones."""

    perceptual: Literal["lpips-alex", "recognizer-features"] = option(
        "lpips-alex", "'lpips-alex' (needs its weights) or 'recognizer-features' (networks.recognizer)"
    )
    pixel: float = option(1.0, "weight of the mean squared error of the refined image")
    features: float = option(0.8, "weight of its perceptual distance")
    identity: float = option(0.1, "weight of its identity loss")
    aligned: float = option(0.1, "weight of the aligned reference's L1 distance")
    other_frame: float = option(0.9, "probability that the reference is another frame than the target")
    disturbances: dict[str, Disturbance] = option({}, "name (hair, age, ...) -> edit; shares add up to at most 1")
    random_shift: float = option(0.1, "largest norm of the random shift of samples that no disturbance takes")


class Directions:
    """The directions of a `Disturbance`, loaded.

    Args:
        name (`str`): Of the disturbance, for messages.
        options (`Disturbance`): File and lengths.
        generator (`StyleGAN2Generator`): Whose W+ they belong to.

    Raises:
        OptionError: If the file is missing or holds no direction for this generator.
    """

    def __init__(self, name: str, options: Disturbance, generator: StyleGAN2Generator):
        self.options = options
        path, expected = Path(options.file), (generator.num_latents, generator.config.style_dim)
        if not path.is_file():
            raise OptionError(f"options.disturbances.{name}.file is {options.file!r}, which is no file")
        tensors = load_file(path)
        if "direction" not in tensors:
            raise OptionError(f"{path} holds {sorted(tensors)}, expected a tensor named 'direction'")
        steps = tensors["direction"].float()
        steps = steps[None, None] if steps.ndim == 1 else steps[None] if steps.ndim == 2 else steps
        if steps.ndim != 3 or steps.shape[1] not in (1, expected[0]) or steps.shape[2] != expected[1]:
            raise OptionError(
                f"{path}: direction has shape {tuple(steps.shape)}, expected (n, {expected[0]}, {expected[1]})"
            )
        self.steps = steps  # (n, num_latents or 1, style_dim)

    def sample(self, device: torch.device) -> Tensor:
        """A random step along one of them: `(num_latents or 1, style_dim)`."""
        step = self.steps[torch.randint(len(self.steps), ())].to(device)
        length = self.options.low + (self.options.high - self.options.low) * torch.rand((), device=device)
        backward = self.options.both_ways and torch.rand(()) < 0.5
        return step * (-length if backward else length)


class RefinementStage(Stage):
    """Train `refinement` (optimiser `main`)."""

    options_class = RefinementOptions

    def build(self) -> None:
        """Add the frozen networks and the refinement network.

        Raises:
            OptionError: If networks, data or disturbances do not fit together.
        """
        for name, kind in (
            ("generator", StyleGAN2Generator),
            ("encoder", HybridEncoder),
            ("transformer", DeformationTransformer),
            ("recognizer", IdentityNetwork),
        ):
            self.add_network(name, self.make(kind, name), trained=False)
        generator = self.networks["generator"]
        self.check_data_size(self.networks["encoder"].config.image_size, "encoder")
        self.add_network("refinement", self.make(RefinementNetwork, "refinement"), average=True)
        self.perceptual = build_perceptual(self.options.perceptual, self.networks["recognizer"]).to(self.device)
        self.directions = {n: Directions(n, d, generator) for n, d in self.options.disturbances.items()}
        if (total := sum(d.share for d in self.options.disturbances.values())) > 1.0 + 1e-6:
            raise OptionError(f"the shares of options.disturbances add up to {total:.3g}, expected at most 1")
        self.add_optimizer("main", "refinement")
        self.last_batch: dict[str, Tensor] | None = None

    def dataset(self) -> PairBatches:
        """Triples: `source` is the target, `same` the reference; `other` appears in the sample grid only."""
        return PairBatches(open_clips(self.preset.data), self.preset.data, self.preset.loop.seed)

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
            output = self.refine(self.networks["refinement"], reference, target, disturb=True)

        # 2. Losses at the encoder's size.
        terms = {"pixel": options.pixel * F.mse_loss(output.refined, target)}
        with self.autocast():
            terms["features"] = options.features * self.perceptual(output.refined, target).float()
            recognizer = self.networks["recognizer"]
            with torch.no_grad():
                person = recognizer.embed(target)
            identity = identity_loss(recognizer.embed(output.refined), person)
        terms["identity"] = options.identity * identity.float()
        expected = F.adaptive_avg_pool2d(target, output.aligned.shape[-1])
        terms["aligned"] = options.aligned * F.l1_loss(output.aligned, expected)
        loss = torch.stack(list(terms.values())).sum()
        self.update("main", loss)
        return {"loss": loss, "pixel_before": F.mse_loss(output.image, target), **terms}

    def refine(
        self, refinement: RefinementNetwork, reference: Tensor, target: Tensor, disturb: bool = False
    ) -> Reenactment:
        """The reference's person in the target's motion.

        Args:
            refinement (`RefinementNetwork`): The network, or its average.
            reference (`torch.Tensor` of shape `(batch, 3, size, size)`): In [-1, 1].
            target (`torch.Tensor` of the same shape): Gives the motion.
            disturb (`bool`, *optional*, defaults to False): Disturb the identity codes.

        Returns:
            `Reenactment`: Float32, `image` and `refined` at the encoder's size.
        """
        encoder = self.networks["encoder"]
        with torch.no_grad():
            codes = encoder(reference)
            motion = encoder(target, identity=False, memory=False).motion
            identity = codes.identity
            if disturb:
                identity = identity + self.shifts(len(target))
        networks = self.networks | {"refinement": refinement}
        output = reenact(networks, identity, codes.memory, motion, reference=reference)
        size = encoder.config.image_size
        image, refined = (F.adaptive_avg_pool2d(x.float(), size) for x in (output.image, output.refined))
        return Reenactment(None, image, refined, output.aligned.float())

    def shifts(self, batch: int) -> Tensor:
        """Disturbances of identity codes: `(batch, num_latents, style_dim)`."""
        generator = self.networks["generator"]
        shifts = []
        for _ in range(batch):
            draw, shift = float(torch.rand(())), None
            for name, disturbance in self.options.disturbances.items():
                if draw < disturbance.share:
                    shift = self.directions[name].sample(self.device)
                    break
                draw -= disturbance.share
            if shift is None:
                way = F.normalize(torch.randn(1, generator.config.style_dim, device=self.device))
                shift = way * (torch.rand((), device=self.device) * self.options.random_shift)
            shifts.append(shift.expand(generator.num_latents, -1))
        return torch.stack(shifts)

    def batch_images(self, batch: dict[str, Tensor]) -> int:
        return len(batch["source"])

    def checkpoint_extra(self, folder: Path) -> None:
        """Write the frozen networks too: the refinement fits no others."""
        for name in ("generator", "encoder", "transformer"):
            self.networks[name].save_pretrained(folder / name)

    @torch.no_grad()
    def sample_grid(self) -> np.ndarray | None:
        """Rows of: reference, target, stage I image, aligned reference, refined; other target, stage I, refined."""
        if self.last_batch is None:
            return None
        target, reference, other = (self.last_batch[name][:6] for name in ("source", "same", "other"))
        refinement, size = self.averaged("refinement"), target.shape[-1]
        output, cross = self.refine(refinement, reference, target), self.refine(refinement, reference, other)
        aligned = F.interpolate(output.aligned, (size, size))
        columns = (reference, target, output.image, aligned, output.refined, other, cross.image, cross.refined)
        return tile([list(row) for row in zip(*columns, strict=True)])
