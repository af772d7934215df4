"""`vivface motion`: save the motion of a video; cut, loop and join motions; keep them by name and look at them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click
import typer
from typer.core import TyperGroup

from vivface.cli.console import console, progress_bar, show_notes
from vivface.cli.grouping import grouped
from vivface.cli.options import DrivingFace, Duration, Loading, Overwrite, Start, check_output

if TYPE_CHECKING:
    from vivface.reenactment.codes import MotionCodes

SUFFIX = ".safetensors"


class SaveByDefault(TyperGroup):
    """`vivface motion CLIP -o FILE` is `vivface motion save CLIP -o FILE`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the command in front where none is named."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["save", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=SaveByDefault, no_args_is_help=True, help=__doc__.partition(": ")[2].capitalize())

MotionFile = Annotated[str, typer.Argument(help="A motion file (.safetensors), a clip, or a name of the library.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="The motion file to write (.safetensors).")]
Blend = Annotated[float, typer.Option(min=0, help="Seconds over which one motion passes into the next.")]


@app.command("save")
@grouped
def save(
    driving: Annotated[str, typer.Argument(help="The driving video, or a name of the library.")],
    output: Output,
    loading: Loading,
    driving_face: DrivingFace = None,
    start: Start = 0.0,
    duration: Duration = None,
    overwrite: Overwrite = True,
) -> None:
    """Save the motion of a video, to animate portraits with later (the usual command: its name may be left out)."""
    from vivface.reenactment.motion_library import find_motion

    check_output(output, (SUFFIX,), overwrite, inputs=(Path(driving),))
    codes = loading.load().encode_motion(find_motion(driving), driving_face, start, duration)
    with console.status("Reading the driving video ..."):
        codes.save(output)
    show_notes(codes.warnings)
    print(f"{output}: the motion of {codes.name}")


@app.command("cut")
@grouped
def cut(
    motion: MotionFile,
    output: Output,
    loading: Loading,
    start: Annotated[float, typer.Option(min=0, help="Where to begin, seconds.")] = 0.0,
    duration: Annotated[float | None, typer.Option(help="How much to keep, seconds; default all.")] = None,
    overwrite: Overwrite = True,
) -> None:
    """Keep a part of a motion."""
    from vivface.reenactment.motion_editing import cut_motion

    check_output(output, (SUFFIX,), overwrite, inputs=(Path(motion),))
    _write(cut_motion(_open([motion], loading)[0], start, duration), output)


@app.command("loop")
@grouped
def loop(
    motion: MotionFile,
    output: Output,
    loading: Loading,
    count: Annotated[int, typer.Option(min=1, help="How many times it is shown.")] = 2,
    blend: Blend = 0.2,
    mirror: Annotated[bool, typer.Option("--mirror", help="Play every second time backwards.")] = False,
    overwrite: Overwrite = True,
) -> None:
    """Repeat a motion without a jump."""
    from vivface.reenactment.motion_editing import loop_motion

    check_output(output, (SUFFIX,), overwrite, inputs=(Path(motion),))
    _write(loop_motion(_open([motion], loading)[0], count, blend, mirror), output)


@app.command("join")
@grouped
def join(
    motions: Annotated[list[str], typer.Argument(help="Motion files, clips, or names of the library, in order.")],
    output: Output,
    loading: Loading,
    blend: Blend = 0.2,
    overwrite: Overwrite = True,
) -> None:
    """Put motions one after the other, each passing into the next."""
    from vivface.reenactment.motion_editing import join_motions

    check_output(output, (SUFFIX,), overwrite, inputs=tuple(map(Path, motions)))
    _write(join_motions(_open(motions, loading), blend), output)


@app.command("list")
def list_() -> None:
    """List the motions that can be used by name."""
    from vivface.reenactment.motion_library import SHIPPED, list_motions

    for name, path in list_motions().items():
        print(f"{name}  {'comes with vivface' if path.parent == SHIPPED else path}")


@app.command("keep")
def keep(
    file: Annotated[Path, typer.Argument(help="A motion file, which only its checkpoint reads, or a clip.")],
    name: Annotated[str, typer.Argument(help="Small letters, digits and hyphens.")],
    overwrite: Annotated[bool, typer.Option(help="Replace one of the same name.")] = False,
) -> None:
    """Keep a motion in the library, to use it by name."""
    from vivface.reenactment.motion_library import keep_motion

    print(f"{name}: {keep_motion(file, name, overwrite)}")


@app.command("preview")
@grouped
def preview(
    motion: MotionFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="The film to write (.mp4, .webp, .gif ...).")],
    loading: Loading,
    portrait: Annotated[
        Path | None, typer.Option(help="Who shows it; by default the synthetic head of the package's own motions.")
    ] = None,
    overwrite: Overwrite = True,
) -> None:
    """Look at a motion on a synthetic head."""
    from vivface.media import VideoReader
    from vivface.media.output import OUTPUT_SUFFIXES
    from vivface.reenactment.motion_library import SHIPPED

    check_output(output, OUTPUT_SUFFIXES, overwrite, inputs=(Path(motion),))
    source = portrait
    if source is None:
        with VideoReader(SHIPPED / "smile.mp4", max_frames=1) as reader:
            source = next(iter(reader)).image
    pipeline = loading.load()
    with progress_bar() as bar:
        task = bar.add_task("Rendering", total=None, rate="")

        def show(progress) -> None:
            bar.update(task, completed=progress.done, total=progress.total)

        result = pipeline(source, motion, on_progress=show)
        result.save(output, on_progress=show)
    show_notes(result.report.warnings)
    print(f"{output}: {result.report.frames} frames of {result.motion.name}")


def _open(names: list[str], loading: Loading) -> "list[MotionCodes]":
    """Motions as codes; a checkpoint is loaded only to read clips."""
    from vivface.reenactment.codes import MotionCodes
    from vivface.reenactment.motion_library import find_motion

    paths = [find_motion(name) for name in names]
    clips = [path for path in paths if path.suffix != SUFFIX]
    pipeline = loading.load() if clips else None
    return [pipeline.encode_motion(path) if path in clips else MotionCodes.load(path) for path in paths]


def _write(motion: "MotionCodes", output: Path) -> None:
    motion.save(output)
    show_notes(motion.warnings)
    print(f"{output}: {motion.frames} frames, {float(motion.seconds):.2f} seconds of {motion.name}")
