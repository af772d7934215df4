"""Find editing directions of a checkpoint: `python -m training.tools.find_directions CHECKPOINT --folders data/people`.

They are found from synthetic people, whose ground truth is known, and written to `directions.safetensors` beside the
checkpoint's `model_index.json`:

- Expression and pose: motion codes of many frames are regressed on the controls and the pose they were rendered with,
  within each identity, so that constant traits play no role. The coefficients are the directions.
- Attributes of the person and of the light: identity codes W+ are regressed on the attributes that the person and the
  scene were sampled with, all at once, so that each direction changes its attribute with the others held fixed.
- The residual of W+ is split into principal components (Härkönen et al., GANSpace: Discovering Interpretable GAN
  Controls, NeurIPS 2020, sec. 2.2), the first few as "Variation".
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.data import GroupShards, ShardRecord
from training.synthetic.assets import load_kit
from training.synthetic.person import SyntheticPerson, sample_person
from training.synthetic.scene import Scene, sample_scene
from training.tools.programs import add_device, add_people, program_parser, run_program
from vivface.editing import AttributeDirections, Direction
from vivface.editing.directions import DIRECTIONS_FILE
from vivface.faces.alignment import crop_quad, ffhq_quad
from vivface.media.tensors import to_tensor
from vivface.pipelines.vivface import VivFacePipeline
from vivface.runtime import choose_device

# Sliders of the page: name -> label, amounts of controls and degrees of pose (yaw, pitch, roll) of one step, reach
EXPRESSIONS: dict[str, tuple[str, dict[str, float], float]] = {
    "turn": ("Turn the head", {"yaw": -20.0}, 1.25),
    "nod": ("Nod", {"pitch": 12.0}, 1.25),
    "tilt": ("Tilt the head", {"roll": 10.0}, 1.25),
    "mouth_open": ("Open the mouth", {"jaw_open": 0.6}, 1.25),
    "smile": ("Smile", {"smile_left": 0.7, "smile_right": 0.7}, 1.25),
    "pucker": ("Purse the lips", {"pucker": 0.7}, 1.25),
    "eyes_closed": ("Close the eyes", {"blink_left": 0.9, "blink_right": 0.9}, 1.1),
    "brows_up": ("Raise the brows", {"brow_up_left": 0.8, "brow_up_right": 0.8}, 1.25),
    "brows_down": ("Frown", {"brow_down_left": 0.8, "brow_down_right": 0.8}, 1.25),
    "gaze_side": ("Look to the side", {"gaze_x": -0.7}, 1.25),
    "gaze_down": ("Look down", {"gaze_y": 0.7}, 1.25),
}
POSE = ("yaw", "pitch", "roll")
SEEN = 3.0  # an attribute has to explain so many times the variance that one of chance would
COMMON_HAIR = ("long01", "ponytail01", "braid01", "bob02")


def _luminance(colour: np.ndarray) -> float:
    return float(np.log(np.asarray(colour) @ [0.25, 0.6, 0.15] + 1e-3))


@dataclass(frozen=True)
class Attribute:
    """A number that people differ in; `of` reads it from how a person and the light were drawn."""

    label: str
    of: Callable[[SyntheticPerson, Scene], float]
    binary: bool = False  # a step leads from without to with, instead of by one standard deviation


ATTRIBUTES: dict[str, Attribute] = {
    "age": Attribute("Age", lambda person, scene: person.age),
    "masculine": Attribute("Masculine", lambda person, scene: float(person.male), binary=True),
    "skin": Attribute("Light skin", lambda person, scene: _luminance(person.tone)),
    "glasses": Attribute("Glasses", lambda person, scene: float(person.glasses is not None), binary=True),
    "stubble": Attribute("Beard", lambda person, scene: person.paint["stubble"]),
    "hair_light": Attribute("Light hair", lambda person, scene: _luminance(person.hair_colour)),
    "hair_long": Attribute("Long hair", lambda person, scene: float(person.hair in COMMON_HAIR), binary=True),
    "hair_gone": Attribute("Bald", lambda person, scene: float(person.hair is None), binary=True),
    "light_side": Attribute("Light from the side", lambda person, scene: float(scene.key_direction[0])),
    "light_bright": Attribute("Bright light", lambda person, scene: float(np.log(scene.exposure))),
    "light_warm": Attribute("Warm light", lambda person, scene: float(np.log(scene.key[0] / scene.key[2]))),
}


def main(arguments: list[str] | None = None) -> None:
    """Encode people, find directions, and write them.

    Args:
        arguments (`list[str]`, *optional*): Command line; that of the process by default.

    Raises:
        OptionError: If there are no people.
        CheckpointError: If the checkpoint cannot be loaded.
    """
    options = parse_arguments(arguments)

    # 1. Encode people.
    shards = GroupShards(options.folders, cache_gigabytes=0.5)
    people = shards.records()
    chosen = np.linspace(0, len(people) - 1, min(options.people, len(people))).round().astype(int)
    people = [people[index] for index in chosen]
    pipeline = VivFacePipeline.from_pretrained(options.checkpoint).to(choose_device(options.device))
    encoded = [_encode(pipeline, shards, person, options.portraits, options.motions) for person in people]
    identities = np.stack([identity for identity, _, _ in encoded])  # (people, num_latents, style_dim)

    # 2. Expression and pose.
    names = (*shards.control_names, *POSE)
    motions = np.concatenate([codes - codes.mean(0) for _, codes, _ in encoded])
    labels = np.concatenate([rows - rows.mean(0) for _, _, rows in encoded])
    directions = expression_directions(motions, labels, names)

    # 3. Attributes, and the residual.
    kit = load_kit(options.assets, options.cache)
    drawn = []
    for person in people:
        appearance = sample_person(kit, person.seed)
        drawn.append((appearance, sample_scene(person.seed, appearance.tone)))
    attributes = np.array([[attribute.of(*pair) for attribute in ATTRIBUTES.values()] for pair in drawn])
    directions += attribute_directions(identities, attributes, options.variations)

    path = AttributeDirections(directions).save(Path(options.checkpoint) / DIRECTIONS_FILE)
    print(f"{path}: {len(directions)} directions from {len(people)} people and {len(motions)} frames")


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    parser = program_parser("find_directions", __doc__)
    parser.add_argument("checkpoint", help="folder of the pipeline; the file is written into it")
    add_people(parser)
    parser.add_argument("--assets", help="MakeHuman data folder (default: VIVFACE_ASSETS); only until it is cached")
    parser.add_argument("--cache", help="folder of the parsed assets")
    parser.add_argument("--people", type=int, default=480, help="at most this many people")
    parser.add_argument("--portraits", type=int, default=3, help="frames per person for the identity code")
    parser.add_argument("--motions", type=int, default=24, help="frames per person for the motion codes")
    parser.add_argument("--variations", type=int, default=4, help="principal components to keep")
    add_device(parser)
    return parser.parse_args(arguments)


def expression_directions(motions: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> list[Direction]:
    """Regress motion codes on controls and pose.

    Args:
        motions (`np.ndarray` of shape `(frames, motion_codes, style_dim)`): Less the identity's mean.
        labels (`np.ndarray` of shape `(frames, labels)`): The same.
        names (`tuple[str, ...]`): Of the labels.

    Returns:
        `list[Direction]`: One for each of `EXPRESSIONS`.
    """
    coefficients, explained = regress(labels, motions.reshape(len(motions), -1))
    print(f"expression and pose: {100 * explained:.0f} % of the motion codes' variance explained")
    directions = []
    for name, (label, amounts, reach) in EXPRESSIONS.items():
        step = sum(amount * coefficients[names.index(control)] for control, amount in amounts.items())
        directions.append(Direction(name, label, "motion", _tensor(step, motions.shape[1:]), reach))
    return directions


def attribute_directions(identities: np.ndarray, attributes: np.ndarray, variations: int) -> list[Direction]:
    """Regress identity codes on attributes; principal components of the rest.

    Args:
        identities (`np.ndarray` of shape `(people, num_latents, style_dim)`): W+.
        attributes (`np.ndarray` of shape `(people, len(ATTRIBUTES))`): In the order of `ATTRIBUTES`.
        variations (`int`): Principal components to keep.

    Returns:
        `list[Direction]`: Of the attributes that the codes show, then of the components.
    """
    flat = identities.reshape(len(identities), -1)
    spread = attributes.std(0)
    rows = (attributes - attributes.mean(0)) / np.where(spread > 0, spread, 1)
    coefficients, explained = regress(rows, flat - flat.mean(0))
    print(f"attributes: {100 * explained:.0f} % of the identity codes' variance explained")
    directions = []
    total = (flat - flat.mean(0)).var(0).sum()
    for (name, attribute), step, deviation in zip(ATTRIBUTES.items(), coefficients, spread, strict=True):
        share = (step**2).sum() / total
        if share < SEEN / len(flat):  # nobody differs in it, or the codes do not show it
            print(f"{attribute.label}: not seen in the identity codes ({100 * share:.2f} % of their variance)")
            continue
        step = step / deviation if attribute.binary else step
        reach = 1.25 if attribute.binary else 2.5
        directions.append(Direction(name, attribute.label, "w_plus", _tensor(step, identities.shape[1:]), reach))

    rest = flat - flat.mean(0) - rows @ coefficients
    _, values, components = np.linalg.svd(rest, full_matrices=False)
    for number in range(min(variations, len(components))):
        step = components[number] * values[number] / np.sqrt(len(rest))  # one standard deviation
        vector = _tensor(step, identities.shape[1:])
        directions.append(Direction(f"variation_{number + 1}", f"Variation {number + 1}", "w_plus", vector, 2.5))
    return directions


def regress(labels: np.ndarray, codes: np.ndarray, ridge: float = 0.01) -> tuple[np.ndarray, float]:
    """Ridge regression without intercept: `codes = labels @ coefficients`.

    Args:
        labels (`np.ndarray` of shape `(rows, labels)`): Mean 0.
        codes (`np.ndarray` of shape `(rows, numbers)`): Mean 0.
        ridge (`float`, *optional*, defaults to 0.01): As a fraction of each label's own variance.

    Returns:
        `tuple[np.ndarray, float]`: Coefficients `(labels, numbers)` and the explained fraction of the variance.
    """
    gram = labels.T @ labels
    gram[np.diag_indices_from(gram)] *= 1 + ridge
    gram[np.diag_indices_from(gram)] += 1e-6 * len(labels)
    coefficients = np.linalg.solve(gram, labels.T @ codes)
    return coefficients, float(1 - ((codes - labels @ coefficients) ** 2).sum() / (codes**2).sum())


@torch.no_grad()
def _encode(
    pipeline: VivFacePipeline, shards: GroupShards, record: ShardRecord, portraits: int, motions: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An identity's mean identity code, motion codes `(motions, ...)` and their labels `(motions, controls + 3)`.

    Portraits are each cropped by their own quad, motions all by the quad of one frame.
    """
    size, device = pipeline.config.image_size, pipeline.encoder.device
    rng = np.random.default_rng(record.seed)
    chosen = rng.choice(record.frames, min(portraits, record.frames), replace=False)
    crops = [crop_quad(shards.image(record, frame), ffhq_quad(record.landmarks[frame]), size) for frame in chosen]
    identity = pipeline.encoder(to_tensor(crops, device), motion=False, memory=False).identity.mean(0)

    same = np.flatnonzero(record.clip == record.clip[chosen[0]])
    frames = rng.choice(same, min(motions, len(same)), replace=False)
    quad = ffhq_quad(record.landmarks[chosen[0]])
    crops = [crop_quad(shards.image(record, frame), quad, size) for frame in frames]
    codes = pipeline.encoder(to_tensor(crops, device), identity=False, memory=False).motion
    labels = np.concatenate([record.controls[frames], record.pose[frames]], axis=1)
    return identity.cpu().numpy(), codes.cpu().numpy(), labels


def _tensor(step: np.ndarray, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(step.reshape(shape).astype(np.float32))


if __name__ == "__main__":
    run_program(main)
