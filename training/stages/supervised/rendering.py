"""From sources and driving frames to images of all their pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.networks import Reenactment, reenact


@dataclass
class GridOutput:
    """What the networks make of a batch of grids.

    Attributes:
        identity (`torch.Tensor` of shape `(frames, num_latents, style_dim)`): Codes of all sources, then of all driving
            frames.
        motion (`torch.Tensor` of shape `(frames, motion_codes, style_dim)`): Generic motion codes of all of them.
        images (`Reenactment`): Of every pair (grid, identity, motion; motions running fastest).
    """

    identity: Tensor
    motion: Tensor
    images: Reenactment


def render_grids(
    networks: Mapping[str, nn.Module],
    source: Tensor,
    driving: Tensor,
    *,
    coarse_layer: str,
    full_size: Tensor | None,
    refine: bool,
    teacher: Tensor | None = None,
) -> GridOutput:
    """Every source with every motion of its grid's first set of driving frames.

    Args:
        networks (mapping): `encoder`, `transformer`, `generator` and `refinement`.
        source (`torch.Tensor` of shape `(grids, identities, 3, size, size)`): In [-1, 1].
        driving (`torch.Tensor` of shape `(grids, sets, motions, 3, size, size)`): In [-1, 1]; the codes of all are
            returned.
        coarse_layer (`str`): To-RGB layer of the coarse image of every pair.
        full_size (`torch.Tensor` of int, *optional*): Pairs that are made at full size too.
        refine (`bool`): Whether these are refined.
        teacher (`torch.Tensor` of shape `(some grids, motions, codes, width)`, *optional*): Codes that drive the first
            grids in place of the encoder's.

    Returns:
        `GridOutput`: Codes and images.
    """
    identities, grid_shape = source.shape[1], driving.shape[:3]
    source = source.flatten(0, 1)
    # One pass for sources and driving frames: batch statistics over all of them.
    codes = networks["encoder"](torch.cat([source, driving.flatten(0, 2)]))
    motion = codes.motion[len(source) :].unflatten(0, grid_shape)[:, 0]  # (grids, motions, codes, width)
    if teacher is not None:
        motion = torch.cat([teacher.to(motion.dtype), motion[len(teacher) :]])
    images = reenact(
        networks,
        codes.identity[: len(source)],
        codes.memory[: len(source)],
        motion[:, None].expand(-1, identities, -1, -1, -1).flatten(0, 2),
        reference=source if refine else None,
        small_layer=coarse_layer,
        rendered=full_size,
    )
    return GridOutput(codes.identity, codes.motion, images)
