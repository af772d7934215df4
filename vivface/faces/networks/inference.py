"""The same layers as plain functions: small networks spend most of their time in calls of modules, not in arithmetic.

A function holds the weights that its module has when it is made, and changes no result by a single bit; but for the
regions of the attention mesh, which it computes side by side, with other roundings.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch

import torch
from torch import Tensor, nn

from vivface.faces.networks.attention_mesh import Regions
from vivface.faces.networks.convolution import convolution
from vivface.faces.networks.layers import BlazeBlock, Bottleneck, DoubleBlazeBlock, SameConv2d, shortcut
from vivface.faces.networks.side_by_side import regions_side_by_side

Function = Callable[[Tensor], Tensor]
FEW_CHANNELS = 32  # up to as many, the largest of 2x2 pixels are found faster by comparing rows, then columns


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
    margins = module.margins if isinstance(module, SameConv2d) else None
    sizes = module.stride, module.padding, module.dilation, module.groups
    return convolution(module.weight, module.bias, *sizes, margins)


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
def _(module: Regions) -> Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]:
    return regions_side_by_side(module)


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
        if stride == 2 and x.shape[1] <= FEW_CHANNELS:
            x = torch.maximum(x[:, :, 0::2], x[:, :, 1::2])
            return activate(y.add_(shortcut(torch.maximum(x[..., 0::2], x[..., 1::2]), 1, channels)))
        return activate(y.add_(shortcut(x, stride, channels)))

    return run
