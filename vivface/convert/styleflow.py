"""StyleFlow's flow of W (`modellarge10k.pt` of RameenAbdal/StyleFlow)."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from vivface.convert.conversion import Conversion, ConvertedModel, fill, without_values
from vivface.convert.keymap import KeyMap, parameter_names
from vivface.convert.reading import read
from vivface.errors import CheckpointError
from vivface.models.styleflow import StyleFlow

WHAT = "a StyleFlow checkpoint"
NORM = ("weight", "bias", "running_mean", "running_var")
COUNTERS = ("step", "_num_evals")  # last names of entries that only count
LAYER = "chain.1.odefunc.diffeq.layers"


def convert(file: Path) -> Conversion:
    """Read the flow; its widths and number of layers are those of the file.

    Args:
        file (`Path`): The authors' file.

    Raises:
        CheckpointError: If the file is anything else, or an entry does not fit.
    """
    source = read(file)
    entries = source.network(WHAT, ("state_dict", "model"))
    counters = [name for name in entries if name.rpartition(".")[2] in COUNTERS]
    source.ignored |= dict.fromkeys(counters, "a counter of its training")
    entries = {name: tensor for name, tensor in entries.items() if name not in counters}
    dim, conditions, layers = _sizes(entries)
    network = without_values(StyleFlow, style_dim=dim, conditions=conditions, layers=layers)
    converted = ConvertedModel(network)
    fill(converted, flow_keys(layers), entries)
    return Conversion("styleflow", [source], {"": converted})


def flow_keys(layers: int) -> KeyMap:
    """Entries of the flow."""
    names = parameter_names("chain.0", "first_norm", NORM) | parameter_names("chain.2", "last_norm", NORM)
    names["chain.1.sqrt_end_time"] = "sqrt_end_time"
    for number in range(layers):
        official, ours = f"{LAYER}.{number}", f"velocity.layers.{number}"
        names |= parameter_names(f"{official}._layer", f"{ours}.linear")
        names |= parameter_names(f"{official}._hyper_gate", f"{ours}.gate")
        names[f"{official}._hyper_bias.weight"] = f"{ours}.bias.weight"
    return KeyMap(names)


def _sizes(entries: dict[str, Tensor]) -> tuple[int, int, int]:
    """Width of a code, of the condition without the time, and number of layers."""
    gate = entries.get(f"{LAYER}.0._hyper_gate.weight")
    if gate is None or gate.ndim != 2 or gate.shape[1] < 2:
        raise CheckpointError(f"The file is not {WHAT}: it has no layers of a conditional flow.")
    layers = len({name.split(".")[5] for name in entries if name.startswith(f"{LAYER}.")})
    return gate.shape[0], gate.shape[1] - 1, layers
