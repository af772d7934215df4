"""`vivface encode`: a talking head in 70 bytes a frame."""

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vivface.cli.console import progress_bar, show_notes
from vivface.cli.grouping import grouped
from vivface.cli.options import DrivingFace, Duration, Loading, Overwrite, Start, check_output


class Basis(StrEnum):
    """What the 32 values of a frame move."""

    CHANNELS = "channels"
    COMPONENTS = "components"
    POINTS = "points"


class Target(StrEnum):
    """What the numbers are fitted to."""

    FRAMES = "frames"
    INVERSION = "inversion"


TITLES = {
    "analysing": "Following the face",
    "adapting": "Fitting the identity latent",
    "encoding": "Encoding frames",
}


@grouped
def encode(
    clip: Annotated[Path, typer.Argument(help="The clip, with one face.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write (.vfc); sound goes beside it.")],
    loading: Loading,
    basis: Annotated[
        Basis | None,
        typer.Option(
            help="What the 32 values move: channels of StyleSpace, components of deformation codes, or points of the "
            "face in a key picture."
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=0, help="Of the fit of the 32 values; by default as it suits.")
    ] = None,
    pose_steps: Annotated[int | None, typer.Option(min=0, help="Of the fit of the head pose.")] = None,
    identity_steps: Annotated[
        int | None, typer.Option(min=0, help="Of the fit of the identity latent; 60 by default.")
    ] = None,
    target: Annotated[
        Target | None,
        typer.Option(help="Fit the clip's frames (default), or the encoder's inversion of them, as the paper does."),
    ] = None,
    crop_track: Annotated[bool, typer.Option(help="Also keep where the face was, 8 bytes a frame.")] = False,
    key_picture: Annotated[
        bool,
        typer.Option("--key-picture", help="Also keep a picture of the face, some kilobytes once; decoding moves it."),
    ] = False,
    sound: Annotated[bool, typer.Option(help="Keep the sound in a file beside the result (.m4a).")] = True,
    face: DrivingFace = None,
    start: Start = 0.0,
    duration: Duration = None,
    overwrite: Overwrite = True,
) -> None:
    """Encode a clip as one identity latent and 35 numbers a frame; a stopped run goes on where it was."""
    from vivface.reenactment.coded_video import CODED_SUFFIX

    check_output(output, (CODED_SUFFIX,), overwrite, inputs=(clip,))
    codec = loading.load("codec")
    with progress_bar() as bar:
        task = bar.add_task("Following the face", total=None, rate="")

        def show(progress) -> None:
            title = TITLES.get(progress.stage, progress.stage)
            bar.update(task, description=title, completed=progress.done, total=progress.total)

        began = time.perf_counter()
        coded = codec.encode(
            clip,
            basis=None if basis is None else basis.value,
            steps=steps,
            pose_steps=pose_steps,
            identity_steps=identity_steps,
            target=None if target is None else target.value,
            crop_track=crop_track,
            key_picture=key_picture,
            face=face,
            start=start,
            duration=duration,
            work=output.with_name(f".{output.name}.part"),
            on_progress=show,
        )
        coded.save(output, sound=sound)
    seconds = time.perf_counter() - began
    show_notes(coded.warnings)
    print(
        f"{output}: {len(coded)} frames in {seconds:.1f} s, {coded.bytes_per_frame} bytes a frame "
        f"({float(coded.bytes_per_frame * coded.fps):.0f} a second) and {coded.header_bytes} once; {coded.basis}"
    )
