"""Measure a trained FaceStateNetwork on held-out people and write it with its card: one folder, half precision.

    python -m training.synthetic.render_motion --assets DIR --out data/test --groups 40 --group-size 1 --seed 950000
    python -m training.tools.export_face_state --run runs/face-state --folders data/test \
        --output vivface/bundled/face_state --overwrite

The weights are rounded to float16 (batch norms stay in float32) before they are measured. The card's records come from
the run's log and from the measurement. The people of `--folders` must be in no training or validation of the run.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from training.data.face_frames import FaceBatches, FaceFrames
from training.preset import read_preset
from training.stages.face_state import GAZE, correlation, measure
from training.tools.programs import add_people, program_parser, run_program, save_network
from vivface.errors import CheckpointError
from vivface.files import complete_folder
from vivface.hub.card import METRICS, TRAINING, make_card
from vivface.models import FaceStateNetwork
from vivface.models.face_state import GAZE_UNIT
from vivface.models.precision import cast

NAME = "face-state-128"
OPEN = 0.4  # blink up to which an eye shows where it looks
MEANINGS = {
    "landmarks": "mean error of landmarks 17 to 67, % of the distance of the eyes",
    "landmarks_all": "the same with the jaw line",
    "turn": "mean angle between read and true head pose, degrees",
    "yaw": "mean error, degrees",
    "pitch": "mean error, degrees",
    "roll": "mean error against the axes of the crop, degrees",
    "lids": "correlation of the opening of the lids over all frames",
    "mouth": "correlation of the opening of the lips over all frames",
    "brows": "correlation of the height of the brows over all frames",
    "gaze_x": "correlation of gaze to the side over all frames, shut eyes too",
    "gaze_y": "correlation of gaze up and down over all frames, shut eyes too",
    "gaze_x_open": "correlation of gaze to the side, frames with open eyes",
    "gaze_y_open": "correlation of gaze up and down, frames with open eyes",
    "gaze_x_degrees": "mean error of gaze to the side, frames with open eyes, degrees",
    "gaze_y_degrees": "mean error of gaze up and down, frames with open eyes, degrees",
    "controls": "mean correlation of the expression controls",
}
LIMITATIONS = [
    "It knows rendered heads; photographs are read less exactly. Shut eyes have no gaze.",
    "Of controls that rendered people seldom show, or that look alike, little is read: the mean above says how much.",
    "It may teach other networks, but it must not judge a run that it taught: use another reader, as "
    "`vivface evaluate` does.",
]


def main(arguments: list[str] | None = None) -> None:
    """Round, measure, write.

    Raises:
        CheckpointError: If the run has no checkpoint, or the weights do not fit float16.
        OptionError: If the people or the output are wrong.
    """
    options = parse_arguments(arguments)
    folder = options.run / "checkpoint" / "face_state"
    if not folder.is_dir():
        raise CheckpointError(f"--run names '{options.run}', which holds no {folder.relative_to(options.run)}.")
    network = cast(FaceStateNetwork.from_pretrained(folder), torch.float16)
    frames = FaceFrames(options.folders, tuple(network.config.controls))
    with complete_folder(options.output, overwrite=options.overwrite) as work:
        save_network(network, work)
        found, truth = read_people(FaceStateNetwork.from_pretrained(work), frames, options.frames)
        metrics = record(found, truth, list(network.config.controls), frames.people)
        (work / METRICS).write_text(json.dumps(metrics, indent=1) + "\n")
        (work / TRAINING).write_text(json.dumps(training_record(options.run), indent=1) + "\n")
        card = make_card(work, NAME, "bundled" if options.output.parent.name == "bundled" else "folder")
        card.save(work / "README.md")
    for metric in metrics["metrics"]:
        print(f"{metric['name']:16s} {metric['value']:7.3f}  {metric['meaning']}")


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = program_parser("export_face_state", __doc__)
    parser.add_argument("--run", type=Path, required=True, help="output folder of the training")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the folder")
    parser.add_argument("--frames", type=int, default=100_000, help="at most so many frames, evenly spaced")
    add_people(parser)
    return parser.parse_args(arguments)


@torch.no_grad()
def read_people(
    network: FaceStateNetwork, frames: FaceFrames, count: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What the network reads in plain crops, and the truth.

    Args:
        network (`FaceStateNetwork`): In evaluation mode.
        frames (`FaceFrames`): Of people.
        count (`int`): At most so many frames.

    Returns:
        Two `dict[str, np.ndarray]`, see `training.stages.face_state.measure`.
    """
    batch_size = 28
    data = read_preset("bundled-128-face-state", [f"data.size={network.config.image_size}"]).data
    batches = FaceBatches(frames, data.model_copy(update={"batch": batch_size}), seed=1, plain=True)
    found, truth = [], []
    for index in range(max(1, min(count, len(frames)) // batch_size)):
        batch = batches[index]
        found.append(network(batch["image"]))
        truth.append(batch)
    names = ("pose", "controls", "landmarks")
    stacked = ({name: torch.cat([x[name] for x in each]).numpy() for name in names} for each in (found, truth))
    return tuple(stacked)


def record(
    found: dict[str, np.ndarray], truth: dict[str, np.ndarray], names: list[str], people: int
) -> dict[str, dict | list]:
    """The metrics record of the card."""
    gaze = [names.index(name) for name in GAZE]
    values = measure(found, truth, gaze)
    blinks = [names.index(name) for name in ("blink_left", "blink_right")]
    seen = truth["controls"][:, blinks].max(1) < OPEN
    for name, place in zip(GAZE, gaze, strict=True):
        a, b = (each["controls"][seen, place] for each in (found, truth))
        values[f"{name}_open"] = correlation(a, b)
        values[f"{name}_degrees"] = float(GAZE_UNIT * np.abs(a - b).mean())
    expression = [k for k, name in enumerate(names) if name not in GAZE and truth["controls"][:, k].std() > 0.01]
    each = [correlation(found["controls"][:, k], truth["controls"][:, k]) for k in expression]
    values["controls"] = float(np.mean(each))
    by_name = sorted(zip([names[k] for k in expression], each, strict=True), key=lambda pair: -pair[1])
    return {
        "dataset": {"name": f"{len(seen)} frames of {people} held-out synthetic people", "type": "synthetic"},
        "task": {"name": "Reading a face: head pose, expression, gaze, landmarks", "type": "image-feature-extraction"},
        "metrics": [{"name": n, "value": round(values[n], 3), "meaning": MEANINGS[n]} for n in MEANINGS],
        "note": f"Of {len(seen)} frames, {int(seen.sum())} have open eyes. Correlations of the controls: "
        + ", ".join(f"{name} {value:.2f}" for name, value in by_name)
        + ".",
    }


def training_record(run: Path) -> dict[str, str | list]:
    """The training record of the card, from the logs and presets of the run and of those that it goes on from."""
    return {
        "license": "apache-2.0",
        "description": "Reads head pose, 33 expression controls (two of them gaze) and 68 landmarks of an FFHQ-aligned "
        "face, with gradients to the image.",
        "data": "1120 rendered synthetic people with 14 frames each in two lights (MakeHuman assets, CC0), mirrored "
        "and strongly augmented; no picture of a real person.",
        "stages": stages(run),
        "limitations": LIMITATIONS,
    }


def stages(run: Path) -> list[dict[str, str | float]]:
    """Preset and length of a run, after those of the network that it started from, as far as they are on record."""
    last = json.loads((run / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    preset = read_preset(str(run / "preset.yaml"))
    start = preset.networks["face_state"]
    earlier = []
    if "pretrained" in start:
        folder = Path(start["pretrained"]) / start.get("subfolder", "")
        if (folder / TRAINING).is_file():  # written by this program
            earlier = json.loads((folder / TRAINING).read_text(encoding="utf-8"))["stages"]
        elif (folder.parents[1] / "log.jsonl").is_file():  # RUN/checkpoint/face_state
            earlier = stages(folder.parents[1])
    return [
        *earlier,
        {
            "stage": preset.stage,
            "preset": preset.description,
            "steps": last["step"],
            "pictures": round(last["images"]),
            "minutes": round(last["minutes"], 1),
        },
    ]


if __name__ == "__main__":
    run_program(main)
