"""What the programs of this folder share: their command line, loading and replacing networks, errors in one line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vivface.errors import VivFaceError
from vivface.files import complete_folder

if TYPE_CHECKING:  # rendering needs no torch
    import torch
    from diffusers import ModelMixin


def run_program(main: Callable[[], None]) -> None:
    """Call `main`; an error that a user can cause is one line on stderr and exit status 2."""
    try:
        main()
    except VivFaceError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def program_parser(name: str, document: str) -> argparse.ArgumentParser:
    """Command line of `python -m training.tools.<name>`, described by the first sentence of its document string."""
    description = document.partition(":")[0].strip() + "."
    return argparse.ArgumentParser(prog=f"python -m training.tools.{name}", description=description)


def add_people(parser: argparse.ArgumentParser, people: int | None = None, frames: int | None = None) -> None:
    """Add `--folders`, where the synthetic people are; with defaults for them, also `--people` and `--frames`."""
    parser.add_argument("--folders", nargs="+", required=True, help="folders of synthetic people")
    if people is not None:
        parser.add_argument("--people", type=int, default=people, help="at most so many people are read")
    if frames is not None:
        parser.add_argument("--frames", type=int, default=frames, help="frames of each")


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add `--device`."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps, ... (default: cuda if available)")


def load_networks(
    classes: Mapping[str, type[ModelMixin]], checkpoint: Path, device: torch.device
) -> dict[str, ModelMixin]:
    """Networks of a checkpoint, in evaluation mode.

    Args:
        classes (mapping): Name of the subfolder -> class.
        checkpoint (`Path`): Folder of a run's networks.
        device (`torch.device`): Where they go.

    Raises:
        CheckpointError: If a network is missing or damaged.
    """
    from vivface.hub.loading import load_component

    return {name: load_component(kind, checkpoint, name).eval().to(device) for name, kind in classes.items()}


def replace_network(network: ModelMixin, checkpoint: Path, name: str) -> None:
    """Write a network over that of a checkpoint; the old or the new one is there at every moment.

    Args:
        network (`ModelMixin`): The new one.
        checkpoint (`Path`): Folder of the networks.
        name (`str`): Subfolder.

    Raises:
        OptionError: If the folder cannot be written.
    """
    with complete_folder(checkpoint / name, overwrite=True) as work:
        network.save_pretrained(work)


def save_network(network: ModelMixin, folder: Path) -> None:
    """Save a network without the path that it was loaded from, which concerns nobody else."""
    network.save_pretrained(folder)
    path = folder / network.config_name
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("_name_or_path", None)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
