"""What a converter makes of official files, and how it is written: completely, or not at all."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from diffusers import DiffusionPipeline, ModelMixin
from rich.console import Console
from rich.table import Table
from safetensors import SafetensorError
from torch import Tensor, nn

from vivface import __version__
from vivface.convert.keymap import KeyMap, listing
from vivface.convert.reading import Source
from vivface.errors import CheckpointError, OptionError, first_line
from vivface.files import complete_folder
from vivface.hub.card import RECORD, make_card
from vivface.models.precision import cast, find_infinite

SHARD_SIZE = "2GB"  # a network is written in pieces no larger than this
PIECE = 2**22  # numbers that are compared at once
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass
class ConvertedModel:
    """A network that took its tensors from official entries.

    Args:
        model (`ModelMixin`): Filled; its tensors still lie in the official file where that is mapped.
        entries (`int`): Official entries that were read for it.
        constants (`int`): Official entries that are no parameters here and had the expected value.
        fresh (`int`): Entries of the model that no official entry fills and that got new random values.
    """

    model: ModelMixin
    entries: int = 0
    constants: int = 0
    fresh: int = 0


@dataclass
class Conversion:
    """Networks made of official files.

    Args:
        kind (`str`): Name of the converter, such as "e4e".
        sources (`list[Source]`): The files.
        components (`dict[str, ConvertedModel]`): By subfolder; the name "" means the folder itself.
        pipeline (`DiffusionPipeline`, *optional*): The pipeline of the components, when they make one.
        notes (`list[str]`): What a user should know.
    """

    kind: str
    sources: list[Source]
    components: dict[str, ConvertedModel]
    pipeline: DiffusionPipeline | None = None
    notes: list[str] = field(default_factory=list)


def fill(
    converted: ConvertedModel, keys: KeyMap, official: Mapping[str, Tensor], inside: nn.Module | None = None
) -> None:
    """Give a network, made without values, the official ones; every key and shape is accounted for.

    Args:
        converted (`ConvertedModel`): To fill; its counts grow.
        keys (`KeyMap`): Where each entry goes.
        official (`dict[str, torch.Tensor]`): Entries of the official network.
        inside (`torch.nn.Module`, *optional*): The submodule that the entries belong to; the whole model if None.

    Raises:
        CheckpointError: If a key, a shape or a type does not fit, or a value is not finite.
    """
    module = converted.model if inside is None else inside
    entries = keys.translate(official, module)
    expected = module.state_dict()
    for name, tensor in entries.items():
        if tensor.is_floating_point() != expected[name].is_floating_point():
            raise CheckpointError(f"{name} has type {tensor.dtype}; expected {expected[name].dtype}.")
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"{name} holds values that are not finite: the file is damaged, download it again.")
    module.load_state_dict(entries, strict=False, assign=True)
    converted.entries += len(keys.names)
    converted.constants += len(keys.constants)


def without_values(network: type[ModelMixin], **config) -> ModelMixin:
    """A network whose tensors have shapes and no memory; sizes that cannot be are an error of the file."""
    try:
        with torch.device("meta"):
            return network(**config).eval()
    except ValueError as error:
        raise CheckpointError(f"The file's entries fit no {network.__name__} ({str(error).rstrip('.')}).") from error


def write(
    conversion: Conversion,
    folder: Path,
    *,
    dtype: str = "float32",
    variant: str | None = None,
    verify: bool = False,
    overwrite: bool = False,
) -> Table:
    """Write safetensors, configs, a record of the sources and a model card; nothing stays behind on failure.

    Args:
        conversion (`Conversion`): What to write; its networks get the type that they are stored with.
        folder (`Path`): Where to; it appears when it is complete.
        dtype (`str`, *optional*, defaults to `"float32"`): Of the stored floating-point values; batch norms are always
            stored in float32.
        variant (`str`, *optional*): In the names of the weight files, for example "fp16".
        verify (`bool`, *optional*, defaults to `False`): Reload every network and compare it with the official tensors.
        overwrite (`bool`, *optional*, defaults to `False`): Replace a folder that is there already.

    Returns:
        `rich.table.Table`: Every network with its entries and sizes.

    Raises:
        CheckpointError: If a value does not fit `dtype`, or a network does not come back as it was written.
        OptionError: If the folder cannot be written.
    """
    components = conversion.components
    official = {name: converted.model.state_dict() for name, converted in components.items()}
    for name, converted in components.items():
        _cast(name, converted.model, DTYPES[dtype])
    with complete_folder(folder, overwrite) as temporary:
        try:
            _save(conversion, temporary, variant)
            if verify:
                for name, converted in components.items():
                    _verify(temporary, name, converted.model, official[name], variant)
            record = json.dumps(_record(conversion, dtype), indent=2) + "\n"
            (temporary / RECORD).write_text(record, encoding="utf-8")
            make_card(temporary, folder.name).save(temporary / "README.md")
        except (OSError, SafetensorError) as error:  # the disk is full, for example
            raise OptionError(f"Cannot write '{folder}': {first_line(error)}.") from error
        return _table(conversion, temporary, folder, verify)


def show(table: Table, conversion: Conversion) -> None:
    """Print the table, what was left out and what to know."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 120  # of a file or a pipe, where rich assumes 80
    console.print(table)
    for source in conversion.sources:
        for name, reason in source.ignored.items():
            console.print(f"Left out of {source.name}: {name} ({reason}).", markup=False, soft_wrap=True)
    for note in conversion.notes:
        console.print(f"Note: {note}", markup=False, soft_wrap=True)


