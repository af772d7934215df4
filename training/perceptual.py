"""Perceptual distances: LPIPS where its weights are available, else features of our recognizer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vivface.errors import BackendError
from vivface.models import IdentityNetwork
from vivface.models.identity import feature_distance


class FeatureDistance(nn.Module):
    """Distance of two batches of images in the feature maps of a frozen recognizer.

    Args:
        network (`IdentityNetwork`): Without gradients of its own.
    """

    def __init__(self, network: IdentityNetwork):
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        """The distance; its gradient reaches `image` only.

        Args:
            image, target (`torch.Tensor` of shape `(batch, 3, size, size)`): RGB in [-1, 1].

        Returns:
            `torch.Tensor`: 0-d, 0 for equal images.
        """
        with torch.no_grad():
            expected = self.network.features(target)
        return feature_distance(self.network.features(image), expected)


class Lpips(nn.Module):
    """LPIPS with AlexNet features (Zhang et al., CVPR 2018; the `lpips` package).

    Raises:
        BackendError: If the package or AlexNet's weights are not available.
    """

    def __init__(self):
        super().__init__()
        try:
            import lpips

            self.network = lpips.LPIPS(net="alex", verbose=False).eval().requires_grad_(False)
        except (ImportError, OSError) as error:
            raise BackendError(
                f"options.perceptual is 'lpips-alex' and its weights are not available ({error}): install lpips and go "
                "online once to download them, or set options.perceptual=recognizer-features"
            ) from error

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        """The distance.

        Args:
            image, target (`torch.Tensor` of shape `(batch, 3, size, size)`): RGB in [-1, 1].

        Returns:
            `torch.Tensor`: 0-d, mean over the batch.
        """
        return self.network(image, target).mean()


def build_perceptual(kind: str, recognizer: IdentityNetwork) -> nn.Module:
    """The perceptual distance that a preset names.

    Args:
        kind (`str`): `"lpips-alex"` or `"recognizer-features"`.
        recognizer (`IdentityNetwork`): For the latter.

    Raises:
        BackendError: If the weights of LPIPS are not available.
    """
    return Lpips() if kind == "lpips-alex" else FeatureDistance(recognizer)
