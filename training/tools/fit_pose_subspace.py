"""Find the pose subspace of a checkpoint's motion codes: `python -m training.tools.fit_pose_subspace CHECKPOINT`.

Co-driving takes the pose of one video and the expression of another (`vivface.reenactment.co_driving`). For that,
motion codes of rendered people are regressed on what is known of each frame, within each person:

    S = f(pose) L + controls E + residual

with pose = yaw, pitch, roll in the crop, place and size of the face in the crop, and squares and products of the two
large angles. Rows of L are the directions. Their readers are those of generalised least squares: the best linear
estimates of f(pose) that are exactly zero for every row of E, so that no expression is taken for pose. Crops are moved,
scaled and turned at random, since pose and place in the crop go together otherwise.

    CHECKPOINT/pose_subspace.safetensors          for the motion codes of the checkpoint's own system
    CHECKPOINT/hybrid/pose_subspace.safetensors   for those of hybrid latent spaces, if there are motion heads for them

It prints, for people held out of the fit, how well the readers follow the true pose, and that they do not follow
expressions.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from training.arguments import AugmentOptions
from training.data import GroupShards, ShardRecord, jitter
from training.data.crops import driving_ranges
from training.tools.people import open_people, split_people
from training.tools.programs import add_device, add_people, program_parser, run_program
from vivface import load_pipeline
from vivface.faces.alignment import crop_quad, ffhq_quad, quad_angle, quad_center, quad_size, to_crop
from vivface.pipelines.hybrid import HYBRID_POSE_FILE, MOTION_HEADS_FILE
from vivface.reenactment.co_driving import POSE_FILE, PoseSubspace
from vivface.runtime import choose_device

POSE = ("yaw", "pitch", "roll", "x", "y", "size", "yaw_yaw", "yaw_pitch", "pitch_pitch")
DEGREES = 20.0  # an angle of 1
BATCH = 32
SHRINK = 0.1  # share of the residual's covariance that is replaced by its mean variance
RIDGE = 1e-3  # of the labels' variance


def main(arguments: list[str] | None = None) -> None:
    """Encode people, fit, write, report.

    Args:
        arguments (`list[str]`, *optional*): Command line; that of the process by default.

    Raises:
        OptionError: If there are too few people.
        CheckpointError: If the checkpoint cannot be loaded.
    """
    options = parse_arguments(arguments)
    shards, people = open_people(options.folders, options.people)
    folder = Path(options.checkpoint)
    systems = {POSE_FILE: None}
    if (folder / MOTION_HEADS_FILE).is_file():
        systems[HYBRID_POSE_FILE] = "hybrid"
    device = choose_device(options.device)
    pipelines = {file: load_pipeline(folder, system=system).to(device) for file, system in systems.items()}
    codes: dict[str, list[np.ndarray]] = {file: [] for file in systems}
    known = []
    for record in people:
        crops, poses, controls = read_person(shards, record, options.frames, pipelines[POSE_FILE].motion_size)
        known.append((poses, controls))
        for file, pipeline in pipelines.items():
            made = torch.cat([pipeline.encode_crops(crops[i : i + BATCH]) for i in range(0, len(crops), BATCH)])
            codes[file].append(made.float().cpu().numpy())
    poses, controls = (np.stack(column) for column in zip(*known, strict=True))  # (people, frames, ...)
    fitted, held_out = split_people(len(people))
    for file in systems:
        stacked = np.stack(codes[file])
        subspace = fit(stacked[fitted], poses[fitted], controls[fitted])
        print(f"{subspace.save(folder / file)}: {len(people)} people, {len(crops)} frames each")
        report(subspace, stacked[held_out], poses[held_out], controls[held_out])


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    parser = program_parser("fit_pose_subspace", __doc__)
    parser.add_argument("checkpoint", help="folder of the pipeline; the files are written into it")
    add_people(parser, people=480, frames=24)
    add_device(parser)
    return parser.parse_args(arguments)


def read_person(
    shards: GroupShards, record: ShardRecord, frames: int, size: int
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Crops of a person's frames, and what they are known to show.

    Every frame is cropped by the quad of a random frame, moved at random, as driving frames are in training.

    Args:
        shards (`GroupShards`): Gives the images.
        record (`ShardRecord`): Whose frames.
        frames (`int`): How many; frames repeat in other crops if the shard has fewer.
        size (`int`): Of the crops, pixels.

    Returns:
        `tuple`: Crops `(size, size, 3)` uint8 RGB, pose features `(frames, 9)`, controls `(frames, K)`.
    """
    rng = np.random.default_rng(record.seed)
    ranges = driving_ranges(AugmentOptions(driving_rotation=8.0))
    crops, poses, chosen = [], [], np.resize(rng.permutation(record.frames), frames)
    for frame in chosen:
        quad = jitter(rng, ffhq_quad(record.landmarks[rng.integers(record.frames)]), *ranges)
        crops.append(crop_quad(shards.image(record, frame), quad, size))
        poses.append(pose_features(record.pose[frame], to_crop(record.landmarks[frame], quad)))
    return crops, np.stack(poses), record.controls[chosen]


