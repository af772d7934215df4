"""Batch normalisation that stays in float32 in a network of half precision.

Statistics are variances of features, and features of a trained trunk reach thousands: their squares do not fit float16
(largest value 65504). So `to`, `half` and `bfloat16` leave weights and statistics in float32, and a half-precision
input is normalised in float32 and returned in its own type. A float32 network is torch's own, bit for bit.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

# Devices whose batch norm takes half-precision inputs beside float32 statistics. MPS does not: it stops the process
# (pytorch issue 154887) or casts the statistics down.
MIXED_PRECISION_DEVICES = ("cpu", "cuda")


class _InFloat32:
    """What both norms share; goes before torch's class."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise.

        Args:
            x (`torch.Tensor` of shape `(batch, channels, ...)`): Float32, float16 or bfloat16.

        Returns:
            `torch.Tensor` of the shape and type of `x`.
        """
        if x.dtype == torch.float32 or x.device.type in MIXED_PRECISION_DEVICES:
            return super().forward(x)
        return super().forward(x.float()).to(x.dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        """Every cast and every move of a module comes through here: move, but never to less than float32."""

        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            if tensor.is_floating_point() and moved.dtype != tensor.dtype and moved.dtype.itemsize < 4:
                return tensor.to(moved.device, torch.float32)
            return moved

        return super()._apply(move, recurse)


class BatchNorm1d(_InFloat32, nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d` whose weights and statistics stay in float32."""


class BatchNorm2d(_InFloat32, nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` whose weights and statistics stay in float32."""
