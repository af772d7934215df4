"""StyleGAN3 generators, configurations T and R, in the pickles of NVlabs/stylegan3."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from vivface.convert.conversion import Conversion, ConvertedModel, fill, without_values
from vivface.convert.keymap import KeyMap, parameter_names
from vivface.convert.nvidia import averaged_entries
from vivface.convert.reading import read_torch_or_nvidia
from vivface.errors import CheckpointError
from vivface.models.stylegan3 import LAYERS, StyleGAN3Generator, published_channels

LAYER_NAME = re.compile(r"synthesis\.L(\d+)_(\d+)_(\d+)\.weight")  # number, size, channels


def convert(file: Path) -> Conversion:
    """Read a generator of any size.

    Args:
        file (`Path`): NVIDIA's `.pkl` (entry `G_ema`).

    Raises:
        CheckpointError: If it is anything else, or an entry does not fit.
    """
    source = read_torch_or_nvidia(file)
    entries = averaged_entries(source)
    if "synthesis.b4.const" in entries:
        raise CheckpointError(
            f"'{file}' is a StyleGAN2 network; expected a StyleGAN3 network: use `vivface convert stylegan2`."
        )
    converted = ConvertedModel(without_values(StyleGAN3Generator, **generator_config(entries)))
    fill(converted, generator_keys(converted.model), entries)
    return Conversion("stylegan3", [source], {"": converted})


def generator_config(entries: Mapping[str, Tensor]) -> dict:
    """Config of the generator with these entries; the published channels go without saying.

    Raises:
        CheckpointError: If the layers are not those of a StyleGAN3 generator.
    """
    layers = sorted((int(n), int(size), int(width)) for n, size, width in _found_layers(entries))
    if [number for number, _, _ in layers] != list(range(LAYERS + 1)):
        raise CheckpointError(
            f"The file has {len(layers)} of the {LAYERS + 1} layers of a StyleGAN3 generator: check which file it is."
        )
    kernel = _shape(entries, f"synthesis.L0_{layers[0][1]}_{layers[0][2]}.weight", 4)[2]
    if kernel not in (1, 3):
        raise CheckpointError(f"The file's kernels have size {kernel}; expected 3 (configuration T) or 1 (R).")
    size, configuration = layers[-1][1], "R" if kernel == 1 else "T"
    config = {
        "size": size,
        "configuration": configuration,
        "style_dim": _shape(entries, "synthesis.input.affine.weight", 2)[1],
        "mapping_layers": len([name for name in entries if re.fullmatch(r"mapping\.fc\d+\.weight", name)]),
    }
    channels = [width for _, _, width in layers[:-1]]
    return config if channels == published_channels(size, configuration) else config | {"channels": channels}


def generator_keys(generator: StyleGAN3Generator) -> KeyMap:
    """Entries of a generator; its filters are constants that the file has to agree with.

    Args:
        generator (`StyleGAN3Generator`): Of the file's config, on any device; only its shapes are used.
    """
    names = {"mapping.w_avg": "latent_avg"}
    for i in range(generator.config.mapping_layers):
        names |= parameter_names(f"mapping.fc{i}", f"mapping.layers.{i}")
    names |= {
        "synthesis.input.weight": "input.weight",
        "synthesis.input.freqs": "input.frequencies",
        "synthesis.input.phases": "input.phases",
    }
    names |= parameter_names("synthesis.input.affine", "input.modulation")
    constants = {"synthesis.input.transform": torch.eye(3)}
    for i, layer in enumerate(generator.layers):
        official, ours = f"synthesis.L{i}_{layer.size}_{len(layer.weight)}", f"layers.{i}"
        names |= parameter_names(official, ours) | {f"{official}.magnitude_ema": f"{ours}.magnitude"}
        names |= parameter_names(f"{official}.affine", f"{ours}.modulation")
        if i < LAYERS:
            constants[f"{official}.up_filter"] = torch.from_numpy(layer.activation.up_filter).float()
            constants[f"{official}.down_filter"] = torch.from_numpy(layer.activation.down_filter).float()
    return KeyMap(names, constants)


def _found_layers(entries: Mapping[str, Tensor]) -> list[tuple[str, str, str]]:
    return [found.groups() for name in entries if (found := LAYER_NAME.fullmatch(name))]


def _shape(entries: Mapping[str, Tensor], name: str, axes: int) -> torch.Size:
    if name not in entries or entries[name].ndim != axes:
        raise CheckpointError(f"The file lacks {name} of a StyleGAN3 generator: check which file it is.")
    return entries[name].shape
