"""HyperReenact's benchmark of extreme poses on renders, whose poses are exact, for several systems side by side.

    python -m training.tools.extreme_poses --folders data/people --output runs/extreme

A pair is a frame of one person and a frame of another whose Euler angles differ by more than 15 degrees on average
(HyperReenact, sec. 4); `--least 0` takes pairs of all differences. Faces are cut by their true landmarks, so no tracker
decides what a system sees. Results are read by the networks that also find faces for the pipelines, and identity by
dlib's descriptor if it is installed; none of them took part in a training of the bundled networks. `driver` in the
table are the driving frames themselves: what the readers make of perfect motion.

Writes `table.md`, `table.json`, `plot.png` and `sheet.png` (source, driver, results).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from training.data.shards import GroupShards, ShardRecord
from training.evaluation.face_measures import turned_image
from training.stages.face_state import correlation
from training.tools.programs import add_people, program_parser, run_program
from vivface.errors import BackendError, OptionError
from vivface.faces.alignment import crop_quad, ffhq_quad, quad_angle, to_crop
from vivface.faces.backends import get_backend
from vivface.faces.crops import face_quad
from vivface.faces.landmarks import LandmarkBackend
from vivface.faces.state import STATE_NAMES, read_state
from vivface.files import complete_file
from vivface.media import save_image
from vivface.media.tensors import to_images
from vivface.metrics import face_state
from vivface.metrics.average import needs
from vivface.metrics.descriptor import DlibDescriptor
from vivface.metrics.protocols import EXTREME
from vivface.pipelines import load_pipeline
from vivface.pipelines.base import ReenactmentPipeline
from vivface.reenactment.codes import IdentityCode
from vivface.reenactment.portrait import Portrait, cut_face
from vivface.warping.mesh import face_points

SIZE = 256  # pixels at which results are read
DRIVER, INVERSION = "driver", "inversion"
SHOWN = 16  # pairs in the sheet

#: Name -> whether more is better, and what it is.
MEASURES = {
    "face found": (True, "share of results in which a face is found"),
    "identity distance": (False, "L2 of dlib's descriptors of result and source"),
    "nearer to source": (True, "share of results whose descriptor is nearer to the source's than to the driver's"),
    "pose distance": (False, "mean absolute error of yaw, pitch and roll against the true pose, degrees"),
    "yaw correlation": (True, "of read and true yaw over all pairs"),
    "pitch correlation": (True, "of read and true pitch"),
    "expression distance": (False, "L1 of lids, lips and brows of result and driver, as read"),
    "mouth correlation": (True, "of the opening of the lips of result and driver, as read"),
    "lids correlation": (True, "of the opening of the lids"),
    "gaze error": (False, "L2 of the directions of gaze, as read, degrees"),
}


@dataclass
class Frame:
    """A frame of a synthetic person.

    Attributes:
        record (`ShardRecord`), index (`int`): Which.
        image (`np.ndarray` of shape `(height, width, 3)`): uint8 RGB.
    """

    record: ShardRecord
    index: int
    image: np.ndarray

    @property
    def landmarks(self) -> np.ndarray:
        """`(68, 2)` in pixels, pixel centres at integers."""
        return self.record.landmarks[self.index] - 0.5

    def crop(self, size: int = SIZE) -> np.ndarray:
        """FFHQ's square, `(size, size, 3)`."""
        return crop_quad(self.image, ffhq_quad(self.landmarks), size)

    @property
    def pose(self) -> np.ndarray:
        """Yaw, pitch, roll `(3,)` against the axes of that square, degrees."""
        return turned_image(self.record.pose[self.index], quad_angle(ffhq_quad(self.landmarks)))


@dataclass
class Reading:
    """What is read of an image: state `(11,)` and descriptor `(128,)`; None where no face or no descriptor is."""

    state: np.ndarray | None
    descriptor: np.ndarray | None


class Reader:
    """Reads images with the face networks, and dlib where it is installed."""

    def __init__(self) -> None:
        self.backend: LandmarkBackend = get_backend("mesh")
        try:
            self.descriptor: DlibDescriptor | None = DlibDescriptor()
        except BackendError:
            self.descriptor = None

    def __call__(self, image: np.ndarray) -> Reading:
        """Read an image `(height, width, 3)`, uint8 RGB."""
        if image.shape[0] != SIZE:
            image = cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
        face = next(iter(self.backend.detect(image, effort="high")), None)
        if face is None or face.points is None:
            return Reading(None, None)
        described = None if self.descriptor is None else self.descriptor(image, face.landmarks)[0].numpy()
        return Reading(read_state(face.points).as_array(), described)


