"""`vivface bench`: how fast this machine re-enacts.

Prints milliseconds a frame of every step, each alone, and frames per second end to end, where decoding, computing and
encoding overlap. Beside them: the work of each network and what the machine's convolutions can do at best. With
`--together` it times `vivface reenact` instead, alone and several times at once, with `--first-frame` until its first
frame, and with `--workers` it times `vivface batch`.
"""

import json
import os
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vivface.cli.options import Adapt, Checkpoint, Device, Engine
from vivface.errors import OptionError

if TYPE_CHECKING:
    from rich.table import Table

    from vivface.cli.benchmark import Benchmark
    from vivface.cli.engine_table import EngineRow
    from vivface.cli.many_clips import BatchTime
    from vivface.cli.together import Together

EXAMPLES = Path(__file__).parent.parent.parent / "examples"  # of a checkout; an installed package has none
REFERENCE = (
    "The reference implementation of ViVFace takes about 15 s a frame at 1024 x 1024 on two quiet cores of a server "
    "CPU, half of it in the 4 x 4 blur."
)


class Size(StrEnum):
    """What is measured."""

    BUNDLED = "bundled"
    FFHQ_1024 = "ffhq-1024"


def bench(
    size: Annotated[
        Size, typer.Option(help="The bundled checkpoint, or the published size with random weights.")
    ] = Size.BUNDLED,
    checkpoint: Checkpoint = None,
    source: Annotated[Path | None, typer.Option(help="A portrait; by default an example or a generated one.")] = None,
    driving: Annotated[
        Path | None, typer.Option(help="A driving video; by default an example or a generated one.")
    ] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="How many; by default 96, or 4 at ffhq-1024.")] = None,
    refine: Annotated[bool, typer.Option(help="With the second stage.")] = True,
    paste_back: Annotated[bool, typer.Option(help="With the whole photo.")] = False,
    adapt: Adapt = None,
    device: Device = "cpu",
    engine: Engine = "torch",
    engines: Annotated[
        bool, typer.Option("--engines", help="Measure every engine that is installed, each in a process of its own.")
    ] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; by default all cores.")] = None,
    together: Annotated[
        int | None, typer.Option(min=2, help="Instead, time `vivface reenact`: alone, and this many of it at once.")
    ] = None,
    first_frame: Annotated[
        bool, typer.Option("--first-frame", help="Instead, time `vivface reenact` from its start to its first frame.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=2, help="Instead, time `vivface batch` on 20 pairs: with one worker, and with this many."),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the numbers to this file.")] = None,
) -> None:
    """Measure frames per second, end to end and per step, when the first frame is there, or what many runs cost."""
    if checkpoint is not None and size is not Size.BUNDLED:
        raise OptionError(f"`--size {size}` and `--checkpoint` contradict each other: give one of them.")
    whole = {"--together": together is not None, "--first-frame": first_frame, "--workers": workers is not None}
    named = [name for name, given in whole.items() if given]
    if named and (size is not Size.BUNDLED or threads is not None or frames is not None):
        raise OptionError(f"`{named[0]}` times whole runs: leave out `--size`, `--threads` and `--frames`.")
    if len(named) > 1:
        raise OptionError(f"`{named[0]}` and `{named[1]}` measure different things: give one of them.")
    if engines and (size is Size.FFHQ_1024 or named):
        raise OptionError(f"`--engines` compares on a checkpoint: leave `--size` and {', '.join(whole)} out.")
    from dataclasses import asdict

    import torch
    from rich.console import Console

    from vivface.cli.benchmark import benchmark, random_ffhq_1024, write_inputs
    from vivface.files import check_output
    from vivface.pipelines import load_pipeline
    from vivface.runtime import choose_device

    if json_file is not None:
        check_output(json_file, (".json",))
    chosen = choose_device(device)
    torch.set_num_threads(threads or os.cpu_count() or 1)
    frames = frames or (4 if size is Size.FFHQ_1024 else 96)
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory() as folder:
        defaults = EXAMPLES / "portrait.png", EXAMPLES / "driving.mp4"
        if None in (source, driving) and not all(file.is_file() for file in defaults):
            defaults = write_inputs(Path(folder), frames)
        portraits = [source or defaults[0]]
        if source is None and portraits[0].parent == EXAMPLES:
            portraits += sorted({*EXAMPLES.glob("*.png"), *EXAMPLES.glob("*.jpg")} - {portraits[0]})
        source, driving = portraits[0], driving or defaults[1]
        if named:
            options = ["--refine" if refine else "--no-refine", "--device", device, "--engine", engine]
            options += ["--paste-back"] * paste_back + (["--checkpoint", checkpoint] if checkpoint else [])
            options += [] if adapt is None else ["--adapt", adapt]
            result, shown = _time_runs(portraits, driving, options, together, workers)
            console.print(shown)
        elif engines:
            options = ["--frames", str(frames), "--threads", str(torch.get_num_threads())]
            options += [] if checkpoint is None else ["--checkpoint", checkpoint]
            options += [] if refine else ["--no-refine"]
            options += ["--adapt", "0"]  # tuning to the portrait is PyTorch's, whatever the engine
            result = _compare(options, source, driving, checkpoint)
        else:
            if size is Size.FFHQ_1024:
                pipeline, name = random_ffhq_1024(), "ffhq-1024, random weights"
            else:
                pipeline, name = load_pipeline(checkpoint), checkpoint or "bundled"
            pipeline.use_engine(engine)
            result = benchmark(pipeline.to(chosen), source, driving, frames, refine, paste_back, name, adapt)
            console.print(table(result))
            console.print(summary(result))
    if json_file is not None:
        if first_frame:
            numbers = {"first_frame_seconds": result}
        else:
            numbers = [asdict(row) for row in result] if isinstance(result, list) else asdict(result)
        json_file.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


