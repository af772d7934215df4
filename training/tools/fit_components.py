"""Fit the codec's second basis: `python -m training.tools.fit_components CHECKPOINT --folders data/people`.

The deformation codes T(S, memory) of many frames of synthetic people, whose pose and controls are known, are split into

- the deformation of a neutral face at every yaw and pitch: polynomials of degree two, regressed together with the
  controls within each person, so that traits of a person and expressions that come with a pose play no role;
- 32 principal components of the rest. Distances are those of the picture: a deformation counts for how much it changes
  the image, more so within the face, measured by the Jacobian of the generator at many codes. With --plain, every
  number of a code counts as it is.

What reads yaw, pitch and the 32 values off a deformation is fitted, too. The result is written to
`CHECKPOINT/codec/components.safetensors`. Printed: how much of yaw, pitch and of the picture's variance is read and
kept, on people held out of the fit.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.data.shards import GroupShards, ShardRecord
from training.tools.people import open_people, split_people
from training.tools.programs import add_device, add_people, program_parser, run_program
from vivface.editing.codec_basis import COMPONENTS_FILE, VALUES, Components, pose_features
from vivface.faces.alignment import crop_quad, ffhq_quad
from vivface.media.tensors import to_tensor
from vivface.pipelines.vivface import VivFacePipeline
from vivface.runtime import choose_device

RIDGE = 1e-3  # of the mean square of the features
METRIC_RIDGE = 1e-3  # of the mean eigenvalue, so that nothing is free
FACE_WEIGHT = 4.0  # of pixels within the middle of the crop, where the face is
PROBES = 8  # random pictures a code, by which the Jacobian is measured


@dataclass
class Person:
    """What is known of one person's frames.

    Attributes:
        deformation (`torch.Tensor` of shape `(frames, motion_codes, style_dim)`): T(S, memory).
        w_plus (`torch.Tensor` of shape `(num_latents, style_dim)`): Identity code of the first frame.
        pose (`torch.Tensor` of shape `(frames, 3)`): Degrees.
        controls (`torch.Tensor` of shape `(frames, K)`): Expression.
    """

    deformation: Tensor
    w_plus: Tensor
    pose: Tensor
    controls: Tensor


def main(arguments: list[str] | None = None) -> None:
    """Encode people, fit, write, and say how well it went.

    Args:
        arguments (`list[str]`, *optional*): Command line; that of the process by default.

    Raises:
        OptionError: If there are too few people.
        CheckpointError: If the checkpoint cannot be loaded.
    """
    options = parse_arguments(arguments)
    shards, records = open_people(options.folders, options.people)
    pipeline = VivFacePipeline.from_pretrained(options.checkpoint).to(choose_device(options.device))
    pipeline._evaluate()
    people = [read_person(pipeline, shards, record, options.frames) for record in records]
    fitted, held_out = ([people[number] for number in part] for part in split_people(len(people)))
    metric = None if options.plain else picture_metric(pipeline, fitted[:: max(len(fitted) // 40, 1)])
    components = fit(fitted, metric)
    path = components.save(Path(options.checkpoint) / COMPONENTS_FILE)
    print(f"{path}: {VALUES} components of {sum(len(p.pose) for p in fitted)} frames of {len(fitted)} people")
    report(pipeline, Components.load(path), held_out)


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    parser = program_parser("fit_components", __doc__)
    parser.add_argument("checkpoint", help="folder of the pipeline; the file is written into its folder codec")
    add_people(parser, people=400, frames=30)
    parser.add_argument("--plain", action="store_true", help="components of the codes, not of the pictures they make")
    add_device(parser)
    return parser.parse_args(arguments)


@torch.no_grad()
def read_person(pipeline: VivFacePipeline, shards: GroupShards, record: ShardRecord, frames: int) -> Person:
    """Deformations of a person's frames, cut by their own landmarks as the codec cuts them; memory of the first."""
    numbers = range(min(frames, record.frames))
    size, device = pipeline.config.image_size, pipeline.encoder.device
    crops = [crop_quad(shards.image(record, n), ffhq_quad(record.landmarks[n]), size) for n in numbers]
    code = pipeline.encoder(to_tensor(crops, device))
    memory = code.memory[:1].expand(len(crops), -1, -1)
    pose, controls = (torch.from_numpy(rows[: len(crops)]).to(device) for rows in (record.pose, record.controls))
    return Person(pipeline.transformer(code.motion, memory), code.identity[0], pose, controls)


