"""Select local channels for Video2StyleGAN: `python -m training.tools.select_local_channels CHECKPOINT --folders DIR`.

Synthetic people are inverted and drawn again. Where eyes, nose and mouth are in the pictures tell the landmarks that
the face state network finds, in the place of a segmentation. Channels whose maps overlap with one of these parts and
with little else (eq. 8-9, see `vivface.editing.local_channels`) are written to `CHECKPOINT/local_channels.safetensors`,
or into the folder `video2stylegan` of a checkpoint of ViVFace.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.data.face_frames import FaceFrames
from training.tools.programs import add_device, add_people, program_parser, run_program
from vivface.editing.local_channels import BACKGROUND, FOREGROUND, PARTS, choose_channels, layer_overlaps
from vivface.errors import OptionError
from vivface.faces.alignment import crop_quad
from vivface.faces.regions import part_masks
from vivface.hub.index import read_index
from vivface.models.face_state import CONTROLS
from vivface.pipelines.video2stylegan import CHANNELS_FILE, Video2StyleGANPipeline, resized
from vivface.pipelines.video2stylegan_adapter import ADAPTER_CHANNELS_FILE
from vivface.pipelines.vivface import VivFacePipeline
from vivface.runtime import choose_device

BATCH = 8


def main(arguments: list[str] | None = None) -> None:
    """Invert people, measure overlaps, choose and write.

    Args:
        arguments (`list[str]`, *optional*): Command line; that of the process by default.

    Raises:
        OptionError: If there are no people, or a threshold is out of its range.
        CheckpointError: If the checkpoint cannot be loaded.
    """
    options = parse_arguments(arguments)
    frames = FaceFrames(options.folders, CONTROLS)
    pipeline = Video2StyleGANPipeline.from_pretrained(options.checkpoint)
    pipeline = pipeline.to(choose_device(options.device))
    pipeline._evaluate()
    chosen = np.linspace(0, len(frames) - 1, min(options.frames, len(frames))).round().astype(int).tolist()
    found = [measure(pipeline, frames, chosen[k : k + BATCH]) for k in range(0, len(chosen), BATCH)]
    weights = [min(BATCH, len(chosen) - k) / len(chosen) for k in range(0, len(chosen), BATCH)]
    inside, outside = (
        [sum(w * each[way][style] for w, each in zip(weights, found, strict=True)) for style in range(len(found[0][0]))]
        for way in (0, 1)
    )
    channels = choose_channels(inside, outside, PARTS, options.fg, options.bg)
    of_vivface = read_index(options.checkpoint)["_class_name"] == VivFacePipeline.__name__
    path = Path(options.checkpoint) / (ADAPTER_CHANNELS_FILE if of_vivface else CHANNELS_FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    channels.save(path)
    total = sum(each.shape[1] for each in inside)
    counts = ", ".join(f"{name} {len(each)}" for name, each in channels.parts.items())
    best = ", ".join(f"{name} {float(torch.cat(inside, 1)[k].max()):.2f}" for k, name in enumerate(PARTS))
    print(f"{path}: {counts} of {total} channels; largest overlaps: {best}")


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Options of the command line.

    Raises:
        OptionError: If a threshold is out of its range.
    """
    parser = program_parser("select_local_channels", __doc__)
    parser.add_argument("checkpoint", help="folder of the pipeline; the file is written into it")
    add_people(parser)
    parser.add_argument("--frames", type=int, default=64, help="pictures over which overlaps are averaged")
    parser.add_argument("--fg", type=float, default=FOREGROUND, help="least overlap with the part")
    parser.add_argument("--bg", type=float, default=BACKGROUND, help="largest overlap with everything else")
    add_device(parser)
    options = parser.parse_args(arguments)
    if not (0 <= options.fg <= 1 and 0 <= options.bg <= 1) or options.frames < 1:
        raise OptionError(
            f"--fg is {options.fg}, --bg {options.bg} and --frames {options.frames}; expected 0 to 1, and 1 or more."
        )
    return options


@torch.no_grad()
def measure(
    pipeline: Video2StyleGANPipeline, frames: FaceFrames, chosen: list[int]
) -> tuple[list[Tensor], list[Tensor]]:
    """IOU+ and IOU- of a batch of frames, see `layer_overlaps`."""
    crops = [crop_quad(frames.image(k), frames.quad(k), pipeline.motion_size) for k in chosen]
    codes = pipeline.invert(pipeline.images(crops))
    styles = pipeline.styles_of(pipeline.generator, codes)
    images = pipeline.draw(pipeline.generator, styles)
    landmarks = pipeline.pose(resized(images, pipeline.pose.config.image_size)).landmarks.cpu().numpy()
    masks = np.stack([part_masks(points, images.shape[-1]) for points in landmarks])
    return layer_overlaps(pipeline.generator, styles, torch.from_numpy(masks).to(images.device))


if __name__ == "__main__":
    run_program(main)
