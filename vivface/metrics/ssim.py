"""SSIM: structural similarity (Wang et al., IEEE TIP 2004)."""

import torch
from torch import Tensor

from vivface.metrics.average import Average, check_pair

WINDOW, SIGMA = 11, 1.5  # of the Gaussian window, pixels
K1, K2 = 0.01, 0.03  # against division by small numbers, of the range of brightness


def ssim(image: Tensor, target: Tensor) -> Tensor:
    """Structural similarity of every image: Gaussian window of 11 pixels, sigma 1.5, K .01 and .03, mean over RGB.

    Windows that are not whole, at the border, do not count, as in the paper and scikit-image.

    Args:
        image, target (`torch.Tensor` of shape `(batch, 3, height, width)`): RGB in [-1, 1], at least 12 pixels high.

    Returns:
        `torch.Tensor` of shape `(batch,)`: 1 for equal images.
    """
    check_pair(image, target)
    a, b = ((x.double() + 1) / 2 for x in (image, target))  # brightness counts from black, so not from -1 to 1
    down, across = (_window_means(size).to(a.device) for size in a.shape[2:])
    mean_a, mean_b, square_a, square_b, product = (down @ x @ across.T for x in (a, b, a * a, b * b, a * b))
    means, squares = mean_a * mean_b, mean_a**2 + mean_b**2
    covariance, variances = product - means, square_a + square_b - squares
    places = (2 * means + K1**2) * (2 * covariance + K2**2) / ((squares + K1**2) * (variances + K2**2))
    return places.mean(dim=(1, 2, 3))


def _window_means(size: int) -> Tensor:
    """The matrix `(size - 10, size)` that takes the weighted means of all whole windows of a line of pixels.

    The Gaussian window is a product of two, so a matrix on either side filters an image; that is several times faster
    than a convolution in double precision.
    """
    distance = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    window = torch.exp(-(distance**2) / (2 * SIGMA**2))
    rows = torch.zeros(size - WINDOW + 1, size, dtype=torch.float64)
    for offset, weight in enumerate(window / window.sum()):
        rows.diagonal(offset).fill_(weight)
    return rows


class Ssim(Average):
    """Streaming `ssim`."""

    def update(self, image: Tensor, target: Tensor) -> Tensor:
        """Take images in; returns their values `(batch,)`."""
        return self.add(ssim(image, target))
