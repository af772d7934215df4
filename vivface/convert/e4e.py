"""Encoder and generator of omertov/encoder4editing (e4e)."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from vivface.convert.conversion import Conversion, Part, fill, without_values
from vivface.convert.keys import e4e
from vivface.convert.reading import Source, read
from vivface.convert.stylegan2 import TRAINING, fill_average, generator_part
from vivface.errors import CheckpointError
from vivface.models.encoder import HybridEncoder, StyleHeads

WHAT = "an e4e checkpoint"
IGNORED = {"opts": "the authors' training options"} | dict.fromkeys(
    ("global_step", "optimizer", "best_val_loss", "discriminator_state_dict", "discriminator_optimizer_state_dict"),
    TRAINING,
)
SEED = 0  # of the motion heads that the file does not have


def convert(file: Path) -> Conversion:
    """Read the encoder's identity part and the generator. The motion heads, which e4e lacks, get new random values.

    Raises:
        CheckpointError: If the file is anything else, or an entry does not fit.
    """
    source = read(file)
    entries, average = source.sections(WHAT, ("state_dict", "latent_avg"), IGNORED)
    average = check_average(source, average)
    parts = e4e.split(source.tensors(entries, "state_dict"))
    generator = generator_part(parts["decoder"], average)
    latents = count_heads(source, parts["encoder"], "styles")
    check_latents(source, latents, generator)

    encoder = Part(without_values(HybridEncoder, num_latents=latents))
    fill(encoder, e4e.encoder_keys(latents), parts["encoder"])
    fill_average(encoder.model, average)
    config = encoder.model.config
    sides = [config.image_size // 16, config.image_size // 8, config.image_size // 4]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        encoder.model.motion_heads = StyleHeads(config.motion_codes, config.style_dim, sides, config.shared_heads)
    encoder.fresh = len(encoder.model.motion_heads.state_dict())
    note = "e4e has no motion: the encoder's motion heads are new and need training."
    return Conversion("e4e", [source], {"encoder": encoder, "generator": generator}, notes=[note])


def check_average(source: Source, average: object) -> Tensor:
    """`latent_avg` has to be a tensor."""
    if not isinstance(average, Tensor):
        raise CheckpointError(f"'{source.path}' holds no tensor under latent_avg: check which file it is.")
    return average


def count_heads(source: Source, encoder: Mapping[str, Tensor], name: str) -> int:
    """How many heads of a kind the encoder has."""
    count = len([entry for entry in encoder if re.fullmatch(rf"{name}\.\d+\.linear\.weight", entry)])
    if not count:
        raise CheckpointError(f"'{source.path}' holds no encoder heads ({name}): check which file it is.")
    return count


def check_latents(source: Source, latents: int, generator: Part) -> None:
    """Encoder and generator have to agree on the size of the identity code."""
    if latents != generator.model.num_latents:
        raise CheckpointError(
            f"'{source.path}' has an encoder of {latents} latents and a generator that takes "
            f"{generator.model.num_latents}: its entries do not belong together."
        )
