"""Fit motion heads that need no transformer: a ViVFace checkpoint then serves as hybrid latent spaces, too.

    python -m training.tools.fit_motion_heads CHECKPOINT --folders data/people

In ViVFace the generator adds up A(W) and T(S, memory): what the transformer T makes of the driver's motion codes S for
the source whose memory it sees. Hybrid latent spaces (ICCV 2023) have no T: their motion codes are the same for every
source. The best such codes, in least squares, are the mean of T(S, memory) over sources. This program solves for the
last linear layers of the encoder's motion heads that give it (ridge regression on the features below; nothing else
changes), and moves the directions of motion along:

    CHECKPOINT/hybrid/motion_heads.safetensors   the linear layers, in half precision
    CHECKPOINT/hybrid/directions.safetensors     directions of motion m: the mean of T(S + m, memory) - T(S, memory)

It prints how much of the variance of T(S, memory) the mean over sources and the new heads explain, and how far images
made by T, by the new heads and by none are from the driving frames of the same person, on people held out of the fit.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from training.data.shards import GroupShards, ShardRecord
from training.tools.people import open_people, split_people
from training.tools.programs import add_device, add_people, program_parser, run_program
from vivface.editing import AttributeDirections, Direction
from vivface.faces.alignment import crop_quad, ffhq_quad
from vivface.files import complete_file
from vivface.media.tensors import to_tensor
from vivface.pipelines.hybrid import HYBRID_DIRECTIONS_FILE, MOTION_HEADS_FILE
from vivface.pipelines.vivface import VivFacePipeline
from vivface.runtime import choose_device

RIDGE = 1e-3  # of the mean square of the features
BATCH = 32


def main(arguments: list[str] | None = None) -> None:
    """Encode people, solve, write, and say how well it went.

    Args:
        arguments (`list[str]`, *optional*): Command line; that of the process by default.

    Raises:
        OptionError: If there are too few people.
        CheckpointError: If the checkpoint cannot be loaded.
    """
    options = parse_arguments(arguments)
    shards, people = open_people(options.folders, options.people)
    pipeline = VivFacePipeline.from_pretrained(options.checkpoint).to(choose_device(options.device))
    pipeline._evaluate()
    with torch.no_grad():
        read = [_read(pipeline, shards, record, options.frames) for record in people]
        memories = torch.stack([memory for *_, memory in read])  # (people, tokens, style_dim)
        random = np.random.default_rng(0)
        targets = [
            _mean_over_sources(pipeline, motion, memories, random, options.sources) for _, _, motion, _, _ in read
        ]

    # 1. Solve head by head.
    fitted, held_out = split_people(len(people))
    tensors, heads, first = {}, pipeline.encoder.motion_heads.heads, 0
    predicted = [torch.zeros_like(target) for target in targets]
    for number, head in enumerate(heads):
        features = [_with_one(feature[number]) for feature, *_ in read]
        codes = slice(first, first + len(head.linears))
        first = codes.stop
        wanted = torch.cat([targets[index][:, codes] for index in fitted])
        solution = _ridge(torch.cat([features[index] for index in fitted]), wanted.flatten(1))
        for index, feature in enumerate(features):
            predicted[index][:, codes] = (feature @ solution).view(len(feature), len(head.linears), -1)
        for place, (linear, matrix) in enumerate(zip(head.linears, solution.chunk(len(head.linears), 1), strict=True)):
            name = f"motion_heads.heads.{number}.linears.{place}."
            tensors |= {
                name + "weight": matrix[:-1].T / linear.weight_scale,
                name + "bias": matrix[-1] / linear.bias_scale,
            }

    # 2. Write.
    folder = Path(options.checkpoint)
    (folder / MOTION_HEADS_FILE).parent.mkdir(exist_ok=True)
    with complete_file(folder / MOTION_HEADS_FILE) as temporary:
        save_file({name: tensor.half().cpu().contiguous() for name, tensor in tensors.items()}, temporary)
    with torch.no_grad():
        moved = [_moved(pipeline, direction, read, memories) for direction in pipeline.directions.of("motion")]
    AttributeDirections(moved).save(folder / HYBRID_DIRECTIONS_FILE)

    # 3. How good it is, on people who were held out.
    with torch.no_grad():
        _report(pipeline, [(*read[i], targets[i], predicted[i]) for i in held_out])


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    parser = program_parser("fit_motion_heads", __doc__)
    parser.add_argument("checkpoint", help="folder of the pipeline; the files are written into its folder hybrid")
    add_people(parser, people=480, frames=30)
    parser.add_argument("--sources", type=int, default=8, help="sources over which T is averaged")
    add_device(parser)
    return parser.parse_args(arguments)


def _read(
    pipeline: VivFacePipeline, shards: GroupShards, record: ShardRecord, frames: int
) -> tuple[list[Tensor], Tensor, Tensor, Tensor, Tensor]:
    """Features below the motion heads' linear layers (one tensor a head), images, motion codes, identity code, memory.

    Half of the frames are cropped by their own quad, half by that of the first frame of their clip, as in videos whose
    crop follows slow movement only.
    """
    size, device = pipeline.config.image_size, pipeline.encoder.device
    crops = []
    for frame in range(min(frames, record.frames)):
        start = np.flatnonzero(record.clip == record.clip[frame])[0] if frame % 2 else frame
        crops.append(crop_quad(shards.image(record, frame), ffhq_quad(record.landmarks[start]), size))
    images = to_tensor(crops, device)
    features: list[list[Tensor]] = [[] for _ in pipeline.encoder.motion_heads.heads]
    hooks = [
        head.linears[0].register_forward_pre_hook(lambda _, inputs, store=store: store.append(inputs[0]))
        for head, store in zip(pipeline.encoder.motion_heads.heads, features, strict=True)
    ]
    code = pipeline.encoder(images)
    for hook in hooks:
        hook.remove()
    return [store[0] for store in features], images, code.motion, code.identity[0], code.memory[0]


def _mean_over_sources(
    pipeline: VivFacePipeline, motion: Tensor, memories: Tensor, random: np.random.Generator, sources: int
) -> Tensor:
    """Mean of T(S, memory) over some sources, `(frames, motion_codes, style_dim)`."""
    chosen = random.choice(len(memories), min(sources, len(memories)), replace=False)
    return torch.stack([pipeline.transformer(motion, memories[index][None]) for index in chosen]).mean(0)


def _ridge(features: Tensor, targets: Tensor) -> Tensor:
    """`(n, f)`, `(n, t)` -> `(f, t)`, in double precision."""
    features, targets = features.double(), targets.double()
    gram = features.T @ features / len(features)
    weight = RIDGE * gram.diagonal()[:-1].mean() * torch.eye(len(gram)).to(gram)
    weight[-1, -1] = 0.0  # the constant is free
    return torch.linalg.solve(gram + weight, features.T @ targets / len(features)).float()


def _with_one(features: Tensor) -> Tensor:
    return torch.cat([features, torch.ones_like(features[:, :1])], dim=1)


def _moved(pipeline: VivFacePipeline, direction: Direction, read: list[tuple], memories: Tensor) -> Direction:
    """A direction of generic motion codes as a direction of deformations."""
    vector = direction.vector.to(memories)
    steps = []
    for index in range(0, len(read), max(len(read) // 40, 1)):
        motion, memory = read[index][2], memories[-1 - index][None]  # somebody else's
        steps.append((pipeline.transformer(motion + vector, memory) - pipeline.transformer(motion, memory)).mean(0))
    step = torch.stack(steps).mean(0).cpu()
    return Direction(direction.name, direction.label, "motion", step, direction.reach)


def _report(pipeline: VivFacePipeline, held_out: list[tuple]) -> None:
    generator = pipeline.generator
    left = {"mean over sources": [], "new heads": []}
    errors = {"T": [], "new heads": [], "codes without T": [], "no motion": []}
    spread = []
    for _, images, motion, w_plus, memory, target, predicted in held_out:
        own = pipeline.transformer(motion, memory[None])
        spread.append((own - own.mean(0)).square().sum().item())
        left["mean over sources"].append((target - own).square().sum().item())
        left["new heads"].append((predicted - own).square().sum().item())
        w_plus = w_plus[None].expand(len(images), -1, -1)
        ways = (own, predicted, motion, torch.zeros_like(motion))
        for name, codes in zip(errors, ways, strict=True):
            made = generator(w_plus, codes).clamp(-1, 1)
            errors[name] += (made - images)[1:].square().flatten(1).mean(1).tolist()
    for name, values in left.items():
        print(f"{name}: explains {1 - sum(values) / sum(spread):.3f} of the variance of T(S, memory) within a person")
    for name, values in errors.items():
        print(f"{name}: PSNR {np.mean(10 * np.log10(4 / np.array(values))):.2f} dB, first frame as source")


if __name__ == "__main__":
    run_program(main)
