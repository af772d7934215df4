"""Known-truth stage: encoder, transformer, generator and refinement trained together on renders.

A render comes with its truth, so the picture that re-enactment should give - the source person, in the source's light,
before the source's background, doing the driver's motion - exists and is the target. No generator has to be discovered
from noise first. Every step takes P people of one group and J motions that all of them performed, and asks for all
P x J pictures from P source frames and J driving frames of other people, so an encoder pass serves several targets.

What a motion is, is known too: controls, yaw, pitch, and where the face is in the crop. A linear map turns them into
motion codes of their own (`TruthCodes`). In part of the grids these drive the picture, so transformer and generator
learn from noiseless codes what motion looks like while the encoder learns, by regression, to find the same codes in
driving frames; in the other grids, and in all of them late in the run, the encoder's codes drive.

Terms (weights in the preset):
    coarse      weighted L1 on a pyramid of three scales, eyes, mouth and face counted more, and L1 of its edges, on the
                generator's own 64 x 64 picture of every pair (its colour skip)
    pixels      the same at full size, on the few people a step whose pictures go on to full size
    motion      squared error of the differences between one person's pictures, relative to the true ones
                (1: no motion)
    people      identity codes must be those that an autodecoder run found (fades out; only with
                `networks.people`)
    truth       the motion codes of all frames must be the codes that a linear map makes of the renderer's truth
    controls    what those codes say of the controls must be true, every control counting as much as the others
    angles      what they say of yaw and pitch
    norm        mean square of the generic motion codes (ViVFace: the "S norm")
    delta       spread of the identity code over its W+ layers (keeps W+ near W)
    refined     the same on the refined picture
    motion_refined  the motion term at full size, refined
    features    L1 between a frozen encoder's feature maps of result and target (only with `networks.judge`)
    judged      squared error of that encoder's codes: result against target, motion, controls, angles and identity
    identity    1 - cosine of the identity network's embeddings of result and target, coarse and at full size (only with
                `networks.identity`, as the next)
    perceptual  distance of this network's feature maps of the two, face crop only
    aligned     L1 of the aligned reference against the target
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.arguments import option
from training.data import GridBatches, region_weights
from training.ground_truth import (
    PersonCodes,
    TruthCodes,
    code_error,
    code_errors,
    code_terms,
    person_error,
    truth_vector,
)
from training.losses import motion_error, psnr, pyramid_l1
from training.stages.base import Stage, tile
from training.stages.encoder import enlarge_codes
from vivface.models import (
    DeformationTransformer,
    HybridEncoder,
    IdentityNetwork,
    RefinementNetwork,
    StyleGAN2Generator,
)
from vivface.models.stylegan2 import SynthesisState


@dataclass
class SupervisedOptions:
    """Settings of the known-truth stage."""

    grids: int = option(4, "grids (groups of people) a step: the gradient wants many people more than many motions")
    coarse_size: int = option(64, "side of the pictures that every pair is trained at, pixels")
    fine: int = option(2, "people a step, drawn at random, whose pictures go on to full size")
    fine_from: float = option(0.2, "part of the run after which pairs go on to full size")
    refine_from: float = option(0.2, "part of the run after which the refinement network is trained too")
    freeze_statistics_from: float = option(0.85, "part of the run after which batch-norm statistics stay as they are")
    regions: dict[str, float] = option(
        {"face": 1.0, "eyes": 4.0, "brows": 1.0, "mouth": 3.0}, "how much more a region's pixels weigh"
    )
    contrast: float = option(0.0, "how far pictures of little contrast in the face count more: 1 evens them out")
    edges: float = option(1.0, "weight of the edge term inside the pixel terms")
    coarse: float = option(1.0, "weight of the pixel term at coarse size")
    motion: float = option(0.5, "weight of the error in how a person's coarse pictures differ from motion to motion")
    pixels: float = option(0.5, "weight of the pixel term of the first picture at full size")
    refined: float = option(1.0, "weight of the pixel term of the refined picture")
    motion_refined: float = option(0.0, "weight of the motion term of the refined pictures")
    aligned: float = option(0.3, "weight of the aligned reference's L1 distance to the target")
    truth: float = option(0.5, "weight of the motion codes' squared error, as a part of the true codes' variance")
    controls: float = option(1.0, "weight of the squared error of the controls that the codes say, as part of variance")
    angles: float = option(0.5, "the same for yaw and pitch")
    taught: float = option(0.5, "part of the grids that codes made of the truth drive, not the encoder's")
    taught_until: float = option(0.6, "part of the run after which the encoder's codes drive everywhere")
    people: float = option(0.5, "weight of the identity codes' squared error, as a part of the known codes' variance")
    people_until: float = option(0.3, "part of the run over which that weight falls to nothing")
    truth_batches: int = option(16, "batches over which the truth's mean and spread are measured at the start")
    norm: float = option(2e-4, "weight of the mean square of the generic motion codes")
    delta: float = option(1e-3, "weight of the mean square of the identity code's differences between layers")
    features: float = option(0.0, "weight of the perceptual term, feature maps of the encoder given as networks.judge")
    judged: float = option(0.0, "weight of the codes that this encoder finds in results against those in targets")
    identity: float = option(0.0, "weight of 1 - cosine of the embeddings of results and targets (networks.identity)")
    perceptual: float = option(0.0, "weight of the distance of that network's feature maps, in the face crop")
    head_gain: float = option(10.0, "factor on a fresh encoder's last linear maps: codes of full size from the start")
    settle_batches: int = option(16, "batches over which batch-norm statistics are measured before weights are written")
    encoder_lr: float = option(0.5, "learning rate of the encoder as a multiple of the optimiser's")
    truth_lr: float = option(0.1, "the same for the map from truth to motion codes")
    refinement_lr: float = option(1.0, "learning rate of the refinement network as a multiple of the optimiser's")
    transformer_lr: float = option(0.2, "learning rate of the transformer as a multiple of the optimiser's")


class SupervisedStage(Stage):
    """Train encoder, transformer, generator and refinement on grids of people and motions (see the file's head)."""

    options_class = SupervisedOptions

    def build(self) -> None:
        self.add_network("generator", self.make(StyleGAN2Generator, "generator"), average=True)
        self.add_network("encoder", self.make(HybridEncoder, "encoder"), average=True)
        self.add_network("transformer", self.make(DeformationTransformer, "transformer"), average=True)
        self.add_network("refinement", self.make(RefinementNetwork, "refinement"), average=True)
        if self.options.features > 0 or self.options.judged > 0:
            self.add_network("judge", self.make(HybridEncoder, "judge"), trained=False)
        if self.options.identity > 0 or self.options.perceptual > 0:
            self.add_network("identity", self.make(IdentityNetwork, "identity"), trained=False)
        if "pretrained" not in self.preset.networks.get("encoder", {}):
            enlarge_codes(self.networks["encoder"], self.options.head_gain)
        generator = self.networks["generator"]
        self.add_network("truth", self.truth_codes(generator))
        if "people" in self.preset.networks:  # identity codes of an autodecoder run
            self.add_network("people", self.make(PersonCodes, "people"), trained=False)
        options = self.options
        scales = {
            "encoder": options.encoder_lr,
            "transformer": options.transformer_lr,
            "refinement": options.refinement_lr,
            "truth": options.truth_lr,
        }
        groups = [
            {"params": list(self.networks[name].parameters()), "lr_scale": scales.get(name, 1.0)}
            for name in ("generator", "encoder", "transformer", "refinement", "truth")
        ]
        self.add_optimizer("main", parameters=groups)
        self.coarse_layer = generator.rgb_layer(self.options.coarse_size)
        self.seen: dict[str, Tensor] | None = None

    def truth_codes(self, generator: StyleGAN2Generator) -> TruthCodes:
        """The map from truth to motion codes: that of an autodecoder run, or a fresh one for the present truth."""
        if "truth" in self.preset.networks:
            return self.make(TruthCodes, "truth")
        examples = [truth_of(self.dataset()[10**6 + k]).flatten(0, 1) for k in range(self.options.truth_batches)]
        examples = torch.cat(examples)
        codes = TruthCodes(examples.shape[1], generator.config.motion_codes, generator.config.style_dim)
        codes.measure(examples)
        return codes

    def dataset(self) -> StackedGrids:
        if not hasattr(self, "_dataset"):
            grids = GridBatches(self.preset.data, self.preset.loop.seed)
            self._dataset = StackedGrids(grids, self.options.grids)
        return self._dataset

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor | float]:
        options = self.options
        if self.fraction() >= options.freeze_statistics_from:
            freeze_batch_norm(self.networks["encoder"])
            freeze_batch_norm(self.networks["refinement"])
        source, driver = batch["source"], batch["driver"]  # (grids, people, ...), (grids, drivers, motions, ...)
        self.seen = {"source": source, "driver": driver[:, :1], "target": batch["target"]}
        target = batch["target"].flatten(0, 2)  # (grids * people * motions, 3, size, size)
        regions = batch["regions"].flatten(0, 2)
        weight = region_weights(regions, 1.0, **options.regions)
        if options.contrast > 0:
            weight = weight * contrast_gain(target, regions) ** options.contrast
        weight = weight / weight.mean()
        motions = driver.shape[2]
        rows = torch.randperm(len(target) // motions, device=target.device)[: options.fine]
        fine = (rows[:, None] * motions + torch.arange(motions, device=rows.device)).flatten()
        fine = fine if self.fraction() >= options.fine_from else None

        with self.autocast():
            refine = fine is not None and self.fraction() >= options.refine_from
            taught = self.networks["truth"](truth_of(batch)[: self.taught_grids(len(source))])
            made = self.reenact(self.networks, source, driver, fine=fine, refine=refine, taught=taught)
            side = made.coarse.shape[-1]
            small_target, small_weight = (F.interpolate(x, (side, side), mode="area") for x in (target, weight))
            terms = {"coarse": options.coarse * self.pixel_term(made.coarse, small_target, small_weight)}
            motion, motion_share = motion_error(
                *(x.unflatten(0, batch["target"].shape[:3]) for x in (made.coarse, small_target, small_weight))
            )
            terms["motion"] = options.motion * motion
            terms |= self.motion_terms(made.motion, batch)
            if "people" in self.networks and self.fraction() < options.people_until:
                fading = 1.0 - self.fraction() / options.people_until
                seeds = torch.cat([batch["person"].flatten(), batch["driver_person"].flatten()])
                known = person_error(made.identity, seeds, self.networks["people"])
                terms["people"] = options.people * fading * known
            terms["norm"] = options.norm * made.motion.square().mean()
            terms["delta"] = options.delta * (made.identity - made.identity.mean(1, keepdim=True)).square().mean()
            if fine is not None:
                target, weight = target[fine], weight[fine]
                terms["pixels"] = options.pixels * self.pixel_term(made.image, target, weight)
                if "judge" in self.networks:
                    features, codes = self.judge(made.best, target)
                    terms |= {"features": options.features * features, "judged": options.judged * codes}
            if refine:
                terms["refined"] = options.refined * self.pixel_term(made.refined, target, weight)
                wanted = F.interpolate(target, made.aligned.shape[-2:], mode="bilinear")
                terms["aligned"] = options.aligned * (made.aligned - wanted).abs().mean()
                moved, _ = motion_error(*(x.unflatten(0, (1, -1, motions)) for x in (made.refined, target, weight)))
                terms["motion_refined"] = options.motion_refined * moved
            if "identity" in self.networks:
                results = [(made.coarse, small_target)] + ([] if fine is None else [(made.best, target)])
                identity, perceptual = self.alike(results)
                terms |= {"identity": options.identity * identity, "perceptual": options.perceptual * perceptual}
            loss = sum(terms.values())
        self.update("main", loss)
        return {
            "loss": loss,
            "psnr_coarse": psnr(made.coarse, small_target),
            "motion_share": motion_share,
            **({} if fine is None else {"psnr_first": psnr(made.image, target), "psnr": psnr(made.best, target)}),
            **terms,
        }

    def motion_terms(self, found: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """How wrong the motion codes of sources and driving frames are, as codes and in what they say."""
        truth = self.networks["truth"]
        with torch.no_grad():
            true = truth(torch.cat([truth_of_sources(batch), truth_of_drivers(batch)])).float()
        return code_terms(truth, found, true, self.options)

    def reenact(
        self,
        networks: dict[str, nn.Module],
        source: Tensor,
        driver: Tensor,
        *,
        fine: Tensor | None,
        refine: bool,
        taught: Tensor | None = None,
    ) -> Reenactment:
        """Every source `(grids, people, 3, size, size)` with every motion of its grid's first driver.

        Drivers are `(grids, drivers, motions, 3, size, size)`; the codes of all of them are returned. `fine` are the
        indices of the pairs (grid, person, motion; motions run fastest) that go on to full size, or None. `taught` are
        codes (grids, motions, codes, width) that drive the first so many grids in place of the encoder's.
        """
        generator, encoder = networks["generator"], networks["encoder"]
        people, motions = source.shape[1], driver.shape[2]
        source = source.flatten(0, 1)
        # One pass for sources and driving frames: batch statistics over all of them.
        codes = encoder(torch.cat([source, driver.flatten(0, 2)]))
        identity, memory, motion = (
            codes.identity[: len(source)],
            codes.memory[: len(source)],
            codes.motion,
        )

        first = motion[len(source) :].unflatten(0, driver.shape[:3])[:, 0]  # (grids, motions, codes, width)
        if taught is not None:
            first = torch.cat([taught.to(first.dtype), first[len(taught) :]])
        each_motion = first[:, None].expand(-1, people, -1, -1, -1).flatten(0, 2)
        each_memory = memory.repeat_interleave(motions, 0)
        deformation = networks["transformer"](each_motion, each_memory)
        styles = [style.repeat_interleave(motions, 0) for style in generator.to_stylespace(identity)]
        styles = generator.add_motion(styles, deformation)

        start = generator.synthesize(styles, stop_after=generator.refinement_layer)
        coarse = generator.synthesize(styles, resume=start, stop_after=self.coarse_layer)
        if fine is None:
            return Reenactment(coarse.rgb, codes.identity, motion)
        styles = [style[fine] for style in styles]
        image = generator.synthesize(styles, resume=pick(coarse, fine))
        if not refine:
            return Reenactment(coarse.rgb, codes.identity, motion, image)
        refinement = networks["refinement"]
        changes = refinement(image, source[fine // motions])
        start = pick(start, fine)
        start = replace(start, feature=refinement.fuse(start.feature, changes.scale, changes.shift))
        refined = generator.synthesize(styles, resume=start)
        return Reenactment(coarse.rgb, codes.identity, motion, image, refined, changes.aligned)

    def pixel_term(self, image: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        return pyramid_l1(image, target, weight, edge_weight=self.options.edges)

    def taught_grids(self, grids: int) -> int:
        """How many grids of a step are driven by codes of the truth."""
        return round(self.options.taught * grids) if self.fraction() < self.options.taught_until else 0

    def judge(self, image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """How differently a frozen encoder sees result and target: in its feature maps, and in its codes.

        Feature maps are scaled by the size of the target's. Codes are told apart as motion codes, in what these say of
        controls and angles, and as identity codes; all in the variance of the targets, or of the truth.
        """
        judge, truth = self.networks["judge"], self.networks["truth"]
        with torch.no_grad():
            wanted_maps = judge.features(target)
            wanted = judge.read(wanted_maps, memory=False)
        maps = judge.features(image)
        found = judge.read(maps, memory=False)
        pairs = zip(maps, wanted_maps, strict=True)
        features = sum((a - b).abs().mean() / b.abs().mean().clamp_min(1e-3) for a, b in pairs)
        motion = code_errors(truth, found.motion, wanted.motion.float())
        return features, sum(motion.values()) + code_error(found.identity, wanted.identity.float())

    def alike(self, results: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """How differently the identity network sees results and targets: in its embeddings, and in its feature maps.

        Args:
            results: Pictures and targets `(batch, 3, size, size)`, of several sizes; every picture counts the same.
        """
        network = self.networks["identity"]
        made, wanted = (torch.cat([network.crop(images) for images in column]) for column in zip(*results, strict=True))
        return network.compare(made, wanted)

    def save_checkpoint(self, folder: Path) -> None:
        self.settle_statistics()
        super().save_checkpoint(folder)

    @torch.no_grad()
    def settle_statistics(self) -> None:
        """Measure the batch-norm statistics that belong to the averaged weights.

        Those of the last steps belong to other weights and to batches of a few pictures; networks that use them show
        saturated colours.
        """
        networks = {name: self.averaged(name) for name in ("generator", "encoder", "transformer", "refinement")}
        norms = [
            m for net in networks.values() for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)
        ]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over all batches
            norm.train()
        for index in range(self.options.settle_batches):
            batch = self.dataset()[10**6 + index]
            pairs = torch.arange(batch["target"].shape[:3].numel(), device=self.device)
            source, driver = batch["source"].to(self.device), batch["driver"].to(self.device)
            self.reenact(networks, source, driver, fine=pairs, refine=True)
        for norm in norms:
            norm.momentum = 0.1
            norm.eval()

    def sample_grid(self) -> np.ndarray | None:
        """A grid's drivers; below, a row a person: source, then for each driver target, first and refined picture."""
        if self.seen is None:
            return None
        source, driver, target = self.seen["source"], self.seen["driver"], self.seen["target"]
        networks = {name: self.averaged(name) for name in ("generator", "encoder", "transformer", "refinement")}
        pairs = torch.arange(target.shape[:3].numel(), device=source.device)
        with torch.no_grad():
            made = self.reenact(networks, source, driver, fine=pairs, refine=True)
        first, refined = (x.unflatten(0, target.shape[:3]) for x in (made.image, made.refined))
        blank = torch.full_like(source[0, 0], -1)
        rows = []
        for grid in range(len(source)):
            rows.append([blank] + [picture for frame in driver[grid, 0] for picture in (frame, blank, blank)])
            for person in range(source.shape[1]):
                here = (grid, person)
                shown = [
                    x for j in range(driver.shape[2]) for x in (target[*here, j], first[*here, j], refined[*here, j])
                ]
                rows.append([source[here], *shown])
        return tile(rows)


def contrast_gain(image: Tensor, regions: Tensor) -> Tensor:
    """How much a picture has to be enlarged for its face to have the contrast that faces have on average.

    Args:
        image (`torch.Tensor` of shape `(batch, 3, size, size)`): In [-1, 1].
        regions (`torch.Tensor` of shape `(batch, 4, size, size)`): Region maps, the face first.

    Returns:
        `torch.Tensor` of shape `(batch, 1, 1, 1)`: Between 0.5 and 3.
    """
    face, grey = regions[:, :1], image.mean(1, keepdim=True)
    area = face.sum((1, 2, 3), keepdim=True).clamp_min(1.0)
    mean = (face * grey).sum((1, 2, 3), keepdim=True) / area
    spread = ((face * (grey - mean).square()).sum((1, 2, 3), keepdim=True) / area).sqrt().clamp_min(1e-3)
    return (spread.mean() / spread).clamp(0.5, 3.0)


def truth_of(batch: dict[str, Tensor]) -> Tensor:
    """Controls, yaw, pitch and landmarks of every motion of a batch of grids: `(grids, motions, truths)`.

    Landmarks are those in the targets' crops, averaged over the people: where the face is and how it moves, and hardly
    whose it is.
    """
    return truth_vector(*(batch[f"target_{name}"].mean(1) for name in ("controls", "pose", "landmarks")))


def truth_of_drivers(batch: dict[str, Tensor]) -> Tensor:
    """The same for every driving frame, in the order of `batch["driver"]`: `(frames, truths)`."""
    drivers = batch["driver"].shape[1]
    return truth_of(batch)[:, None].expand(-1, drivers, -1, -1).flatten(0, 2)


def truth_of_sources(batch: dict[str, Tensor]) -> Tensor:
    """The same for every source, in the order of `batch["source"]`: `(sources, truths)`."""
    landmarks = batch["source_landmarks"].mean(1, keepdim=True).expand_as(batch["source_landmarks"])
    return truth_vector(batch["source_controls"], batch["source_pose"], landmarks).flatten(0, 1)


class StackedGrids:
    """Several grids as one batch: every field gets a first axis of length `count`."""

    def __init__(self, grids: GridBatches, count: int):
        self.grids, self.count = grids, count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        items = [self.grids[index * self.count + k] for k in range(self.count)]
        return {name: torch.stack([item[name] for item in items]) for name in items[0]}


@dataclass
class Reenactment:
    """What one pass gives.

    Attributes:
        coarse (`torch.Tensor` of shape `(pairs, 3, coarse, coarse)`): The small picture of every pair.
        identity (`torch.Tensor` of shape `(sources + driving frames, latents, width)`): Of all
            sources and driving frames.
        motion (`torch.Tensor` of shape `(sources + driving frames, codes, width)`): Generic codes of all of them.
        image, refined (`torch.Tensor` of shape `(fine, 3, size, size)`): First and refined picture of the fine pairs.
        aligned (`torch.Tensor` of shape `(fine, 3, side, side)`): The reference in the frame's pose.
    """

    coarse: Tensor
    identity: Tensor
    motion: Tensor
    image: Tensor | None = None
    refined: Tensor | None = None
    aligned: Tensor | None = None

    @property
    def best(self) -> Tensor:
        return self.image if self.refined is None else self.refined


def pick(state: SynthesisState, pairs: Tensor) -> SynthesisState:
    """The part of a synthesis that belongs to some of its batch."""
    return replace(state, feature=state.feature[pairs], rgb=state.rgb[pairs])


def freeze_batch_norm(network: nn.Module) -> None:
    """Use, and no longer change, the running statistics of every batch normalisation."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
