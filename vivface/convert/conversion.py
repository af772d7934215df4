"""What a converter makes of official files, and how it is written: completely, or not at all."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from diffusers import DiffusionPipeline, ModelMixin
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from vivface import __version__
from vivface.convert.keys.keymap import KeyMap
from vivface.convert.reading import Source
from vivface.errors import CheckpointError
from vivface.files import complete_folder
from vivface.hub.card import RECORD, make_card

SHARD_SIZE = "2GB"  # a part is written in pieces no larger than this
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass
class Part:
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
        parts (`dict[str, Part]`): By subfolder; the name "" stands for the folder itself.
        pipeline (`DiffusionPipeline`, *optional*): The pipeline of the parts, when they make one.
        notes (`list[str]`): What a user should know.
    """

    kind: str
    sources: list[Source]
    parts: dict[str, Part]
    pipeline: DiffusionPipeline | None = None
    notes: list[str] = field(default_factory=list)


def fill(part: Part, keys: KeyMap, official: Mapping[str, Tensor], inside: nn.Module | None = None) -> None:
    """Give a network, made without values, the official ones; every key and shape is accounted for.

    Args:
        part (`Part`): To fill; its counts grow.
        keys (`KeyMap`): Where each entry goes.
        official (`dict[str, torch.Tensor]`): Entries of the official network.
        inside (`torch.nn.Module`, *optional*): The submodule that the entries belong to; the whole model if None.

    Raises:
        CheckpointError: If a key, a shape or a type does not fit, or a value is not finite.
    """
    module = part.model if inside is None else inside
    entries = keys.translate(official, module)
    expected = module.state_dict()
    for name, tensor in entries.items():
        if tensor.is_floating_point() != expected[name].is_floating_point():
            raise CheckpointError(f"{name} has type {tensor.dtype}; expected {expected[name].dtype}.")
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"{name} holds values that are not finite: the file is damaged, download it again.")
    module.load_state_dict(entries, strict=False, assign=True)
    part.entries += len(keys.names)
    part.constants += len(keys.constants)


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
        conversion (`Conversion`): What to write.
        folder (`Path`): Where to; it appears when it is complete.
        dtype (`str`, *optional*, defaults to `"float32"`): Of the stored floating-point values.
        variant (`str`, *optional*): In the names of the weight files, for example "fp16".
        verify (`bool`, *optional*, defaults to `False`): Reload every part and compare it with the official tensors.
        overwrite (`bool`, *optional*, defaults to `False`): Replace a folder that is there already.

    Returns:
        `rich.table.Table`: Every part with its entries and sizes.

    Raises:
        CheckpointError: If a part does not come back as it was written.
        OptionError: If the folder cannot be written.
    """
    for name, part in conversion.parts.items():
        if empty := [key for key, tensor in part.model.state_dict().items() if tensor.is_meta]:
            raise CheckpointError(f"Nothing in the file fills {', '.join(empty[:5])} of {name or 'the network'}.")
    with complete_folder(folder, overwrite) as temporary:
        official = {name: part.model.state_dict() for name, part in conversion.parts.items()}
        for part in conversion.parts.values():
            part.model.to(DTYPES[dtype])
            for tensor in (*part.model.parameters(), *part.model.buffers()):
                tensor.data = tensor.data.contiguous()
        options = {"variant": variant, "max_shard_size": SHARD_SIZE}
        if conversion.pipeline is not None:
            conversion.pipeline.save_pretrained(temporary, **options)
        else:
            for name, part in conversion.parts.items():
                part.model.save_pretrained(temporary / name, **options)
        if verify:
            for name, part in conversion.parts.items():
                _verify(temporary, name, part.model, official[name], DTYPES[dtype], variant)
        (temporary / RECORD).write_text(json.dumps(_record(conversion, dtype), indent=2) + "\n", encoding="utf-8")
        make_card(temporary, folder.name).save(temporary / "README.md")
        return _table(conversion, temporary, folder, verify)


def show(table: Table, conversion: Conversion) -> None:
    """Print the table, what was left out and what to know."""
    console = Console(highlight=False)
    console.print(table)
    for source in conversion.sources:
        for name, reason in source.ignored.items():
            console.print(f"Left out of {source.name}: {name} ({reason}).", markup=False, soft_wrap=True)
    for note in conversion.notes:
        console.print(f"Note: {note}", markup=False, soft_wrap=True)


def _verify(
    folder: Path, name: str, model: ModelMixin, official: Mapping[str, Tensor], dtype: torch.dtype, variant: str | None
) -> None:
    """Reload one part from its files and compare every tensor with the official one."""
    options = {"variant": variant} if variant else {}
    try:
        loaded = type(model).from_pretrained(folder, subfolder=name or None, torch_dtype=dtype, **options).state_dict()
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{name or 'The network'} cannot be reloaded ({str(error).splitlines()[0]}).") from error
    for key, tensor in official.items():
        expected = tensor.to(dtype) if tensor.is_floating_point() else tensor
        if key not in loaded or not torch.equal(loaded[key], expected):
            raise CheckpointError(f"{key} of {name or 'the network'} did not come back as it was written.")


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
        "fresh": {name: part.fresh for name, part in conversion.parts.items() if part.fresh},
        "notes": conversion.notes,
    }


def _table(conversion: Conversion, written: Path, folder: Path, verified: bool) -> Table:
    table = Table(title=f"{folder} ({conversion.kind}{', verified' if verified else ''})", title_justify="left")
    for title in ("part", "network", "entries", "constants", "fresh", "parameters", "MB"):
        table.add_column(title, justify="left" if title in ("part", "network") else "right")
    for name, part in conversion.parts.items():
        size = sum(file.stat().st_size for file in (written / name).glob("*.safetensors"))
        parameters = sum(p.numel() for p in part.model.parameters())
        counts = [part.entries, part.constants, part.fresh, parameters]
        numbers = [*(f"{count:,}" for count in counts), f"{size / 1e6:.1f}"]
        table.add_row(name or ".", type(part.model).__name__, *numbers)
    return table
