"""Average checkpoints of runs that continue one another: `python -m training.tools.average A B --output C`.

Such networks lie in one basin of the loss, so the mean of their weights is a network too, and often better than each of
them (Wortsman et al., Model soups, ICML 2022, sec. 3; shares are chosen by hand here).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from diffusers import ModelMixin
from torch import Tensor

from training.tools.programs import program_parser, run_program
from vivface.errors import CheckpointError, OptionError
from vivface.files import complete_folder
from vivface.hub.loading import load_component
from vivface.pipelines.vivface import VivFacePipeline


def main(arguments: list[str] | None = None) -> None:
    """Average and write.

    Args:
        arguments (`list[str]`, *optional*): Command line; that of the process by default.

    Raises:
        OptionError: If the output exists or the shares are wrong.
        CheckpointError: If the checkpoints have nothing in common, or networks differ in size.
    """
    options = parse_arguments(arguments)
    if options.output.exists():
        raise OptionError(f"--output {options.output} already exists: give another folder")
    shares = read_shares(options.shares, len(options.checkpoint))

    options.output.parent.mkdir(parents=True, exist_ok=True)
    with complete_folder(options.output) as work:
        for name in shared_components(options.checkpoint):
            kind = VivFacePipeline.COMPONENTS[name]
            networks = [load_component(kind, folder, name) for folder in options.checkpoint]
            average(networks, shares).save_pretrained(work / name)
    print(f"{options.output}: " + ", ".join(f"{s:.2f} {f}" for s, f in zip(shares, options.checkpoint, strict=True)))


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    parser = program_parser("average", __doc__)
    parser.add_argument("checkpoint", type=Path, nargs="+", help="folders of networks, two or more")
    parser.add_argument("--shares", type=float, nargs="+", help="weight of each; equal by default")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    return parser.parse_args(arguments)


def read_shares(shares: list[float] | None, count: int) -> list[float]:
    """Shares that sum to 1.

    Raises:
        OptionError: If there are fewer than two checkpoints, another number of shares, or one that is not positive.
    """
    if count < 2:
        raise OptionError(f"{count} checkpoint is given, expected two or more to average")
    shares = [1.0] * count if shares is None else shares
    if len(shares) != count or min(shares) <= 0:
        raise OptionError(f"--shares is {shares}, expected {count} positive numbers, one per checkpoint")
    return [share / sum(shares) for share in shares]


def shared_components(checkpoints: list[Path]) -> list[str]:
    """Names of the networks that all checkpoints hold.

    Raises:
        CheckpointError: If there is none.
    """
    names = [
        name
        for name in VivFacePipeline.COMPONENTS
        if all((folder / name / "config.json").is_file() for folder in checkpoints)
    ]
    if not names:
        raise CheckpointError(
            f"{', '.join(map(str, checkpoints))} have no network in common: give folders 'checkpoint' of runs"
        )
    return names


@torch.no_grad()
def average(networks: list[ModelMixin], shares: list[float]) -> ModelMixin:
    """The first network with the weighted mean of all weights and statistics; counters are the last network's.

    Args:
        networks (`list[ModelMixin]`): Of one architecture; the first is changed in place.
        shares (`list[float]`): Weights that sum to 1.

    Raises:
        CheckpointError: If two networks have different weights.
    """
    states: list[dict[str, Tensor]] = [network.state_dict() for network in networks]
    shapes = [{name: tensor.shape for name, tensor in state.items()} for state in states]
    if any(shape != shapes[0] for shape in shapes):
        raise CheckpointError(
            f"The {type(networks[0]).__name__}s differ in size: average checkpoints of runs that continue one another"
        )
    for name, tensor in states[0].items():
        others = [state[name] for state in states]
        if tensor.is_floating_point():
            tensor.copy_(sum(share * other.double() for share, other in zip(shares, others, strict=True)))
        else:
            tensor.copy_(others[-1])
    return networks[0]


if __name__ == "__main__":
    run_program(main)
