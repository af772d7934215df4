"""Perceptual distances: LPIPS where its weights are at hand, else features of our identity network."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from vivface.errors import BackendError, OptionError
from vivface.models import IdentityNetwork
from vivface.models.identity import feature_distance


class PerceptualDistance(Protocol):
    """Mean distance of two batches of pictures (batch, 3, size, size) in [-1, 1]."""

    def __call__(self, image: Tensor, target: Tensor) -> Tensor: ...


class FeatureDistance(nn.Module):
    """`feature_distance` in the stages of a frozen identity network."""

    def __init__(self, network: IdentityNetwork):
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = self.network.features(target)
        return feature_distance(self.network.features(image), wanted)


class Lpips(nn.Module):
    """LPIPS with AlexNet features (the `lpips` package).

    Raises:
        BackendError: If the package or AlexNet's weights cannot be had.
    """

    def __init__(self):
        super().__init__()
        try:
            import lpips

            self.network = lpips.LPIPS(net="alex", verbose=False).eval().requires_grad_(False)
        except (ImportError, OSError) as error:
            raise BackendError(
                f"options.perceptual is 'lpips-alex' and its weights cannot be had ({error}): install lpips and go "
                "online once to download them, or set options.perceptual=identity-features"
            ) from error

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        return self.network(image, target).mean()


def build_perceptual(kind: str, identity: IdentityNetwork) -> nn.Module:
    """The perceptual distance a preset names.

    Raises:
        OptionError: If `kind` is neither 'lpips-alex' nor 'identity-features'.
        BackendError: If LPIPS' weights cannot be had.
    """
    if kind == "lpips-alex":
        return Lpips()
    if kind == "identity-features":
        return FeatureDistance(identity)
    raise OptionError(f"options.perceptual is {kind!r}, expected 'lpips-alex' or 'identity-features'")
