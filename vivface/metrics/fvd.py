"""FVD and FVD_M: Frechet distance of I3D features of short windows (Unterthiner et al., 2018), whole face or mouth."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from vivface.errors import BackendError
from vivface.metrics.frechet import FrechetDistance

I3D = "i3d_torchscript.pt"  # trained on Kinetics-400, as StyleGAN-V uses it
WINDOW = 16  # frames of a window; windows do not overlap
MOUTH = (0.62, 0.94, 0.28, 0.72)  # top, bottom, left, right of the mouth as parts of an FFHQ crop


def load_i3d(folder: Path | None) -> nn.Module:
    """The network as TorchScript.

    Raises:
        BackendError: If the file is missing or cannot be read.
    """
    if folder is None or not (folder / I3D).is_file():
        raise BackendError(f"FVD needs the I3D network of StyleGAN-V: give --weights with a folder that holds '{I3D}'.")
    try:
        return torch.jit.load(str(folder / I3D), map_location="cpu").eval()
    except (RuntimeError, OSError, ValueError) as error:
        raise BackendError(f"'{folder / I3D}' is no TorchScript file that can be read: get it again.") from error


def i3d_features(network: nn.Module, window: Tensor) -> Tensor:
    """Features of a window.

    Args:
        network (`torch.nn.Module`): From `load_i3d`.
        window (`torch.Tensor` of shape `(16, 3, height, width)`): RGB in [-1, 1].

    Returns:
        `torch.Tensor` of shape `(1, 400)`.
    """
    levels = (window.float().clamp(-1, 1) + 1).mul(127.5).round()
    video = levels.permute(1, 0, 2, 3)[None]  # (1, 3, 16, height, width); the network scales values and size itself
    return network(video, rescale=True, resize=True, return_features=True)


def mouth(image: Tensor) -> Tensor:
    """The mouth of FFHQ-aligned images `(batch, channels, size, size)`."""
    top, bottom, left, right = (round(part * image.shape[2]) for part in MOUTH)
    return image[:, :, top:bottom, left:right]


class Fvd:
    """Streaming FVD: holds the frames of one window.

    Args:
        network (`torch.nn.Module`): From `load_i3d`.
    """

    def __init__(self, network: nn.Module):
        self.distance = FrechetDistance()
        self._network = network
        self._held: list[tuple[Tensor, Tensor]] = []

    @torch.no_grad()
    def update(self, real: Tensor, made: Tensor) -> None:
        """Take consecutive frames `(batch, 3, height, width)` of both videos in."""
        for pair in zip(real, made, strict=True):
            self._held.append(pair)
            if len(self._held) == WINDOW:
                windows = [torch.stack(frames) for frames in zip(*self._held, strict=True)]
                self.distance.update(*(i3d_features(self._network, window) for window in windows))
                self._held.clear()

    def end_video(self) -> None:
        """The next frame belongs to another video: an unfinished window is dropped."""
        self._held.clear()

    def compute(self) -> float | None:
        """The distance; None with fewer than 2 windows."""
        return self.distance.compute()
