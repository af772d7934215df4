"""L1: mean absolute difference of images."""

from torch import Tensor

from vivface.metrics.average import Average, check_pair


def l1(image: Tensor, target: Tensor, scale: float = 1.0) -> Tensor:
    """Mean absolute difference of every image.

    Args:
        image, target (`torch.Tensor` of shape `(batch, 3, height, width)`): RGB in [-1, 1].
        scale (`float`, *optional*, defaults to 1.0): 1 for images in [-1, 1] (ViVFace), 127.5 for levels 0 to 255.

    Returns:
        `torch.Tensor` of shape `(batch,)`.
    """
    check_pair(image, target)
    return (image.double() - target.double()).abs().mean(dim=(1, 2, 3)) * scale


class L1(Average):
    """Streaming `l1`."""

    def update(self, image: Tensor, target: Tensor) -> Tensor:
        """Take images in; returns their values `(batch,)`."""
        return self.add(l1(image, target))
