"""Layers of the StyleGAN3 generator: Fourier features and alias-free styled convolution.

Karras et al., "Alias-Free Generative Adversarial Networks" (NeurIPS 2021), sec. 3 and appendix C.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vivface.models.layers.equalized import EqualizedLinear
from vivface.models.layers.filtered import CLAMP, FilteredLeakyReLU, lowpass, radial_lowpass

FILTER_SIZE = 6  # taps of a filter at the lower of its two rates
OVERSAMPLING = 2  # of the leaky ReLU over the larger of the rates of input and output


@dataclass(frozen=True)
class Signal:
    """A feature as a sampled signal on the plane, where the image has the unit square.

    Args:
        channels (`int`): Channels.
        size (`int`): Height and width in samples, margin included.
        rate (`int`): Samples per side of the image.
        cutoff (`float`): Frequency that it should hold, in cycles per side of the image.
        half_width (`float`): Half the width of the transition band above.
    """

    channels: int
    size: int
    rate: int
    cutoff: float
    half_width: float


class FourierFeatures(nn.Module):
    """Plane waves on a grid larger than the image, moved by a learned and a given transformation, then mixed.

    Args:
        signal (`Signal`): What to make; its cutoff is the largest frequency.
        style_dim (`int`): Entries of w.
    """

    def __init__(self, signal: Signal, style_dim: int):
        super().__init__()
        channels = signal.channels
        frequencies = torch.randn(channels, 2)
        radius = frequencies.norm(dim=1, keepdim=True)  # Rayleigh: the factor makes the points uniform in the disc
        frequencies *= torch.sqrt(-torch.expm1(-radius.square() / 2)) / radius * signal.cutoff
        self.register_buffer("frequencies", frequencies)
        self.register_buffer("phases", torch.rand(channels) - 0.5)
        self.weight = nn.Parameter(torch.randn(channels, channels))
        self.modulation = EqualizedLinear(style_dim, 4, init_gain=0.0)
        with torch.no_grad():
            self.modulation.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))
        self.signal = signal

    def forward(self, style: Tensor, transform: Tensor | None) -> Tensor:
        """Draw the waves; in float32, whatever the type of the network.

        Args:
            style (`torch.Tensor` of shape `(batch, 4)`): Cosine and sine of a rotation, and a translation, all times
                the length of the first two.
            transform (`torch.Tensor` of shape `(batch or 1, 3, 3)`, *optional*): From places in the image to places
                in the untransformed one, in sides of the image from its centre, x to the right and y down.

        Returns:
            `torch.Tensor` of shape `(batch, channels, size, size)`, in channels_last.
        """
        dtype = torch.promote_types(style.dtype, torch.float32)
        matrix = self._matrix(style.to(dtype), transform)
        base, rate = self.frequencies.to(dtype), self.signal.rate
        frequencies = base @ matrix[:, :, :2]  # (batch, channels, 2)
        phases = self.phases.to(dtype) + (base @ matrix[:, :, 2:]).squeeze(2)  # (batch, channels)
        # A transformation that shrinks the image must not raise frequencies beyond what the grid holds
        excess = (frequencies.norm(dim=2) - self.signal.cutoff) / (rate / 2 - self.signal.cutoff)
        amplitudes = (1 - excess).clamp(0, 1)[:, None, None]

        place = (torch.arange(self.signal.size, device=style.device).to(dtype) + 0.5 - self.signal.size / 2) / rate
        across = place[:, None] * frequencies[:, None, :, 0]  # (batch, size, channels)
        down = place[:, None] * frequencies[:, None, :, 1]
        waves = torch.sin(2 * math.pi * (down[:, :, None] + across[:, None] + phases[:, None, None])) * amplitudes
        mixed = waves @ (self.weight.to(dtype) / math.sqrt(self.signal.channels)).t()
        return mixed.permute(0, 3, 1, 2).to(style.dtype)

    @staticmethod
    def _matrix(style: Tensor, transform: Tensor | None) -> Tensor:
        """`(batch, 2, 3)`: rotation after translation, both inverse, after the given transformation."""
        cosine, sine, x, y = (style / style[:, :2].norm(dim=1, keepdim=True)).unbind(1)
        rotation = torch.stack([torch.stack([cosine, -sine], 1), torch.stack([sine, cosine], 1)], 1)
        matrix = torch.cat([rotation, -rotation @ torch.stack([x, y], 1)[:, :, None]], 2)
        if transform is None:
            return matrix
        below = matrix.new_tensor([0.0, 0.0, 1.0]).expand(len(matrix), 1, 3)
        return (torch.cat([matrix, below], 1) @ transform.to(matrix))[:, :2]


class AliasFreeConv(nn.Module):
    """Modulated convolution, bias, filtered leaky ReLU.

    Args:
        source (`Signal`): Input.
        target (`Signal`): Output.
        style_dim (`int`): Entries of w.
        kernel_size (`int`): Height and width of the convolution's kernel: 3, or 1 for a layer that can be rotated.
        radial (`bool`): Whether the downsampling filter is radially symmetric.
    """

    def __init__(self, source: Signal, target: Signal, style_dim: int, kernel_size: int, radial: bool):
        super().__init__()
        self.modulation = EqualizedLinear(style_dim, source.channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(target.channels, source.channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(target.channels))
        self.register_buffer("magnitude", torch.ones(()))  # running mean square of the input
        self.size = target.size

        self._source, self._target, self._radial = source, target, radial
        self.use_oversampling(OVERSAMPLING)

    def use_oversampling(self, factor: int) -> None:
        """Choose at which multiple of the larger of both rates the leaky ReLU works: 2 as published, 1 for drafts."""
        source, target, kernel_size = self._source, self._target, self.weight.shape[2]
        rate = factor * max(source.rate, target.rate)
        up, down = rate // source.rate, rate // target.rate
        up_filter = lowpass(FILTER_SIZE * up, source.cutoff, 2 * source.half_width, rate)
        make = radial_lowpass if self._radial else lowpass
        down_filter = make(FILTER_SIZE * down, target.cutoff, 2 * target.half_width, rate)

        # Padding that gives the target's size, with the centres of both grids in one place
        padding = (target.size - 1) * down + 1 - (source.size + kernel_size - 1) * up
        padding += len(up_filter) + len(down_filter) - 2
        before = (padding + up) // 2
        self.activation = FilteredLeakyReLU(up_filter, down_filter, up, down, (before, padding - before))

    def forward(self, feature: Tensor, style: Tensor) -> Tensor:
        """Convolve with the weight that the style modulates.

        Args:
            feature (`torch.Tensor` of shape `(batch, in_channels, in_size, in_size)`): Output of the layer before.
            style (`torch.Tensor` of shape `(batch, in_channels)`): Modulation, about 1; its length does not matter.

        Returns:
            `torch.Tensor` of shape `(batch, out_channels, out_size, out_size)`.
        """
        # Everything of the size of a weight or style in float32: sums of squares overflow half precision
        weight, style = self.weight.float(), style.float()
        if self.weight.dtype == torch.float64:
            weight, style = self.weight, style.double()
        weight = weight * torch.rsqrt(weight.square().mean(dim=(1, 2, 3), keepdim=True))
        style = style * torch.rsqrt(style.square().mean(dim=1, keepdim=True))
        energy = weight.square().sum(dim=(2, 3))  # (out, in)
        demodulation = torch.rsqrt((style.square()[:, None] * energy).sum(dim=2) + 1e-8)  # (batch, out)
        style = style * torch.rsqrt(self.magnitude.to(style))
        return self.activation(_convolve(feature, weight, style, demodulation, self.bias))


class AliasFreeToRGB(nn.Module):
    """Modulated 1x1 convolution to RGB without demodulation or activation.

    Args:
        source (`Signal`): Input; the output has its size.
        style_dim (`int`): Entries of w.
        channels (`int`, *optional*, defaults to 3): Of the image.
    """

    def __init__(self, source: Signal, style_dim: int, channels: int = 3):
        super().__init__()
        self.modulation = EqualizedLinear(style_dim, source.channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(channels, source.channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("magnitude", torch.ones(()))
        self.size = source.size

    def forward(self, feature: Tensor, style: Tensor) -> Tensor:
        """Colours of a feature.

        Args:
            feature (`torch.Tensor` of shape `(batch, in_channels, size, size)`): Output of the layer before.
            style (`torch.Tensor` of shape `(batch, in_channels)`): Modulation, about 1.

        Returns:
            `torch.Tensor` of shape `(batch, 3, size, size)`: RGB times four.
        """
        style = style * torch.rsqrt(self.magnitude * self.weight.shape[1])
        demodulation = style.new_ones(len(style), len(self.weight))
        return _convolve(feature, self.weight, style, demodulation, self.bias).clamp(-CLAMP, CLAMP)


def _convolve(x: Tensor, weight: Tensor, style: Tensor, demodulation: Tensor, bias: Tensor) -> Tensor:
    """Full convolution of every sample with its own weight.

    On GPUs, and where a larger kernel is trained, samples share one weight, as its gradient is dense.
    """
    padding = weight.shape[2] - 1
    if torch.is_grad_enabled() and x.device.type == "cpu" and padding == 0:
        batch, channels, height, width = x.shape
        own = weight[:, :, 0, 0] * (demodulation[:, :, None] * style[:, None, :])  # (batch, out, in)
        x = x.permute(0, 2, 3, 1).reshape(batch, height * width, channels)
        x = torch.baddbmm(bias.to(x.dtype), x, own.to(x.dtype).transpose(1, 2))  # (batch, pixels, out)
        return x.view(batch, height, width, -1).permute(0, 3, 1, 2)
    if torch.is_grad_enabled() or x.device.type != "cpu":
        x = x * style[:, :, None, None].to(x.dtype)
        x = F.conv2d(x, weight.to(x.dtype), padding=padding)
        return x * demodulation[:, :, None, None].to(x.dtype) + bias[:, None, None].to(x.dtype)
    scale = demodulation[:, :, None] * style[:, None, :]  # (batch, out, in)
    x = x.contiguous(memory_format=torch.channels_last)
    samples = [
        F.conv2d(x[i : i + 1], (weight * scale[i, :, :, None, None]).to(x.dtype), bias.to(x.dtype), padding=padding)
        for i in range(len(x))
    ]
    return samples[0] if len(samples) == 1 else torch.cat(samples)
