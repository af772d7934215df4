"""StyleGAN2 generators: `.pt` of rosinality/stylegan2-pytorch and `.pkl` of NVIDIA's PyTorch repositories.

The decoders of e4e and ViVFace have rosinality's layout, too.
"""

import copy
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from vivface.convert import nvidia
from vivface.convert.conversion import Conversion, ConvertedModel, fill, without_values
from vivface.convert.keymap import KeyMap, parameter_names
from vivface.convert.reading import Source, read_torch_or_nvidia
from vivface.errors import CheckpointError
from vivface.models.stylegan2 import StyleGAN2Generator, published_channels

WHAT = "a StyleGAN2 checkpoint"
NETWORKS = ("g_ema", "state_dict", "g")  # top-level entries with a generator, the best first
MEAN_SAMPLES = 16_384  # of a computed mean latent, which is then within 1 % of a standard deviation
MEAN_SEED = 0


def convert(file: Path) -> Conversion:
    """Read a generator of any size, config e or f.

    Args:
        file (`Path`): rosinality's `.pt`, published (`g_ema`, `latent_avg`) or as its training writes it, a bare state
            dict of its layout, or NVIDIA's `.pkl` (entry `G_ema`).

    Raises:
        CheckpointError: If it is anything else, or an entry does not fit.
    """
    source = read_torch_or_nvidia(file)
    if isinstance(source.content, dict) and "G_ema" in source.content:
        return Conversion("stylegan2", [source], {"": _nvidia_generator(nvidia.generator_entries(source))})
    averaged = isinstance(source.content, dict) and "g_ema" in source.content
    entries = source.network(WHAT, NETWORKS, beside=("latent_avg",))
    stored = take_mean_latent(source, entries)
    generator = rosinality_generator(entries)
    notes = set_mean_latent(source, stored, generator.model)
    if not averaged and "g" in source.content:
        notes.append(f"{source.name} has no averaged generator (g_ema): the one that was trained last (g) is used.")
    return Conversion("stylegan2", [source], {"": generator}, notes=notes)


def rosinality_generator(entries: Mapping[str, Tensor]) -> ConvertedModel:
    """A generator filled from entries in rosinality's layout, but for its mean latent (`set_mean_latent`)."""
    sides = len([name for name in entries if re.fullmatch(r"to_rgbs\.\d+\.bias", name)])
    layers = len([name for name in entries if re.fullmatch(r"style\.\d+\.weight", name)])
    channels = [_length(entries, "conv1.conv.weight", 0)]
    channels += [_length(entries, f"convs.{2 * k}.conv.weight", 0) for k in range(sides)]
    style_dim = _length(entries, "conv1.conv.modulation.weight", 1)
    model = without_values(StyleGAN2Generator, **generator_config(channels, style_dim, layers))
    converted = ConvertedModel(model)
    fill(converted, generator_keys(model.num_latents, layers), entries)
    return converted


def _nvidia_generator(entries: Mapping[str, Tensor]) -> ConvertedModel:
    sides = len([name for name in entries if re.fullmatch(r"synthesis\.b\d+\.conv0\.weight", name)])
    layers = len([name for name in entries if re.fullmatch(r"mapping\.fc\d+\.weight", name)])
    channels = [_length(entries, "synthesis.b4.conv1.weight", 0)]
    channels += [_length(entries, f"synthesis.b{8 * 2**k}.conv0.weight", 0) for k in range(sides)]
    style_dim = _length(entries, "synthesis.b4.conv1.affine.weight", 1)
    model = without_values(StyleGAN2Generator, **generator_config(channels, style_dim, layers))
    converted = ConvertedModel(model)
    fill(converted, nvidia.generator_keys(model.num_latents, layers), entries)
    return converted


def generator_config(channels: list[int], style_dim: int, mapping_layers: int) -> dict:
    """Config of a generator with these channels at 4x4, 8x8, ...; the published tables by their name."""
    size = 2 ** (len(channels) + 1)
    config = {"size": size, "style_dim": style_dim, "mapping_layers": mapping_layers}
    config["motion_codes"] = min(10, 2 * len(channels))
    for multiplier in (2, 1):
        if channels == published_channels(size, multiplier):
            return config | {"channel_multiplier": multiplier}
    return config | {"channels": channels}


def _length(entries: Mapping[str, Tensor], name: str, axis: int) -> int:
    """Length of an axis, not counting the leading one of rosinality's five-dimensional weights."""
    if name not in entries:
        raise CheckpointError(f"The file lacks {name} of a StyleGAN2 generator: check which file it is.")
    shape = entries[name].shape
    shape = shape[1:] if len(shape) == 5 else shape
    if len(shape) <= axis:
        raise CheckpointError(f"{name} has shape {tuple(entries[name].shape)}, which no StyleGAN2 generator has.")
    return shape[axis]


