"""Generators in the pickles of NVlabs/stylegan2-ada-pytorch and NVlabs/stylegan3 (`G_ema`); names of StyleGAN2's.

The arithmetic of StyleGAN2 is that of the other layout: weights of transposed convolutions are stored as they are
used, and the demodulation hides that convolution weights are not scaled by their fan-in.
"""

import torch
from torch import Tensor

from vivface.convert.keymap import KeyMap, listing, parameter_names
from vivface.convert.pickles import PersistentObject
from vivface.convert.reading import TRAINING, Source, refusing_pickles
from vivface.errors import CheckpointError

OTHERS = ("G", "D", "augment_pipe", "training_set_kwargs", "progress")


def generator_entries(source: Source) -> dict[str, Tensor]:
    """Tensors of the averaged StyleGAN2 generator; the records of the other networks are dropped.

    Raises:
        CheckpointError: If the file holds no StyleGAN2 generator without classes.
    """
    entries = averaged_entries(source)
    if any(name.startswith("synthesis.L0_") for name in entries):
        raise CheckpointError(
            f"'{source.path}' is a StyleGAN3 network; expected a StyleGAN2 network: use `vivface convert stylegan3`."
        )
    return entries


def averaged_entries(source: Source) -> dict[str, Tensor]:
    """Tensors of the averaged generator, StyleGAN2 or 3; the records of the other networks are dropped.

    Raises:
        CheckpointError: If the file holds no generator without classes.
    """
    if not isinstance(source.content, dict) or "G_ema" not in source.content:
        raise CheckpointError(f"'{source.path}' holds no network under G_ema: check which file it is.")
    if unknown := [name for name in source.content if name not in ("G_ema", *OTHERS)]:
        raise CheckpointError(
            f"'{source.path}' has the entries {listing(unknown)}, which a network pickle of NVIDIA does "
            "not know: check which file it is."
        )
    network = source.content["G_ema"]
    source.ignored |= {name: TRAINING for name in OTHERS if name in source.content}
    source.content = None
    if not isinstance(network, PersistentObject):
        raise CheckpointError(f"'{source.path}' holds no network under G_ema: check which file it is.")
    with refusing_pickles(source.path):
        entries = network.state_dict()
    entries = source.tensors(entries, "G_ema")
    if "mapping.embed.weight" in entries:
        raise CheckpointError(
            f"'{source.path}' is a network that takes class labels; expected one without, such as those of faces."
        )
    return entries


def generator_keys(num_latents: int, mapping_layers: int = 8) -> KeyMap:
    """Entries of a generator whose W+ has `num_latents` vectors (18 at 1024)."""
    blocks = num_latents // 2 - 1
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    fir = torch.outer(taps, taps) / 64

    names = {"mapping.w_avg": "latent_avg", "synthesis.b4.const": "constant"}
    constants = {"synthesis.b4.resample_filter": fir}
    for i in range(mapping_layers):
        names |= parameter_names(f"mapping.fc{i}", f"mapping.layers.{i}")
    convs, to_rgbs = {"b4.conv1": "conv1"}, {"b4.torgb": "to_rgb1"}
    for k in range(blocks):
        block = f"b{8 * 2**k}"
        convs |= {f"{block}.conv0": f"convs.{2 * k}", f"{block}.conv1": f"convs.{2 * k + 1}"}
        to_rgbs |= {f"{block}.torgb": f"to_rgbs.{k}"}
        constants[f"synthesis.{block}.resample_filter"] = fir
    for official, ours in convs.items():
        layer = f"synthesis.{official}"
        names |= parameter_names(layer, ours)
        names |= {f"{layer}.noise_strength": f"{ours}.noise_weight", f"{layer}.noise_const": f"{ours}.noise_map"}
        names |= parameter_names(f"{layer}.affine", f"{ours}.modulation")
        constants[f"{layer}.resample_filter"] = fir
    for official, ours in to_rgbs.items():
        names |= parameter_names(f"synthesis.{official}", ours)
        names |= parameter_names(f"synthesis.{official}.affine", f"{ours}.modulation")
    return KeyMap(names, constants)
