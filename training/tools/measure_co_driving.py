"""Measure co-driving on held-out people: `python -m training.tools.measure_co_driving --output FOLDER`.

Portrait of person k, pose of a clip of person k + 1, expression of a clip of person k + 2: rendered, from seeds that no
training sees. The package's face networks read all three. The result's yaw and pitch are correlated over time with
those of either clip, and so are the openings of mouth and eyes; both clips move in all of these. The correlation with
the clip that a motion is taken from should be high, and that with the other clip near the correlation of the two clips
themselves. The same is done with the portrait's own pose (`pose="source"`), whose head should stand still.

Written to the output folder: `table.json`, `table.md` and `sheet.png` (pose clip, expression clip, result).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from training.evaluation.pairs import render_people
from training.tools.programs import add_device, program_parser, run_program
from vivface.errors import OptionError
from vivface.media import VideoReader, load_image, save_image

if TYPE_CHECKING:
    from vivface.faces.landmarks import LandmarkBackend
    from vivface.pipelines.base import ReenactmentPipeline

FIRST_SEED = 950_000  # held-out people
READ = {"yaw": 8, "pitch": 9, "mouth": 2, "eyes": None}  # places in `FaceState.as_array`; eyes: mean of both lids
SHOWN = 6  # frames of a row of the sheet
SIZE = 256  # of what faces are read from, pixels


def main(arguments: list[str] | None = None) -> None:
    """Render people, co-drive, read, report.

    Args:
        arguments (`list[str]`, *optional*): Command line; that of the process by default.

    Raises:
        OptionError: If a number is out of range or the checkpoint has no pose subspace.
        CheckpointError: If the checkpoint cannot be loaded.
    """
    from vivface import load_pipeline
    from vivface.runtime import choose_device

    options = parse_arguments(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    people = render_people(
        options.output / "clips", options.people, options.frames, 12, 256, options.assets, FIRST_SEED
    )
    pipeline = load_pipeline(options.checkpoint, system=options.system).to(choose_device(options.device))
    pipeline.set_progress_bar_config(disable=True)
    rows, strips = [], []
    for number, (portrait, _) in enumerate(people):
        pose_clip, expression_clip = (people[(number + step) % len(people)][1] for step in (1, 2))
        row, strip = measure(pipeline, portrait, pose_clip, expression_clip)
        print(f"{number}: " + ", ".join(f"{name} {value:.2f}" for name, value in row.items()), flush=True)
        rows.append(row)
        strips = [*strips, strip][: options.shown]
        means = {name: float(np.nanmean([row[name] for row in rows])) for name in rows[0]}  # a stop keeps what is done
        (options.output / "table.json").write_text(json.dumps({"mean": means, "rows": rows}, indent=1))
        (options.output / "table.md").write_text(format_table(means))
        save_image(options.output / "sheet.png", np.vstack(strips))
    print(format_table(means))


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Options of the command line.

    Raises:
        OptionError: If a number is out of range.
    """
    parser = program_parser("measure_co_driving", __doc__)
    parser.add_argument("--checkpoint", help="folder or Hub id; default: the bundled checkpoint")
    parser.add_argument("--system", help="which system to build from it; default: as it says")
    parser.add_argument("--output", type=Path, default=Path("runs/co-driving"), help="clips and results go here")
    parser.add_argument("--people", type=int, default=8, help="held-out people, 3 or more")
    parser.add_argument("--frames", type=int, default=40, help="frames of each clip, 12 a second")
    parser.add_argument("--shown", type=int, default=3, help="people in the sheet")
    parser.add_argument("--assets", type=Path, help="MakeHuman data folder (default: VIVFACE_ASSETS)")
    add_device(parser)
    options = parser.parse_args(arguments)
    if options.people < 3 or options.frames < 10:
        raise OptionError(
            f"--people is {options.people} and --frames {options.frames}, expected at least 3 people and 10 frames."
        )
    return options


