"""`vivface batch`: many portraits and driving videos, by several workers, on one machine or on many."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vivface.cli.grouping import grouped
from vivface.cli.options import (
    Adapt,
    BatchSize,
    Checkpoint,
    Detector,
    Device,
    Edit,
    Engine,
    Marks,
    MotionOptions,
    Seed,
    System,
    VideoLook,
    read_edits,
)
from vivface.errors import OptionError


class Executor(StrEnum):
    """Who runs the workers."""

    LOCAL = "local"
    RAY = "ray"


class Match(StrEnum):
    """Which portraits and videos of two folders belong together."""

    ALL = "all"
    NAME = "name"


class Format(StrEnum):
    """What the results are."""

    MP4 = "mp4"
    MOV = "mov"
    MKV = "mkv"
    WEBM = "webm"
    WEBP = "webp"
    GIF = "gif"


MAX_DEFAULT_WORKERS = 8


@grouped
def batch(
    pairs: Annotated[
        Path,
        typer.Argument(
            help="A CSV file with the columns source,driving and, where wanted, output, face, driving_face, start, "
            "duration; or a folder of portraits."
        ),
    ],
    look: VideoLook,
    motion: MotionOptions,
    marks: Marks,
    drivings: Annotated[Path | None, typer.Argument(help="With a folder of portraits: a folder of videos.")] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for results and report; a stopped run goes on there.")
    ] = Path("batch"),
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; by default one for every GPU, or for every core up to 8.")
    ] = None,
    executor: Annotated[
        Executor,
        typer.Option(help="Who runs the workers: local, processes of this machine; ray, Ray Data (extra `ray`)."),
    ] = Executor.LOCAL,
    shard: Annotated[str | None, typer.Option(metavar="I/N", help="Only part I of N, as 1/8, for job arrays.")] = None,
    match: Annotated[
        Match, typer.Option(help="With folders: every portrait with every video, or those of the same name.")
    ] = Match.ALL,
    suffix: Annotated[Format, typer.Option("--format", help="Of results without a name of their own.")] = Format.MP4,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads a worker; default its share.")] = None,
    batch_size: BatchSize = None,
    seed: Seed = 0,
    adapt: Adapt = None,
    edit: Edit = None,
    checkpoint: Checkpoint = None,
    system: System = None,
    device: Device = "auto",
    engine: Engine = "torch",
    detector: Detector = "auto",
) -> None:
    """Animate many portraits with many videos; a stopped run goes on where it was, one failure stops nothing."""
    from vivface.batch.clips import pair_folders, read_pairs
    from vivface.batch.maker import BatchSettings
    from vivface.batch.records import DONE, Record
    from vivface.batch.run import run_batch
    from vivface.cli.console import console, escaped, progress_bar
    from vivface.reenactment.co_driving import check_pose
    from vivface.reenactment.rendering import RenderOptions

    if engine in list(Executor):  # as this was written before --executor
        engine, executor = "torch", Executor(engine)
    if pairs.is_dir() == (drivings is None):
        raise OptionError("Give a CSV file of pairs, or two folders: one of portraits and one of driving videos.")
    provenance = marks.provenance
    parts, pose = motion.parts(seed)
    RenderOptions(
        paste_back=look.paste_back,
        strength=motion.strength,
        batch_size=batch_size,
        detail=look.detail is not False,
        size=look.pixels,
        background=look.background,
        parts=parts,
    )
    check_pose(pose, None)
    if adapt is not None:
        from vivface.reenactment.tuning import Tuning

        Tuning.parse(adapt)
    read_edits(edit)
    ending = f".{suffix.value}"
    clips = pair_folders(pairs, drivings, ending, match.value) if drivings is not None else read_pairs(pairs, ending)
    settings = BatchSettings(
        checkpoint=checkpoint,
        system=system,
        device=device,
        detector=detector,
        engine=engine,
        refine=look.refine,
        paste_back=look.paste_back,
        motion_mode=motion.motion_mode.value,
        strength=motion.strength,
        parts=parts if parts.changes else None,
        pose=pose,
        batch_size=batch_size,
        seed=seed,
        adapt=adapt,
        detail=look.detail,
        size=look.pixels,
        background=look.background,
        edits=tuple(edit or ()),
        mark=provenance.mark,
        manifest=provenance.manifest,
        label=provenance.label,
        threads=threads,
    )
    with progress_bar() as bar:
        task = bar.add_task("Making clips", total=None, rate="")
        failed = 0

        def begin(count: int, done: int) -> None:
            bar.update(task, total=count, completed=done)
            if done:
                console.print(f"{done} of {count} clips are there already.")

        def show(record: Record) -> None:
            nonlocal failed
            if record.status != DONE:
                failed += 1
                console.print(f"[red]Failed:[/] {escaped(record.name)}: {escaped(record.error)}", soft_wrap=True)
            bar.update(task, advance=1, rate=f"{failed} failed" if failed else "")

        report = run_batch(
            clips,
            output,
            settings,
            workers=workers or _default_workers(device),
            shard=shard,
            executor=executor.value,
            on_begin=begin,
            on_record=show,
        )
    print(
        f"{output}: {report['done']} of {report['clips']} clips done, {report['failed']} failed, "
        f"{report['frames']} frames, in {report['seconds']:.1f} s"
    )
    if report["failed"]:
        raise typer.Exit(1)


def _default_workers(device: str) -> int:
    import torch

    if device in ("auto", "cuda") and torch.cuda.is_available():
        return torch.cuda.device_count()
    return min(os.cpu_count() or 1, MAX_DEFAULT_WORKERS) if device in ("auto", "cpu") else 1