def pose_features(pose: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """f(pose): the nine numbers of `POSE`.

    Args:
        pose (`np.ndarray` of shape `(3,)`): Yaw, pitch, roll as rendered, degrees.
        landmarks (`np.ndarray` of shape `(68, 2)`): In fractions of the crop.
    """
    face = ffhq_quad(landmarks)
    yaw, pitch = pose[:2] / DEGREES
    x, y = (quad_center(face) - 0.5) * 10
    size, roll = 10 * np.log(quad_size(face)), quad_angle(face) * 180 / np.pi / DEGREES
    return np.array([yaw, pitch, roll, x, y, size, yaw * yaw, yaw * pitch, pitch * pitch])


def fit(codes: np.ndarray, poses: np.ndarray, controls: np.ndarray) -> PoseSubspace:
    """The subspace of the head of this file.

    Args:
        codes (`np.ndarray` of shape `(people, frames, *code_shape)`): Motion codes.
        poses (`np.ndarray` of shape `(people, frames, 9)`): See `pose_features`.
        controls (`np.ndarray` of shape `(people, frames, K)`): Expressions.
    """
    shape, count = codes.shape[2:], poses.shape[2]
    flat = _within(codes.reshape(*codes.shape[:2], -1))
    known = _within(np.concatenate([poses, controls], axis=2))
    varies = known.std(0) > 1e-6  # what never moves has no direction: zeros in both
    known = known[:, varies]
    gram = known.T @ known
    gram[np.diag_indices_from(gram)] += RIDGE * np.diag(gram).mean()
    rows = np.linalg.solve(gram, known.T @ flat)  # directions of pose, then of expressions
    residual = flat - known @ rows
    covariance = residual.T @ residual / len(residual)
    mean = np.trace(covariance) / len(covariance)
    covariance = (1 - SHRINK) * covariance + SHRINK * mean * np.eye(len(covariance))
    weighted = np.linalg.solve(covariance, rows.T).T  # rows covariance^-1
    found = np.linalg.solve(weighted @ rows.T, weighted)
    moving = np.flatnonzero(varies[:count])
    directions, readers = np.zeros((2, count, flat.shape[1]), np.float32)
    directions[moving], readers[moving] = rows[: len(moving)], found[: len(moving)]
    directions, readers = (torch.from_numpy(x.reshape(count, *shape)) for x in (directions, readers))
    return PoseSubspace(POSE, directions, readers)


def report(subspace: PoseSubspace, codes: np.ndarray, poses: np.ndarray, controls: np.ndarray) -> None:
    """Print how the readers follow pose and expressions of people, within each; arguments as for `fit`."""
    read = subspace.read(torch.from_numpy(codes).flatten(0, 1)).numpy().reshape(poses.shape)
    read, poses, controls = (_within(x.astype(np.float64)) for x in (read, poses, controls))
    for index, name in enumerate(POSE[:6]):
        if min(read[:, index].std(), poses[:, index].std()) < 1e-9:
            print(f"{name:>6s}: never moves")
            continue
        own = _correlation(read[:, index], poses[:, index])
        others = max(abs(_correlation(read[:, index], column)) for column in controls.T if column.std() > 1e-6)
        print(f"{name:>6s}: r {own:.3f} with the truth, at most {others:.2f} with any expression")


def _within(values: np.ndarray) -> np.ndarray:
    """Deviations from each person's mean, `(people * frames, numbers)`."""
    return (values - values.mean(axis=1, keepdims=True)).reshape(-1, values.shape[2])


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


if __name__ == "__main__":
    run_program(main)
