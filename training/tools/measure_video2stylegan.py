"""Ablation of Video2StyleGAN on held-out people: `python -m training.tools.measure_video2stylegan --output FOLDER`.

Portrait of person k, driven by a clip of person k + 1, forwards and backwards, in four ways (table 5 of the paper):

    baseline            residual motion alone (eq. 10), pose in it
    local               eyes, nose and mouth alone (eq. 8-9)
    baseline + local    both
    full                with position (eq. 4-6) and pose (eq. 7) of their own

For every way and direction: dK, how differently the 68 landmarks of driver and result move from frame to frame; ID, the
distance of dlib's descriptors of result and portrait; and for every way the mean absolute difference of frames that
were made forwards and backwards, which should show the same. People are rendered, from seeds that no training sees.

Written to the output folder: `table.json`, `table.md` and `sheet.png` (driver, then a row for each way).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from training.evaluation.pairs import render_people
from training.tools.programs import add_device, program_parser, run_program
from vivface.errors import BackendError, OptionError
from vivface.media import VideoReader, load_image, save_image

if TYPE_CHECKING:
    from vivface.faces.landmarks import Face, LandmarkBackend
    from vivface.metrics.descriptor import DlibDescriptor
    from vivface.pipelines.video2stylegan import Video2StyleGANPipeline

FIRST_SEED = 950_000  # held-out people
SIZE = 256  # of what faces are read from, pixels
SHOWN = 6  # frames of a row of the sheet
STILL = {"position": "source", "pose": "source"}
WAYS = {
    "baseline": {**STILL, "local": "source", "alpha": 0.0, "beta": 0.0, "gamma": 1.0, "zeta": 0.0},
    "local": {**STILL, "residual": "source"},
    "baseline + local": STILL,
    "full": {},
}


def main(arguments: list[str] | None = None) -> None:
    """Render people, drive them in every way, measure, report.

    Args:
        arguments (`list[str]`, *optional*): Command line; that of the process by default.

    Raises:
        OptionError: If a number is out of range or the checkpoint holds another system.
        CheckpointError: If the checkpoint cannot be loaded.
    """
    from vivface.cli.evaluation import write_reversed
    from vivface.pipelines.video2stylegan import Video2StyleGANPipeline
    from vivface.runtime import choose_device

    options = parse_arguments(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    folder = options.output / "clips"
    people = render_people(folder, options.people, options.frames, 12, 256, options.assets, FIRST_SEED)
    systems = {}
    for way in WAYS:  # only the full system takes pose out of the other parts
        settings = {} if way == "full" else {"pose_apart": False}
        systems[way] = Video2StyleGANPipeline.from_pretrained(options.checkpoint, **settings)
        systems[way].to(choose_device(options.device)).set_progress_bar_config(disable=True)
    rows, sheet = [], []
    for number, (portrait, _) in enumerate(people):
        clip = people[(number + 1) % len(people)][1]
        back = folder / f"{clip.stem}_reverse.mp4"
        if not back.exists():
            write_reversed(clip, back, options.frames)
        row, strip = measure(systems, portrait, clip, back)
        rows.append(row)
        sheet = sheet or strip
        means = {key: float(np.nanmean([row[key] for row in rows])) for key in rows[0]}  # a stop keeps what is done
        (options.output / "table.json").write_text(json.dumps({"mean": means, "rows": rows}, indent=1))
        (options.output / "table.md").write_text(format_table(means))
        save_image(options.output / "sheet.png", np.vstack(sheet))
        print(f"{number}: " + ", ".join(f"{name} {value:.4f}" for name, value in row.items()), flush=True)
    print(format_table(means))


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Options of the command line.

    Raises:
        OptionError: If a number is out of range.
    """
    parser = program_parser("measure_video2stylegan", __doc__)
    parser.add_argument("--checkpoint", help="folder or Hub id; default: the networks of the package")
    parser.add_argument("--output", type=Path, default=Path("runs/video2stylegan"), help="clips and results go here")
    parser.add_argument("--people", type=int, default=5, help="held-out people, 2 or more")
    parser.add_argument("--frames", type=int, default=40, help="frames of each clip, 12 a second")
    parser.add_argument("--assets", type=Path, help="MakeHuman data folder (default: VIVFACE_ASSETS)")
    add_device(parser)
    options = parser.parse_args(arguments)
    if options.people < 2 or options.frames < 3:
        raise OptionError(f"--people is {options.people} and --frames {options.frames}, expected at least 2 and 3.")
    return options


