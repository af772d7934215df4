"""A head start for the hypernetwork (ours): what a ViVFace checkpoint's transformer does to styles, done to weights.

A motion T added to a layer's styles s scales its weights by input channel: an offset T_i / s_i does the same
(StyleGAN2, eq. 1). Where s is small the quotient says nothing, so the changes of the weights are compared, not offsets:

    sum over o, i of E_oi (s_i offset_oi - T_i)^2  /  sum over o, i of E_oi var(T_i),   E_oi = energy of the kernel

with the variance over the drivers of one source. No image is made, so a source can have many drivers. To-RGB layers,
which T moves too, have no offsets; the phases learn to do without.

A fresh hypernetwork starts from a fit in closed form: principal components of its maps, and ridge regressions from its
(random) stems to T.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.stages.hyperreenact.faces import appearance_map, pose_map
from training.stages.hyperreenact.terms import Pairs
from vivface.models import ReenactmentHypernetwork
from vivface.models.hypernetwork import SharedBlock

POSE_SHARE = 2 / 3  # of the refined map's channels that start with the pose, the others with appearance
RIDGE = 1e-2  # of the mean square of a stem's features


@dataclass
class Changes:
    """What the transformer does: every source with some drivers, sources running fastest.

    Attributes:
        appearance, pose (`torch.Tensor` of shape `(pairs, channels, side, side)`): What the hypernetwork reads.
        styles (list of `torch.Tensor` of shape `(pairs, input channels)`): Of the sources, for every layer.
        deformed (list of `torch.Tensor`): The same after the transformer.
        count (`int`): Sources.
    """

    appearance: Tensor
    pose: Tensor
    styles: list[Tensor]
    deformed: list[Tensor]
    count: int


@torch.no_grad()
def read_changes(networks: Mapping[str, nn.Module], pairs: Pairs, truncation: float, pairings: int) -> Changes:
    """Every source of a batch with `pairings` of its drivers (with all, if there are fewer)."""
    generator, count = networks["generator"], len(pairs)
    code = networks["inversion"](pairs.source.image, motion=False)
    styles = generator.to_stylespace(generator.truncate(code.identity, truncation))
    appearance, pose = appearance_map(networks, pairs.source), pose_map(networks, pairs.driver)
    motion = pose[:, :, 0, 0].unflatten(1, (-1, code.identity.shape[2]))  # (batch, motion_codes, style_dim)
    drivers = torch.cat([torch.arange(count).roll(k) for k in range(min(pairings, count))]).to(pose.device)
    sources = torch.arange(count, device=pose.device).repeat(len(drivers) // count)
    styles = [style[sources] for style in styles]
    deformed = generator.add_motion(styles, networks["transformer"](motion[drivers], code.memory[sources]))
    return Changes(appearance[sources], pose[drivers], styles, deformed, count)


def start_loss(
    networks: Mapping[str, nn.Module], pairs: Pairs, truncation: float, pairings: int
) -> tuple[Tensor, Tensor]:
    """How differently offsets and the transformer change the generator's weights.

    Args:
        networks (mapping): Of the stage, with `transformer`.
        pairs (`Pairs`): Sources, and drivers for all of them.
        truncation (`float`): Of the sources' codes.
        pairings (`int`): Drivers of a source, at most as many as there are.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: The loss, a mean over layers, and the error of all layers together as a
        fraction of the variance over drivers, without a gradient.
    """
    generator = networks["generator"]
    changes = read_changes(networks, pairs, truncation, pairings)
    offsets = networks["hypernetwork"](changes.appearance, changes.pose, styles=changes.styles)
    errors, spreads = [], []
    for name, style, moved, offset in zip(
        generator.layer_names, changes.styles, changes.deformed, offsets, strict=True
    ):
        if offset is None:
            continue
        energy = generator.get_submodule(name).weight.detach().float().square().sum((2, 3))  # (out, in)
        energy = energy / energy.sum()
        style, change = style.float(), (moved - style).float()  # (pairs, in)
        wrong = style[:, None] * offset.float() - change[:, None]  # (pairs, out, in)
        errors.append((energy * wrong.square()).sum((1, 2)).mean())
        spread = change.unflatten(0, (-1, changes.count)).var(0).mean(0)  # (in,): over the drivers of a source
        spreads.append((energy.sum(0) * spread).sum() + 1e-4 * (energy.sum(0) * style.square()).sum(1).mean())
    errors, spreads = torch.stack(errors), torch.stack(spreads)
    return (errors / spreads).mean(), (errors.sum() / spreads.sum()).detach()


@torch.no_grad()
def fit_start(networks: Mapping[str, nn.Module], batches: Iterable[Pairs], truncation: float, pairings: int) -> None:
    """Fit a fresh hypernetwork in closed form.

    Args:
        networks (mapping): Of the stage; the hypernetwork is changed.
        batches (iterable of `Pairs`): Faces.
        truncation, pairings: As for `start_loss`.
    """
    hypernetwork = networks["hypernetwork"]
    found = [read_changes(networks, pairs, truncation, pairings) for pairs in batches]
    appearance, pose = (torch.cat([getattr(each, name) for each in found]) for name in ("appearance", "pose"))
    _fit_maps(hypernetwork, appearance, pose)
    refined = hypernetwork.refine(appearance, hypernetwork.project(pose))
    wanted = [
        torch.cat([each.deformed[place] - each.styles[place] for each in found])
        for place in range(hypernetwork.layer_count)
    ]
    blocks = {int(name): block for name, block in hypernetwork.blocks.items()}
    shared = [place for place, block in blocks.items() if isinstance(block, SharedBlock)]
    _fit_shared(hypernetwork, {place: wanted[place] for place in shared})
    basis = torch.linalg.pinv(hypernetwork.shared.w1)  # (in, channels)
    for place, block in blocks.items():
        features = block.stem(refined)
        if place in shared:
            weight, bias = _ridge(features, (wanted[place] - hypernetwork.shared.b1) @ basis)
            block.linear.weight.copy_(weight)
            block.linear.bias.copy_(bias)
        else:
            weight, bias = _ridge(features, wanted[place])  # (in, channels), (in,): the same for all outputs
            outputs = block.output.out_features // block.in_channels
            block.output.weight.copy_(weight.repeat(outputs, 1))
            block.output.bias.copy_(bias.repeat(outputs))


def _fit_maps(hypernetwork: ReenactmentHypernetwork, appearance: Tensor, pose: Tensor) -> None:
    """The refined map starts with components of the pose in some of its channels, of appearance in the others."""
    channels = hypernetwork.config.channels
    split = round(POSE_SHARE * channels)
    parts = {
        "pose": (hypernetwork.pose_projection, hypernetwork.pose_modulation, pose, slice(0, split)),
        "appearance": (
            hypernetwork.appearance_projection,
            hypernetwork.appearance_modulation,
            appearance,
            slice(split, channels),
        ),
    }
    for projection, modulation, values, part in parts.values():
        if projection is not None:
            weight, bias = _components(values.float().transpose(0, 1).flatten(1).T, part.stop - part.start)
            projection.weight.zero_()
            projection.bias.zero_()
            projection.weight[part] = weight[:, :, None, None]
            projection.bias[part] = bias
        places = torch.arange(part.start, part.stop)
        modulation.beta.weight[places, places] += 1


def _fit_shared(hypernetwork: ReenactmentHypernetwork, wanted: Mapping[int, Tensor]) -> None:
    """The shared matrices start as the principal components of what all their layers want."""
    shared, channels = hypernetwork.shared, hypernetwork.config.channels
    values = torch.cat(list(wanted.values()))
    shared.b1.copy_(values.mean(0))
    _, spreads, axes = torch.linalg.svd(values - values.mean(0), full_matrices=False)
    count = min(channels, len(axes))
    shared.w1.zero_()
    shared.w1[:count] = axes[:count] * (spreads[:count, None] / len(values) ** 0.5).clamp_min(1e-3)
    shared.w2.mul_(0.2)
    shared.w2.view(channels, -1, channels).add_(torch.eye(channels, device=shared.w2.device)[:, None])
    shared.b2.zero_()


def _components(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Weight `(count, channels)` and bias `(count,)` of principal components of values `(samples, channels)`.

    The first has variance 1, the others the root of their share of its deviation, so that they are seen but not all
    alike.
    """
    values = values.unique(dim=0)
    mean = values.mean(0)
    _, spreads, axes = torch.linalg.svd(values - mean, full_matrices=False)
    spreads, axes = spreads[:count] / max(len(values) - 1, 1) ** 0.5, axes[:count]
    weight = values.new_zeros(count, values.shape[1])
    weight[: len(axes)] = axes / (spreads * spreads[0]).sqrt().clamp_min(1e-6)[:, None]
    return weight, -weight @ mean


def _ridge(features: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Weight `(outputs, features)` and bias `(outputs,)` of a ridge regression."""
    mean, target = features.mean(0), wanted.mean(0)
    centred = features - mean
    gram = centred.T @ centred
    gram = gram + RIDGE * gram.diagonal().mean() * torch.eye(len(gram), device=gram.device)
    weight = torch.linalg.solve(gram, centred.T @ (wanted - target)).T
    return weight, target - weight @ mean