def picture_metric(pipeline: VivFacePipeline, people: list[Person]) -> Tensor:
    """E[J^T J] of the generator's images by deformation, `(n, n)` for n numbers a deformation.

    J^T times a random picture of independent pixels of variance one has J^T J as its covariance.
    """
    random = torch.Generator().manual_seed(0)
    generator = pipeline.generator
    size = generator.config.size
    place = (torch.arange(size) + 0.5) / size * 2 - 1
    within = (place[None].square() + place[:, None].square() < 0.6**2).float() * (FACE_WEIGHT - 1) + 1
    rows = []
    for person in people:
        for frame in torch.randperm(len(person.pose), generator=random)[:2].tolist():
            code = person.deformation[frame : frame + 1].expand(PROBES, -1, -1).clone().requires_grad_()
            with torch.enable_grad():
                images = generator(person.w_plus[None].expand(PROBES, -1, -1), code)
                noise = torch.randn(images.shape, generator=random).to(images) * within.sqrt().to(images)
                (gradient,) = torch.autograd.grad((images * noise).sum(), code)
            rows.append(gradient.flatten(1))
    rows = torch.cat(rows).double()
    return rows.T @ rows / len(rows)


def fit(people: list[Person], metric: Tensor | None = None) -> Components:
    """Origin, pose, components, and what reads them.

    Args:
        people (list of `Person`): Of the fit.
        metric (`torch.Tensor` of shape `(n, n)`, *optional*): Of distances between deformations; plain if None.
    """
    shape = people[0].deformation.shape[1:]
    codes = torch.cat([person.deformation.flatten(1) for person in people]).double()
    pose = torch.cat([pose_features(person.pose[:, 0], person.pose[:, 1]) for person in people]).double()
    controls = torch.cat([person.controls for person in people]).double()

    # 1. A neutral face at every yaw and pitch.
    features = torch.cat([pose, controls], dim=1)
    slopes = _ridge(_within(features, people), _within(codes, people))
    origin = codes.mean(0) - features.mean(0) @ slopes
    turned = slopes[: pose.shape[1]]

    # 2. What is left, in the picture's metric: principal components.
    metric = torch.eye(codes.shape[1]).to(codes) if metric is None else metric.to(codes)
    values, axes = torch.linalg.eigh(metric)
    weights = (values.clamp(min=0) + METRIC_RIDGE * values.mean()).sqrt()
    to_picture, from_picture = axes * weights, (axes / weights).T  # (n, n): code -> picture, and back
    rest = codes - origin - pose @ turned
    seen = _within(rest, people) @ to_picture
    _, spread, directions = torch.linalg.svd(seen, full_matrices=False)
    deviation = spread[:VALUES] / len(seen) ** 0.5
    vectors = deviation[:, None] * directions[:VALUES] @ from_picture
    read_values = (to_picture @ directions[:VALUES].T / deviation).T

    # 3. Yaw and pitch off a deformation.
    angles = pose[:, :2]
    read_pose = _ridge(codes - origin, angles).T
    parts = {"origin": origin, "pose": turned, "vectors": vectors, "read_pose": read_pose, "read_values": read_values}
    return Components(**{name: part.float().cpu().reshape(*part.shape[:-1], *shape) for name, part in parts.items()})


def _within(rows: Tensor, people: list[Person]) -> Tensor:
    """Rows less the mean of their person's."""
    return torch.cat([part - part.mean(0) for part in rows.split([len(person.pose) for person in people])])


def _ridge(features: Tensor, targets: Tensor) -> Tensor:
    """`(n, f)`, `(n, t)` -> `(f, t)`."""
    gram = features.T @ features / len(features)
    weight = RIDGE * gram.diagonal().mean() * torch.eye(len(gram)).to(gram)
    return torch.linalg.solve(gram + weight, features.T @ targets / len(features))


@torch.no_grad()
def report(pipeline: VivFacePipeline, components: Components, people: list[Person]) -> None:
    """Print how well people who were held out are read and shown."""
    errors, kept, spread, rendered = [], 0.0, 0.0, []
    for person in people:
        numbers = components.read(person.deformation)
        errors.append((numbers[:, :2] - person.pose[:, :2]).abs())
        again = components.turn(numbers[:, 0], numbers[:, 1]) + torch.tensordot(
            numbers[:, 2:], components.vectors.to(numbers), 1
        )
        w_plus = person.w_plus[None].expand(len(again), -1, -1)
        image, target = (pipeline.generator(w_plus, code).clamp(-1, 1) for code in (again, person.deformation))
        kept += float((image - target).square().sum())
        spread += float((target - target.mean(0)).square().sum())
        rendered += (image - target).square().flatten(1).mean(1).tolist()
    yaw, pitch = torch.cat(errors).mean(0).tolist()
    decibels = np.mean(10 * np.log10(4 / np.array(rendered)))
    print(
        f"held out: yaw {yaw:.1f} and pitch {pitch:.1f} degrees off; {1 - kept / spread:.3f} of the picture's variance "
        f"kept, {decibels:.1f} dB against the pictures of all {components.origin.numel()} numbers"
    )


if __name__ == "__main__":
    run_program(main)
