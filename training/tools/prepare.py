"""Make training clips of real videos: `python -m training.tools.prepare VIDEOS OUT`.

VIDEOS is any folder tree with videos, or the CelebV-HQ, HDTF or VoxCeleb data set. OUT gets WebDataset shards of
aligned clips with landmarks and an index (`training.preparation.shards`), split by person, and a report of what was
left out and why. A run that was killed goes on where it stopped; `--shard i/n` is the i-th of n machines' part.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path

from training.preparation.clips import REASONS, Filters
from training.preparation.executors import EXECUTORS, run_processes, run_ray
from training.preparation.layouts import LAYOUTS, find_videos, split_people
from training.preparation.shards import REPORT, Shard, is_done, keep_plan, make_plan, make_report
from training.tools.programs import program_parser, run_program
from vivface.errors import OptionError
from vivface.faces.backends import BACKENDS


def main(arguments: list[str] | None = None) -> None:
    """Find, plan, make what is missing, report.

    Args:
        arguments (`list[str]`, *optional*): Command line; that of the process by default.

    Raises:
        OptionError: If there are no videos, or OUT holds shards of something else.
    """
    options = parse_arguments(arguments)
    filters = read_filters(options)
    part, parts = read_part(options.shard)
    layout, videos = find_videos(options.videos, options.layout)
    people = split_people(videos, tuple(options.split), options.seed)
    shards = make_plan(videos, people, options.videos_per_shard)
    keep_plan(options.output, shards, {"layout": layout, "seed": options.seed, **asdict(filters)})
    print(f"{len(videos)} videos of {len(people)} people ({layout}), {len(shards)} shards")

    mine = shards[part - 1 :: parts]
    missing = [shard for shard in mine if not is_done(options.output, shard)]
    if len(missing) < len(mine):
        print(f"{len(mine) - len(missing)} of {len(mine)} shards are there already")
    if missing:
        show(executor(options, missing, filters), missing)
    report = make_report(options.output, shards)
    print(describe(report) if report else "shards of other parts are still missing; the last part writes the report")


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    parser = program_parser("prepare", __doc__)
    parser.add_argument("videos", type=Path, help="folder with videos, subfolders included")
    parser.add_argument("output", type=Path, help="folder of the shards")
    parser.add_argument("--layout", default="auto", help=f"whose video it is: auto, {', '.join(LAYOUTS)}")
    parser.add_argument(
        "--split", type=float, nargs=3, default=(0.9, 0.05, 0.05), help="shares of people: train, validation, test"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the split")
    parser.add_argument("--videos-per-shard", type=int, default=32, help="videos of one shard")
    parser.add_argument("--shard", default="1/1", metavar="I/N", help="make the shards of the I-th of N machines")
    parser.add_argument("--executor", "--engine", choices=EXECUTORS, default="processes", help="who makes the shards")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="shards made at a time")
    parser.add_argument("--ray-address", help="of a running cluster, such as auto or ray://host:10001")
    defaults = {field.name: field.default for field in fields(Filters)}
    helps = {
        "size": "side of the aligned frames, pixels",
        "min_side": "shortest side of the square around the face in the video, pixels",
        "min_sharpness": "least variance of the Laplacian of a grey crop",
        "min_frames": "fewest frames of a clip",
        "max_frames": "frames read of a video, from its start; 0 for all",
        "check_every": "frames between searches for further faces",
    }
    for name, text in helps.items():
        kind = type(defaults[name])
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=defaults[name], help=text)
    parser.add_argument("--detector", choices=BACKENDS, default="auto", help="what finds faces")
    return parser.parse_args(arguments)


def read_filters(options: argparse.Namespace) -> Filters:
    """The filters that were asked for.

    Raises:
        OptionError: If a number is out of range.
    """
    least = {"size": 16, "min_frames": 1, "max_frames": 0, "check_every": 1, "videos_per_shard": 1, "workers": 1}
    for name, value in least.items():
        if getattr(options, name) < value:
            shown = name.replace("_", "-")
            raise OptionError(f"--{shown} is {getattr(options, name)}, expected at least {value}")
    names = [field.name for field in fields(Filters) if field.name != "backend"]
    return Filters(**{name: getattr(options, name) for name in names}, backend=options.detector)


def read_part(text: str) -> tuple[int, int]:
    """`"2/8"` as 2 and 8.

    Raises:
        OptionError: If it is anything else.
    """
    first, _, second = text.partition("/")
    if not (first.isdigit() and second.isdigit() and 1 <= int(first) <= int(second)):
        raise OptionError(f"--shard is {text!r}, expected I/N with I from 1 to N, such as 1/4")
    return int(first), int(second)


def executor(options: argparse.Namespace, shards: list[Shard], filters: Filters) -> Iterator[tuple[str, dict]]:
    """Shards as they are finished."""
    if options.executor == "ray":
        return run_ray(options.videos, options.output, shards, filters, options.workers, options.ray_address)
    return run_processes(options.videos, options.output, shards, filters, options.workers)


def show(made: Iterator[tuple[str, dict]], shards: list[Shard]) -> None:
    """Print every shard when it is there."""
    began = time.monotonic()
    for done, (name, index) in enumerate(made, 1):
        clips = index["clips"] if isinstance(index["clips"], int) else len(index["clips"])
        print(f"{name}: {clips} clips; {done} of {len(shards)}, {time.monotonic() - began:.0f} s", flush=True)


def describe(report: dict) -> str:
    """The report for people."""
    lines = []
    for split, numbers in report["splits"].items():
        if numbers["videos"]:
            lines.append(f"{split}: " + ", ".join(f"{value} {name}" for name, value in numbers.items()))
    if report["dropped"]:
        lines.append(f"left out (all of it in {REPORT}):")
        lines += [f"  {count:>8} {name}: {REASONS[name]}" for name, count in report["dropped"].items()]
    lines += [f"  {fault}" for fault in list(report["unreadable"].values())[:20]]
    return "\n".join(lines)


if __name__ == "__main__":
    run_program(main)
