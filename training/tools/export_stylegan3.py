"""Make a checkpoint of Video2StyleGAN from the runs of a small StyleGAN3, in half precision.

    python -m training.synthetic.render_motion --assets DIR --out data/test --groups 40 --group-size 1 --seed 950000
    python -m training.tools.export_stylegan3 checkpoints/stylegan3 --generator runs/stylegan3-generator \
        --inversion runs/stylegan3-inversion --folders data/motion --test data/test

Writes generator, encoder, what a degree of yaw, pitch and roll is in W+ (known from the training), the local channels
that `training.tools.select_local_channels` finds on the people of `--folders`, and a card with both runs and with how
well the people of `--test`, who must be in neither, are inverted. The reader of poses is that of the package.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch

from training.data.face_frames import FaceFrames
from training.data.moved_faces import MovedFaceBatches
from training.losses import motion_error, psnr
from training.preset import read_preset
from training.stages.stylegan3.codes import ANGLES, MotionRows
from training.tools import select_local_channels
from training.tools.export_hyperreenact import stages_of
from training.tools.programs import add_people, program_parser, run_program
from vivface.errors import CheckpointError
from vivface.files import complete_folder
from vivface.hub.card import METRICS, TRAINING, make_card
from vivface.hub.index import INDEX
from vivface.models import HybridEncoder, StyleGAN3Generator
from vivface.models.face_state import CONTROLS
from vivface.models.precision import cast
from vivface.pipelines.video2stylegan import Video2StyleGANPipeline
from vivface.reenactment.pose_matching import POSE_ROWS, PoseDirections

DATA = "{} rendered synthetic people, each in two lights (MakeHuman assets, CC0); no picture of a real person."
LIMITATIONS = [
    "Pictures are small and soft: an hour and a half on one core. They are for trying the system, and StyleGAN3's "
    "movement of the whole picture, offline.",
]


def main(arguments: list[str] | None = None) -> None:
    """Put together, round, choose channels, write, load and measure.

    Raises:
        CheckpointError: If a run has no checkpoint, or a network does not fit float16.
        OptionError: If there are no people.
    """
    options = parse_arguments(arguments)
    generator = cast(StyleGAN3Generator.from_pretrained(trained(options.generator, "generator")), torch.float16)
    inversion = cast(HybridEncoder.from_pretrained(trained(options.inversion, "inversion")), torch.float16)
    pipeline = Video2StyleGANPipeline(generator, inversion, pose_steps=options.pose_steps, pose_apart=True)
    pipeline.pose_directions = directions(MotionRows.from_pretrained(trained(options.generator, "motion_rows")))
    with complete_folder(options.checkpoint, overwrite=True) as work:
        save(pipeline, work)
        select_local_channels.main([str(work), "--folders", *options.folders, "--frames", str(options.frames)])
        people = sum(len(list(Path(folder).glob("*.npz"))) for folder in options.folders)
        record = {
            "data": DATA.format(people),
            "stages": stages_of([options.generator, options.inversion]),
            "limitations": LIMITATIONS,
        }
        (work / TRAINING).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        metrics = measure(Video2StyleGANPipeline.from_pretrained(work), FaceFrames(options.test, CONTROLS))
        (work / METRICS).write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
        make_card(work, options.checkpoint.name, "folder").save(work / "README.md")
    size = sum(file.stat().st_size for file in options.checkpoint.rglob("*") if file.is_file())
    for metric in metrics["metrics"]:
        print(f"{metric['name']:14s} {metric['value']:7.3f}  {metric['meaning']}")
    print(f"{options.checkpoint}: {size / 1e6:.1f} MB")


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = program_parser("export_stylegan3", __doc__)
    parser.add_argument("checkpoint", type=Path, help="folder to write")
    parser.add_argument("--generator", type=Path, required=True, help="output folder of a run of stage stylegan3")
    parser.add_argument("--inversion", type=Path, required=True, help="output folder of a run of stylegan3_inversion")
    parser.add_argument("--pose-steps", type=int, default=0, help="of the search for a pose, from its linear estimate")
    add_people(parser)
    parser.add_argument("--test", nargs="+", required=True, help="folders of other people, on whom it is measured")
    parser.add_argument("--frames", type=int, default=64, help="pictures over which overlaps of channels are averaged")
    return parser.parse_args(arguments)


def trained(run: Path, name: str) -> Path:
    """A network of a run.

    Raises:
        CheckpointError: If it is not there.
    """
    folder = run / "checkpoint" / name
    if not folder.is_dir():
        raise CheckpointError(f"'{run}' holds no checkpoint/{name}: give the output folder of a run.")
    return folder


@torch.no_grad()
def directions(motion: MotionRows) -> PoseDirections:
    """What a degree of yaw, pitch and roll is in the first rows of W+."""
    steps = motion.directions()[:ANGLES, :POSE_ROWS] / motion.std[:ANGLES, None, None]
    return PoseDirections(steps)


@torch.no_grad()
def measure(pipeline: Video2StyleGANPipeline, frames: FaceFrames) -> dict:
    """How well people are inverted: the metrics record of the card."""
    size = pipeline.generator.config.size
    data = read_preset("stylegan3-bundled-inversion", [f"data.size={size}"]).data
    batches = MovedFaceBatches(frames, data, seed=1, photographs=True, plain=True)
    values = []
    for index in range(-(-len(frames.looks) // data.identities)):
        batch = batches[index]
        grid, target = batch["image"][None], batch["image"].flatten(0, 1)
        image = pipeline.generator(pipeline.invert(batch["photograph"].flatten(0, 1)))
        motion = motion_error(image.view_as(grid), grid, torch.ones_like(grid[:, :, :, :1]))[1]
        values.append([psnr(image, target), motion])
    decibels, share = torch.tensor(values).mean(0).tolist()
    people = f"{len(frames.looks)} looks of {frames.people} held-out synthetic people"
    crops = f"inverted crops of {size} x {size} pixels"
    metrics = [
        {"name": "psnr", "value": round(decibels, 2), "meaning": f"dB, of {crops}"},
        {"name": "motion_share", "value": round(share, 3), "meaning": "of the differences between a person's images"},
    ]
    return {"dataset": {"name": people, "type": "synthetic"}, "metrics": metrics}


def save(pipeline: Video2StyleGANPipeline, folder: Path) -> None:
    """Write a pipeline without the reader of poses, which is that of the package; inside the package without code."""
    pipeline.save_pretrained(folder)
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    index["pose"] = [None, None]
    shutil.rmtree(folder / "pose")
    if folder.parent.name == "bundled":
        index["_class_name"] = type(pipeline).__name__
        for name, component in (("generator", StyleGAN3Generator), ("inversion", HybridEncoder)):
            index[name] = [component.__module__, component.__name__]
        for file in folder.rglob("*.py"):
            file.unlink()
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run_program(main)
