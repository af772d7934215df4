"""Resampling with the FIR filter [1, 3, 3, 1] in both directions (StyleGAN2, appendix B; StyleGAN, sec. 2.1).

The filter is a constant of the architecture, so the functions take no kernel. Zeros surround every image. The filter
runs as one depthwise convolution in channels_last, where a 4x4 pass reads its input once and costs as little as
copying it; two 1-D passes or shifted sums, which need fewer multiplications, move several times as much memory.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def upsample_fir(x: Tensor) -> Tensor:
    """Double height and width: zeros between the pixels, then the filter with gain 4.

    Away from the border this equals bilinear interpolation (weights 3/4 and 1/4), so it is done as bilinear
    interpolation of the image with one ring of zeros.

    Args:
        x (`torch.Tensor` of shape `(batch, channels, height, width)`): Any range.

    Returns:
        `torch.Tensor` of shape `(batch, channels, 2 * height, 2 * width)`.
    """
    ringed = F.pad(x, (1, 1, 1, 1))
    return F.interpolate(ringed, scale_factor=2, mode="bilinear", align_corners=False)[:, :, 2:-2, 2:-2]


def blur(x: Tensor, padding: int, gain: float = 1.0, bias: Tensor | None = None) -> Tensor:
    """Filter every channel, with `padding` zeros on each side: the output is `2 * padding - 3` pixels larger.

    Args:
        x (`torch.Tensor` of shape `(batch, channels, height, width)`): Any range.
        padding (`int`): Zeros on each of the four sides.
        gain (`float`, *optional*, defaults to 1.0): Factor on the result; 4 after zero insertion.
        bias (`torch.Tensor` of shape `(channels,)`, *optional*): Added to the result.

    Returns:
        `torch.Tensor` of shape `(batch, channels, height + 2 * padding - 3, width + 2 * padding - 3)`.
    """
    return _filter(x, padding=padding, stride=1, gain=gain, bias=bias)


def blur_downsample(x: Tensor) -> Tensor:
    """Halve height and width: the filter with one ring of zeros, every second pixel kept.

    Args:
        x (`torch.Tensor` of shape `(batch, channels, height, width)`): Even sides.

    Returns:
        `torch.Tensor` of shape `(batch, channels, height / 2, width / 2)`.
    """
    return _filter(x, padding=1, stride=2, gain=1.0, bias=None)


def _filter(x: Tensor, padding: int, stride: int, gain: float, bias: Tensor | None) -> Tensor:
    channels = x.shape[1]
    taps = x.new_tensor([1.0, 3.0, 3.0, 1.0])
    kernel = torch.outer(taps, taps) * (gain / 64.0)
    kernels = kernel.expand(channels, 1, 4, 4).contiguous()
    x = x.contiguous(memory_format=torch.channels_last)
    return F.conv2d(x, kernels, bias, stride=stride, padding=padding, groups=channels)
