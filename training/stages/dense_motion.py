"""Dense motion stage: where each pixel of a re-enacted frame lies in the portrait, from rendered ground truth.

Images of a generator are imitated (`training.data.motion_pairs`), so no other network is needed. Every
`evaluate_every` steps the averaged network is measured on held-out people, with both cues and with each alone, beside
a thin-plate spline through the landmarks and no motion at all. Errors are end-point errors in pixels of the network's
image, over what the portrait shows of the person.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from training.arguments import Options, option
from training.data.motion_pairs import MotionPairs, MotionShards
from training.stages.base import Stage, tile
from training.synthetic.correspondence import BACKGROUND
from vivface.models.dense_motion import DenseMotionNetwork, DenseMotionOutput
from vivface.models.landmark_warp import landmark_maps, thin_plate_flow, warp

BROWS, EYES, LIPS = 1, 3, (4, 5)  # groups of landmarks


class DenseMotionOptions(Options):
    """Settings of the dense motion stage."""

    held_out: list[str] = option([], "folders of people for the evaluation; none: no evaluation")
    evaluate_every: int = option(500, "steps between evaluations")
    evaluate_batches: int = option(6, "batches of an evaluation")
    regions: float = option(4.0, "weight that eyes, brows and lips gain over the rest of the person")
    flow: float = option(1.0, "weight of the end-point error, pixels")
    structure: float = option(2.0, "weight of the error of the flow's differences between neighbours, pixels")
    matched: float = option(0.3, "weight of the end-point error of the matching alone, pixels")
    mask: float = option(1.0, "weight of the person's mask")
    occlusion: float = option(1.0, "weight of the occlusion map")


class DenseMotionStage(Stage):
    """Train `dense_motion`; optimiser `main`."""

    options_class = DenseMotionOptions

    def build(self) -> None:
        """Add the network, read the folders.

        Raises:
            OptionError: If the network sees another size than the batches have, or folders hold no shards.
        """
        data = self.preset.data
        network = self.add_network("dense_motion", self.make(DenseMotionNetwork, "dense_motion"), average=True)
        self.check_data_size(network.config.image_size, "dense_motion")
        self.add_optimizer("main", "dense_motion")
        self.pairs = MotionPairs(MotionShards(data.folders, data.cache_gigabytes), data, self.preset.loop.seed)
        self.held_out = None
        if self.options.held_out:
            shards = MotionShards(self.options.held_out, data.cache_gigabytes)
            self.held_out = MotionPairs(shards, data, seed=1, plain=True)
        self.shown: dict[str, Tensor] | None = None

    def dataset(self) -> MotionPairs:
        """Pairs of frames, see `MotionPairs`."""
        return self.pairs

    def batch_images(self, batch: dict[str, Tensor]) -> int:
        return len(batch["portrait"])

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor | float]:
        """Update the network with the true flow, mask and visibility.

        Args:
            batch (`dict[str, torch.Tensor]`): Of `MotionPairs`.

        Returns:
            `dict`: Terms of the loss, end-point errors and, every `evaluate_every` steps, the evaluation.
        """
        options = self.options
        self.shown = batch
        with self.autocast():
            output = predict(
                self.networks["dense_motion"], batch, bool(batch["has_images"]), bool(batch["has_landmarks"])
            )
        terms = motion_losses(output, batch, options.regions)
        self.update("main", sum(getattr(options, name) * value for name, value in terms.items()))
        if self.held_out is not None and (self.progress.step + 1) % options.evaluate_every == 0:
            terms |= self.evaluate()
        return terms

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Errors on held-out people; the names say which cues the network had."""
        network, sums = self.averaged("dense_motion"), {}
        for index in range(self.options.evaluate_batches):
            batch = {name: tensor.to(self.device) for name, tensor in self.held_out[index].items()}
            size = batch["flow"].shape[-1]
            flows = {"still": torch.zeros_like(batch["flow"])}
            flows["spline"] = thin_plate_flow(batch["landmarks"], batch["portrait_landmarks"], size)
            both = predict(network, batch)
            flows["both"] = both.flow
            flows["landmarks"] = predict(network, batch, images=False).flow
            flows["images"] = predict(network, batch, landmarks=False).flow
            values = {f"{cue}/{name}": v for cue, f in flows.items() for name, v in flow_errors(f, batch).items()}
            person = (batch["parts"] != BACKGROUND).float()
            values["both/mask_iou"] = overlap(both.mask > 0, person > 0)
            values["both/occlusion_accuracy"] = mean(((both.occlusion > 0) == (batch["visible"] > 0)).float(), person)
            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + value.item() / self.options.evaluate_batches
        return {f"held_out/{name}": value for name, value in sums.items()}

    def sample_grid(self) -> np.ndarray | None:
        """Portrait, driven image, moved portrait, and what the portrait lacks (dark), of the last batch."""
        if self.shown is None:
            return None
        batch = {name: tensor[:8] if tensor.dim() else tensor for name, tensor in self.shown.items()}
        output = predict(self.averaged("dense_motion"), batch)
        moved = warp(batch["portrait"], output.flow)
        known = moved * output.occlusion.sigmoid() * output.mask.sigmoid()
        truth = warp(batch["portrait"], batch["flow"])
        return tile([list(images) for images in (batch["portrait"], batch["driven"], truth, moved, known)])


