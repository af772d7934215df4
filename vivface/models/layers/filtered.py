"""Leaky ReLU between two resamplings.

Karras et al., "Alias-Free Generative Adversarial Networks" (NeurIPS 2021), sec. 2 and 3.

A pointwise nonlinearity makes frequencies that the pixel grid cannot hold. So the feature is upsampled, the leaky ReLU
is applied at the higher rate, and a low-pass filter removes what the lower rate cannot hold before pixels are dropped.

The upsampled feature is the largest tensor of the generator: 2098 x 2098 x 161 numbers in one layer at 1024. On the
CPU it is therefore made tile by tile, each small enough for the cache; all filters are depthwise convolutions in
channels_last. That is three to four times faster than whole images, and no tensor is larger than the layer's output.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2
GAIN = math.sqrt(2.0)
CLAMP = 256.0  # of the activation, both signs: it keeps half precision from overflowing

TILE_SIZE = 128  # largest height and width of a tile of the output
TILE_CHANNELS = 32


# Filters -------------------------------------------------------------------------------------------------------------


def lowpass(taps: int, cutoff: float, width: float, rate: float) -> np.ndarray:
    """One-dimensional low-pass filter: a sinc under a Kaiser window.

    Args:
        taps (`int`): Length.
        cutoff (`float`): Frequency at the middle of the transition band, in cycles per unit of length.
        width (`float`): Width of the transition band, in the same unit.
        rate (`float`): Samples per unit of length.

    Returns:
        `numpy.ndarray` of shape `(taps,)`, float64: Sum 1.
    """
    position = (np.arange(taps) - (taps - 1) / 2) / rate
    kernel = np.sinc(2 * cutoff * position) * _kaiser(taps, width, rate)
    return kernel / kernel.sum()


def radial_lowpass(taps: int, cutoff: float, width: float, rate: float) -> np.ndarray:
    """Two-dimensional low-pass filter whose response depends on the distance alone: a jinc under a Kaiser window.

    Args:
        taps, cutoff, width, rate: As for `lowpass`; `taps` is even.

    Returns:
        `numpy.ndarray` of shape `(taps, taps)`, float64: Sum 1.
    """
    position = (np.arange(taps) - (taps - 1) / 2) / rate
    radius = np.hypot(position[:, None], position[None, :])
    jinc = torch.special.bessel_j1(torch.from_numpy(2 * np.pi * cutoff * radius)).numpy() / radius
    window = _kaiser(taps, width, rate)
    kernel = jinc * np.outer(window, window)
    return kernel / kernel.sum()


def _kaiser(taps: int, width: float, rate: float) -> np.ndarray:
    """The Kaiser window of a transition band: his formulas for attenuation and shape."""
    attenuation = 2.285 * (taps - 1) * np.pi * (2 * width / rate) + 7.95
    if attenuation > 50:
        beta = 0.1102 * (attenuation - 8.7)
    elif attenuation > 21:
        beta = 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    else:
        beta = 0.0
    return np.kaiser(taps, beta)


# Layer ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Span:
    """What a range of output rows (or columns) needs.

    Args:
        start, stop (`int`): Range of the input; it may reach beyond it, where zeros are.
        crop (`int`): Samples to leave out at both ends of the transposed convolution.
        extra (`int`): Samples to keep at its far end all the same.
    """

    start: int
    stop: int
    crop: int
    extra: int


class FilteredLeakyReLU(nn.Module):
    """Upsample, leaky ReLU of slope 0.2 times sqrt 2, clamp to +-256, downsample.

    Args:
        up_filter (`numpy.ndarray` of shape `(taps,)`): Low-pass filter of the upsampling, symmetric, sum 1.
        down_filter (`numpy.ndarray` of shape `(taps,)` or `(taps, taps)`): Of the downsampling.
        up (`int`): Factor from the input to the rate of the leaky ReLU.
        down (`int`): Factor from there to the output.
        padding (`tuple[int, int]`): Zeros before and after the upsampled rows and columns; less than zero cuts.
    """

    def __init__(self, up_filter: np.ndarray, down_filter: np.ndarray, up: int, down: int, padding: tuple[int, int]):
        super().__init__()
        # Constants of the architecture: no buffers, so that checkpoints do not hold them
        self.up_filter = up_filter
        self.down_filter = down_filter
        self.up, self.down, self.padding = up, down, padding
        # By how much the upsampling can raise the largest magnitude
        self.bound = GAIN * (up * np.abs(up_filter).reshape(-1, up).sum(axis=0).max()) ** 2

    def output_size(self, size: int) -> int:
        """Height (or width) of the output for one of the input."""
        upsampled = size * self.up + sum(self.padding) - len(self.up_filter) + 1
        return (upsampled - len(self.down_filter)) // self.down + 1

    def forward(self, x: Tensor) -> Tensor:
        """Filter.

        Args:
            x (`torch.Tensor` of shape `(batch, channels, height, width)`): Feature, bias included.

        Returns:
            `torch.Tensor` of shape `(batch, channels, output height, output width)`, in channels_last.
        """
        height, width = self.output_size(x.shape[2]), self.output_size(x.shape[3])
        on_cpu, trained = x.device.type == "cpu", torch.is_grad_enabled() and x.requires_grad
        if on_cpu and trained and self.up > 1 and x.dtype == torch.bfloat16:
            with torch.autocast("cpu", enabled=False):  # transposed convolutions are several times slower in bfloat16
                return self._tile(x.float(), (0, height), (0, width)).to(x.dtype)
        if trained or not on_cpu:
            return self._tile(x, (0, height), (0, width))
        shape = (len(x), x.shape[1], height, width)
        result = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
        for i in range(len(x)):
            for first in range(0, x.shape[1], TILE_CHANNELS):
                channels = slice(first, first + TILE_CHANNELS)
                for rows in _ranges(height):
                    for columns in _ranges(width):
                        tile = self._tile(x[i : i + 1, channels], rows, columns)
                        result[i : i + 1, channels, slice(*rows), slice(*columns)] = tile
        return result

    def _tile(self, x: Tensor, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
        """The output's rows and columns of these ranges."""
        vertical, horizontal = self._span(*rows), self._span(*columns)
        x = _cut(x, vertical, horizontal)
        channels, up, down = x.shape[1], self.up, self.down

        kernel = _kernel(self.up_filter * (up * math.sqrt(GAIN)), x)  # lrelu(x) sqrt 2 = lrelu(x sqrt 2)
        y = F.conv_transpose2d(
            x,
            kernel[:, None].expand(channels, 1, -1, -1),
            stride=(up, 1),
            padding=(vertical.crop, 0),
            output_padding=(vertical.extra, 0),
            groups=channels,
        )
        y = F.conv_transpose2d(
            y,
            kernel.expand(channels, 1, 1, -1),
            stride=(1, up),
            padding=(0, horizontal.crop),
            output_padding=(0, horizontal.extra),
            groups=channels,
        )
        y = F.leaky_relu_(y, SLOPE)
        if self._may_clamp(x):
            y = y.clamp(-CLAMP, CLAMP) if y.requires_grad else y.clamp_(-CLAMP, CLAMP)

        kernel = _kernel(self.down_filter, x)
        if self.down_filter.ndim == 2:
            y = F.conv2d(y, kernel.expand(channels, 1, -1, -1), stride=down, groups=channels)
        else:
            y = F.conv2d(y, kernel.expand(channels, 1, 1, -1), stride=(1, down), groups=channels)
            y = F.conv2d(y, kernel[:, None].expand(channels, 1, -1, -1), stride=(down, 1), groups=channels)
        return y[:, :, : rows[1] - rows[0], : columns[1] - columns[0]]

    def _span(self, start: int, stop: int) -> _Span:
        """What the output from `start` to `stop` needs.

        With input i at `i up + padding`, the filter centred by the padding, and symmetric, sample t at the higher rate
        is sample `t + taps - 1 - padding - first up` of the transposed convolution from input `first` on.
        """
        taps = len(self.up_filter)
        begin = start * self.down - self.padding[0]
        length = (stop - 1 - start) * self.down + len(self.down_filter)
        first = -(-begin // self.up)
        crop = taps - 1 + begin - first * self.up
        last = crop + length - 1
        count = last // self.up + 1
        beyond = (count - 1) * self.up + taps - 1 - last
        return _Span(first, first + count, crop, max(crop - beyond, 0))

    def _may_clamp(self, x: Tensor) -> bool:
        """Whether a value could reach the limit; where it is cheap to know, the pass is spared."""
        if x.device.type != "cpu":
            return True
        low, high = torch.aminmax(x.detach().permute(0, 2, 3, 1))  # in the order of memory
        return not max(-low.item(), high.item()) * self.bound < CLAMP


def _ranges(length: int) -> list[tuple[int, int]]:
    """Ranges of about equal size that cover a length."""
    count = -(-length // TILE_SIZE)
    edges = [length * i // count for i in range(count + 1)]
    return list(zip(edges[:-1], edges[1:], strict=True))


def _cut(x: Tensor, rows: _Span, columns: _Span) -> Tensor:
    """A part of an image, with zeros where the image ends."""
    height, width = x.shape[2:]
    inside = x[:, :, max(rows.start, 0) : rows.stop, max(columns.start, 0) : columns.stop]
    zeros = (
        max(-columns.start, 0),
        max(columns.stop - width, 0),
        max(-rows.start, 0),
        max(rows.stop - height, 0),
    )
    inside = F.pad(inside, zeros) if any(zeros) else inside
    return inside.contiguous(memory_format=torch.channels_last)


def _kernel(taps: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(taps).float().to(like) if like.dtype != torch.float64 else torch.from_numpy(taps).to(like)
