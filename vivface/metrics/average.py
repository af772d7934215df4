"""What streaming metrics share: a mean that is added to, and an extra that may be missing."""

from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor

from vivface.errors import BackendError


class Average:
    """Mean of the values of all frames.

    Attributes:
        count (`int`): Values so far.
    """

    def __init__(self):
        self.count = 0
        self._sum = 0.0

    def add(self, values: Tensor) -> Tensor:
        """Take values `(batch,)` in, and return them. Raises `ValueError` if one is not finite."""
        if not torch.isfinite(values).all():
            raise ValueError(f"`values` holds numbers that are not finite: {values.tolist()[:8]}.")
        self._sum += float(values.double().sum())
        self.count += values.numel()
        return values

    def compute(self) -> float | None:
        """The mean; None without any value."""
        return self._sum / self.count if self.count else None


def needs(module: str) -> ModuleType:
    """A module of the `evaluate` extra.

    Raises:
        BackendError: If it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise BackendError(
            f"The package '{module.partition('.')[0]}' is missing, which evaluation needs: install 'vivface[evaluate]'."
        ) from error


def check_pair(image: Tensor, target: Tensor) -> None:
    """Raise `ValueError` unless both are `(batch, 3, height, width)` of one shape."""
    if image.ndim != 4 or image.shape[1] != 3 or image.shape != target.shape:
        raise ValueError(
            f"`image` and `target` have shapes {tuple(image.shape)} and {tuple(target.shape)}; expected "
            "(batch, 3, height, width) for both."
        )
