"""Fit the mapping network to identity codes: `python -m training.tools.fit_mapping CHECKPOINT --folders data/people`.

The supervised stage trains a generator without ever drawing z, so its mapping network and its mean latent are those of
the first step. This program encodes many synthetic people in many lights; the generator's `latent_avg` becomes the mean
of their identity codes, and the mapping network learns to draw from their distribution, so that
`generator.sample_latents` gives new faces. Distance of distributions: sliced Wasserstein (Bonneel et al., Sliced and
Radon Wasserstein Barycenters of Measures, 2015, sec. 2), along random directions of the codes, plain and whitened.

Only the generator's files change, and no image of an encoded face does: the encoder adds a mean latent of its own.
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
from training.data import GroupShards, jitter
from training.data.crops import stack_images
from training.optim import average_weights
from training.tools.programs import add_device, add_people, load_networks, program_parser, replace_network, run_program
from vivface.faces.alignment import crop_quad, ffhq_quad
from vivface.models import HybridEncoder, StyleGAN2Generator
from vivface.models.stylegan2 import MappingNetwork
from vivface.runtime import choose_device

AVERAGE_DECAY = 0.98  # of the mapping network's averaged weights, per step


@dataclass
class Fit:
    """Sliced Wasserstein distances between drawn and encoded codes, whitened and plain.

    Attributes:
        before, after (`float`): Of the mapping network before and after the fit.
        floor (`float`): Of two halves of the encoded codes: no fit gets below it.
    """

    before: float
    after: float
    floor: float


def main(arguments: list[str] | None = None) -> None:
    """Encode people, fit, and rewrite the generator of a checkpoint.

    Args:
        arguments (`list[str]`, *optional*): Command line; that of the process by default.

    Raises:
        OptionError: If there are no people.
        CheckpointError: If the checkpoint lacks a network.
    """
    options = parse_arguments(arguments)
    device = choose_device(options.device)
    classes = {"generator": StyleGAN2Generator, "encoder": HybridEncoder}
    networks = load_networks(classes, options.checkpoint, device)
    shards = GroupShards(options.folders, cache_gigabytes=0.5)
    codes = encode_people(networks["encoder"], shards, options.codes, options.appearance, options.seed).mean(1)

    torch.manual_seed(options.seed)
    fit = fit_mapping(networks["generator"], codes, options.steps)
    print(f"distance to {len(codes)} codes: {fit.before:.4f} -> {fit.after:.4f}, floor {fit.floor:.4f}")
    replace_network(networks["generator"], options.checkpoint, "generator")


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    parser = program_parser("fit_mapping", __doc__)
    parser.add_argument("checkpoint", type=Path, help="folder with generator and encoder; the generator is rewritten")
    add_people(parser)
    parser.add_argument("--codes", type=int, default=4000, help="frames to encode")
    parser.add_argument("--appearance", type=float, default=0.5, help="strength of colour and light changes")
    parser.add_argument("--steps", type=int, default=2000, help="steps of the fit")
    parser.add_argument("--seed", type=int, default=0)
    add_device(parser)
    return parser.parse_args(arguments)


@torch.no_grad()
def encode_people(encoder: HybridEncoder, shards: GroupShards, count: int, appearance: float, seed: int = 0) -> Tensor:
    """Identity codes of frames of people, all identities equally often.

    Args:
        encoder (`HybridEncoder`): In evaluation mode.
        shards (`GroupShards`): The people.
        count (`int`): Frames.
        appearance (`float`): Strength of colour and light changes, as in training.
        seed (`int`, *optional*, defaults to 0): Of all choices.

    Returns:
        `torch.Tensor` of shape `(count, num_latents, style_dim)`: On the encoder's device.

    Raises:
        MediaError: If a shard cannot be read.
    """
    records, size = shards.records(), encoder.config.image_size
    order = sorted(range(count), key=lambda k: k % len(records))  # by identity: each shard is read once
    codes: list[Tensor] = []
    for start in range(0, count, 16):
        crops = []
        for k in order[start : start + 16]:
            rng = np.random.default_rng((seed, k))
            record = records[k % len(records)]
            frame = int(rng.integers(record.frames))
            quad = jitter(rng, ffhq_quad(record.landmarks[frame]), 0.02, 0.02, 1.0, 0.06)
            crop = crop_quad(shards.image(record, frame), quad, size)
            crops.append(sample_appearance(rng, size, appearance)(crop))
        codes.append(encoder(stack_images(crops).to(encoder.device), motion=False, memory=False).identity)
    return torch.cat(codes)


def sliced_wasserstein(first: Tensor, second: Tensor, directions: Tensor) -> Tensor:
    """Mean squared distance of sorted projections, a distance of the two sets' distributions.

    Args:
        first, second (`torch.Tensor` of shape `(..., count, dim)`): Equally many samples.
        directions (`torch.Tensor` of shape `(dim, n)`): Unit vectors.

    Returns:
        `torch.Tensor`: 0-d.
    """
    return ((first @ directions).sort(-2).values - (second @ directions).sort(-2).values).square().mean()


def fit_mapping(
    generator: StyleGAN2Generator, codes: Tensor, steps: int, batch: int = 512, directions: int = 256
) -> Fit:
    """Train `generator.mapping` until it draws codes like the given ones, and set `generator.latent_avg`.

    Args:
        generator (`StyleGAN2Generator`): Changed in place.
        codes (`torch.Tensor` of shape `(count, style_dim)`): Samples of w, on the generator's device.
        steps (`int`): Steps of Adam.
        batch (`int`, *optional*, defaults to 512): Samples per step, of codes and of z.
        directions (`int`, *optional*, defaults to 256): Random directions per step.

    Returns:
        `Fit`: Distances before and after.
    """
    dim, batch, device = codes.shape[1], min(batch, len(codes) // 2), codes.device
    mean = codes.mean(0)
    # Whitened codes weight all axes equally, plain ones the few long axes along which faces differ most.
    plain = torch.eye(dim, device=device) / (codes - mean).square().mean().sqrt()
    views = torch.stack([whitening(codes - mean), plain])  # (2, dim, dim)
    target = (codes - mean) @ views  # (2, count, dim)
    mapping = generator.mapping.train().requires_grad_(True)

    def draw(count: int) -> Tensor:
        return (mapping(torch.randn(count, dim, device=device)) - mean) @ views  # (2, count, dim)

    fixed = random_directions(dim, 1024).to(device)
    first, second = torch.randperm(len(codes))[: len(codes) // 2 * 2].chunk(2)
    with torch.no_grad():
        before = sliced_wasserstein(draw(len(first)), target[:, first], fixed)
        floor = sliced_wasserstein(target[:, second], target[:, first], fixed)

    start_as_gaussian(mapping, codes)
    # Steps in proportion to each layer's weights, which are scaled at runtime (equalised learning rate).
    groups = [
        {"params": list(layer.parameters()), "lr": 0.01 * layer.weight.detach().square().mean().sqrt().item()}
        for layer in mapping.layers
    ]
    optimizer = torch.optim.Adam(groups, betas=(0.8, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
    average = copy.deepcopy(mapping).requires_grad_(False)
    for _ in range(steps):
        real = target[:, torch.randint(len(codes), (batch,))]
        loss = sliced_wasserstein(draw(batch), real, random_directions(dim, directions).to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        average_weights(average, mapping, AVERAGE_DECAY)
    if steps:
        mapping.load_state_dict(average.state_dict())
    generator.latent_avg.copy_(mean)
    mapping.eval()
    with torch.no_grad():
        after = sliced_wasserstein(draw(len(first)), target[:, first], fixed)
    return Fit(before.item(), after.item(), floor.item())


@torch.no_grad()
def start_as_gaussian(mapping: MappingNetwork, codes: Tensor, samples: int = 8192) -> None:
    """Set the last layer by least squares so that the network draws roughly a Gaussian with the codes' moments."""
    dim, mean, last = codes.shape[1], codes.mean(0), mapping.layers[-1]
    hidden = torch.randn(samples, dim, device=codes.device)
    hidden = hidden * hidden.square().mean(1, keepdim=True).rsqrt()  # as the network does first
    for layer in mapping.layers[:-1]:
        hidden = layer(hidden)
    values, vectors = torch.linalg.eigh(torch.cov(codes.T))
    normal = (hidden - hidden.mean(0)) @ whitening(hidden - hidden.mean(0))
    target = mean + normal @ (vectors * values.clamp_min(0).sqrt()).T
    before_activation = torch.where(target > 0, target, target / 0.2)  # inverse of the leaky ReLU
    solution = torch.linalg.lstsq(nn.functional.pad(hidden, (0, 1), value=1.0), before_activation).solution
    last.weight.copy_(solution[:-1].T / last.weight_scale)
    last.bias.copy_(solution[-1] / last.bias_scale)


def whitening(deviations: Tensor) -> Tensor:
    """A map `(dim, dim)` that gives samples `(count, dim)` of mean 0 about unit variance along their main axes."""
    values, vectors = torch.linalg.eigh(deviations.T @ deviations / len(deviations))
    return vectors / (values + 1e-2 * values.mean()).sqrt()


def random_directions(dim: int, count: int) -> Tensor:
    """Unit vectors as columns: `(dim, count)`."""
    return nn.functional.normalize(torch.randn(dim, count), dim=0)


if __name__ == "__main__":
    run_program(main)
