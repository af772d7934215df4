"""Stage II: the refinement network; encoder, transformer and generator are frozen (ViVFace, sec. "Stage II").

Every sample is a target frame and a reference: nine times in ten another frame of the same video, else the target
itself. The stage I picture shows the reference's person in the target's motion, with an identity code that is
disturbed on purpose (hair, age, or a small random shift), as re-enactment disturbs it; the refinement network has to
bring back from the reference what the disturbance took. The refined picture must give the target, and so must the
aligned reference.

Weights as published: MSE 1, perceptual 0.8, identity 0.1, L1 of the aligned reference 0.1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from training.arguments import option
from training.data import PairBatches, open_clips
from training.losses import identity_loss
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


@dataclass
class Disturbance:
    """An edit of identity codes: a step along one of the directions in a file."""

    file: str = option("", "safetensors with a tensor `direction`: (d), (num_latents, d) or (n, num_latents, d)")
    share: float = option(1 / 3, "part of the samples that it disturbs")
    low: float = option(1.0, "shortest step, in lengths of the direction")
    high: float = option(2.5, "longest step")
    both_ways: bool = option(True, "half of the steps go backward")


@dataclass
class Stage2Options:
    """Settings of stage II; the defaults are the published ones."""

    perceptual: str = option(
        "lpips-alex", "'lpips-alex' (needs its weights) or 'identity-features' (networks.identity)"
    )
    pixel: float = option(1.0, "weight of the mean squared error of the refined picture")
    features: float = option(0.8, "weight of its perceptual distance")
    identity: float = option(0.1, "weight of its identity loss")
    aligned: float = option(0.1, "weight of the aligned reference's L1 distance")
    other_frame: float = option(0.9, "chance that the reference is another frame than the target")
    disturbances: dict[str, Disturbance] = option({}, "name (hair, age, ...) -> edit; their shares add up to at most 1")
    random_shift: float = option(0.1, "largest norm of the random shift of samples that no disturbance takes")


class Directions:
    """The directions of a `Disturbance`, loaded.

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
        """A shift (num_latents or 1, style_dim)."""
        step = self.steps[torch.randint(len(self.steps), ())].to(device)
        length = self.options.low + (self.options.high - self.options.low) * torch.rand((), device=device)
        backward = self.options.both_ways and torch.rand(()) < 0.5
        return step * (-length if backward else length)


class Stage2(Stage):
    """Train `refinement` (optimiser `main`)."""

    options_class = Stage2Options

    def build(self) -> None:
        for name, kind in (
            ("generator", StyleGAN2Generator),
            ("encoder", HybridEncoder),
            ("transformer", DeformationTransformer),
            ("identity", IdentityNetwork),
        ):
            self.add_network(name, self.make(kind, name), trained=False)
        generator = self.networks["generator"]
        self.check_data_size(self.networks["encoder"].config.image_size, "encoder")
        self.add_network("refinement", self.make(RefinementNetwork, "refinement"), average=True)
        self.perceptual = build_perceptual(self.options.perceptual, self.networks["identity"]).to(self.device)
        self.directions = {n: Directions(n, d, generator) for n, d in self.options.disturbances.items()}
        if (total := sum(d.share for d in self.options.disturbances.values())) > 1.0 + 1e-6:
            raise OptionError(f"the shares of options.disturbances add up to {total:.3g}, expected at most 1")
        self.add_optimizer("main", "refinement")
        self.seen: dict[str, Tensor] | None = None

    def dataset(self) -> PairBatches:
        return PairBatches(open_clips(self.preset.data), self.preset.data, self.preset.loop.seed)

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor | float]:
        options, target = self.options, batch["source"]
        self.seen = batch

        # 1. References and the disturbed stage I pictures.
        another = torch.rand(len(target), 1, 1, 1, device=self.device) < options.other_frame
        reference = torch.where(another, batch["same"], target)
        with self.autocast():
            made = self.refine(self.networks["refinement"], reference, target, disturb=True)

        # 2. Losses at the encoder's size.
        terms = {"pixel": options.pixel * F.mse_loss(made["refined"], target)}
        with self.autocast():
            terms["features"] = options.features * self.perceptual(made["refined"], target).float()
            identity = self.networks["identity"]
            with torch.no_grad():
                person = identity.embed(target)
            alike = identity_loss(identity.embed(made["refined"]), person)
        terms["identity"] = options.identity * alike.float()
        wanted = F.adaptive_avg_pool2d(target, made["aligned"].shape[-1])
        terms["aligned"] = options.aligned * F.l1_loss(made["aligned"], wanted)
        loss = torch.stack(list(terms.values())).sum()
        self.update("main", loss)
        before = F.mse_loss(made["first"], target)
        return {"loss": loss, "pixel_before": before, **terms}

    def refine(
        self, refinement: RefinementNetwork, reference: Tensor, driver: Tensor, disturb: bool = False
    ) -> dict[str, Tensor]:
        """Re-enact `reference` by `driver` (both (batch, 3, size, size)) and refine the result.

        Returns:
            `dict[str, Tensor]`: float32 `first` and `refined`, the pictures of both passes at the encoder's size, and
            `aligned` at the refinement network's.
        """
        generator, encoder = self.networks["generator"], self.networks["encoder"]
        with torch.no_grad():
            person = encoder(reference, motion=False)
            motion = encoder(driver, identity=False, memory=False).motion
            deformation = self.networks["transformer"](motion, person.memory)
            w = person.identity + self.shifts(len(driver)) if disturb else person.identity
            styles = generator.add_motion(generator.to_stylespace(w), deformation)
            state = generator.synthesize(styles, stop_after=generator.refinement_layer)
            first = generator.synthesize(styles, resume=state)
        changes = refinement(first, reference)
        feature = refinement.fuse(state.feature, changes.scale, changes.shift)
        refined = generator.synthesize(styles, resume=replace(state, feature=feature))
        side = encoder.config.image_size
        return {
            "first": F.adaptive_avg_pool2d(first.float(), side),
            "refined": F.adaptive_avg_pool2d(refined.float(), side),
            "aligned": changes.aligned.float(),
        }

    def shifts(self, batch: int) -> Tensor:
        """Disturbances of identity codes: (batch, num_latents, style_dim)."""
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
        """The frozen networks belong to what was trained for them."""
        for name in ("generator", "encoder", "transformer"):
            self.networks[name].save_pretrained(folder / name)

    @torch.no_grad()
    def sample_grid(self) -> np.ndarray | None:
        """A row each: reference, target, first picture, aligned reference, refined; other driver, first, refined."""
        if self.seen is None:
            return None
        target, reference, other = (self.seen[name][:6] for name in ("source", "same", "other"))
        refinement, side = self.averaged("refinement"), target.shape[-1]
        made, cross = self.refine(refinement, reference, target), self.refine(refinement, reference, other)
        aligned = F.interpolate(made["aligned"], (side, side))
        columns = (reference, target, made["first"], aligned, made["refined"], other, cross["first"], cross["refined"])
        return tile([list(row) for row in zip(*columns, strict=True)])
