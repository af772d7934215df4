"""`vivface export`: the networks of the inference path as ONNX or OpenVINO files."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vivface.cli.options import System


class Format(StrEnum):
    """What is written."""

    ONNX = "onnx"
    OPENVINO = "openvino"


def export(
    checkpoint: Annotated[str, typer.Argument(help="Folder or Hub id of a checkpoint; 'bundled' for vivface's own.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")],
    format: Annotated[  # noqa: A002 - the option's name
        Format,
        typer.Option(help="onnx: also what `VIVFACE_GRAPHS=DIR` and --engine read; openvino: IR, for other programs."),
    ] = Format.ONNX,
    system: System = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a folder that is there already.")] = False,
) -> None:
    """Write every network that runs for a frame, for batches of any size and for single frames."""
    from diffusers.utils import logging

    from vivface.cli.console import console, escaped
    from vivface.cli.exporting import export_pipeline
    from vivface.files import check_folder, complete_folder
    from vivface.pipelines import load_pipeline

    check_folder(output, overwrite)
    logging.set_verbosity_error()
    pipeline = load_pipeline(None if checkpoint == "bundled" else checkpoint, system=system)
    with complete_folder(output, overwrite) as folder:
        written = export_pipeline(
            pipeline, folder, format.value, lambda name: console.print(escaped(f"Exporting {name} ..."))
        )
    size = sum(path.stat().st_size for path in output.iterdir()) / 1e6
    print(f"{output}: {len(written)} graphs, {size:.1f} MB")