def measure(
    systems: dict[str, Video2StyleGANPipeline], portrait: Path, clip: Path, back: Path
) -> tuple[dict[str, float], list[np.ndarray]]:
    """Drive a portrait in every way, forwards and backwards.

    Args:
        systems (mapping): The pipeline of each way.
        portrait, clip, back (`Path`): An image, a video, and the video played backwards.

    Returns:
        `tuple`: Numbers by name, and rows of frames, uint8 RGB.
    """
    from vivface.faces.backends import get_backend

    backend, descriptor = get_backend("mesh"), _descriptor()
    source = load_image(portrait)
    described = None if descriptor is None else _describe(descriptor, source, _faces(backend, [source])[0])
    clips = {"forwards": _square(clip, backend), "backwards": _square(back, backend)}
    drivers = {name: _faces(backend, frames) for name, frames in clips.items()}
    row, strip = {}, [_strip(clips["forwards"])]
    for way, system in systems.items():
        identity = system.encode_identity(portrait, adapt=0)
        made = {}
        for direction, path in (("forwards", clip), ("backwards", back)):
            frames = [
                cv2.resize(x, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC) for x in system(identity, path, **WAYS[way])
            ]
            faces = _faces(backend, frames)
            row[f"{way}, dK, {direction}"] = displacement_distance(drivers[direction], faces)
            if described is not None:
                seen = [(image, face) for image, face in zip(frames, faces, strict=True) if face is not None]
                distances = [float((_describe(descriptor, *each) - described).norm()) for each in seen]
                row[f"{way}, ID, {direction}"] = float(np.mean(distances)) if distances else float("nan")
            made[direction] = np.stack(frames).astype(np.float32)
        row[f"{way}, difference"] = float(np.abs(made["forwards"] - made["backwards"][::-1]).mean())
        strip.append(_strip(list(made["forwards"].astype(np.uint8))))
    return row, strip


def displacement_distance(driving: list[Face | None], result: list[Face | None]) -> float:
    """dK of two clips, in sides of the picture; frames without a face, and those after them, do not count."""
    from vivface.metrics.keypoint_distance import KeypointDistance

    metric = KeypointDistance()
    for pair in zip(driving, result, strict=True):
        if None in pair:
            metric.reset()
        else:
            metric.update(*(torch.from_numpy(face.landmarks / SIZE) for face in pair))
    value = metric.compute()
    return float("nan") if value is None else float(value)


def format_table(means: dict[str, float]) -> str:
    """Markdown of the means."""
    lines = ["| | dK forwards / backwards, 1e-3 | ID forwards / backwards | forwards against backwards |"]
    lines.append("|---|---|---|---|")
    for way in WAYS:
        cells = []
        for name, scale, digits in (("dK", 1e3, 2), ("ID", 1, 2)):
            values = [means.get(f"{way}, {name}, {direction}") for direction in ("forwards", "backwards")]
            cells.append(" / ".join("-" if value is None else f"{value * scale:.{digits}f}" for value in values))
        lines.append(f"| {way} | {cells[0]} | {cells[1]} | {means[f'{way}, difference']:.2f} of 255 |")
    return "\n".join(lines) + "\n"


def _square(video: Path, backend: LandmarkBackend) -> list[np.ndarray]:
    """The frames of a video in the square that stands still, where the face of the first frame is."""
    from vivface.faces import choose_face, crop_quad, ffhq_quad
    from vivface.faces.position import still_square

    with VideoReader(video) as reader:
        frames = [frame.image for frame in reader]
    face = choose_face(backend.detect(frames[0]), where="the first frame")
    square = still_square(ffhq_quad(face.landmarks))
    return [crop_quad(frame, square, SIZE) for frame in frames]


def _faces(backend: LandmarkBackend, frames: list[np.ndarray]) -> list[Face | None]:
    """The largest face, followed from frame to frame."""
    found, face = [], None
    for frame in frames:
        face = None if face is None else backend.refine(frame, face)
        if face is None:
            face = next(iter(backend.detect(frame, effort="low")), None)
            face = face and (backend.refine(frame, face) or face)
        found.append(face)
    return found


def _descriptor() -> DlibDescriptor | None:
    from vivface.metrics.descriptor import DlibDescriptor

    try:
        return DlibDescriptor()
    except BackendError as error:
        print(f"no ID: {error}")
        return None


def _describe(descriptor: DlibDescriptor, image: np.ndarray, face: Face | None) -> torch.Tensor:
    if face is None:
        raise OptionError("The portrait shows no face that the package's own networks find: give another.")
    return descriptor(image, face.landmarks)[0]


def _strip(frames: list[np.ndarray]) -> np.ndarray:
    places = np.linspace(0, len(frames) - 1, SHOWN).round().astype(int)
    return np.hstack([cv2.resize(frames[k], (160, 160), interpolation=cv2.INTER_AREA) for k in places])


if __name__ == "__main__":
    run_program(main)
