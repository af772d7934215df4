"""Motion of full size: `python -m training.tools.calibrate RUN/checkpoint --folders data/people`.

Regression hedges. What an encoder cannot tell for certain it reports too small, and what a generator is told
uncertainly it draws too small, so mouths of a trained checkpoint open half as far as the driver's. Here is measured, on
synthetic people, how far every control moves in results, as a part of how far it moves in the true pictures; then the
encoder's motion heads are changed so that codes move the more.

The gain of a control is cov(read in results, truth) / cov(read in true pictures, truth), over the motions of one
person. Both are read by the encoder itself, and noise of the readings drops out, as the truth is the renderer's own
(an instrumental variable). A control that the encoder hardly sees stays as it is: nothing but noise would be enlarged.

Codes change by sum_k (factor_k - 1) (read_k - rest_k) direction_k, where rest_k is what is read where the control is 0,
so that shut mouths stay shut. That is linear in all codes together; each head gets the part that its own features can
tell, by least squares. Only the last linear maps of the motion heads change.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from training.arguments import AugmentOptions, DataOptions
from training.data import GridBatches
from training.ground_truth import ANGLES, TruthCodes
from training.tools.programs import replace_part, run_program
from vivface.errors import OptionError
from vivface.hub.loading import load_part
from vivface.models import DeformationTransformer, HybridEncoder, RefinementNetwork, StyleGAN2Generator

ANGLE_NAMES = ("yaw", "pitch")
RIDGE = 1e-3  # of the least squares, as a part of the features' mean square


@dataclass
class Readings:
    """What was read in pictures, motion by motion. Units are the spreads of the truth.

    Attributes:
        truth (`torch.Tensor` of shape `(grids, motions, K)`): Controls and angles of the renderer.
        target, result (`torch.Tensor` of shape `(grids, people, motions, K)`): Read in true pictures and in results.
    """

    truth: Tensor
    target: Tensor
    result: Tensor


@dataclass
class Frames:
    """Driving frames and true pictures as the encoder sees them.

    Attributes:
        truth, read (`torch.Tensor` of shape `(frames, K)`): Controls and angles, true and read.
        features (list of `torch.Tensor` of shape `(frames, width)`): What enters the last maps of each motion head.
    """

    truth: Tensor
    read: Tensor
    features: list[Tensor]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m training.tools.calibrate", description=__doc__.split(":")[0])
    parser.add_argument("checkpoint", type=Path, help="folder of a known-truth run; its encoder is rewritten")
    parser.add_argument("--folders", nargs="+", required=True, help="folders of synthetic people")
    parser.add_argument("--batches", type=int, default=100, help="groups of people to measure on")
    parser.add_argument("--limit", type=float, default=2.0, help="largest factor of a control")
    parser.add_argument("--visible", type=float, default=0.25, help="least slope of readings on the truth to act on")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.batches < 2 or options.limit < 1:
        raise OptionError(f"--batches is {options.batches} and --limit {options.limit}, expected at least 2 and 1.")

    # 1. What results show, and what they should.
    networks = {name: load_part(kind, options.checkpoint, name).eval() for name, kind in NETWORKS.items()}
    encoder, truth = networks["encoder"], networks["truth"]
    augment = AugmentOptions(
        appearance=0.3, driver_appearance=0.5, degrade_source=0.0, degrade_driver=0.2, source_jitter=0.005,
        driver_center=0.008, driver_scale=0.008, driver_rotation=0.5,
    )  # fmt: skip
    data = GridBatches(
        DataOptions(folders=options.folders, size=encoder.config.image_size, people=2, motions=8, crop="centred",
                    source_draws=2, augment=augment, rescan_seconds=0),
        options.seed,
    )  # fmt: skip
    readings, frames = read_results(networks, data, options.batches)

    # 2. Factors.
    gains = measure_gains(readings)
    factors = motion_factors(gains, visible_controls(readings, options.visible), options.limit)
    for name, gain, factor in zip((*data.shards.control_names, *ANGLE_NAMES), gains, factors, strict=True):
        if factor > 1:
            print(f"{name:16s} gain {gain:5.2f}  factor {factor:4.2f}")

    # 3. Heads that give codes so much larger.
    share = enlarge_motion(encoder, truth, frames, factors)
    print(f"the heads' features tell {100 * share:.0f} % of the change")

    # 4. Written beside its place and moved there.
    replace_part(encoder, options.checkpoint, "encoder")


NETWORKS = {
    "encoder": HybridEncoder,
    "transformer": DeformationTransformer,
    "generator": StyleGAN2Generator,
    "refinement": RefinementNetwork,
    "truth": TruthCodes,
}


@torch.no_grad()
def read_results(networks: dict, data: GridBatches, batches: int) -> tuple[Readings, Frames]:
    """Re-enact the people of some batches, and read results, true pictures and driving frames.

    Args:
        networks (`dict`): The five of `NETWORKS`, in evaluation mode.
        data (`GridBatches`): Source, targets and drivers.
        batches (`int`): How many.
    """
    encoder, truth = networks["encoder"], networks["truth"]
    readings: list[tuple[Tensor, Tensor, Tensor]] = []
    frames: list[tuple[Tensor, Tensor, list[Tensor]]] = []

    def codes_of(images: Tensor) -> Tensor:
        return encoder(images, identity=False, memory=False).motion

    def read(codes: Tensor) -> Tensor:
        return torch.cat(truth.read(codes), -1)

    for index in tqdm(range(batches), desc="re-enacting", unit="batch"):
        batch = data[index]
        people, motions = batch["target"].shape[:2]
        shown = torch.cat([batch["target_controls"][0], batch["target_pose"][0][:, ANGLES]], 1)
        shown = truth.standard(shown)  # (motions, K)
        with head_features(encoder) as features:
            codes = codes_of(torch.cat([batch["driver"][0], batch["target"].flatten(0, 1)]))
        seen = read(codes)
        frames.append((shown.repeat(1 + people, 1), seen, features))
        result = read(codes_of(reenact(networks, batch["source"], codes[:motions])))
        readings.append((shown, *(x.unflatten(0, (people, motions)) for x in (seen[motions:], result))))
    true, seen, features = zip(*frames, strict=True)
    features = [torch.cat(x) for x in zip(*features, strict=True)]
    return Readings(*map(torch.stack, zip(*readings, strict=True))), Frames(torch.cat(true), torch.cat(seen), features)


def reenact(networks: dict, source: Tensor, motion: Tensor) -> Tensor:
    """Refined pictures `(people * motions, 3, side, side)` of every source doing every motion, at the encoder's size.

    Args:
        networks (`dict`): As for `read_results`.
        source (`torch.Tensor` of shape `(people, 3, side, side)`): RGB in [-1, 1].
        motion (`torch.Tensor` of shape `(motions, codes, width)`): Generic motion codes.
    """
    encoder, generator, refinement = (networks[name] for name in ("encoder", "generator", "refinement"))
    people, motions = len(source), len(motion)
    codes = encoder(source, motion=False)
    each_motion, each_memory = motion.repeat(people, 1, 1), codes.memory.repeat_interleave(motions, 0)
    deformation = networks["transformer"](each_motion, each_memory)
    styles = [style.repeat_interleave(motions, 0) for style in generator.to_stylespace(codes.identity)]
    styles = generator.add_motion(styles, deformation)
    _, refined = refinement.synthesize(generator, styles, source.repeat_interleave(motions, 0))
    side = encoder.config.image_size
    return F.interpolate(refined.clamp(-1, 1), (side, side), mode="area")


@contextlib.contextmanager
def head_features(encoder: HybridEncoder) -> Iterator[list[Tensor]]:
    """Within the block, the list gets what enters the last linear maps of the motion heads, one item a head."""
    seen: list[Tensor] = []
    hooks = [
        head.linears[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        for head in encoder.motion_heads.heads
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def measure_gains(readings: Readings) -> Tensor:
    """How far each control moves in results, as a part of how far it moves in true pictures: `(K,)`."""
    moved = _centred(readings.truth)[:, None]  # (grids, 1, motions, K)
    result, target = ((_centred(x) * moved).sum((0, 1, 2)) for x in (readings.result, readings.target))
    return torch.where(target > 0, result / target.clamp_min(1e-6), torch.zeros_like(target))


def visible_controls(readings: Readings, least: float) -> Tensor:
    """Whether readings of true pictures follow a control with at least this slope: `(K,)`, bool."""
    moved = _centred(readings.truth)[:, None]
    slope = (_centred(readings.target) * moved).sum((0, 1, 2)) / (
        readings.target.shape[1] * moved.square().sum((0, 1, 2)).clamp_min(1e-6)
    )
    return slope >= least


def motion_factors(gains: Tensor, visible: Tensor, limit: float) -> Tensor:
    """What makes a gain 1, between 1 and `limit`; 1 for controls that are not visible: `(K,)`."""
    return torch.where(visible & (gains > 0), 1 / gains.clamp_min(1e-6), torch.ones_like(gains)).clamp(1.0, limit)


@torch.no_grad()
def enlarge_motion(encoder: HybridEncoder, truth: TruthCodes, frames: Frames, factors: Tensor) -> float:
    """Change the motion heads so that what codes say of control k is `factors[k]` times as far from rest.

    Args:
        encoder (`HybridEncoder`): Changed in place.
        truth (`TruthCodes`): The map that reads and writes codes.
        frames (`Frames`): Examples.
        factors (`torch.Tensor` of shape `(K,)`): 1 for no change.

    Returns:
        `float`: Part of the change's variance that the heads' own features tell.
    """
    count = len(factors)
    directions = (truth.linear.weight * truth.importance).T[:count]  # (K, codes * width)
    change = ((factors - 1) * (frames.read - rest_of(truth, frames))) @ directions
    change = change.unflatten(1, (truth.config.motion_codes, truth.config.style_dim))  # (frames, codes, width)
    code, told = 0, 0.0
    for head, features in zip(encoder.motion_heads.heads, frames.features, strict=True):
        inputs = F.pad(features, (0, 1), value=1.0)
        ridge = RIDGE * features.square().mean() * len(features) * torch.eye(inputs.shape[1])
        ridge[-1, -1] = 0.0
        wanted = change[:, code : code + len(head.linears)].flatten(1)
        solution = torch.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ wanted)  # (inputs, codes * width)
        told += (inputs @ solution - wanted.mean(0)).square().sum().item()
        for linear, part in zip(head.linears, solution.chunk(len(head.linears), 1), strict=True):
            linear.weight += part[:-1].T / linear.weight_scale
            linear.bias += part[-1] / linear.bias_scale
        code += len(head.linears)
    return told / max((change - change.mean(0)).square().sum().item(), 1e-12)


def rest_of(truth: TruthCodes, frames: Frames) -> Tensor:
    """What is read where a control or an angle is 0, by linear regression of readings on the truth: `(K,)`."""
    true, read = frames.truth - frames.truth.mean(0), frames.read - frames.read.mean(0)
    slope = (true * read).sum(0) / true.square().sum(0).clamp_min(1e-6)
    zero = truth.standard(torch.zeros_like(slope))
    return frames.read.mean(0) + slope * (zero - frames.truth.mean(0))


def _centred(x: Tensor) -> Tensor:
    """Less the mean over motions, the axis before the last."""
    return x - x.mean(-2, keepdim=True)


if __name__ == "__main__":
    run_program(main)
