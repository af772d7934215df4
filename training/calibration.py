"""How far controls move in results, and motion heads that move them in full.

The gain of a control is cov(decoded from results, labels) / cov(decoded from targets, labels), over the motions of one
identity. Both are decoded by the encoder itself; its noise drops out, as the labels are the renderer's (an instrumental
variable).

Codes change by sum_k (factor_k - 1) (decoded_k - rest_k) direction_k, where rest_k is what is decoded where the control
is 0, so that shut mouths stay shut. That is linear in all codes together; each motion head gets the part that its own
features explain, by least squares. Controls that the encoder hardly sees stay as they are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from training.data import GridBatches
from training.ground_truth import ANGLES, MotionLabelEncoder
from training.networks import reenact
from vivface.models import HybridEncoder

RIDGE = 1e-3  # of the least squares, as a fraction of the features' mean square


@dataclass
class Decoded:
    """What was decoded from images, motion by motion, in standard deviations of the labels.

    Attributes:
        labels (`torch.Tensor` of shape `(grids, motions, K)`): Controls and angles of the renderer.
        target, result (`torch.Tensor` of shape `(grids, identities, motions, K)`): Decoded from targets and results.
    """

    labels: Tensor
    target: Tensor
    result: Tensor


@dataclass
class EncodedFrames:
    """Driving frames and targets as the encoder sees them.

    Attributes:
        labels, decoded (`torch.Tensor` of shape `(frames, K)`): Controls and angles, true and decoded.
        features (list of `torch.Tensor` of shape `(frames, width)`): Inputs of the last maps of each motion head.
    """

    labels: Tensor
    decoded: Tensor
    features: list[Tensor]


@torch.no_grad()
def decode_results(
    networks: dict, data: GridBatches, batches: int, device: torch.device
) -> tuple[Decoded, EncodedFrames]:
    """Reenact the people of some batches, and decode results, targets and driving frames.

    Args:
        networks (`dict`): `encoder`, `transformer`, `generator`, `refinement`, `motion_labels`, in evaluation mode.
        data (`GridBatches`): Sources, targets and driving frames.
        batches (`int`): How many.
        device (`torch.device`): Of the networks.

    Returns:
        `tuple[Decoded, EncodedFrames]`: On the CPU.
    """
    encoder, label_encoder = networks["encoder"], networks["motion_labels"]
    size = encoder.config.image_size
    decoded: list[tuple[Tensor, Tensor, Tensor]] = []
    frames: list[tuple[Tensor, Tensor, list[Tensor]]] = []

    def motion_of(images: Tensor) -> Tensor:
        return encoder(images, identity=False, memory=False).motion

    def decode(codes: Tensor) -> Tensor:
        return torch.cat(label_encoder.decode(codes), -1).cpu()

    for index in tqdm(range(batches), desc="reenacting", unit="batch"):
        batch = {name: tensor.to(device) for name, tensor in data[index].items()}
        identities, motions = batch["target"].shape[:2]
        labels = torch.cat([batch["target_controls"][0], batch["target_pose"][0][:, ANGLES]], 1)
        labels = label_encoder.standardize(labels).cpu()  # (motions, K)
        with head_features(encoder) as features:
            codes = motion_of(torch.cat([batch["driving"][0], batch["target"].flatten(0, 1)]))
        found = decode(codes)
        frames.append((labels.repeat(1 + identities, 1), found, [each.cpu() for each in features]))
        sources = encoder(batch["source"], motion=False)
        motion = codes[:motions].repeat(identities, 1, 1)
        images = reenact(networks, sources.identity, sources.memory, motion, reference=batch["source"]).refined
        result = decode(motion_of(F.interpolate(images.clamp(-1, 1), (size, size), mode="area")))
        decoded.append((labels, *(x.unflatten(0, (identities, motions)) for x in (found[motions:], result))))
    labels, found, features = zip(*frames, strict=True)
    features = [torch.cat(x) for x in zip(*features, strict=True)]
    return Decoded(*map(torch.stack, zip(*decoded, strict=True))), EncodedFrames(
        torch.cat(labels), torch.cat(found), features
    )


@contextlib.contextmanager
def head_features(encoder: HybridEncoder) -> Iterator[list[Tensor]]:
    """Within the block, the list receives the inputs of the last linear maps of the motion heads, one item per head."""
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


def measure_gains(decoded: Decoded) -> Tensor:
    """How far each control moves in results, relative to targets: `(K,)`."""
    moved = _deviations(decoded.labels)[:, None]  # (grids, 1, motions, K)
    result, target = ((_deviations(x) * moved).sum((0, 1, 2)) for x in (decoded.result, decoded.target))
    return torch.where(target > 0, result / target.clamp_min(1e-6), torch.zeros_like(target))


def visible_controls(decoded: Decoded, least: float) -> Tensor:
    """Whether a control decoded from targets follows the labels with at least this slope: `(K,)`, bool."""
    moved = _deviations(decoded.labels)[:, None]
    slope = (_deviations(decoded.target) * moved).sum((0, 1, 2)) / (
        decoded.target.shape[1] * moved.square().sum((0, 1, 2)).clamp_min(1e-6)
    )
    return slope >= least


def motion_factors(gains: Tensor, visible: Tensor, limit: float) -> Tensor:
    """What makes a gain 1, between 1 and `limit`; 1 for controls that are not visible: `(K,)`."""
    return torch.where(visible & (gains > 0), 1 / gains.clamp_min(1e-6), torch.ones_like(gains)).clamp(1.0, limit)


@torch.no_grad()
def scale_motion(
    encoder: HybridEncoder, label_encoder: MotionLabelEncoder, frames: EncodedFrames, factors: Tensor
) -> float:
    """Change the motion heads so that control k, decoded from codes, is `factors[k]` times as far from rest.

    Args:
        encoder (`HybridEncoder`): Changed in place.
        label_encoder (`MotionLabelEncoder`): The map between labels and codes.
        frames (`EncodedFrames`): Examples, on the CPU.
        factors (`torch.Tensor` of shape `(K,)`): 1 for no change.

    Returns:
        `float`: Fraction of the change's variance that the heads' own features explain.
    """
    count = len(factors)
    directions = (label_encoder.linear.weight * label_encoder.importance).T[:count].cpu()  # (K, codes * width)
    change = ((factors - 1) * (frames.decoded - rest_of(label_encoder, frames))) @ directions
    change = change.unflatten(1, (label_encoder.config.motion_codes, label_encoder.config.style_dim))
    code, explained = 0, 0.0
    for head, features in zip(encoder.motion_heads.heads, frames.features, strict=True):
        inputs = F.pad(features, (0, 1), value=1.0)
        ridge = RIDGE * features.square().mean() * len(features) * torch.eye(inputs.shape[1])
        ridge[-1, -1] = 0.0
        expected = change[:, code : code + len(head.linears)].flatten(1)
        solution = torch.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ expected)  # (inputs, codes * width)
        explained += (inputs @ solution - expected.mean(0)).square().sum().item()
        for linear, piece in zip(head.linears, solution.chunk(len(head.linears), 1), strict=True):
            linear.weight += (piece[:-1].T / linear.weight_scale).to(linear.weight.device)
            linear.bias += (piece[-1] / linear.bias_scale).to(linear.bias.device)
        code += len(head.linears)
    return explained / max((change - change.mean(0)).square().sum().item(), 1e-12)


def rest_of(label_encoder: MotionLabelEncoder, frames: EncodedFrames) -> Tensor:
    """What is decoded where a control or an angle is 0, by linear regression on the labels: `(K,)`, on the CPU."""
    labels, decoded = frames.labels - frames.labels.mean(0), frames.decoded - frames.decoded.mean(0)
    slope = (labels * decoded).sum(0) / labels.square().sum(0).clamp_min(1e-6)
    zero = label_encoder.standardize(torch.zeros_like(slope, device=label_encoder.device)).cpu()
    return frames.decoded.mean(0) + slope * (zero - frames.labels.mean(0))


def _deviations(x: Tensor) -> Tensor:
    """Less the mean over motions, the axis before the last."""
    return x - x.mean(-2, keepdim=True)
