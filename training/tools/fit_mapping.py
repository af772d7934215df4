"""Fit the mapping network to identity codes: `python -m training.tools.fit_mapping RUN/checkpoint --folders data/people`.

The known-truth stage trains a generator without ever drawing z, so its mapping network and its mean latent are those of
the first step. Here the encoder reads the identity codes of many synthetic people in many lights; the generator's
`latent_avg` becomes their mean, and the mapping network learns to draw from their distribution, so that
`generator.sample_latents` gives new faces. Distance of distributions: sliced Wasserstein (Bonneel et al., Sliced and
Radon Wasserstein Barycenters of Measures, 2015, sec. 2), along random directions of the codes as they are and whitened.

Only the generator's files change, and no picture of an encoded face does: the encoder, and the mean latent that it
adds itself, are left alone.
"""

from __future__ import annotations

import argparse
import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from training.augment import sample_appearance
from training.data import GroupShards, jitter, to_tensor
from training.tools.programs import replace_part, run_program
from vivface.faces.alignment import crop_quad, ffhq_quad
from vivface.hub.loading import load_part
from vivface.models import HybridEncoder, StyleGAN2Generator
from vivface.models.stylegan2 import MappingNetwork


@dataclass
class Fit:
    """How near drawn codes are to encoded ones, as sliced Wasserstein distances of whitened and of plain codes.

    Attributes:
        before, after (`float`): Of the mapping network before and after the fit.
        floor (`float`): Of two halves of the encoded codes: no fit gets below it.
    """

    before: float
    after: float
    floor: float


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m training.tools.fit_mapping", description=__doc__.split(":")[0])
    parser.add_argument("checkpoint", type=Path, help="folder with generator and encoder; the generator is rewritten")
    parser.add_argument("--folders", nargs="+", required=True, help="folders of synthetic people")
    parser.add_argument("--codes", type=int, default=4000, help="frames to encode")
    parser.add_argument("--appearance", type=float, default=0.5, help="strength of colour and light changes")
    parser.add_argument("--steps", type=int, default=2000, help="steps of the fit")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    # 1. Codes of people.
    generator = load_part(StyleGAN2Generator, options.checkpoint, "generator")
    encoder = load_part(HybridEncoder, options.checkpoint, "encoder").eval()
    shards = GroupShards(options.folders, rescan_seconds=0, cache_gigabytes=0.5)
    codes = encode_people(encoder, shards, options.codes, options.appearance, options.seed).mean(1)

    # 2. The fit.
    torch.manual_seed(options.seed)
    fit = fit_mapping(generator, codes, options.steps)
    print(f"distance to {len(codes)} codes: {fit.before:.4f} -> {fit.after:.4f}, floor {fit.floor:.4f}")

    # 3. Written beside its place and moved there.
    replace_part(generator, options.checkpoint, "generator")


@torch.no_grad()
def encode_people(encoder: HybridEncoder, shards: GroupShards, count: int, appearance: float, seed: int = 0) -> Tensor:
    """Identity codes of frames of people, every person as often as every other.

    Args:
        encoder (`HybridEncoder`): In evaluation mode.
        shards (`GroupShards`): The people.
        count (`int`): Frames.
        appearance (`float`): Strength of colour and light changes, as in training.

    Returns:
        `torch.Tensor` of shape `(count, num_latents, style_dim)`.
    """
    people, side = shards.people(), encoder.config.image_size
    order = sorted(range(count), key=lambda k: k % len(people))  # person by person: each shard is read once
    codes: list[Tensor] = []
    for start in range(0, count, 16):
        crops = []
        for k in order[start : start + 16]:
            rng = np.random.default_rng((seed, k))
            person = people[k % len(people)]
            frame = int(rng.integers(person.frames))
            quad = jitter(rng, ffhq_quad(person.landmarks[frame]), 0.02, 0.02, 1.0, 0.06)
            crop = crop_quad(shards.image(person, frame), quad, side)
            crops.append(sample_appearance(rng, side, appearance)(crop))
        codes.append(encoder(to_tensor(crops), motion=False, memory=False).identity)
    return torch.cat(codes)


def sliced_wasserstein(first: Tensor, second: Tensor, directions: Tensor) -> Tensor:
    """Mean squared distance of sorted projections, a distance of the two sets' distributions.

    Args:
        first, second (`torch.Tensor` of shape `(..., count, dim)`): Equally many samples.
        directions (`torch.Tensor` of shape `(dim, n)`): Unit vectors.
    """
    return ((first @ directions).sort(-2).values - (second @ directions).sort(-2).values).square().mean()


