"""Compare the tunings at equal time: `python -m training.tools.compare_tunings --scorer FILE --output FOLDER`.

Robust One-Shot Face Video Re-enactment using Hybrid Latent Spaces of StyleGAN2 (ICCV 2023), sec. 4.4, compares no
tuning, pivotal tuning and Cyclic Manifold Adjustment. Here they get the same CPU time: a step of each method is timed
on the first pair, and each gets as many steps as fit into `--seconds`. CPU time does not depend on what else the
machine does. The portrait is driven by the clips of `--pairs SOURCES DRIVING` (every image by every video) and, with
`--people`, by held-out synthetic people (seeds from 950000): each by the next one's clip, and by their own clip, whose
frames are the truth of PSNR.

Written to the output folder: `rows.jsonl`, a line a result as it comes (a stopped run goes on there), `table.md`,
`table.json`, and `sheet.png` with all tunings of some pairs. The scorer is that of `training.tools.evaluate`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from training.evaluation.pairs import Pair, pairs_of_folders, pairs_of_people, render_people
from training.evaluation.scores import Row, load_scorer
from training.evaluation.sheet import contact_sheet
from training.evaluation.tunings import read_report, tunings_table
from training.tools.programs import add_device, program_parser, run_program
from vivface.errors import MediaError, OptionError
from vivface.media import VideoReader, VideoWriter, save_image

if TYPE_CHECKING:
    from vivface.pipelines.base import ReenactmentPipeline
    from vivface.reenactment.codes import IdentityCode

FIRST_SEED = 950_000  # held-out people
TUNINGS = ("none", "portrait", "pti", "cma")
TIMED_STEPS = {"portrait": 24, "pti": 6, "cma": 6}  # the portrait's tuning begins with cheaper steps of the code
SHOWN_PAIRS = 6


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Options of the command line.

    Raises:
        OptionError: If there is nothing to compare, or a number is out of range.
    """
    parser = program_parser("compare_tunings", __doc__)
    parser.add_argument("--scorer", type=Path, required=True, help="the independent scoring program (a Python file)")
    parser.add_argument("--pairs", type=Path, nargs=2, metavar=("SOURCES", "DRIVING"), help="folders of real media")
    parser.add_argument("--people", type=int, default=0, help="held-out synthetic people, 2 or more, or none")
    parser.add_argument("--output", type=Path, default=Path("runs/tunings"), help="videos and results go here")
    parser.add_argument("--checkpoint", help="folder or Hub id; default: the bundled checkpoint")
    parser.add_argument("--system", default="hybrid", help="which system to build from it")
    parser.add_argument("--tunings", nargs="+", choices=TUNINGS, default=list(TUNINGS))
    parser.add_argument("--seconds", type=float, default=20.0, help="CPU seconds of a tuning")
    parser.add_argument("--frames", type=int, default=40, help="frames of a clip, evenly spread over it")
    parser.add_argument("--size", type=int, default=256, help="size of rendered clips, pixels")
    parser.add_argument("--assets", type=Path, help="MakeHuman data folder (default: VIVFACE_ASSETS)")
    add_device(parser)
    options = parser.parse_args(arguments)
    if not options.pairs and options.people < 2:
        raise OptionError("There is nothing to compare: give --pairs SOURCES DRIVING, --people 8, or both.")
    if options.frames < 10 or options.seconds <= 0:
        raise OptionError(
            f"--frames is {options.frames} and --seconds {options.seconds:g}, expected at least 10 and more than 0."
        )
    return options