class System:
    """A pipeline that is driven frame by frame; sources are kept.

    Args:
        name (`str`): Of `vivface.hub.registry.SYSTEMS`, or `"inversion"`: HyperReenact's inversion alone.
        checkpoint (`str`, *optional*): Folder or Hub id.
        adapt (`int`, *optional*, defaults to 0): Steps of tuning to every source.
    """

    def __init__(self, name: str, checkpoint: str | None, adapt: int = 0):
        self.plain, self.adapt = name == INVERSION, adapt
        self.pipeline: ReenactmentPipeline = load_pipeline(checkpoint, system="hyperreenact" if self.plain else name)
        self._backend = get_backend("mesh")
        self._identities: dict[tuple[Path, int], IdentityCode] = {}

    def __call__(self, source: Frame, driver: Frame) -> np.ndarray:
        """The source with the driver's pose and expression: uint8 RGB."""
        pipeline, key = self.pipeline, (source.record.path, source.index)
        if key not in self._identities:
            with torch.no_grad():
                portrait = Portrait(source.image, source.landmarks.astype(np.float64), [])
                identity = pipeline.read_portrait(portrait)
            identity.fingerprint = pipeline.fingerprint
            if self.adapt and not self.plain:
                identity.points = self._points(source, identity.quad)
                identity = pipeline.adjust_manifold(identity, method="portrait", steps=self.adapt)
            self._identities[key] = identity
        identity = self._identities[key]
        if self.plain:
            with torch.no_grad():
                return to_images(pipeline.generator(styles=identity.styles))[0]
        crop, quad = pipeline.motion_crop, face_quad(driver.landmarks, pipeline.motion_crop)
        motion = pipeline.encode_crops([cut_face(driver.image, quad, crop, pipeline.motion_size)])
        return to_images(pipeline.generate(identity, motion))[0]

    def _points(self, source: Frame, quad: np.ndarray) -> np.ndarray | None:
        """Points of the face in its crop, of which a tuning makes views; None where no face is found."""
        face = next(iter(self._backend.detect(source.image, effort="high")), None)
        return None if face is None or face.points is None else to_crop(face_points(face.points), quad)