def fit_mapping(
    generator: StyleGAN2Generator, codes: Tensor, steps: int, batch: int = 512, directions: int = 256
) -> Fit:
    """Train `generator.mapping` until it draws codes like the given ones, and set `generator.latent_avg`.

    Args:
        generator (`StyleGAN2Generator`): Changed in place.
        codes (`torch.Tensor` of shape `(count, style_dim)`): What w should be like.
        steps (`int`): Steps of Adam.
        batch (`int`, *optional*, defaults to 512): Samples a step, of codes and of z.
        directions (`int`, *optional*, defaults to 256): Random directions a step.
    """
    dim, batch = codes.shape[1], min(batch, len(codes) // 2)
    mean = codes.mean(0)
    # Whitened codes show every axis of their spread alike, plain ones the few long axes on which faces differ most.
    plain = torch.eye(dim) / (codes - mean).square().mean().sqrt()
    views = torch.stack([whitening(codes - mean), plain])  # (2, dim, dim)
    wanted = (codes - mean) @ views  # (2, count, dim)
    mapping = generator.mapping.train().requires_grad_(True)

    def draw(count: int) -> Tensor:
        return (mapping(torch.randn(count, dim)) - mean) @ views  # (2, count, dim)

    fixed = random_directions(dim, 1024)
    first, second = torch.randperm(len(codes))[: len(codes) // 2 * 2].chunk(2)
    with torch.no_grad():
        before = sliced_wasserstein(draw(len(first)), wanted[:, first], fixed)
        floor = sliced_wasserstein(wanted[:, second], wanted[:, first], fixed)

    start_as_gaussian(mapping, codes)
    # Steps in proportion to each layer's own weights, which the layer scales when it is used.
    groups = [
        {"params": list(layer.parameters()), "lr": 0.01 * layer.weight.detach().square().mean().sqrt().item()}
        for layer in mapping.layers
    ]
    optimizer = torch.optim.Adam(groups, betas=(0.8, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
    average = copy.deepcopy(mapping).requires_grad_(False)
    for _ in range(steps):
        real = wanted[:, torch.randint(len(codes), (batch,))]
        loss = sliced_wasserstein(draw(batch), real, random_directions(dim, directions))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        torch._foreach_lerp_(list(average.parameters()), [p.detach() for p in mapping.parameters()], 0.02)
    if steps:
        mapping.load_state_dict(average.state_dict())
    generator.latent_avg.copy_(mean)
    mapping.eval()
    with torch.no_grad():
        after = sliced_wasserstein(draw(len(first)), wanted[:, first], fixed)
    return Fit(before.item(), after.item(), floor.item())


@torch.no_grad()
def start_as_gaussian(mapping: MappingNetwork, codes: Tensor, samples: int = 8192) -> None:
    """Set the last layer by least squares so that the network draws about a Gaussian with the codes' moments."""
    dim, mean, last = codes.shape[1], codes.mean(0), mapping.layers[-1]
    hidden = torch.randn(samples, dim)
    hidden = hidden * hidden.square().mean(1, keepdim=True).rsqrt()  # as the network does first
    for layer in mapping.layers[:-1]:
        hidden = layer(hidden)
    values, vectors = torch.linalg.eigh(torch.cov(codes.T))
    normal = (hidden - hidden.mean(0)) @ whitening(hidden - hidden.mean(0))
    wanted = mean + normal @ (vectors * values.clamp_min(0).sqrt()).T
    before_activation = torch.where(wanted > 0, wanted, wanted / 0.2)
    solution = torch.linalg.lstsq(nn.functional.pad(hidden, (0, 1), value=1.0), before_activation).solution
    last.weight.copy_(solution[:-1].T / last.weight_scale)
    last.bias.copy_(solution[-1] / last.bias_scale)


def whitening(centred: Tensor) -> Tensor:
    """A map `(dim, dim)` that gives the samples `(count, dim)` unit spread where they have any to speak of."""
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    return vectors / (values + 1e-2 * values.mean()).sqrt()


def random_directions(dim: int, count: int) -> Tensor:
    """Unit vectors as columns: `(dim, count)`."""
    return nn.functional.normalize(torch.randn(dim, count), dim=0)


if __name__ == "__main__":
    run_program(main)
