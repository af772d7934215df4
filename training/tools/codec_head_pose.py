"""How well the codec's head pose is known: `python -m training.tools.codec_head_pose CHECKPOINT --folders data/people`.

The paper's Table 3 compares a head turned by angles that a face tracker reads with one turned by eq. 2. Here the angles
of synthetic people are known. Three ways give yaw and pitch of upright crops of people, each mapped to degrees by a
straight line fitted to half of the people and judged on the other half:

- eq. 2: the descent from a head that looks ahead, on the picture;
- read: off the encoder's deformation codes;
- tracker: the face tracker of the package.

Beside the mean error in degrees stands the picture's own: the mean square between the true face and the head turned by
these angles, within the face but for eyes, brows and mouth.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import Tensor

from training.data.shards import GroupShards
from training.tools.programs import add_device, add_people, program_parser, run_program
from vivface.errors import OptionError
from vivface.faces.alignment import crop_quad, ffhq_quad
from vivface.faces.backends import get_backend
from vivface.faces.regions import attribute_maps
from vivface.faces.state import read_state
from vivface.pipelines.codec import ExpressiveCodecPipeline
from vivface.pipelines.encoding import PipelineCoder
from vivface.reenactment.coded_frames import in_crop
from vivface.reenactment.frame_fitting import BROWS, EYES, FACE, MOUTH, Targets
from vivface.runtime import choose_device

WAYS = ("eq. 2", "read", "tracker")


def main(arguments: list[str] | None = None) -> None:
    """Read angles in three ways, and print their errors.

    Args:
        arguments (`list[str]`, *optional*): Command line; that of the process by default.

    Raises:
        OptionError: If there are too few people whose faces are found.
        CheckpointError: If the checkpoint cannot be loaded.
    """
    options = parse_arguments(arguments)
    pipeline = ExpressiveCodecPipeline.from_pretrained(options.checkpoint).to(choose_device(options.device))
    pipeline._evaluate()
    people = measure(pipeline, options)
    if len(people) < 4:
        raise OptionError(f"Faces of {len(people)} people were found; expected at least 4.")
    fitted, judged = (_joined(people[start::2]) for start in (0, 1))
    print("| way | yaw, degrees | pitch, degrees | picture |\n|---|---|---|---|")
    for way in WAYS:
        errors = []
        for angle in (0, 1):
            slope, shift = np.polyfit(fitted[way][:, angle], fitted["truth"][:, angle], 1)
            errors.append(np.abs(slope * judged[way][:, angle] + shift - judged["truth"][:, angle]).mean())
        print(f"| {way} | {errors[0]:.1f} | {errors[1]:.1f} | {judged[f'{way} picture'].mean():.4f} |")
    print(f"{len(judged['truth'])} frames of {len(people[1::2])} people judged, lines fitted to the others")


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    parser = program_parser("codec_head_pose", __doc__)
    parser.add_argument("checkpoint", help="folder of the pipeline")
    add_people(parser)
    parser.add_argument("--people", type=int, default=20, help="at most so many people")
    parser.add_argument("--frames", type=int, default=6, help="frames of each")
    parser.add_argument("--steps", type=int, default=200, help="of eq. 2; each turns a head by 0.2 degrees or so")
    add_device(parser)
    return parser.parse_args(arguments)


@torch.no_grad()
def measure(pipeline: ExpressiveCodecPipeline, options: argparse.Namespace) -> list[dict[str, np.ndarray]]:
    """For every person: angles `(frames, 2)` by way and as they are, and the picture's errors `(frames,)`."""
    shards, backend = GroupShards(options.folders, cache_gigabytes=0.2), get_backend("mesh")
    coder = PipelineCoder(pipeline, pipeline.basis("components"))
    people = []
    for record in shards.records()[: options.people]:
        crops, maps, truth, tracked = [], [], [], []
        for frame in range(min(options.frames, record.frames)):
            image = shards.image(record, frame)
            quad = ffhq_quad(record.landmarks[frame])
            crop = crop_quad(image, quad, pipeline.output_size)
            faces = backend.detect(image, effort="high")
            if not faces or faces[0].points is None:
                continue
            state = read_state(faces[0].points)
            crops.append(crop)
            maps.append(attribute_maps(in_crop(record.landmarks[frame], quad), pipeline.output_size))
            truth.append(record.pose[frame, :2])
            tracked.append((state.yaw, state.pitch))
        if len(crops) < 2:
            continue
        images = coder.faces(crops)
        ahead = int(np.abs(np.array(truth)).max(1).argmin())
        own = coder.invert(images[ahead : ahead + 1])
        w_plus = coder.fit_identity(own, images[ahead : ahead + 1], 40, lambda step: None)
        read = coder.invert(images, w_plus, own.memory, show=False).numbers[:, :2]
        targets = Targets(
            images, torch.from_numpy(np.stack(maps)).to(images), torch.zeros(len(crops), dtype=torch.bool)
        )
        fitted = coder.fitter(w_plus).fit_pose(targets, torch.zeros(len(crops), 2).to(images), options.steps)
        angles = {"eq. 2": fitted, "read": read, "tracker": torch.tensor(tracked).to(images)}
        person = {"truth": np.array(truth)}
        for way, values in angles.items():
            person |= {way: values.cpu().numpy(), f"{way} picture": _errors(pipeline, w_plus, values, targets)}
        people.append(person)
    return people


def _errors(pipeline: ExpressiveCodecPipeline, w_plus: Tensor, angles: Tensor, targets: Targets) -> np.ndarray:
    """Mean square within the rigid part of the face, of every frame."""
    made = pipeline.show(w_plus, angles, torch.zeros(len(angles), 32).to(angles), pipeline.basis("components"))
    rigid = targets.maps[:, FACE] * (1 - targets.maps[:, [MOUTH, EYES, BROWS]].amax(1))
    places = (made - targets.images).square().mean(1) * rigid
    return (places.flatten(1).sum(1) / rigid.flatten(1).sum(1)).cpu().numpy()


def _joined(people: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([person[name] for person in people]) for name in people[0]}


if __name__ == "__main__":
    run_program(main)
