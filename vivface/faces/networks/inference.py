"""The same layers as plain functions: small networks spend most of their time in calls of modules, not in arithmetic.

A function holds the weights that its module has when it is made, and changes no result by a single bit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vivface.faces.networks.layers import BlazeBlock, Bottleneck, DoubleBlazeBlock, SameConv2d, shortcut

Function = Callable[[Tensor], Tensor]


def prepare(network: nn.Module) -> nn.Module:
    """Let the parts of a network compute without the calls of the modules inside them.

    Args:
        network (`torch.nn.Module`): With its final weights, on its device, in evaluation mode; changed in place.

    Returns:
        `torch.nn.Module`: The same network, for inference only.
    """
    for part in network.children():
        part.forward = function_of(part)
    return network


@singledispatch
def function_of(module: nn.Module) -> Function:
    """A module as a function; itself where nothing can be saved."""
    return module


@function_of.register
def _(module: nn.Conv2d) -> Function:
    weight, bias, stride, padding = module.weight, module.bias, module.stride, module.padding
    dilation, groups = module.dilation, module.groups
    margins = module.margins if isinstance(module, SameConv2d) else None
    if margins is None:
        return lambda x: torch.conv2d(x, weight, bias, stride, padding, dilation, groups)
    return lambda x: torch.conv2d(F.pad(x, margins), weight, bias, stride, padding, dilation, groups)


@function_of.register
def _(module: nn.PReLU) -> Function:
    slope = module.weight
    return lambda x: torch.prelu(x, slope)


@function_of.register
def _(module: nn.ReLU) -> Function:
    return torch.relu


@function_of.register
def _(module: nn.Sequential) -> Function:
    functions = [function_of(part) for part in module]

    def run(x: Tensor) -> Tensor:
        for function in functions:
            x = function(x)
        return x

    return run


@function_of.register
def _(module: BlazeBlock) -> Function:
    return _residual([module.spatial, module.mix], module)


@function_of.register(DoubleBlazeBlock)
@function_of.register(Bottleneck)
def _(module: DoubleBlazeBlock | Bottleneck) -> Function:
    return _residual([*module.narrow, *module.widen], module)


def _residual(branch: list[nn.Module], block: BlazeBlock | DoubleBlazeBlock | Bottleneck) -> Function:
    """A block: the branch, plus its shortcut, activated."""
    functions, activate = [function_of(part) for part in branch], function_of(block.activation)
    stride, channels = block.stride, block.out_channels

    def run(x: Tensor) -> Tensor:
        y = x
        for function in functions:
            y = function(y)
        return activate(y.add_(shortcut(x, stride, channels)))

    return run
