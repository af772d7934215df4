"""The encoder of omertov/encoder4editing: trunk, laterals and identity heads of our hybrid encoder."""

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from vivface.convert.keys.arcface import trunk_names
from vivface.convert.keys.keymap import KeyMap, parameter_names
from vivface.errors import CheckpointError

IMAGE_SIZE = 256


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


def split(state_dict: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The file's `state_dict` -> the entries of "encoder" and "decoder", prefixes removed.

    Raises:
        CheckpointError: If an entry belongs to neither.
    """
    parts: dict[str, dict[str, Tensor]] = {"encoder": {}, "decoder": {}}
    for name, tensor in state_dict.items():
        part, _, rest = name.partition(".")
        if part not in parts:
            raise CheckpointError(f"The checkpoint has {name}; expected only entries of an encoder and a decoder.")
        parts[part][rest] = tensor
    return parts
