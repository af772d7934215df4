"""`vivface verify`: what a file says about where it comes from."""

import json
from pathlib import Path
from typing import Annotated

import typer


def verify(
    file: Annotated[Path, typer.Argument(help="An image or a video, made by vivface or not.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything that was found as JSON.")] = False,
) -> None:
    """Look for signs that a trained model made a file: metadata, C2PA manifest, mark in the pictures."""
    from vivface.provenance import verify as look

    found = look(file)
    print(json.dumps(found.to_dict(), indent=2) if as_json else "\n".join(found.lines()))