# The mean latent -----------------------------------------------------------------------------------------------------


def take_mean_latent(source: Source, entries: dict[str, Tensor]) -> object:
    """What the file stores as its mean latent, None if it has none; it is removed from `entries`."""
    inside = entries.pop("latent_avg", None)
    return source.content.get("latent_avg", inside)


def set_mean_latent(source: Source, stored: object, generator: StyleGAN2Generator, *others: nn.Module) -> list[str]:
    """Set `latent_avg` of a filled generator, and of other networks, to the stored mean latent or a computed one.

    Args:
        source (`Source`): The file, for messages.
        stored (`torch.Tensor` of shape `(style_dim,)` or `(num_latents, style_dim)`, or `None`): As in the file.
        generator (`StyleGAN2Generator`): Filled; its mapping network gives the mean latent where the file has none.
        others (`torch.nn.Module`): Networks with the same buffer.

    Returns:
        `list[str]`: What a user should know.

    Raises:
        CheckpointError: If the stored value is no mean latent of this generator.
    """
    notes = []
    if stored is None:
        average = compute_mean_latent(generator)
        notes.append(
            f"{source.name} holds no mean latent: it was computed from the file's own mapping network "
            f"({MEAN_SAMPLES:,} samples, seed {MEAN_SEED})."
        )
    else:
        if not isinstance(stored, Tensor):
            raise CheckpointError(f"'{source.path}' holds no tensor under latent_avg: check which file it is.")
        average = single_latent(stored)
    if average.shape != generator.latent_avg.shape or not torch.isfinite(average).all():
        raise CheckpointError(
            f"latent_avg has shape {tuple(average.shape)}; expected {generator.latent_avg.shape[0]} finite numbers, or "
            "a row of them for each layer."
        )
    for network in (generator, *others):
        network.latent_avg = average.clone()
    return notes


@torch.no_grad()
def compute_mean_latent(generator: StyleGAN2Generator) -> Tensor:
    """The mean of w over random z: `(style_dim,)`, float32, the same for the same weights."""
    mapping = copy.deepcopy(generator.mapping).float()
    random = torch.Generator().manual_seed(MEAN_SEED)
    batches, width = MEAN_SAMPLES // 1024, generator.config.style_dim
    means = [mapping(torch.randn(1024, width, generator=random)).mean(dim=0) for _ in range(batches)]
    return torch.stack(means).mean(dim=0)


def single_latent(stored: Tensor) -> Tensor:
    """The mean latent as one vector; encoder files repeat it for every layer.

    Args:
        stored (`torch.Tensor` of shape `(style_dim,)` or `(num_latents, style_dim)`): As in the file.

    Returns:
        `torch.Tensor` of shape `(style_dim,)`.

    Raises:
        CheckpointError: If the rows differ.
    """
    if stored.ndim == 1:
        return stored
    if stored.ndim != 2 or not (stored.is_meta or torch.equal(stored, stored[:1].expand_as(stored))):
        raise CheckpointError(
            f"`latent_avg` of shape {tuple(stored.shape)} is not one vector repeated for every layer."
        )
    return stored[0]


# Names ---------------------------------------------------------------------------------------------------------------


def generator_keys(num_latents: int, mapping_layers: int = 8) -> KeyMap:
    """Entries of a generator whose W+ has `num_latents` vectors (18 at 1024). `latent_avg` is stored elsewhere."""
    blocks = num_latents // 2 - 1
    names = {"input.input": "constant"}
    for i in range(mapping_layers):
        names |= parameter_names(f"style.{i + 1}", f"mapping.layers.{i}")  # style.0 normalises
    convs = ["conv1"] + [f"convs.{i}" for i in range(2 * blocks)]
    for i, layer in enumerate(convs):
        names |= {
            f"{layer}.conv.weight": f"{layer}.weight",
            f"{layer}.activate.bias": f"{layer}.bias",
            f"{layer}.noise.weight": f"{layer}.noise_weight",
            f"noises.noise_{i}": f"{layer}.noise_map",
        }
        names |= parameter_names(f"{layer}.conv.modulation", f"{layer}.modulation")
    for layer in ["to_rgb1"] + [f"to_rgbs.{k}" for k in range(blocks)]:
        names |= {f"{layer}.conv.weight": f"{layer}.weight", f"{layer}.bias": f"{layer}.bias"}
        names |= parameter_names(f"{layer}.conv.modulation", f"{layer}.modulation")

    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    fir = torch.outer(taps, taps) / 64 * 4
    constants = {f"convs.{2 * k}.conv.blur.kernel": fir for k in range(blocks)}
    constants |= {f"to_rgbs.{k}.upsample.kernel": fir for k in range(blocks)}
    return KeyMap(names, constants, elsewhere=frozenset({"latent_avg"}))
