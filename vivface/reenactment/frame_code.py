"""A driving frame as Video2StyleGAN reads it, as one motion code: W+, residual motion, position and pose."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vivface.models.stylegan3 import image_transform
from vivface.reenactment.composition import RESIDUAL_ROWS

ROWS_BESIDE = len(RESIDUAL_ROWS) + 1  # rows of a code beside those of W+
NUMBERS = 3  # of a position, and of a pose


@dataclass(frozen=True)
class FrameCode:
    """What is known of frames, each part of which may come from a driver of its own.

    Attributes:
        w_plus (`torch.Tensor` of shape `(batch, num_latents, style_dim)`): W+ of the canonical crop, w_j.
        residual (`torch.Tensor` of shape `(batch, len(RESIDUAL_ROWS), style_dim)`): What eq. 10 adds to rows 3..7.
        position (`torch.Tensor` of shape `(batch, 3)`): To the right and down in sides of the picture's still square,
            and radians, clockwise; see `vivface.faces.position`.
        pose (`torch.Tensor` of shape `(batch, 3)`): Yaw, pitch, roll in the canonical crop, degrees.
    """

    w_plus: Tensor
    residual: Tensor
    position: Tensor
    pose: Tensor

    @classmethod
    def still(cls, w_plus: Tensor, pose: Tensor) -> FrameCode:
        """Frames without residual motion, in the canonical position."""
        residual = w_plus.new_zeros(len(w_plus), len(RESIDUAL_ROWS), w_plus.shape[2])
        return cls(w_plus, residual, w_plus.new_zeros(len(w_plus), NUMBERS), pose.to(w_plus))

    def pack(self) -> Tensor:
        """As a motion code `(batch, num_latents + ROWS_BESIDE, style_dim)`; the last row holds position and pose."""
        numbers = torch.cat([self.position, self.pose], dim=1)
        row = numbers.new_zeros(len(numbers), 1, self.w_plus.shape[2])
        row[:, 0, : 2 * NUMBERS] = numbers
        return torch.cat([self.w_plus, self.residual, row.to(self.w_plus)], dim=1)

    @classmethod
    def unpack(cls, code: Tensor) -> FrameCode:
        """The inverse of `pack`."""
        latents = code.shape[1] - ROWS_BESIDE
        numbers = code[:, -1]
        return cls(
            code[:, :latents],
            code[:, latents:-1],
            numbers[:, :NUMBERS],
            numbers[:, NUMBERS : 2 * NUMBERS],
        )

    def taking(self, position: FrameCode, pose: FrameCode, local: FrameCode, residual: FrameCode) -> FrameCode:
        """The frames with every part taken from other frames; one frame serves all.

        Args:
            position, pose, local, residual (`FrameCode`): Of as many frames, or of one. `local` gives W+.
        """
        count = len(self.w_plus)
        return replace(
            self,
            w_plus=local.w_plus.expand(count, -1, -1),
            residual=residual.residual.expand(count, -1, -1),
            position=position.position.expand(count, -1),
            pose=pose.pose.expand(count, -1),
        )


def image_motion(position: Tensor) -> Tensor:
    """The motion of an image to positions `(batch, 3)`, as `StyleGAN3Generator` takes it: `(batch, 3, 3)`."""
    position = position.float()
    return image_transform(-position[:, 2], position[:, :2])
