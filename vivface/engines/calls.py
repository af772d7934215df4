"""A call of a network as tensors and a description of everything else, and back.

What a network is given or returns is taken apart into tensors and a description in plain JSON: numbers, texts, lists,
and the dataclasses of `vivface.models`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

from torch import Tensor

Description = object
ROOM = "vivface."


class NoGraphError(Exception):
    """A call that cannot become a graph; PyTorch serves it."""


def take_apart(value: object, tensors: list[Tensor]) -> Description:
    """Describe a value, appending its tensors to a list in order.

    Raises:
        NoGraphError: If something in it is neither a tensor, plain, nor of this package.
    """
    if isinstance(value, Tensor):
        tensors.append(value)
        return {"tensor": len(tensors) - 1}
    if value is None or isinstance(value, bool | int | float | str):
        return {"plain": value}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [take_apart(item, tensors) for item in value]}
    if dataclasses.is_dataclass(value) and type(value).__module__.startswith(ROOM):
        kind = f"{type(value).__module__}:{type(value).__qualname__}"
        fields = {item.name: take_apart(getattr(value, item.name), tensors) for item in dataclasses.fields(value)}
        return {"class": kind, "fields": fields}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: take_apart(item, tensors) for key, item in value.items()}}
    raise NoGraphError(f"a {type(value).__name__} cannot be part of a graph")


def put_together(description: Description, tensors: Sequence[Tensor]) -> object:
    """The value that `take_apart` described, with these tensors."""
    ((kind, content), *_) = description.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "plain":
        return content
    if kind in ("list", "tuple"):
        items = [put_together(item, tensors) for item in content]
        return items if kind == "list" else tuple(items)
    if kind == "dict":
        return {key: put_together(item, tensors) for key, item in content.items()}
    module, _, name = content.partition(":")
    if kind != "class" or not module.startswith(ROOM):
        raise NoGraphError(f"'{content}' is no class of this package")
    fields = {key: put_together(item, tensors) for key, item in description["fields"].items()}
    return getattr(import_module(module), name)(**fields)


@dataclass(frozen=True)
class Call:
    """Arguments of a call, taken apart.

    Attributes:
        description (object): Of arguments and keyword arguments.
        tensors (`list[torch.Tensor]`): Theirs, in order.
    """

    description: Description
    tensors: list[Tensor]

    @classmethod
    def of(cls, args: tuple, kwargs: dict) -> Call:
        """Take the arguments apart.

        Raises:
            NoGraphError: If that cannot be done.
        """
        tensors: list[Tensor] = []
        return cls(take_apart([list(args), kwargs], tensors), tensors)

    @property
    def batch(self) -> int:
        """The largest first dimension of its tensors."""
        return max((tensor.shape[0] for tensor in self.tensors if tensor.ndim), default=1)

    @property
    def batched(self) -> tuple[bool, ...]:
        """Of every tensor: whether its first dimension counts the batch. One that is 1 serves the whole batch."""
        return tuple(bool(tensor.ndim) and self.batch > 1 and tensor.shape[0] == self.batch for tensor in self.tensors)

    @property
    def shapes(self) -> list[list[int]]:
        """Of every tensor, without the first dimension."""
        return [list(tensor.shape[1:]) for tensor in self.tensors]
