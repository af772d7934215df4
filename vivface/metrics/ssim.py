"""SSIM: structural similarity (Wang et al., IEEE TIP 2004)."""

from torch import Tensor

from vivface.metrics.average import Average, check_pair, needs

EDGE = 5  # pixels at the border whose window is not whole; they do not count, as in the paper and scikit-image


def ssim(image: Tensor, target: Tensor) -> Tensor:
    """Structural similarity of every image: Gaussian window of 11 pixels, sigma 1.5, K .01 and .03, mean over RGB.

    Args:
        image, target (`torch.Tensor` of shape `(batch, 3, height, width)`): RGB in [-1, 1], at least 12 pixels high.

    Returns:
        `torch.Tensor` of shape `(batch,)`: 1 for equal images.

    Raises:
        BackendError: If torchmetrics is not installed.
    """
    check_pair(image, target)
    measure = needs("torchmetrics.functional.image").structural_similarity_index_measure
    a, b = ((x.double() + 1) / 2 for x in (image, target))  # brightness counts from black, so not from -1 to 1
    _, places = measure(a, b, sigma=1.5, data_range=1.0, reduction="none", return_full_image=True)
    return places[..., EDGE:-EDGE, EDGE:-EDGE].mean(dim=(1, 2, 3))


class Ssim(Average):
    """Streaming `ssim`."""

    def update(self, image: Tensor, target: Tensor) -> Tensor:
        """Take images in; returns their values `(batch,)`."""
        return self.add(ssim(image, target))