def measure(
    pipeline: ReenactmentPipeline, portrait: Path, pose_clip: Path, expression_clip: Path
) -> tuple[dict[str, float], np.ndarray]:
    """Co-drive a portrait, and read what the result does.

    Args:
        pipeline (`ReenactmentPipeline`): The system.
        portrait, pose_clip, expression_clip (`Path`): Image and two videos of equal length and rate.

    Returns:
        `tuple`: Correlations by name, and frames as a strip `(3 * side, width, 3)` uint8 RGB.
    """
    from vivface.faces.backends import get_backend

    clips = [_frames(pose_clip), _frames(expression_clip)]
    identity = pipeline.encode_identity(portrait, adapt=0)
    mixed = list(pipeline(identity, expression_clip, co_driving=pose_clip))
    still = list(pipeline(identity, expression_clip, pose="source"))
    backend = get_backend("mesh")
    pose, expression, result, own = (read_motion(backend, frames) for frames in (*clips, mixed, still))
    row = {}
    for name in READ:
        head = name in ("yaw", "pitch")
        wanted, other = (pose, expression) if head else (expression, pose)
        row[name] = correlation(wanted[name], result[name])
        row[f"{name} of the other"] = correlation(other[name], result[name])
        row[f"{name} of both clips"] = correlation(pose[name], expression[name])
        if head:
            row[f"{name} spread, own pose"] = float(np.nanstd(own[name]))
            row[f"{name} spread, driver"] = float(np.nanstd(expression[name]))
        else:
            row[f"{name}, own pose"] = correlation(expression[name], own[name])
    places = np.linspace(0, len(mixed) - 1, SHOWN).round().astype(int)
    source = load_image(portrait)
    blank = np.full_like(source, 255)
    lines = [
        [first, *(frames[k] for k in places)]
        for first, frames in ((blank, clips[0]), (source, clips[1]), (blank, mixed))
    ]
    return row, np.vstack(
        [np.hstack([cv2.resize(image, (112, 112), interpolation=cv2.INTER_AREA) for image in line]) for line in lines]
    )


def read_motion(backend: LandmarkBackend, frames: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Yaw, pitch, mouth and eyes of every frame; NaN where no face is found.

    Args:
        backend (`LandmarkBackend`): Finds faces.
        frames (sequence of `np.ndarray` of shape `(height, width, 3)`): uint8 RGB.
    """
    from vivface.faces import choose_face, read_state

    values, face = [], None
    for frame in frames:
        if frame.shape[0] < SIZE:
            frame = cv2.resize(frame, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
        face = None if face is None else backend.refine(frame, face)
        if face is None:
            found = backend.detect(frame, effort="low")
            face = choose_face(found, where="a frame") if found else None
        values.append(np.full(11, np.nan) if face is None else read_state(face.points).as_array())
    columns = np.stack(values)
    return {name: columns[:, :2].mean(1) if place is None else columns[:, place] for name, place in READ.items()}


def correlation(wanted: np.ndarray, made: np.ndarray) -> float:
    """Pearson's r over the frames in which both are known; NaN if one of them stands still."""
    known = np.isfinite(wanted) & np.isfinite(made)
    wanted, made = wanted[known], made[known]
    if known.sum() < 3 or min(wanted.std(), made.std()) < 1e-6:
        return float("nan")
    return float(np.corrcoef(wanted, made)[0, 1])


def format_table(means: dict[str, float]) -> str:
    """Markdown of the means."""
    lines = ["| | r with the clip it is from | r with the other clip | r of the clips |", "|---|---|---|---|"]
    for name in READ:
        cells = [f"{means[key]:.2f}" for key in (name, f"{name} of the other", f"{name} of both clips")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines.append("")
    for name in ("yaw", "pitch"):
        spread, driver = means[f"{name} spread, own pose"], means[f"{name} spread, driver"]
        lines.append(f"- the portrait's own pose: {name} spreads by {spread:.1f} degrees, the driver's by {driver:.1f}")
    for name in ("mouth", "eyes"):
        lines.append(f"- the portrait's own pose: r of {name} {means[f'{name}, own pose']:.2f}")
    return "\n".join(lines) + "\n"


def _frames(video: Path) -> list[np.ndarray]:
    with VideoReader(video) as reader:
        return [frame.image for frame in reader]


if __name__ == "__main__":
    run_program(main)
