"""Slow, literal forms of the fast operations: the definitions, one line each, to compare with."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def fir_kernel() -> Tensor:
    """Outer product of [1, 3, 3, 1], summing to 1."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(taps, taps) / 64


def upfirdn(x: Tensor, kernel: Tensor, up: int, down: int, before: int, after: int) -> Tensor:
    """Insert zeros, pad, correlate with the flipped kernel, keep every `down`-th pixel; channel by channel."""
    batch, channels, height, width = x.shape
    spread = x.new_zeros(batch, channels, height * up, width * up)
    spread[:, :, ::up, ::up] = x
    spread = F.pad(spread, (before, after, before, after))
    flipped = kernel.to(x.dtype).flip(0, 1)[None, None]
    planes = [F.conv2d(spread[:, c : c + 1], flipped) for c in range(channels)]
    return torch.cat(planes, dim=1)[:, :, ::down, ::down]


def modulated_conv2d(x: Tensor, weight: Tensor, style: Tensor, demodulate: bool, upsample: bool) -> Tensor:
    """Eq. 1-3 of StyleGAN2, sample by sample."""
    outputs = []
    for sample, s in zip(x, style, strict=True):
        w = weight * s[None, :, None, None] / math.sqrt(weight[0].numel())
        if demodulate:
            w = w / torch.sqrt(w.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8)
        if upsample:
            y = F.conv_transpose2d(sample[None], w.transpose(0, 1), stride=2)
            y = upfirdn(y, fir_kernel() * 4, up=1, down=1, before=1, after=1)
        else:
            y = F.conv2d(sample[None], w, padding=weight.shape[2] // 2)
        outputs.append(y)
    return torch.cat(outputs)