def _cast(name: str, model: ModelMixin, dtype: torch.dtype) -> None:
    """Give a filled network the type that it is stored with."""
    if empty := [key for key, tensor in model.state_dict().items() if tensor.is_meta]:
        raise CheckpointError(f"Nothing in the file fills {listing(empty)} of {name or 'the network'}.")
    cast(model, torch.float32)  # files of any precision; the norms stay so
    cast(model, dtype)
    if infinite := find_infinite(model):
        raise CheckpointError(
            f"{listing(infinite)} of {name or 'the network'} do not fit float32: check which file it is."
        )


def _save(conversion: Conversion, folder: Path, variant: str | None) -> None:
    for converted in conversion.components.values():
        for tensor in (*converted.model.parameters(), *converted.model.buffers()):
            tensor.data = tensor.data.contiguous()
    options = {"variant": variant, "max_shard_size": SHARD_SIZE}
    if conversion.pipeline is not None:
        conversion.pipeline.save_pretrained(folder, **options)
    else:
        for name, converted in conversion.components.items():
            converted.model.save_pretrained(folder / name, **options)


def _verify(folder: Path, name: str, model: ModelMixin, official: Mapping[str, Tensor], variant: str | None) -> None:
    """Reload one network from its files and compare every tensor with the official one.

    Each stored value has to be the official one to within the precision that it is stored with.
    """
    options = {"variant": variant} if variant else {}
    try:
        loaded = type(model).from_pretrained(folder, subfolder=name or None, **options).state_dict()
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{name or 'The network'} cannot be reloaded ({first_line(error)}).") from error
    written = model.state_dict()
    for key, tensor in official.items():
        if key not in loaded or not _same(loaded[key], tensor, written[key].dtype):
            raise CheckpointError(f"{key} of {name or 'the network'} did not come back as it was written.")


def _same(loaded: Tensor, official: Tensor, stored: torch.dtype) -> bool:
    """Whether a tensor is the official one, rounded to the type that it was stored with."""
    if not stored.is_floating_point:
        return torch.equal(loaded, official)
    limits = torch.finfo(stored)
    relative, absolute = limits.eps / 2, limits.smallest_normal * limits.eps  # half a step; the smallest step
    if loaded.shape != official.shape:
        return False
    if loaded.dtype == official.dtype and torch.equal(loaded, official):
        return True
    pieces = zip(loaded.flatten().split(PIECE), official.flatten().split(PIECE), strict=True)
    return all(torch.allclose(a.double(), b.double(), rtol=relative, atol=absolute) for a, b in pieces)


def _record(conversion: Conversion, dtype: str) -> dict:
    return {
        "converter": conversion.kind,
        "vivface": __version__,
        "dtype": dtype,
        "files": [
            {
                "name": source.name,
                "bytes": source.path.stat().st_size,
                "sha256": source.sha256(),
                "left_out": source.ignored,
            }
            for source in conversion.sources
        ],
        "fresh": {name: each.fresh for name, each in conversion.components.items() if each.fresh},
        "notes": conversion.notes,
    }


def _table(conversion: Conversion, written: Path, folder: Path, verified: bool) -> Table:
    table = Table(title=f"{folder} ({conversion.kind}{', verified' if verified else ''})", title_justify="left")
    for title in ("component", "network", "entries", "constants", "fresh", "parameters", "MB"):
        table.add_column(title, justify="left" if title in ("component", "network") else "right")
    for name, converted in conversion.components.items():
        size = sum(file.stat().st_size for file in (written / name).glob("*.safetensors"))
        parameters = sum(p.numel() for p in converted.model.parameters())
        counts = [converted.entries, converted.constants, converted.fresh, parameters]
        numbers = [*(f"{count:,}" for count in counts), f"{size / 1e6:.1f}"]
        table.add_row(name or ".", type(converted.model).__name__, *numbers)
    return table
