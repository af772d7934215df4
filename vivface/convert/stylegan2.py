"""StyleGAN2 generators: `.pt` of rosinality/stylegan2-pytorch and `.pkl` of NVIDIA's PyTorch repositories."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from vivface.convert.conversion import Conversion, Part, fill, without_values
from vivface.convert.keys import nvidia, stylegan2
from vivface.convert.keys.keymap import latent_average
from vivface.convert.pickles import PersistentObject
from vivface.convert.reading import Source, read_torch_or_nvidia
from vivface.errors import CheckpointError
from vivface.models.stylegan2 import StyleGAN2Generator, published_channels

WHAT = "a StyleGAN2 checkpoint"
TRAINING = "training state; inference needs the averaged generator only"
ROSINALITY_IGNORED = dict.fromkeys(("g", "d", "g_optim", "d_optim", "args", "ada_aug_p"), TRAINING)
NVIDIA_IGNORED = dict.fromkeys(("G", "D", "augment_pipe", "training_set_kwargs", "progress"), TRAINING)


def convert(file: Path) -> Conversion:
    """Read a generator of any size, config e or f.

    Args:
        file (`Path`): rosinality's `.pt` (entries `g_ema`, `latent_avg`) or NVIDIA's `.pkl` (entry `G_ema`).

    Raises:
        CheckpointError: If it is anything else, or an entry does not fit.
    """
    source = read_torch_or_nvidia(file)
    if isinstance(source.content, dict) and "G_ema" in source.content:
        part = _nvidia(source)
    else:
        average, entries = _rosinality(source)
        part = generator_part(entries, average)
    return Conversion("stylegan2", [source], {"": part})


def generator_part(entries: Mapping[str, Tensor], average: Tensor) -> Part:
    """A filled generator from entries in rosinality's layout; the decoders of e4e and ViVFace have it too."""
    sides = len([name for name in entries if re.fullmatch(r"to_rgbs\.\d+\.bias", name)])
    layers = len([name for name in entries if re.fullmatch(r"style\.\d+\.weight", name)])
    channels = [_length(entries, "conv1.conv.weight", 0)]
    channels += [_length(entries, f"convs.{2 * k}.conv.weight", 0) for k in range(sides)]
    style_dim = _length(entries, "conv1.conv.modulation.weight", 1)
    model = without_values(StyleGAN2Generator, **generator_config(channels, style_dim, layers))
    part = Part(model)
    fill(part, stylegan2.generator_keys(model.num_latents, layers), entries)
    fill_average(model, average)
    return part


def generator_config(channels: list[int], style_dim: int, mapping_layers: int) -> dict:
    """Config of a generator with these channels at 4x4, 8x8, ...; the published tables by their name."""
    size = 2 ** (len(channels) + 1)
    config = {"size": size, "style_dim": style_dim, "mapping_layers": mapping_layers}
    config["motion_codes"] = min(10, 2 * len(channels))
    for multiplier in (2, 1):
        if channels == published_channels(size, multiplier):
            return config | {"channel_multiplier": multiplier}
    return config | {"channels": channels}


def fill_average(model: torch.nn.Module, stored: Tensor) -> None:
    """Set `latent_avg` from one vector, or from one that is repeated for every layer."""
    average = latent_average(stored)
    if average.shape != model.latent_avg.shape or not torch.isfinite(average).all():
        raise CheckpointError(
            f"latent_avg has shape {tuple(stored.shape)}; expected {model.latent_avg.shape[0]} finite numbers, or a "
            "row of them for each layer."
        )
    model.latent_avg = average.clone()


def _rosinality(source: Source) -> tuple[Tensor, dict[str, Tensor]]:
    entries, average = source.sections(WHAT, ("g_ema", "latent_avg"), ROSINALITY_IGNORED)
    if not isinstance(average, Tensor):
        raise CheckpointError(f"'{source.path}' holds no tensor under latent_avg: check which file it is.")
    return average, source.tensors(entries, "g_ema")


def _nvidia(source: Source) -> Part:
    (network,) = source.sections(WHAT, ("G_ema",), NVIDIA_IGNORED)
    try:
        if not isinstance(network, PersistentObject):
            raise TypeError("no network")
        entries = source.tensors(network.state_dict(), "G_ema")
    except (KeyError, AttributeError, TypeError, RecursionError) as error:
        raise CheckpointError(f"'{source.path}' holds no network under G_ema: check which file it is.") from error
    if any(name.startswith("synthesis.L0_") for name in entries):
        raise CheckpointError(f"'{source.path}' is a StyleGAN3 network; expected a StyleGAN2 network.")
    if "mapping.embed.weight" in entries:
        raise CheckpointError(
            f"'{source.path}' is a network that takes class labels; expected one without, such as those of faces."
        )

    sides = len([name for name in entries if re.fullmatch(r"synthesis\.b\d+\.conv0\.weight", name)])
    layers = len([name for name in entries if re.fullmatch(r"mapping\.fc\d+\.weight", name)])
    channels = [_length(entries, "synthesis.b4.conv1.weight", 0)]
    channels += [_length(entries, f"synthesis.b{8 * 2**k}.conv0.weight", 0) for k in range(sides)]
    style_dim = _length(entries, "synthesis.b4.conv1.affine.weight", 1)
    model = without_values(StyleGAN2Generator, **generator_config(channels, style_dim, layers))
    part = Part(model)
    fill(part, nvidia.generator_keys(model.num_latents, layers), entries)
    return part


def _length(entries: Mapping[str, Tensor], name: str, axis: int) -> int:
    """Length of an axis, not counting the leading one of rosinality's five-dimensional weights."""
    if name not in entries:
        raise CheckpointError(f"The file lacks {name} of a StyleGAN2 generator: check which file it is.")
    shape = entries[name].shape
    shape = shape[1:] if len(shape) == 5 else shape
    if len(shape) <= axis:
        raise CheckpointError(f"{name} has shape {tuple(entries[name].shape)}, which no StyleGAN2 generator has.")
    return shape[axis]
