"""Three ways to turn the head of an identity latent, behind one protocol (eq. 2).

Expressive Talking Head Video Encoding in StyleGAN2 Latent Space, sec. 3.1: the paper turns heads with StyleFlow, a
normalising flow of W. The roll of the head is that of the crop, so the latent needs yaw and pitch only.

- `FlowPose`: StyleFlow, the paper's way; needs its weights (`vivface convert styleflow`).
- `MotionPose`: deformation codes fitted to yaw and pitch; for generators whose identity codes carry no pose.
- `DirectionPose`: one direction of W+ for each angle (InterFaceGAN, GANSpace; `vivface convert directions`).

Yaw > 0 turns toward the image's left edge, pitch > 0 down, in degrees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vivface.editing.codec_basis import UNIT, Components
from vivface.editing.directions import AttributeDirections
from vivface.errors import CheckpointError
from vivface.models.styleflow import StyleFlow
from vivface.models.stylegan2 import StyleGAN2Generator

TURN, NOD = "turn", "nod"  # names of the directions
COARSE_ROWS = 4  # of W+ that yaw and pitch change, as in StyleFlow's own program
YAW, PITCH = 11, 12  # places among StyleFlow's 17 conditions: 9 of light, gender, glasses, yaw, pitch, ...


class HeadTurner(Protocol):
    """Turns heads."""

    name: str

    def styles(self, generator: StyleGAN2Generator, w_plus: Tensor, yaw: Tensor, pitch: Tensor) -> list[Tensor]:
        """Styles of a turned head.

        Args:
            generator (`StyleGAN2Generator`): Whose styles these are.
            w_plus (`torch.Tensor` of shape `(1, num_latents, style_dim)`): Identity latent.
            yaw, pitch (`torch.Tensor` of shape `(batch,)`): Degrees.

        Returns:
            list of `torch.Tensor` of shape `(batch, channels)`: One a layer in call order; differentiable.
        """

    def tensors(self) -> list[Tensor]:
        """All that it consists of, to recognise it by."""


@dataclass(frozen=True)
class MotionPose:
    """Deformation codes of a neutral face at every yaw and pitch, added to A(W).

    Attributes:
        components (`Components`): Hold the fitted codes.
    """

    components: Components
    name = "motion"

    def styles(self, generator: StyleGAN2Generator, w_plus: Tensor, yaw: Tensor, pitch: Tensor) -> list[Tensor]:
        """See `HeadTurner.styles`."""
        styles = [style.expand(len(yaw), -1) for style in generator.to_stylespace(w_plus)]
        return generator.add_motion(styles, self.components.turn(yaw, pitch).to(styles[0]))

    def tensors(self) -> list[Tensor]:
        """Origin and pose codes."""
        return [self.components.origin, self.components.pose]


@dataclass(frozen=True)
class DirectionPose:
    """Straight lines in W+.

    Attributes:
        turn, nod (`torch.Tensor` of shape `(num_latents, style_dim)`): Step of 20 degrees of yaw and of pitch.
    """

    turn: Tensor
    nod: Tensor
    name = "directions"

    @classmethod
    def of(cls, directions: AttributeDirections) -> DirectionPose:
        """From the directions `turn` and `nod` of W+.

        Raises:
            CheckpointError: If there are no such directions.
        """
        if not all(name in directions and directions[name].space == "w_plus" for name in (TURN, NOD)):
            raise CheckpointError(
                f"The checkpoint has no directions '{TURN}' and '{NOD}' of W+: make them with "
                "`vivface convert directions`."
            )
        return cls(directions[TURN].vector, directions[NOD].vector)

    def styles(self, generator: StyleGAN2Generator, w_plus: Tensor, yaw: Tensor, pitch: Tensor) -> list[Tensor]:
        """See `HeadTurner.styles`."""
        moved = w_plus + sum(
            (angle / UNIT)[:, None, None] * vector.to(w_plus) for angle, vector in ((yaw, self.turn), (pitch, self.nod))
        )
        return generator.to_stylespace(moved)

    def tensors(self) -> list[Tensor]:
        """Both directions."""
        return [self.turn, self.nod]


class FlowPose:
    """StyleFlow: from W+ to z under the attributes as they are, and back under the turned ones.

    The first four rows of W+ take the result, as in its authors' program; the others stay.

    Args:
        flow (`StyleFlow`): The network.
        condition (`torch.Tensor` of shape `(17,)`, *optional*): Light and attributes of the identity, yaw and pitch
            among them; zeros by default: a face that looks ahead in light without a direction.
    """

    name = "styleflow"

    def __init__(self, flow: StyleFlow, condition: Tensor | None = None):
        self.flow = flow
        self.condition = torch.zeros(flow.config.conditions) if condition is None else condition

    def styles(self, generator: StyleGAN2Generator, w_plus: Tensor, yaw: Tensor, pitch: Tensor) -> list[Tensor]:
        """See `HeadTurner.styles`."""
        own = self.condition.to(w_plus)[None]
        coarse = w_plus[:, :COARSE_ROWS]
        z = self.flow(coarse, own)  # (1, rows, style_dim)
        turned = own.repeat(len(yaw), 1)
        turned = turned.index_copy(
            1, torch.tensor([YAW, PITCH]).to(yaw.device), torch.stack([yaw, pitch], 1) + own[:, [YAW, PITCH]]
        )
        changed = self.flow(z.expand(len(yaw), -1, -1), turned, reverse=True)
        rest = w_plus[:, COARSE_ROWS:].expand(len(yaw), -1, -1)
        return generator.to_stylespace(torch.cat([changed, rest], dim=1))

    def tensors(self) -> list[Tensor]:
        """The flow's weights."""
        return list(self.flow.state_dict().values())