def predict(
    network: DenseMotionNetwork, batch: dict[str, Tensor], images: bool = True, landmarks: bool = True
) -> DenseMotionOutput:
    """Run the network on a batch of `MotionPairs`, with the cues that it may see."""
    portrait = network.encode_portrait(
        batch["portrait"],
        batch["self_reconstruction"] if images else None,
        batch["portrait_landmarks"] if landmarks else None,
    )
    return network(portrait, batch["driven"] if images else None, batch["landmarks"] if landmarks else None)


def motion_losses(output: DenseMotionOutput, batch: dict[str, Tensor], regions: float) -> dict[str, Tensor]:
    """Terms of the loss, under the names of their weights in `DenseMotionOptions`.

    Args:
        output (`DenseMotionOutput`): What the network predicts.
        batch (`dict[str, torch.Tensor]`): Of `MotionPairs`.
        regions (`float`): Weight that eyes, brows and lips gain.

    Returns:
        `dict[str, torch.Tensor]`: 0-d each.
    """
    flow, size = batch["flow"], batch["flow"].shape[-1]
    person = (batch["parts"] != BACKGROUND).float()
    maps = landmark_maps(batch["landmarks"], size)
    weight = batch["visible"] * (1 + regions * maps[:, [BROWS, EYES, *LIPS]].amax(1, keepdim=True))
    matched = F.interpolate(output.matched, (size, size), mode="bilinear", align_corners=False)
    across = [(a[..., 1:] - a[..., :-1]) * size / 2 for a in (output.flow, flow)]
    down = [(a[..., 1:, :] - a[..., :-1, :]) * size / 2 for a in (output.flow, flow)]
    weight_across, weight_down = weight[..., 1:] * weight[..., :-1], weight[..., 1:, :] * weight[..., :-1, :]
    occlusion = F.binary_cross_entropy_with_logits(output.occlusion, batch["visible"], reduction="none")
    return {
        "flow": mean(distance(output.flow, flow), weight),
        "structure": mean((across[0] - across[1]).abs().sum(1, keepdim=True), weight_across)
        + mean((down[0] - down[1]).abs().sum(1, keepdim=True), weight_down),
        "matched": mean(distance(matched, flow), batch["visible"]),
        "mask": F.binary_cross_entropy_with_logits(output.mask, person),
        "occlusion": mean(occlusion, person + 0.05),
    }


def flow_errors(flow: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """End-point errors in pixels over the visible person and its regions, and the gain of the motion of the lips.

    Args:
        flow (`torch.Tensor` of shape `(batch, 2, S, S)`): Predicted.
        batch (`dict[str, torch.Tensor]`): Of `MotionPairs`.

    Returns:
        `dict[str, torch.Tensor]`: `epe`, `epe_brows`, `epe_eyes`, `epe_lips`, and `gain_brows`, `gain_eyes`,
        `gain_lips`: the slope of the predicted over the true motion of a region relative to the face, 1 at best.
    """
    size, visible = flow.shape[-1], batch["visible"]
    error = distance(flow, batch["flow"])
    maps = landmark_maps(batch["landmarks"], size)
    errors = {"epe": mean(error, visible)}
    face = maps[:, 2:3] * visible  # the nose: moves with the head, hardly with the expression
    for name, groups in (("brows", [BROWS]), ("eyes", [EYES]), ("lips", list(LIPS))):
        region = maps[:, groups].amax(1, keepdim=True) * visible
        errors[f"epe_{name}"] = mean(error, region)
        found, true = (f - centre(f, face) for f in (flow, batch["flow"]))
        errors[f"gain_{name}"] = (found * true * region).sum() / (true.square() * region).sum().clamp_min(1e-8)
    return errors


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Distance in pixels between two flows `(batch, 1, S, S)`, smooth near zero."""
    pixels = a.shape[-1] / 2
    return ((a - b) * pixels).square().sum(1, keepdim=True).add(1e-3).sqrt()


def mean(x: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean, 0-d."""
    return (x * weight).sum() / weight.sum().clamp_min(1e-6)


def centre(flow: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean flow of each example `(batch, 2, 1, 1)`."""
    return (flow * weight).sum((2, 3), keepdim=True) / weight.sum((2, 3), keepdim=True).clamp_min(1e-6)


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of two masks, 0-d."""
    return (a & b).sum() / (a | b).sum().clamp_min(1)
