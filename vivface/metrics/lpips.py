"""LPIPS (Zhang et al., CVPR 2018) with AlexNet, version 0.1; and its offline stand-in on a recognizer's features."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from vivface.errors import BackendError
from vivface.metrics.average import Average, check_pair, needs
from vivface.models.identity import IdentityNetwork, feature_distance

ALEXNET = "alexnet-owt-7be5be79.pth"  # torchvision's ImageNet weights, in the cache of torch hub


def load_lpips(download: bool = False) -> nn.Module:
    """The network: AlexNet's weights from the cache of torch hub, the published linear layers from torchmetrics.

    Args:
        download (`bool`, *optional*, defaults to `False`): Whether missing weights may be fetched.

    Raises:
        BackendError: If the weights or a package are missing.
    """
    file = Path(torch.hub.get_dir()) / "checkpoints" / ALEXNET
    if not file.is_file() and not download:
        raise BackendError(f"LPIPS needs AlexNet's weights, expected at '{file}': put them there or give --download.")
    module = needs("torchmetrics.functional.image.lpips")
    needs("torchvision")
    try:
        return module._LPIPS(pretrained=True, net="alex", eval_mode=True).requires_grad_(False)
    except (OSError, RuntimeError) as error:
        raise BackendError(f"AlexNet's weights cannot be had ({error}): put them at '{file}'.") from error


class Lpips(Average):
    """Streaming LPIPS.

    Args:
        network (`torch.nn.Module`): From `load_lpips`.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self._network = network

    @torch.no_grad()
    def update(self, image: Tensor, target: Tensor) -> Tensor:
        """Take images `(batch, 3, height, width)` in [-1, 1] in; returns their distances `(batch,)`."""
        check_pair(image, target)
        return self.add(self._network(image, target).reshape(-1))


class RecognizerDistance(Average):
    """Stand-in of LPIPS: distance of a recognizer's feature maps, without learned weights of the channels.

    Args:
        recognizer (`IdentityNetwork`): Of the checkpoint.
    """

    def __init__(self, recognizer: IdentityNetwork):
        super().__init__()
        self._recognizer = recognizer

    @torch.no_grad()
    def update(self, image: Tensor, target: Tensor) -> Tensor:
        """Take images `(batch, 3, height, width)` in [-1, 1] in; returns their distances `(batch,)`."""
        check_pair(image, target)
        distances = [self._one(a[None], b[None]) for a, b in zip(image, target, strict=True)]
        return self.add(torch.stack(distances))

    def _one(self, image: Tensor, target: Tensor) -> Tensor:
        network = self._recognizer
        return feature_distance(network.features(network.crop(image)), network.features(network.crop(target)))
