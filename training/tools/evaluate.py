"""Score a checkpoint with an independent program: `python -m training.tools.evaluate --scorer FILE`.

Held-out synthetic people (seeds from 901000, in no training shard): the portrait of person k is driven by the clip of
person k + 7 (mode "cross") and by the rest of their own clip (mode "same"), whose frames are the ground truth. Cross
clips last 6 s, as real driving clips do: in 2 s many heads hardly nod. Same clips last 2.4 s: images are compared in
one crop of the whole clip, which heads leave in a longer one. With `--pairs SOURCES DRIVING`, every image of one folder
is driven by every video of another. With `--ground-truth`, renders of the source performing the driving motion, cropped
to the checkpoint's size, are scored instead of results: an upper bound.

Prints a table and writes every number to `OUTPUT/table.json`. The scorer is a Python file with `Models()`,
`analyse(path, models, limit, id_every, cache)` and `evaluate(source, driving, output, mode=, models=, cache=)`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from training.evaluation.pairs import FIRST_SEED, Pair, pairs_of_folders, pairs_of_people, render_people
from training.evaluation.scores import Row, load_scorer, score
from training.evaluation.sheet import contact_sheet
from training.evaluation.tables import GOALS, PAIR_GOALS, format_means, format_pairs, mean_table
from training.evaluation.videos import ground_truth_maker, reenactment_maker, score_all
from training.tools.programs import add_device, program_parser, run_program
from vivface.errors import MediaError, OptionError
from vivface.media import check_output, save_image


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Options of the command line.

    Raises:
        OptionError: If they contradict one another or a number is out of range.
    """
    parser = program_parser("evaluate", __doc__)
    parser.add_argument("--scorer", type=Path, help="the independent scoring program (a Python file)")
    parser.add_argument("--pairs", type=Path, nargs=2, metavar=("SOURCES", "DRIVING"), help="folders of real media")
    parser.add_argument("--output", type=Path, default=Path("runs/evaluation"), help="videos and results go here")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet (PNG) of the pairs")
    parser.add_argument("--checkpoint", help="folder or Hub id; default: the bundled checkpoint")
    add_device(parser)
    parser.add_argument("--adapt", type=int, help="adaptation steps a source; default: as the checkpoint says")
    parser.add_argument("--no-refine", action="store_true", help="leave out the second stage")
    parser.add_argument(
        "--show", choices=("default", "generator", "landmark-warp"), default="default",
        help="score what the checkpoint shows, the generator's images, or a baseline that learns nothing",
    )  # fmt: skip
    parser.add_argument("--detector", default="auto", help="what finds faces, as for `vivface reenact`")
    people = parser.add_argument_group("synthetic people")
    people.add_argument("--people", type=int, default=20)
    people.add_argument("--first-seed", type=int, default=FIRST_SEED, help="of the people; default: %(default)s")
    people.add_argument("--frames", type=int, default=150, help="frames of each clip that drives somebody else")
    people.add_argument("--own-frames", type=int, default=60, help="frames of each clip that drives its own person")
    people.add_argument("--fps", type=int, default=25)
    people.add_argument("--size", type=int, default=384, help="size of the rendered clips, pixels")
    people.add_argument("--clips", type=Path, help="folder that keeps the rendered clips; default: OUTPUT/clips")
    people.add_argument("--assets", type=Path, help="MakeHuman data folder (default: VIVFACE_ASSETS)")
    people.add_argument("--ground-truth", action="store_true", help="score the ground truth at the checkpoint's size")
    people.add_argument("--render-only", action="store_true", help="render missing clips and stop")
    options = parser.parse_args(arguments)
    if options.people < 1 or min(options.frames, options.own_frames) < 10:
        raise OptionError(
            f"--people is {options.people}, --frames {options.frames} and --own-frames {options.own_frames}, expected "
            "at least 1 person and 10 frames."
        )
    if options.ground_truth and options.pairs:
        raise OptionError(
            "--ground-truth was given with --pairs; expected one of them: only renders have a ground truth."
        )
    if options.scorer is None and not options.render_only:
        raise OptionError("--scorer is missing, expected the Python file of the scoring program.")
    if options.sheet is not None:
        options.sheet.parent.mkdir(parents=True, exist_ok=True)
        check_output(options.sheet, (".png", ".jpg"))
    return options


def main(arguments: list[str] | None = None) -> None:
    """Collect pairs, make and score their videos, report.

    Args:
        arguments (`list[str]`, *optional*): Command line; that of the process by default.

    Raises:
        OptionError: If an option is wrong.
        CheckpointError: If the checkpoint cannot be loaded.
    """
    options = parse_arguments(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    clips = options.clips or options.output / "clips"
    pairs = collect_pairs(options, clips)
    if options.render_only:
        return
    score_pair = pair_scorer(load_scorer(options.scorer), options.output / "analysis")
    make = ground_truth_maker(options, clips) if options.ground_truth else reenactment_maker(options)
    report(options, pairs, score_all(pairs, options.output, make, score_pair))


def collect_pairs(options: argparse.Namespace, clips: Path) -> list[Pair]:
    """Pairs of the folders of `--pairs`, or of synthetic people, whose missing clips are rendered."""
    if options.pairs:
        return pairs_of_folders(*options.pairs)
    people, own = (
        render_people(clips, options.people, frames, options.fps, options.size, options.assets, options.first_seed)
        for frames in (options.frames, options.own_frames)
    )
    return pairs_of_people(people, own)


def pair_scorer(scorer: ModuleType, cache: Path) -> Callable[[Pair, Path], Row]:
    """The scorer as a function of a pair and its video; its own input errors become `MediaError`."""
    models, failures = scorer.Models(), getattr(scorer, "InputError", MediaError)

    def score_pair(pair: Pair, output: Path) -> Row:
        try:
            return score(pair, output, scorer, models, cache)
        except failures as error:  # no face in the result, for example
            raise MediaError(str(error)) from error

    return score_pair


def report(options: argparse.Namespace, pairs: list[Pair], scored: list[tuple[Pair, Path, Row]]) -> None:
    """Print the tables, write `table.json` and the contact sheet."""
    rows = [row for _, _, row in scored]
    tables = {}
    print(format_pairs(rows, PAIR_GOALS if options.pairs else {}))
    for mode in dict.fromkeys(pair.mode for pair in pairs):
        tables[mode] = mean_table([row for row in rows if row["mode"] == mode])
        print(f"\n{mode}\n{format_means(tables[mode], PAIR_GOALS if options.pairs else GOALS[mode])}")
    (options.output / "table.json").write_text(json.dumps({"mean": tables, "rows": rows}, indent=1))
    if options.sheet is not None:
        shown = [(pair, path) for pair, path, _ in scored if path.exists() and (options.pairs or pair.mode == "cross")]
        if shown:
            columns = len({pair.driving for pair, _ in shown}) if options.pairs else 2
            save_image(options.sheet, contact_sheet(shown, columns))


if __name__ == "__main__":
    run_program(main)
