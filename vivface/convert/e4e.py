"""Encoder and generator of omertov/encoder4editing (e4e): trunk, laterals and identity heads of our hybrid encoder."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from vivface.convert.conversion import Conversion, ConvertedModel, fill, without_values
from vivface.convert.ir_se50 import trunk_names
from vivface.convert.keymap import KeyMap, parameter_names
from vivface.convert.reading import Source, read
from vivface.convert.stylegan2 import rosinality_generator, set_mean_latent, take_mean_latent
from vivface.errors import CheckpointError
from vivface.models.encoder import HybridEncoder, StyleHeads

WHAT = "an e4e checkpoint"
SEED = 0  # of the motion heads that the file does not have
IMAGE_SIZE = 256


def convert(file: Path) -> Conversion:
    """Read the encoder's identity part and the generator. The motion heads, which e4e lacks, get new random values.

    Args:
        file (`Path`): The authors' file (entries `state_dict`, `latent_avg`), or a bare state dict of its layout.

    Raises:
        CheckpointError: If the file is anything else, or an entry does not fit.
    """
    source = read(file)
    entries = source.network(WHAT, ("state_dict",), beside=("latent_avg",))
    stored = take_mean_latent(source, entries)
    networks = split(entries)
    generator = rosinality_generator(networks["decoder"])
    latents = count_heads(source, networks["encoder"], "styles")
    check_latents(source, latents, generator)

    encoder = ConvertedModel(without_values(HybridEncoder, num_latents=latents))
    fill(encoder, encoder_keys(latents), networks["encoder"])
    notes = set_mean_latent(source, stored, generator.model, encoder.model)
    config = encoder.model.config
    sides = [config.image_size // 16, config.image_size // 8, config.image_size // 4]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        encoder.model.motion_heads = StyleHeads(config.motion_codes, config.style_dim, sides, config.shared_heads)
    encoder.fresh = len(encoder.model.motion_heads.state_dict())
    notes.append("e4e has no motion: the encoder's motion heads are new and need training.")
    return Conversion("e4e", [source], {"encoder": encoder, "generator": generator}, notes=notes)


def count_heads(source: Source, encoder: Mapping[str, Tensor], name: str) -> int:
    """How many heads of a kind the encoder has."""
    count = len([entry for entry in encoder if re.fullmatch(rf"{name}\.\d+\.linear\.weight", entry)])
    if not count:
        raise CheckpointError(f"'{source.path}' holds no encoder heads ({name}): check which file it is.")
    return count


def check_latents(source: Source, latents: int, generator: ConvertedModel) -> None:
    """Encoder and generator have to agree on the size of the identity code."""
    if latents != generator.model.num_latents:
        raise CheckpointError(
            f"'{source.path}' has an encoder of {latents} latents and a generator that takes "
            f"{generator.model.num_latents}: its entries do not belong together."
        )


def split(state_dict: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The file's `state_dict` -> the entries of "encoder" and "decoder", prefixes removed.

    Raises:
        CheckpointError: If an entry belongs to neither.
    """
    networks: dict[str, dict[str, Tensor]] = {"encoder": {}, "decoder": {}}
    for name, tensor in state_dict.items():
        network, _, rest = name.partition(".")
        if network not in networks:
            raise CheckpointError(f"The checkpoint has {name}; expected only entries of an encoder and a decoder.")
        networks[network][rest] = tensor
    return networks


# Names ---------------------------------------------------------------------------------------------------------------


def encoder_keys(num_latents: int, motion_codes: int = 10, units: Sequence[int] = (3, 4, 14, 3)) -> KeyMap:
    """Entries of the encoder. The motion heads and `latent_avg` of ours come from elsewhere."""
    names = trunk_names(units) | lateral_names() | head_names("styles", "identity_heads", num_latents)
    fresh = head_names("", "motion_heads", motion_codes).values()
    return KeyMap(names, elsewhere=frozenset({"latent_avg", *fresh}))


def lateral_names() -> dict[str, str]:
    """The feature pyramid's 1x1 convolutions."""
    return parameter_names("latlayer1", "lateral_c2") | parameter_names("latlayer2", "lateral_c1")


def head_names(official: str, ours: str, count: int) -> dict[str, str]:
    """Heads without sharing: strided convolutions (every second entry; activations lie between) and a linear map."""
    names = {}
    for i in range(count):
        side = IMAGE_SIZE // (16 if i < 3 else 8 if i < 7 else 4)
        for conv in range(int(math.log2(side))):
            names |= parameter_names(f"{official}.{i}.convs.{2 * conv}", f"{ours}.heads.{i}.convs.{conv}")
        names |= parameter_names(f"{official}.{i}.linear", f"{ours}.heads.{i}.linears.0")
    return names
