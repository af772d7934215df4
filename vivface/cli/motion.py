"""`vivface motion`: save the motion of a video."""

from pathlib import Path
from typing import Annotated

import typer

from vivface.cli.console import console, show_notes
from vivface.cli.options import (
    Checkpoint,
    Detector,
    Device,
    DrivingFace,
    Duration,
    Overwrite,
    Start,
    check_output,
    load,
)


def motion(
    driving: Annotated[Path, typer.Argument(help="The driving video.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The motion file to write (.safetensors).")],
    driving_face: DrivingFace = None,
    start: Start = 0.0,
    duration: Duration = None,
    overwrite: Overwrite = True,
    checkpoint: Checkpoint = None,
    device: Device = "auto",
    detector: Detector = "auto",
) -> None:
    """Save the motion of a video, to animate portraits with later."""
    check_output(output, (".safetensors",), overwrite, inputs=(driving,))
    codes = load(checkpoint, device, detector).encode_motion(driving, driving_face, start, duration)
    with console.status("Reading the driving video ..."):
        codes.save(output)
    show_notes(codes.warnings)
    print(f"{output}: the motion of {codes.name}")