def main(arguments: list[str] | None = None) -> None:
    """Draw pairs, make and read results, write.

    Raises:
        OptionError: If no pair differs enough.
        BackendError: If matplotlib is not installed.
    """
    options = parse_arguments(arguments)
    pairs = draw_pairs(GroupShards(options.folders), options.pairs, options.least, options.seed)
    systems: dict[str, Callable[[Frame, Frame], np.ndarray]] = {DRIVER: lambda source, driver: driver.crop()}
    systems |= {name: System(name, options.checkpoint, options.adapt) for name in options.systems}
    reader, rows, results = Reader(), {name: [] for name in systems}, []
    for number, (source, driver) in enumerate(pairs, 1):
        known = reader(source.crop()), reader(driver.crop())
        made = {name: system(source, driver) for name, system in systems.items()}
        for name, image in made.items():
            rows[name].append((reader(image), *known, driver.pose))
        if len(results) < SHOWN:
            results.append([source.crop(), *made.values()])
        if number % 50 == 0 or number == len(pairs):
            print(f"{number}/{len(pairs)}", flush=True)
    scores = {name: score(each) for name, each in rows.items()}
    table = markdown(scores)
    print(table)
    options.output.mkdir(parents=True, exist_ok=True)
    content = {"pairs": len(pairs), "least": options.least, "scores": scores}
    for name, text in (("table.md", table), ("table.json", json.dumps(content, indent=1) + "\n")):
        with complete_file(options.output / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    draw_plot(options.output / "plot.png", scores)
    save_image(options.output / "sheet.png", sheet(results))


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line.

    Raises:
        OptionError: If a number is out of range.
    """
    parser = program_parser("extreme_poses", __doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder for the results")
    parser.add_argument("--checkpoint", help="folder or Hub id; default: the bundled checkpoint")
    parser.add_argument(
        "--systems", nargs="+", default=["vivface", "hybrid", "hyperreenact"],
        help="names as for `vivface reenact --system`, and 'inversion': HyperReenact's inversion alone",
    )  # fmt: skip
    parser.add_argument("--adapt", type=int, default=0, help="steps of tuning to every source")
    parser.add_argument("--pairs", type=int, default=1000, help="how many")
    parser.add_argument("--least", type=float, default=EXTREME, help="mean difference of angles, degrees")
    parser.add_argument("--seed", type=int, default=0, help="of the pairs")
    add_people(parser)
    options = parser.parse_args(arguments)
    if options.pairs < 2:
        raise OptionError(f"--pairs is {options.pairs}, expected at least 2.")
    if options.adapt < 0:
        raise OptionError(f"--adapt is {options.adapt}, expected 0 or more steps.")
    return options


def draw_pairs(shards: GroupShards, count: int, least: float, seed: int) -> list[tuple[Frame, Frame]]:
    """Pairs of different people whose poses differ enough, without repetition.

    Args:
        shards (`GroupShards`): The people.
        count (`int`): At most so many.
        least (`float`): Mean absolute difference of the three angles, degrees.
        seed (`int`): Of the choice.

    Raises:
        OptionError: If there are fewer than two.
    """
    frames = [(record, k) for record in shards.records() for k in range(record.frames)]
    pose = np.array([record.pose[k] for record, k in frames])
    person = np.array([record.seed for record, _ in frames])
    chosen = []
    for first in range(len(frames)):
        far = np.abs(pose - pose[first]).mean(1) > least
        chosen += [(first, int(second)) for second in np.flatnonzero(far & (person != person[first]))]
    if len(chosen) < 2:
        raise OptionError(f"--folders show {len(chosen)} pairs that differ by {least:g} degrees: render more people.")
    order = np.random.default_rng(seed).permutation(len(chosen))[:count]
    return [tuple(_frame(shards, *frames[k]) for k in chosen[n]) for n in order]


def _frame(shards: GroupShards, record: ShardRecord, index: int) -> Frame:
    return Frame(record, index, shards.image(record, index))


def score(rows: list[tuple[Reading, Reading, Reading, np.ndarray]]) -> dict[str, float | None]:
    """All measures of a system.

    Args:
        rows (`list`): For every pair what is read of result, source and driver, and the driver's true pose.

    Returns:
        `dict[str, float | None]`: By `MEASURES`; None without dlib.
    """
    seen = [row for row in rows if row[0].state is not None and row[2].state is not None]
    values: dict[str, float | None] = dict.fromkeys(MEASURES)
    values["face found"] = sum(row[0].state is not None for row in rows) / len(rows)
    described = [row for row in seen if all(each.descriptor is not None for each in row[:3])]
    if described:
        near, far = (
            np.array([np.linalg.norm(row[0].descriptor - row[k].descriptor) for row in described]) for k in (1, 2)
        )
        values["identity distance"], values["nearer to source"] = float(near.mean()), float((near < far).mean())
    if len(seen) < 2:
        return values
    made, driver = (np.stack([row[k].state for row in seen]) for k in (0, 2))
    truth = np.stack([row[3] for row in seen])
    angles = np.concatenate([face_state.pose(state).numpy() for state in made])
    values["pose distance"] = float(np.abs(angles - truth).mean())
    for k, name in enumerate(("yaw", "pitch")):
        values[f"{name} correlation"] = correlation(angles[:, k], truth[:, k])
    both = [[np.concatenate([read(x).numpy() for x in each]) for each in (made, driver)]
            for read in (face_state.expression, face_state.gaze)]  # fmt: skip
    values["expression distance"] = float(np.abs(both[0][0] - both[0][1]).mean())
    values["gaze error"] = float(np.linalg.norm(both[1][0] - both[1][1], axis=1).mean())
    place = STATE_NAMES.index
    values["mouth correlation"] = correlation(made[:, place("mouth_open")], driver[:, place("mouth_open")])
    lids = [each[:, [place("lid_right"), place("lid_left")]].mean(1) for each in (made, driver)]
    values["lids correlation"] = correlation(*lids)
    return values


def markdown(scores: dict[str, dict[str, float | None]]) -> str:
    """A table with a column for every system."""
    lines = ["| measure | " + " | ".join(scores) + " |", "| --- |" + " ---: |" * len(scores)]
    for name, (higher, _) in MEASURES.items():
        cells = ["–" if each[name] is None else f"{each[name]:.3g}" for each in scores.values()]
        lines.append(f"| {name} {'↑' if higher else '↓'} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw_plot(path: Path, scores: dict[str, dict[str, float | None]]) -> None:
    """Bars of every measure, a colour for every system.

    Raises:
        BackendError: If matplotlib is not installed.
    """
    figure = needs("matplotlib.figure").Figure(figsize=(12, 5), layout="constrained")
    colours = [f"C{k}" for k in range(len(scores))]
    for number, (name, (higher, _)) in enumerate(MEASURES.items(), 1):
        axes = figure.add_subplot(2, 5, number)
        axes.bar(list(scores), [each[name] or 0.0 for each in scores.values()], color=colours)
        axes.set_title(f"{name} {'↑' if higher else '↓'}", fontsize=9)
        axes.tick_params(axis="x", labelrotation=30, labelsize=7)
        axes.tick_params(axis="y", labelsize=7)
    with complete_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def sheet(results: list[list[np.ndarray]], size: int = 128) -> np.ndarray:
    """Rows of source, driver and every system's result; two pairs in a row."""
    rows = [np.hstack([cv2.resize(x, (size, size), interpolation=cv2.INTER_AREA) for x in row]) for row in results]
    rows += [np.zeros_like(rows[0])] * (len(rows) % 2)
    return np.vstack([np.hstack(rows[k : k + 2]) for k in range(0, len(rows), 2)])


if __name__ == "__main__":
    run_program(main)
