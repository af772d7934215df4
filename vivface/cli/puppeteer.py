"""`vivface puppeteer`: a coded video moves another person."""

from pathlib import Path
from typing import Annotated

import typer

from vivface.cli.decode import BatchSize, Coded
from vivface.cli.options import Checkpoint, Detector, Device, Overwrite, check_output, load
from vivface.cli.rendering import save_with_progress


def puppeteer(
    portrait: Annotated[Path, typer.Argument(help="An image with a face: who is to move.")],
    coded: Coded,
    output: Annotated[Path, typer.Option("--output", "-o", help="The video to write (.mp4, .mov, .mkv or .gif).")],
    paste_back: Annotated[bool, typer.Option(help="Put the face back into the whole photo.")] = False,
    relative: Annotated[bool, typer.Option(help="Take over only the changes of pose and expression.")] = False,
    strength: Annotated[float, typer.Option(help="How much of the motion, 0 to 3; 1 is the driver's own.")] = 1.0,
    face: Annotated[int | None, typer.Option(min=0, help="Which face of the portrait, 0 the largest.")] = None,
    batch_size: BatchSize = None,
    overwrite: Overwrite = True,
    checkpoint: Checkpoint = None,
    device: Device = "auto",
    detector: Detector = "auto",
) -> None:
    """Let a coded video move another person."""
    from vivface.media.output import OUTPUT_SUFFIXES
    from vivface.reenactment.coded_video import CodedVideo

    check_output(output, OUTPUT_SUFFIXES, overwrite, inputs=(portrait, coded))
    video = CodedVideo.load(coded)
    codec = load(checkpoint, device, detector, "codec")
    result = codec.puppeteer(
        portrait,
        video,
        paste_back=paste_back,
        motion_mode="relative" if relative else "absolute",
        strength=strength,
        face=face,
        batch_size=batch_size,
    )
    save_with_progress(result, output)
