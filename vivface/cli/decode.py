"""`vivface decode`: a coded video as a video."""

from pathlib import Path
from typing import Annotated

import typer

from vivface.cli.options import BatchSize, Checkpoint, Device, Overwrite, check_output, load
from vivface.cli.rendering import save_with_progress

Coded = Annotated[Path, typer.Argument(help="A file that `vivface encode` wrote (.vfc).")]


def decode(
    coded: Coded,
    output: Annotated[Path, typer.Option("--output", "-o", help="The video to write (.mp4, .mov, .mkv or .gif).")],
    key_picture: Annotated[
        bool | None,
        typer.Option(help="Move the key picture, or show the generator's images; by default if there is one."),
    ] = None,
    size: Annotated[int | None, typer.Option(min=64, help="Width and height of the video in pixels.")] = None,
    batch_size: BatchSize = None,
    overwrite: Overwrite = True,
    checkpoint: Checkpoint = None,
    device: Device = "auto",
) -> None:
    """Decode a video, with the sound that lies beside it."""
    from vivface.media.output import OUTPUT_SUFFIXES
    from vivface.reenactment.coded_video import CodedVideo

    check_output(output, OUTPUT_SUFFIXES, overwrite, inputs=(coded,))
    video = CodedVideo.load(coded)
    codec = load(checkpoint, device, "auto", "codec")
    save_with_progress(codec.decode(video, batch_size, key_picture=key_picture, size=size), output)