def summary(result: "Benchmark") -> str:
    """What a run as a whole reaches, and what the machine could at best."""
    return (
        f"End to end: {result.frames_per_second:.2f} frames per second, {result.seconds_per_frame:.3f} s a frame "
        f"({result.frames} frames in batches of {result.batch_size}, {result.threads} threads); "
        f"{result.seconds_to_start:.1f} s to read the portrait first.\n"
        f"This machine's 3 x 3 convolutions: {result.convolution_gflop_per_second:.0f} GFLOP/s.\n{REFERENCE}"
    )


def together_table(result: "Together") -> "Table":
    """Seconds of one run alone, before and after, and of several at once."""
    from rich.table import Table

    rows = Table(title="vivface reenact, from its start to its end")
    for column in ("runs at once", "seconds", "of one alone"):
        rows.add_column(column, justify="right")
    rows.add_row("1", ", ".join(f"{seconds:.1f}" for seconds in result.alone), "1.00")
    rows.add_row(str(result.runs), ", ".join(f"{seconds:.1f}" for seconds in result.together), f"{result.ratio:.2f}")
    return rows


def _time_runs(
    portraits: list[Path], driving: Path, options: list[str], together: int | None, workers: int | None
) -> "tuple[Together | list[BatchTime] | list[float], Table | str]":
    """Time whole runs, several at once, of many clips, or until the first frame: numbers, and what is printed."""
    from vivface.cli.many_clips import measure_batch
    from vivface.cli.together import measure_first_frame, measure_together

    if workers is not None:
        times = measure_batch(portraits, driving, workers, options)
        return times, batch_table(times)
    if together is not None:
        result = measure_together([portraits[0], driving, *options], together)
        return result, together_table(result)
    seconds = measure_first_frame([portraits[0], driving, *options])
    return seconds, f"First frame after {', '.join(f'{each:.1f}' for each in seconds)} s."


def batch_table(result: "list[BatchTime]") -> "Table":
    """Seconds with one worker and with several, and how many of them processors worked."""
    from rich.table import Table

    alone = [run.seconds for run in result if run.workers == 1]
    rows = Table(title=f"vivface batch, {result[0].clips} pairs, from its start to its end")
    for column in ("workers", "seconds", "times as fast as one", "processor seconds a clip", "cores in use"):
        rows.add_column(column, justify="right")
    for run in result:
        faster = sum(alone) / len(alone) / run.seconds
        cores = run.processor_seconds / run.seconds
        numbers = (f"{run.seconds:.1f}", f"{faster:.2f}", f"{run.processor_seconds / run.clips:.2f}", f"{cores:.2f}")
        rows.add_row(str(run.workers), *numbers)
    return rows


def _compare(options: list[str], source: Path, driving: Path, checkpoint: str | None) -> "list[EngineRow]":
    """Measure every engine and print one table."""
    from rich.console import Console

    from vivface.cli.console import console
    from vivface.cli.engine_table import engine_table, installed, measure

    rows = []
    for name in installed():
        console.print(f"Measuring {name} ...")
        rows.append(measure(name, options, source, driving, checkpoint))
    Console(highlight=False, width=None if Console().is_terminal else 160).print(engine_table(rows))
    return rows


def table(result: "Benchmark") -> "Table":
    """The steps, each with its time and work."""
    from rich.table import Table

    rows = Table(title=f"{result.checkpoint}: {result.size} x {result.size}, {result.device}")
    for column in ("step", "ms a frame", "GFLOP a frame", "ms at the convolution rate"):
        rows.add_column(column, justify="left" if column == "step" else "right")
    for timing in result.timings:
        at_best = timing.gflop and timing.gflop / result.convolution_gflop_per_second * 1e3
        numbers = [f"{timing.milliseconds:.1f}"]
        numbers += [f"{x:.1f}" if x is not None else "" for x in (timing.gflop, at_best)]
        rows.add_row(timing.name, *numbers)
    return rows
