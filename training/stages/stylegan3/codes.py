"""Codes in W+ of what a render is known to show: who, in which light, in which pose, with which expression.

    W+ row i = w of the look + pose codes of row i (rows 0 to 7) + expression codes of row i (rows 3 to 7)

These are the rows in which Video2StyleGAN finds pose (sec. 3.3.2) and expression (sec. 3.3.4) in a generator that was
trained without labels. Here the labels are known, and the codes are learned in these rows from the start.
"""

from __future__ import annotations

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

POSE_ROWS, EXPRESSION_ROWS = range(0, 8), range(3, 8)
POSE_SIZE, EXPRESSION_SIZE = 0.4, 0.25  # root mean square of the codes of a row at initialisation
LOOK_SIZE = 0.3  # standard deviation of the looks' codes at initialisation
ANGLES = 3


class MotionRows(ModelMixin, ConfigMixin):
    """Offsets in W+ as linear maps of standardised pose and controls.

    Args:
        controls (`int`): Number of controls.
        num_latents (`int`): Rows of W+.
        style_dim (`int`): Width of a row.
    """

    @register_to_config
    def __init__(self, controls: int, num_latents: int = 16, style_dim: int = 96):
        super().__init__()
        self.register_buffer("mean", torch.zeros(ANGLES + controls))
        self.register_buffer("std", torch.ones(ANGLES + controls))
        self.pose = nn.Parameter(torch.randn(ANGLES, len(POSE_ROWS), style_dim) * POSE_SIZE / ANGLES**0.5)
        size = EXPRESSION_SIZE / controls**0.5
        self.expression = nn.Parameter(torch.randn(controls, len(EXPRESSION_ROWS), style_dim) * size)

    def measure(self, labels: Tensor) -> None:
        """Take mean and standard deviation from examples `(count, 3 + controls)`."""
        self.mean.copy_(labels.mean(0))
        self.std.copy_(labels.std(0).clamp_min(1e-2))

    def standardized(self, pose: Tensor, controls: Tensor) -> Tensor:
        """Pose and controls in standard deviations from their mean, clipped at four: `(..., 3 + controls)`."""
        return ((torch.cat([pose, controls], -1) - self.mean) / self.std).clamp(-4, 4)

    def directions(self) -> Tensor:
        """Step of one standard deviation of every label: `(3 + controls, num_latents, style_dim)`."""
        rows = self.pose.new_zeros(len(self.mean), self.config.num_latents, self.config.style_dim)
        rows[:ANGLES, POSE_ROWS.start : POSE_ROWS.stop] = self.pose
        rows[ANGLES:, EXPRESSION_ROWS.start : EXPRESSION_ROWS.stop] = self.expression
        return rows

    def forward(self, pose: Tensor, controls: Tensor) -> Tensor:
        """Offsets in W+.

        Args:
            pose (`torch.Tensor` of shape `(..., 3)`): Yaw, pitch, roll against the canonical crop, degrees.
            controls (`torch.Tensor` of shape `(..., controls)`): Of the renderer.

        Returns:
            `torch.Tensor` of shape `(..., num_latents, style_dim)`.
        """
        return torch.einsum("...k,krd->...rd", self.standardized(pose, controls), self.directions())

    def decode(self, change: Tensor) -> Tensor:
        """Change of the labels that a change of codes stands for, by least squares.

        What all rows have in common belongs to the look: the mean of the rows without motion is taken away first.

        Args:
            change (`torch.Tensor` of shape `(batch, num_latents, style_dim)`): Differences of codes.

        Returns:
            `torch.Tensor` of shape `(batch, 3 + controls)`: In standard deviations.
        """
        with torch.autocast(change.device.type, enabled=False):
            rows = slice(POSE_ROWS.start, POSE_ROWS.stop)
            moved = change.float()[:, rows] - change.float()[:, POSE_ROWS.stop :].mean(1, keepdim=True)
            basis = self.directions().detach().float()[:, rows].flatten(1)  # (labels, rows * style_dim)
            gram = basis @ basis.T
            gram = gram + 1e-4 * gram.diagonal().mean() * torch.eye(len(gram), device=gram.device)
            return torch.linalg.solve(gram, basis @ moved.flatten(1).T).T


class Looks(ModelMixin, ConfigMixin):
    """One free code of W for every look: a person in a light.

    Args:
        count (`int`): Looks.
        style_dim (`int`): Width of a code.
    """

    @register_to_config
    def __init__(self, count: int, style_dim: int = 96):
        super().__init__()
        self.codes = nn.Parameter(torch.randn(count, style_dim) * LOOK_SIZE)

    def forward(self, numbers: Tensor) -> Tensor:
        """Codes `(..., style_dim)` of looks `(...)`."""
        return self.codes[numbers]


def known_codes(looks: Looks, motion: MotionRows, batch: dict[str, Tensor]) -> Tensor:
    """W+ of a batch of `MovedFaceBatches`, without mean latent: `(P * J, num_latents, style_dim)`."""
    return (looks(batch["look"])[:, None, None] + motion(batch["pose"], batch["controls"])).flatten(0, 1)
