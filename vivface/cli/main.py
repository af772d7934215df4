"""The command line: `vivface reenact | motion | convert | push`.

Errors a user can cause are one sentence on stderr and exit status 2. Heavy imports wait until a command runs.
"""

import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vivface import __version__
from vivface.cli.convert import app as convert_app
from vivface.cli.push import push
from vivface.errors import BackendError, OptionError, VivFaceError
from vivface.runtime import keep_freed_memory

app = typer.Typer(
    help="One portrait and one driving video: the portrait moves, speaks and looks as the video does.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(convert_app, name="convert")
app.command("push")(push)
console = Console(stderr=True, highlight=False)


class MotionMode(StrEnum):
    """How the driving video's motion is taken over."""

    ABSOLUTE = "absolute"
    RELATIVE = "relative"


def main() -> None:
    """Run the command line; an error of the user ends it with one sentence and status 2."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as Ctrl-C: unfinished files are removed on the way out
    keep_freed_memory()
    try:
        app()
    except VivFaceError as error:
        console.print(f"[bold red]Error:[/] {_plain(error)}", soft_wrap=True)
        sys.exit(2)


def _version(asked: bool) -> None:
    if asked:
        print(f"vivface {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options before the command."""


# Options that several commands share ---------------------------------------------------------------------------------

Checkpoint = Annotated[
    str | None, typer.Option(help="Folder or Hub id of a checkpoint; by default the one that comes with vivface.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps ...")]
Detector = Annotated[str, typer.Option(help="What finds faces: auto, dlib, face-alignment or face-alignment:DETECTOR.")]
DrivingFace = Annotated[
    int | None, typer.Option(min=0, help="Which face of the driving video, 0 the largest of its first frame.")
]
Start = Annotated[float, typer.Option(min=0, help="Where in the driving video to begin, seconds.")]
Duration = Annotated[float | None, typer.Option(help="How much of the driving video to use, seconds; default all.")]


@app.command()
def reenact(
    source: Annotated[Path, typer.Argument(help="The portrait: a picture with a face.")],
    driving: Annotated[Path, typer.Argument(help="The driving video, or a file saved by `vivface motion`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The video to write (.mp4, .mov or .mkv).")],
    refine: Annotated[bool, typer.Option(help="Second stage: bring back detail of the portrait.")] = True,
    paste_back: Annotated[bool, typer.Option(help="Put the face back into the whole photo.")] = False,
    motion: Annotated[
        MotionMode, typer.Option(help="Take over pose and expression, or only their changes.")
    ] = MotionMode.ABSOLUTE,
    strength: Annotated[float, typer.Option(help="How much of the motion, 1 for the driver's own.")] = 1.0,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Frames computed at once.")] = None,
    seed: Annotated[int, typer.Option(help="Of the adaptation.")] = 0,
    face: Annotated[int | None, typer.Option(min=0, help="Which face of the portrait, 0 the largest.")] = None,
    driving_face: DrivingFace = None,
    adapt: Annotated[
        int | None, typer.Option(min=0, help="Steps of adaptation to the portrait; default as the checkpoint says.")
    ] = None,
    start: Start = 0.0,
    duration: Duration = None,
    side_by_side: Annotated[bool, typer.Option(help="Show portrait, driving video and result in a row.")] = False,
    save_motion: Annotated[
        Path | None, typer.Option(help="Also write the motion codes to this file (.safetensors).")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace files that are there already.")] = True,
    checkpoint: Checkpoint = None,
    device: Device = "auto",
    detector: Detector = "auto",
) -> None:
    """Animate a portrait with the motion of a video."""
    _check_output(output, (".mp4", ".mov", ".mkv"), overwrite, inputs=(source, driving))
    if save_motion is not None:
        _check_output(save_motion, (".safetensors",), overwrite, inputs=(source, driving))
    pipeline = _load(checkpoint, device, detector)
    with console.status("Learning the portrait and reading the driving video ..."):
        result = pipeline(
            source,
            driving,
            refine=refine,
            paste_back=paste_back,
            motion=motion.value,
            strength=strength,
            batch_size=batch_size,
            seed=seed,
            face=face,
            driving_face=driving_face,
            adapt=adapt,
            start=start,
            duration=duration,
        )
    with _progress() as progress:
        bar = progress.add_task("Frames", total=result.motion.frames, rate=0.0)

        def show(report) -> None:
            progress.update(bar, completed=report.frames, rate=report.fps)

        result.save(output, side_by_side=side_by_side, save_motion=save_motion, on_frame=show)
    _tell(result.report.warnings)
    report = result.report
    count = "1 frame" if report.frames == 1 else f"{report.frames} frames"
    print(f"{output}: {count} in {report.seconds:.1f} s ({report.fps:.1f} frames per second)")


@app.command("motion")
def extract_motion(
    driving: Annotated[Path, typer.Argument(help="The driving video.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The motion file to write (.safetensors).")],
    driving_face: DrivingFace = None,
    start: Start = 0.0,
    duration: Duration = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a file that is there already.")] = True,
    checkpoint: Checkpoint = None,
    device: Device = "auto",
    detector: Detector = "auto",
) -> None:
    """Save the motion of a video, to animate portraits with later."""
    _check_output(output, (".safetensors",), overwrite, inputs=(driving,))
    codes = _load(checkpoint, device, detector).encode_motion(driving, driving_face, start, duration)
    with console.status("Reading the driving video ..."):
        codes.save(output)
    _tell(codes.warnings)
    print(f"{output}: the motion of {codes.name}")


# Helpers -------------------------------------------------------------------------------------------------------------


def _load(checkpoint: str | None, device: str, detector: str):
    """The pipeline on its device; libraries that chat are kept quiet."""
    with console.status("Loading ..."):
        import torch
        from diffusers.utils import logging

        from vivface.pipelines.vivface import VivFacePipeline

        logging.set_verbosity_error()
        chosen = _device(torch, device)
        pipeline = VivFacePipeline.from_pretrained(checkpoint).to(chosen).use_detector(detector)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _device(torch, name: str):
    """ "auto" or a torch device that is really there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise OptionError(f"There is no device '{name}': give auto, cpu, cuda, cuda:1 or mps.") from error
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise BackendError(f"The device '{name}' is not available here: give another, such as cpu.") from error
    return device


def _check_output(path: Path, suffixes: tuple[str, ...], overwrite: bool, inputs: tuple[Path, ...]) -> None:
    """Refuse, before any work, what could not be written at the end."""
    from vivface.files import check_output

    check_output(path, suffixes)
    if not path.exists():
        return
    if any(given.exists() and path.samefile(given) for given in inputs):
        raise OptionError(f"'{path}' is read: give the result another name.")
    if not overwrite:
        raise OptionError(f"'{path}' is there already: give another name or leave out --no-overwrite.")


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.1f} frames/s"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


def _tell(warnings: list[str]) -> None:
    for warning in warnings:
        console.print(f"[yellow]Note:[/] {_plain(warning)}", soft_wrap=True)


def _plain(text: object) -> str:
    """Text whose brackets are no markup."""
    return str(text).replace("[", r"\[")


if __name__ == "__main__":
    main()
