"""PSNR: peak signal-to-noise ratio."""

import torch
from torch import Tensor

from vivface.metrics.average import Average, check_pair, needs

PEAK = 2.0  # range of images in [-1, 1]
MOST = 100.0  # decibels, the value of equal images


def psnr(image: Tensor, target: Tensor) -> Tensor:
    """10 log10(peak^2 / mean squared error) of every image, at most 100 dB.

    Args:
        image, target (`torch.Tensor` of shape `(batch, 3, height, width)`): RGB in [-1, 1].

    Returns:
        `torch.Tensor` of shape `(batch,)`: Decibels.

    Raises:
        BackendError: If torchmetrics is not installed.
    """
    check_pair(image, target)
    measure = needs("torchmetrics.functional.image").peak_signal_noise_ratio
    pairs = zip(image.double(), target.double(), strict=True)
    # A tuple as range would clamp; images are one by one, as torchmetrics pools a batch when it reduces
    return torch.stack([measure(a, b, data_range=PEAK) for a, b in pairs]).clamp(max=MOST)


class Psnr(Average):
    """Streaming `psnr`: the mean of decibels, not the decibels of the mean error."""

    def update(self, image: Tensor, target: Tensor) -> Tensor:
        """Take images in; returns their values `(batch,)`."""
        return self.add(psnr(image, target))