def main(arguments: list[str] | None = None) -> None:
    """Collect pairs, tune, render, score, write tables.

    Args:
        arguments (`list[str]`, *optional*): Command line; that of the process by default.

    Raises:
        OptionError: If an option is wrong.
        CheckpointError: If the checkpoint cannot be loaded.
    """
    from vivface import load_pipeline
    from vivface.runtime import choose_device

    options = parse_arguments(arguments)
    folder = options.output
    folder.mkdir(parents=True, exist_ok=True)
    pairs = collect_pairs(options)
    pipeline = load_pipeline(options.checkpoint, system=options.system).to(choose_device(options.device))
    pipeline.set_progress_bar_config(disable=True)
    steps = equal_steps(pipeline, pairs[0], options.tunings, options.seconds)
    print("steps: " + ", ".join(f"{name} {count}" for name, count in steps.items()), flush=True)
    score = scorer_of(options.scorer, folder / "analysis")
    rows = compare(pipeline, pairs, steps, folder, score)
    (folder / "table.json").write_text(json.dumps({"steps": steps, "seconds": options.seconds, "rows": rows}, indent=1))
    table = tunings_table(rows, options.tunings)
    (folder / "table.md").write_text(table)
    print(table)
    shown = [
        (Pair(f"{pair.name} {name}", pair.source, pair.driving), folder / f"{pair.name}_{name}.mp4")
        for pair in pairs[:: max(1, len(pairs) // SHOWN_PAIRS)][:SHOWN_PAIRS]
        for name in options.tunings
        if (folder / f"{pair.name}_{name}.mp4").exists()
    ]
    if shown:
        save_image(folder / "sheet.png", contact_sheet(shown, len(options.tunings)))


def collect_pairs(options: argparse.Namespace) -> list[Pair]:
    """Pairs of real media, with clips thinned out, then of synthetic people; those of one source follow one another."""
    pairs = []
    clips = options.output / "clips"
    if options.pairs:
        sources, driving = options.pairs
        clips.mkdir(parents=True, exist_ok=True)
        thin = {}
        for pair in pairs_of_folders(sources, driving):
            if pair.driving not in thin:
                thin[pair.driving] = thin_out(pair.driving, clips / f"{pair.driving.stem}.mp4", options.frames)
            pairs.append(Pair(pair.name, pair.source, thin[pair.driving]))
    if options.people:
        people = render_people(
            clips / "people", options.people, options.frames, 12, options.size, options.assets, FIRST_SEED
        )
        pairs += pairs_of_people(people, people)
    return pairs


def thin_out(video: Path, output: Path, frames: int) -> Path:
    """Every n-th frame of a video, so that about `frames` are left; a file that is there is kept.

    Args:
        video (`Path`), output (`Path`): Files.
        frames (`int`): Wanted number of frames; videos with fewer keep all.
    """
    if output.exists():
        return output
    with VideoReader(video) as reader:
        stride = max(1, sum(1 for _ in reader) // frames)
    with VideoReader(video) as reader, VideoWriter(output, reader.size, reader.fps / stride, crf=12) as writer:
        for number, frame in enumerate(reader):
            if number % stride == 0 and number // stride < frames:
                writer.write(frame.image)
    return output


def equal_steps(pipeline: ReenactmentPipeline, pair: Pair, tunings: list[str], seconds: float) -> dict[str, int]:
    """Steps of each tuning that take so many CPU seconds.

    Args:
        pipeline (`ReenactmentPipeline`): The system.
        pair (`Pair`): On which a step is timed.
        tunings (list of `str`): Of `TUNINGS`.
        seconds (`float`): CPU seconds of this process.
    """
    steps = {}
    identity = pipeline.encode_identity(pair.source, adapt=0)
    for name in tunings:
        if name == "none":
            steps[name] = 0
            continue
        times: list[float] = []
        tune(
            pipeline, identity, pair, name, TIMED_STEPS[name], lambda _, times=times: times.append(time.process_time())
        )
        spent = np.diff(times)
        step = float(np.median(spent[-TIMED_STEPS[name] // 2 :]))
        steps[name] = max(1, round(seconds / max(step, 1e-6)))
    return steps


def tune(
    pipeline: ReenactmentPipeline,
    identity: IdentityCode,
    pair: Pair,
    name: str,
    steps: int,
    on_progress: Callable | None = None,
) -> IdentityCode:
    """The identity, tuned by one of `TUNINGS`."""
    if name == "none":
        return identity
    driving = pair.driving if name == "cma" else None
    return pipeline.adjust_manifold(identity, driving, method=name, steps=steps, on_progress=on_progress)


def compare(
    pipeline: ReenactmentPipeline,
    pairs: list[Pair],
    steps: dict[str, int],
    folder: Path,
    score: Callable[[Pair, Path], Row],
) -> list[Row]:
    """Tune, render and score every pair with every tuning; lines of `rows.jsonl` are not made again.

    Args:
        pipeline (`ReenactmentPipeline`): The system.
        pairs (list of `Pair`): Those of one source follow one another.
        steps (`dict[str, int]`): Of each tuning.
        folder (`Path`): Of videos and rows.
        score (callable): Scores a pair's video.
    """
    log = folder / "rows.jsonl"
    rows: list[Row] = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    done = {(row["name"], row["tuning"]) for row in rows}
    tuned: dict[str, tuple[Path, IdentityCode, float]] = {}  # those that do not depend on the clip, once a source
    for pair in pairs:
        identity = None
        for name, count in steps.items():
            if (pair.name, name) in done:
                continue
            row: Row = {"name": pair.name, "mode": pair.mode, "tuning": name, "steps": count}
            row["kind"] = "people" if pair.source.parent.name == "people" else "photographs"
            output = folder / f"{pair.name}_{name}.mp4"
            try:
                if name in tuned and tuned[name][0] == pair.source:
                    _, code, seconds = tuned[name]
                else:
                    identity = identity or pipeline.encode_identity(pair.source, adapt=0)
                    began = time.process_time()
                    code = tune(pipeline, identity, pair, name, count)
                    seconds = time.process_time() - began
                    if name != "cma":
                        tuned[name] = pair.source, code, seconds
                pipeline(code, pair.driving, detail=False).save(output)
                row |= {"seconds": seconds} | score(pair, output)
            except MediaError as error:
                row["error"] = str(error)
            rows.append(row)
            with log.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(pair.name, name, {k: round(v, 3) for k, v in row.items() if isinstance(v, float)}, flush=True)
    return rows


def scorer_of(path: Path, cache: Path) -> Callable[[Pair, Path], Row]:
    """The scoring program as a function of a pair and its video: the numbers of the table."""
    scorer = load_scorer(path)
    models, failures = scorer.Models(), getattr(scorer, "InputError", MediaError)

    def score(pair: Pair, output: Path) -> Row:
        try:
            report = scorer.evaluate(
                str(pair.source), str(pair.driving), str(output), mode=pair.mode, models=models, cache=str(cache)
            )
        except failures as error:
            raise MediaError(str(error)) from error
        return read_report(report)

    return score


if __name__ == "__main__":
    run_program(main)
