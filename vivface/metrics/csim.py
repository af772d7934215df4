"""CSIM: cosine similarity of identity embeddings."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from vivface.errors import BackendError
from vivface.metrics.average import Average
from vivface.models.identity import IdentityNetwork


def csim(embedding: Tensor, target: Tensor) -> Tensor:
    """Cosine of the angle between embeddings.

    Args:
        embedding (`torch.Tensor` of shape `(batch, dim)`): Of the results.
        target (`torch.Tensor` of shape `(batch, dim)` or `(1, dim)`): Of the source.

    Returns:
        `torch.Tensor` of shape `(batch,)`: In [-1, 1].
    """
    a, b = embedding.double(), target.double()
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp(min=1e-12)


class Csim(Average):
    """Streaming `csim`."""

    def update(self, embedding: Tensor, target: Tensor) -> Tensor:
        """Take embeddings in; returns their values `(batch,)`."""
        return self.add(csim(embedding, target))


def load_arcface(folder: Path) -> IdentityNetwork:
    """The papers' network, ArcFace on IR-SE-50, from a folder that `vivface convert` made of `model_ir_se50.pth`.

    Raises:
        BackendError: If there is no such folder, or it holds another network.
    """
    if not (folder / "config.json").is_file():
        raise BackendError(f"CSIM needs the published IR-SE-50, expected at '{folder}': make it with vivface convert.")
    try:
        network = IdentityNetwork.from_pretrained(folder)
    except (OSError, ValueError, RuntimeError) as error:
        raise BackendError(f"'{folder}' holds no identity network that can be loaded: convert it again.") from error
    if tuple(network.config.widths) != (64, 64, 128, 256, 512) or tuple(network.config.units) != (3, 4, 14, 3):
        raise BackendError(f"'{folder}' holds another identity network than IR-SE-50: convert the published file.")
    return network.eval().requires_grad_(False)
