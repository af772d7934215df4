"""Larger networks that begin where smaller ones stopped.

A trained network is set into one of more channels and more residual units so that the result computes the same: what
is new reads the old features, and has no say in them until training gives it one (function-preserving widening and
deepening, Chen et al., Net2Net, ICLR 2016; here with fresh channels in place of copied ones).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from vivface.errors import OptionError
from vivface.models.layers.residual import ResidualUnit


def grow(network: nn.Module, **sizes: Any) -> nn.Module:
    """The same function as a larger network.

    Args:
        network (`ModelMixin`): Made of residual units, convolutions and layers that keep their size.
        sizes: Arguments of its constructor that change, for example `widths` and `units` of a `HybridEncoder`.

    Returns:
        `ModelMixin`: Of the same class; its state with the old one's in the first channels and units.

    Raises:
        OptionError: If an argument is unknown, or the network would become smaller or another one.
    """
    config = {name: value for name, value in network.config.items() if not name.startswith("_")}
    if unknown := [name for name in sizes if name not in config]:
        raise OptionError(f"grown has {unknown[0]!r}, expected one of: {', '.join(config)}")
    try:
        larger = type(network)(**{**config, **sizes})
    except ValueError as error:
        raise OptionError(f"grown: {error}") from None
    state, old = larger.state_dict(), network.state_dict()
    for name in old:
        if name not in state or not _holds(state[name], old[name]):
            raise OptionError(f"grown: {name} of the old network does not fit into the new one, expected a larger one")
    units = {name: unit for name, unit in larger.named_modules() if isinstance(unit, ResidualUnit)}
    for name, unit in units.items():
        passes = unit.shortcut is None and unit.stride == 1
        if f"{name}.conv1.weight" not in old and not passes:
            raise OptionError(f"grown: {name} would not pass on what it gets, expected new units behind the old ones")
        if unit.shortcut is not None and f"{name}.shortcut.0.weight" not in old:
            raise OptionError(f"grown: {name} would get a shortcut of its own, expected widths that stay equal there")
    with torch.no_grad():
        for name, value in old.items():
            _set_into(state[name], value)
        for name, unit in units.items():
            if f"{name}.conv1.weight" not in old:
                unit.norm2.weight.zero_()
    return larger.train(network.training)


def _holds(larger: torch.Tensor, smaller: torch.Tensor) -> bool:
    return larger.ndim == smaller.ndim and all(a >= b for a, b in zip(larger.shape, smaller.shape, strict=True))


def _set_into(larger: torch.Tensor, smaller: torch.Tensor) -> None:
    """Write a weight (outputs, inputs, ...) or vector into the first entries; old outputs read no new inputs."""
    if larger.ndim > 1:
        larger[: smaller.shape[0]] = 0
    larger[tuple(slice(n) for n in smaller.shape)] = smaller
