"""The regions of the attention mesh, computed side by side.

Lips and eyes are chains of the same small layers, each with its own weights: one call for all of them costs hardly more
than one call for one of them. Features of several regions, here groups, lie beside each other in memory, as
`(batch, height, width, groups, channels)`.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vivface.faces.networks.attention_mesh import Regions, as_points
from vivface.faces.networks.convolution import convolution
from vivface.faces.networks.layers import BlazeBlock

Function = Callable[[Tensor], Tensor]


def regions_side_by_side(regions: Regions) -> Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]:
    """What `Regions.forward` computes, but for roundings.

    Args:
        regions (`Regions`): With its final weights, on its device.
    """
    starts = len(regions.eyes[0])
    start = _sequence([regions.lips[:starts], *regions.eyes])
    ends = [regions.lips[starts:], *regions.contours, *regions.irises]
    end = _sequence([each[:-1] for each in ends])
    heads = [_head(each[-1]) for each in ends]
    copies = torch.tensor([0, 1, 2, 1, 2], device=regions.lips[-1].weight.device)  # which region an end belongs to

    def run(crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = start(crops.permute(0, 3, 4, 2, 1).contiguous())
        x = end(x.index_select(3, copies))
        rows = x.permute(3, 0, 1, 2, 4).flatten(2)  # (end, batch, features)
        lips, *eyes = (as_points(head(row)[..., None, None]) for head, row in zip(heads, rows.unbind(), strict=True))
        return lips, torch.stack(eyes[:2], 1), torch.stack(eyes[2:], 1)

    return run


def _sequence(groups: list[nn.Sequential]) -> Function:
    functions = [_layer(list(modules)) for modules in zip(*groups, strict=True)]

    def run(x: Tensor) -> Tensor:
        for function in functions:
            x = function(x)
        return x

    return run


def _layer(modules: list[nn.Module]) -> Function:
    """One layer of every group."""
    if isinstance(modules[0], BlazeBlock):
        return _block(modules)
    if isinstance(modules[0], nn.PReLU):
        return _prelu(modules)
    mix = _mix(modules)
    return lambda x: mix(x).reshape(*x.shape[:4], -1)


def _block(blocks: list[BlazeBlock]) -> Function:
    stride, missing = blocks[0].stride, blocks[0].out_channels - blocks[0].spatial.out_channels
    spatial = _spatial([block.spatial for block in blocks])
    mix, activate = _mix([block.mix for block in blocks]), _prelu([block.activation for block in blocks])

    def run(x: Tensor) -> Tensor:
        batch, height, width, groups, channels = x.shape
        mixed = mix(spatial(x))
        if stride == 2:
            height, width = height // 2, width // 2
            x = torch.max_pool2d(_features(x), 2).permute(0, 2, 3, 1)
        shortcut = x.reshape(-1, groups, channels)
        if missing:
            shortcut = F.pad(shortcut, (0, missing))
        return activate(torch.add(shortcut, mixed)).view(batch, height, width, groups, -1)

    return run


def _spatial(modules: list[nn.Conv2d]) -> Function:
    """Depthwise 3x3 convolutions: to (batch, height, width, groups * channels)."""
    one = modules[0]
    weight = torch.cat([module.weight for module in modules])
    bias = torch.cat([module.bias for module in modules])
    convolve = convolution(weight, bias, one.stride, one.padding, one.dilation, len(weight), one.margins)
    # 2x2 pixels: every one weighs in on every one, (from, to, channel).
    pixels = [(0, 0), (0, 1), (1, 0), (1, 1)]
    every = torch.stack([torch.stack([weight[:, 0, 1 + a - y, 1 + b - x] for y, x in pixels]) for a, b in pixels])

    def run(x: Tensor) -> Tensor:
        if x.shape[1:3] == (2, 2) and one.stride == (1, 1):
            return (x.reshape(-1, 4, 1, len(weight)) * every).sum(1).add_(bias)
        return convolve(_features(x)).permute(0, 2, 3, 1)

    return run


def _features(x: Tensor) -> Tensor:
    """(batch, height, width, groups, channels) as (batch, groups * channels, height, width)."""
    return x.flatten(3).permute(0, 3, 1, 2)


def _mix(modules: list[nn.Conv2d]) -> Function:
    """1x1 convolutions: to (pixels, groups, channels)."""
    weight = torch.stack([module.weight.flatten(1).T for module in modules])  # (groups, in, out)
    bias = torch.stack([module.bias for module in modules])[:, None]
    groups, channels, _ = weight.shape

    def run(x: Tensor) -> Tensor:
        x = x.reshape(-1, groups, channels)
        return torch.baddbmm(bias, x.transpose(0, 1), weight).transpose(0, 1)

    return run


def _prelu(modules: list[nn.PReLU]) -> Function:
    slope = torch.cat([module.weight for module in modules])
    return lambda x: torch.prelu(x.reshape(-1, len(slope)), slope).view(x.shape)


def _head(module: nn.Conv2d) -> Function:
    """A convolution that covers all of its input, for rows (batch, height * width * channels)."""
    weight, bias = module.weight.permute(0, 2, 3, 1).flatten(1), module.bias
    return lambda row: F.linear(row, weight, bias)
