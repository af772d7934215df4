"""`vivface puppeteer`: a coded video moves another person."""

from pathlib import Path
from typing import Annotated

import typer

from vivface.cli.console import progress_bar
from vivface.cli.decode import Coded
from vivface.cli.grouping import grouped
from vivface.cli.options import Adapt, BatchSize, Face, Loading, Overwrite, PasteBack, Strength, check_output
from vivface.cli.rendering import TITLES, save_with_progress


@grouped
def puppeteer(
    portrait: Annotated[Path, typer.Argument(help="An image with a face: who is to move.")],
    coded: Coded,
    output: Annotated[Path, typer.Option("--output", "-o", help="The video to write (.mp4, .mov, .mkv or .gif).")],
    loading: Loading,
    paste_back: PasteBack = False,
    relative: Annotated[bool, typer.Option(help="Take over only the changes of pose and expression.")] = False,
    strength: Strength = 1.0,
    face: Face = None,
    adapt: Adapt = None,
    batch_size: BatchSize = None,
    overwrite: Overwrite = True,
) -> None:
    """Let a coded video move another person."""
    from vivface.media.output import OUTPUT_SUFFIXES
    from vivface.reenactment.coded_video import CodedVideo

    check_output(output, OUTPUT_SUFFIXES, overwrite, inputs=(portrait, coded))
    video = CodedVideo.load(coded)
    codec = loading.load("codec")
    with progress_bar() as bar:
        task = bar.add_task(TITLES["adapting"], total=None, rate="")
        result = codec.puppeteer(
            portrait,
            video,
            paste_back=paste_back,
            motion_mode="relative" if relative else "absolute",
            strength=strength,
            face=face,
            batch_size=batch_size,
            adapt=adapt,
            on_progress=lambda progress: bar.update(task, completed=progress.done, total=progress.total),
        )
    save_with_progress(result, output)
