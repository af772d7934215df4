"""FID: Frechet distance of Inception-v3 features (Heusel et al., NeurIPS 2017), network of torch-fidelity."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from vivface.errors import BackendError
from vivface.metrics.average import needs

INCEPTION = "weights-inception-2015-12-05-6726825d.pth"  # as torch-fidelity publishes it, in the cache of torch hub


class Inception(nn.Module):
    """The 2048 pooled features of the network of the original FID.

    Args:
        folder (`Path`, *optional*): Holds the weights; else the cache of torch hub.
        download (`bool`, *optional*, defaults to `False`): Whether missing weights may be fetched.

    Raises:
        BackendError: If the weights or the package are missing.
    """

    def __init__(self, folder: Path | None = None, download: bool = False):
        super().__init__()
        cached = Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION
        files = [file for file in ([folder / INCEPTION] if folder else []) + [cached] if file.is_file()]
        if not files and not download:
            raise BackendError(f"FID needs Inception's weights, expected at '{cached}': put them there, or --download.")
        make = needs("torch_fidelity.feature_extractor_inceptionv3").FeatureExtractorInceptionV3
        try:
            if files:  # read as tensors only, before torch-fidelity reads the file in its own way
                torch.load(files[0], weights_only=True, map_location="meta")
            self.network = make("inception-v3-compat", ["2048"], str(files[0]) if files else None)
        except Exception as error:  # of the network, the file or torch's reader, which all have their own
            raise BackendError(
                f"Inception's weights cannot be loaded ({type(error).__name__}): get them again."
            ) from error

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        """Features of images.

        Args:
            image (`torch.Tensor` of shape `(batch, 3, height, width)`): RGB in [-1, 1]; scaled to 299 inside.

        Returns:
            `torch.Tensor` of shape `(batch, 2048)`.
        """
        levels = (image.clamp(-1, 1) + 1).mul(127.5).round().to(torch.uint8)
        return self.network(levels)[0]
