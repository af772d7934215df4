"""Modulated convolution (StyleGAN2, sec. 2.2, eq. 1-3), in two equivalent forms.

    weight'[o, i] = s[i] * weight[o, i] / sqrt(fan_in)            modulation by the style s
    d[o]          = 1 / sqrt(sum over i, k of weight'^2 + 1e-8)   demodulation
    y             = conv(x, d * weight')

"weights" builds the weight of every sample and convolves sample by sample: best when the image is larger than the
weight. "activations" multiplies x by s before, and y by d after, one convolution shared by the batch: best for small
images, and for training, where the weight's gradient is then a single dense one.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vivface.models.layers.fir import blur


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    style: Tensor,
    *,
    demodulate: bool = True,
    upsample: bool = False,
    gain: float = 1.0,
    bias: Tensor | None = None,
    offset: Tensor | None = None,
    method: str = "auto",
) -> Tensor:
    """Convolve every sample with the weight that its own style scales.

    Args:
        x (`torch.Tensor` of shape `(batch, in_channels, height, width)`): Features.
        weight (`torch.Tensor` of shape `(out_channels, in_channels, k, k)`): Unit-variance weight. For `upsample` it
            is the weight of the transposed convolution.
        style (`torch.Tensor` of shape `(batch, in_channels)`): Modulation, about 1.
        demodulate (`bool`, *optional*, defaults to `True`): Whether output channels are normalised.
        upsample (`bool`, *optional*, defaults to `False`): Whether the output is twice as large.
        gain (`float`, *optional*, defaults to 1.0): Factor on the output.
        bias (`torch.Tensor` of shape `(out_channels,)`, *optional*): Added at the end; the gain leaves it alone.
        offset (`torch.Tensor` of shape `(batch or 1, out_channels, in_channels)`, *optional*): Relative change of the
            weight, the same over the kernel window.
        method (`str`, *optional*, defaults to `"auto"`): `"weights"`, `"activations"`, or the faster of the two.

    Returns:
        `torch.Tensor` of shape `(batch, out_channels, height, width)`, doubled for `upsample`.

    Raises:
        ValueError: If the method is another.
    """
    fan_in = weight[0].numel()
    style = style * (1.0 / math.sqrt(fan_in))  # (batch, in)
    change = None if offset is None else (1.0 + offset).expand(x.shape[0], -1, -1)  # (batch, out, in)
    if demodulate:
        energy = weight.float().square().sum(dim=(2, 3))  # (out, in)
        if change is not None:
            energy = energy * change.float().square()  # (batch, out, in)
        demodulation = torch.rsqrt((style.float().square()[:, None] * energy).sum(dim=2) + 1e-8) * gain  # (batch, out)
    else:
        demodulation = style.new_full((style.shape[0], weight.shape[0]), gain)

    bias = torch.zeros_like(weight[:, 0, 0, 0]) if bias is None else bias
    bias = bias.to(x.dtype)

    if method == "auto":
        method = _faster_method(x, weight, upsample)
    if method == "activations":
        x = x * style[:, :, None, None].to(x.dtype)
        if change is None:
            y = _convolve(x, weight.to(x.dtype), None, upsample)
        else:
            weights = [(weight * each[:, :, None, None]).to(x.dtype) for each in change]
            y = torch.cat([_convolve(x[i : i + 1], weights[i], None, upsample) for i in range(len(x))])
        return torch.addcmul(bias[:, None, None], y, demodulation[:, :, None, None].to(y.dtype))
    if method == "weights":
        scale = demodulation[:, :, None] * style[:, None, :]  # (batch, out, in)
        scale = scale if change is None else scale * change
        samples = [
            _convolve(x[i : i + 1], (weight * scale[i, :, :, None, None]).to(x.dtype), bias, upsample)
            for i in range(len(x))
        ]
        return samples[0] if len(samples) == 1 else torch.cat(samples)
    raise ValueError(f"`method` is {method!r}; expected 'auto', 'weights' or 'activations'.")


def _faster_method(x: Tensor, weight: Tensor, upsample: bool) -> str:
    """Compare what would be multiplied: the batch's activations, or its weights.

    Training always shares the weight, and so does a graph that is exported for batches of any size."""
    if torch.is_grad_enabled() or x.device.type != "cpu" or isinstance(x.shape[0], torch.SymInt):
        return "activations"
    pixels = x.shape[2] * x.shape[3]
    activations = pixels * (weight.shape[1] + weight.shape[0] * (4 if upsample else 1))
    return "weights" if activations > weight.numel() else "activations"


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, upsample: bool) -> Tensor:
    if not upsample:
        return F.conv2d(x, weight, bias, padding=weight.shape[2] // 2)
    y = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)  # (batch, out, 2 height + 1, 2 width + 1)
    return blur(y, padding=1, gain=4.0, bias=bias)
