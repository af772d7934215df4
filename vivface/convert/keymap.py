"""A complete account of one official network's tensors: renamed, ignored on purpose, or an error."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from vivface.errors import CheckpointError

# Names by which wrappers of PyTorch come into a state dict: DistributedDataParallel, torch.compile
WRAPPERS = {"module", "_orig_mod"}
# First names of state dicts that hold one network inside another module
OWNERS = {"model", "net", "network", "generator", "g_ema", "decoder", "backbone"}
BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
NAMES_SHOWN = 5


@dataclass(frozen=True)
class KeyMap:
    """Official names -> ours, for one network.

    Args:
        names (`dict[str, str]`): Every official name that is read, and the name it gets.
        constants (`dict[str, torch.Tensor]`): Official entries that are no parameters here, with the value that the
            architecture prescribes; another value means another network.
        elsewhere (`frozenset[str]`): Entries of ours that do not come from this network's official entries.
    """

    names: dict[str, str]
    constants: dict[str, Tensor] = field(default_factory=dict)
    elsewhere: frozenset[str] = frozenset()

    def translate(self, official: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
        """Rename every tensor for `model`, accounting for each name and shape on both sides.

        Shapes may differ by axes of length one: official convolution weights carry a leading one.

        Args:
            official (`Mapping[str, torch.Tensor]`): Entries of the official network, prefixes removed.
            model (`torch.nn.Module`): Ours, on any device; only its names and shapes are used.

        Returns:
            `dict[str, torch.Tensor]`: The entries of `model.state_dict()` but for `elsewhere`; no tensor is copied.

        Raises:
            CheckpointError: If names are missing or unexpected, a shape does not fit, or a constant differs.
        """
        expected = {**dict.fromkeys(self.names), **dict.fromkeys(self.constants)}
        if missing := [name for name in expected if name not in official]:
            raise CheckpointError(
                f"The checkpoint lacks {listing(missing)}; expected {len(expected)} entries of a "
                f"{type(model).__name__} of this size, so check that file and size belong together."
            )
        if unexpected := [name for name in official if name not in expected]:
            raise CheckpointError(
                f"The checkpoint has {listing(unexpected)} that a {type(model).__name__} of this size does not know; "
                "check that file and size belong together."
            )
        for name, value in self.constants.items():
            found = official[name]
            if found.shape != value.shape or not (found.is_meta or torch.allclose(found.float().cpu(), value)):
                raise CheckpointError(f"The constant {name} has another value than the published architecture's.")

        shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
        translated = {}
        for name, ours in self.names.items():
            if ours not in shapes:
                raise CheckpointError(f"{name} goes to {ours}, which this {type(model).__name__} does not have.")
            if _without_ones(official[name].shape) != _without_ones(shapes[ours]):
                raise CheckpointError(
                    f"{name} has shape {tuple(official[name].shape)}; expected {tuple(shapes[ours])} for {ours}."
                )
            translated[ours] = official[name].reshape(shapes[ours])
        if unfilled := [name for name in shapes if name not in translated and name not in self.elsewhere]:
            raise CheckpointError(f"Nothing in the checkpoint goes to {listing(unfilled)} of {type(model).__name__}.")
        return translated


def batch_norm_names(official: str, ours: str) -> dict[str, str]:
    """The five entries of a batch norm layer."""
    return {f"{official}.{entry}": f"{ours}.{entry}" for entry in BATCH_NORM}


def parameter_names(official: str, ours: str, entries: Iterable[str] = ("weight", "bias")) -> dict[str, str]:
    """Entries that keep their last name."""
    return {f"{official}.{entry}": f"{ours}.{entry}" for entry in entries}


def plain_names(entries: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict without what training adds to its names: the wrappers' `module.`, and a shared first name.

    Args:
        entries (`dict[str, torch.Tensor]`): As stored, such as `{"module.conv1.weight": ...}`.

    Returns:
        `dict[str, torch.Tensor]`: The same tensors, such as `{"conv1.weight": ...}`.

    Raises:
        CheckpointError: If two entries get the same name.
    """
    plain: dict[str, Tensor] = {}
    for name, tensor in entries.items():
        short = ".".join(word for word in name.split(".") if word not in WRAPPERS)
        if short in plain:
            raise CheckpointError(f"The checkpoint has two entries {short}, with and without a wrapper's `module.`.")
        plain[short] = tensor
    owners = {name.partition(".")[0] for name in plain}
    if len(owners) == 1 and owners <= OWNERS:
        plain = {name.partition(".")[2]: tensor for name, tensor in plain.items()}
    return plain


def _without_ones(shape: Iterable[int]) -> list[int]:
    return [length for length in shape if length != 1]


def listing(names: Iterable[object]) -> str:
    """The first few names, for messages."""
    names = [str(name)[:60] for name in names]
    rest = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
