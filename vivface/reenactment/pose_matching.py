"""Global pose: the code of a person whose head is turned as a driver's (Video2StyleGAN, sec. 3.3.2, eq. 7).

    w_ref^p = argmin over rows 1:8 of w_ref^p of  2 MSE(P_r(G(w_ref^p)), P_r(D_j)) + 0.04 L1(w_ref, w_ref^p)

P_r reads yaw, pitch and roll. The text leaves the unit of angles open: here it is 20 degrees, so that both terms are of
about one size. Where a checkpoint knows directions of pose, the search starts at their linear estimate.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vivface.tensor_files import TensorFile

POSE_ROWS = 8  # of W+, from the first
ANGLE_UNIT = 20.0  # degrees
POSE_WEIGHT, L1_WEIGHT = 2.0, 0.04  # appendix F
LEARNING_RATE = 0.01
NOTHING = 1e-4  # degrees: a difference that is not worth a search
FILE = TensorFile("vivface-pose-directions-1", "pose directions")


@dataclass(frozen=True)
class PoseDirections:
    """What a degree of yaw, pitch and roll is in W+.

    Attributes:
        steps (`torch.Tensor` of shape `(3, POSE_ROWS, style_dim)`): Per degree.
    """

    steps: Tensor

    def estimate(self, w_plus: Tensor, change: Tensor) -> Tensor:
        """Codes turned by an angle.

        Args:
            w_plus (`torch.Tensor` of shape `(batch, num_latents, style_dim)`): Codes.
            change (`torch.Tensor` of shape `(batch, 3)`): Yaw, pitch, roll to add, degrees.

        Returns:
            `torch.Tensor` of shape `(batch, num_latents, style_dim)`.
        """
        turned = w_plus.clone()
        turned[:, :POSE_ROWS] += torch.einsum("bk,krd->brd", change.to(w_plus), self.steps.to(w_plus))
        return turned

    def save(self, path: str | os.PathLike) -> Path:
        """Write a safetensors file, in half precision.

        Raises:
            MediaError: If the file cannot be written.
        """
        return FILE.save(path, {"steps": self.steps.half()})

    @classmethod
    def load(cls, path: str | os.PathLike) -> PoseDirections:
        """Read a file that `save` wrote.

        Raises:
            CheckpointError: If it is missing, damaged, or something else.
        """

        def decode(tensors: dict[str, Tensor], metadata: dict[str, str]) -> PoseDirections:
            steps = tensors["steps"].float()
            if steps.ndim != 3 or steps.shape[:2] != (3, POSE_ROWS):
                raise ValueError(f"its steps have shape {tuple(steps.shape)}, expected (3, {POSE_ROWS}, style_dim)")
            return cls(steps)

        return FILE.load(path, decode)


def match_pose(
    read_pose: Callable[[Tensor], Tensor],
    w_plus: Tensor,
    own: Tensor,
    wanted: Tensor,
    steps: int,
    directions: PoseDirections | None = None,
    learning_rate: float = LEARNING_RATE,
) -> Tensor:
    """Search for codes with wanted poses (eq. 7); each search is independent of the others.

    Args:
        read_pose (callable): P_r(G(.)): codes `(batch, num_latents, style_dim)` to yaw, pitch, roll `(batch, 3)`,
            degrees, with gradients.
        w_plus (`torch.Tensor` of shape `(1, num_latents, style_dim)`): w_ref.
        own (`torch.Tensor` of shape `(1, 3)`): Its pose, degrees.
        wanted (`torch.Tensor` of shape `(batch, 3)`): Yaw, pitch, roll, degrees.
        steps (`int`): Of Adam; 0 leaves the linear estimate.
        directions (`PoseDirections`, *optional*): Where to start; at w_ref by default.
        learning_rate (`float`, *optional*, defaults to 0.01): Of Adam.

    Returns:
        `torch.Tensor` of shape `(batch, num_latents, style_dim)`: Codes; rows from the ninth on are those of w_ref,
            and a code whose pose is wanted as it is stays w_ref.
    """
    source = w_plus.expand(len(wanted), -1, -1)
    moves = ((wanted - own).abs() > NOTHING).any(1)  # (batch,)
    start = source if directions is None else directions.estimate(source, wanted - own)
    start = torch.where(moves[:, None, None], start, source)
    if steps == 0 or not moves.any():
        return start
    free = start[:, :POSE_ROWS].float().clone().requires_grad_(True)
    optimizer = torch.optim.Adam([free], lr=learning_rate)
    rest = source[:, POSE_ROWS:]
    with torch.enable_grad():
        for _ in range(steps):
            pose = read_pose(torch.cat([free.to(rest.dtype), rest], dim=1))
            distance = ((pose - wanted) / ANGLE_UNIT).square().mean(1)
            change = (free - source[:, :POSE_ROWS].float()).abs().mean((1, 2))
            loss = (POSE_WEIGHT * distance + L1_WEIGHT * change).sum()
            (free.grad,) = torch.autograd.grad(loss, [free])
            optimizer.step()
    found = torch.cat([free.detach().to(rest.dtype), rest], dim=1)
    return torch.where(moves[:, None, None], found, source)
