"""What the command lines of this folder share."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vivface.errors import VivFaceError

if TYPE_CHECKING:  # rendering needs no torch
    from diffusers import ModelMixin


def run_program(main: Callable[[], None]) -> None:
    """Call `main`; an error that a user can cause is one line and exit status 2."""
    try:
        main()
    except VivFaceError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def replace_part(network: ModelMixin, checkpoint: Path, name: str) -> None:
    """Write a network over that of a checkpoint: beside its place first, then moved there."""
    place, new = checkpoint / name, checkpoint / f"{name}.new"
    network.save_pretrained(new)
    shutil.rmtree(place)
    new.rename(place)
