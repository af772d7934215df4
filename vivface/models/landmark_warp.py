"""Motion from facial landmarks alone: a smooth flow that carries 68 points to where they came from, and heat maps.

Positions are those of `torch.nn.functional.grid_sample`: x right, y down, from -1 to 1 over the image, edge to edge.
A flow `(batch, 2, height, width)` holds, for each pixel of the target, the source's position minus the target's.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

LANDMARK_GROUPS = (slice(0, 17), slice(17, 27), slice(27, 36), slice(36, 48), slice(48, 60), slice(60, 68))
"""Jaw, brows, nose, eyes, outer and inner lips, of the 68 iBUG landmarks."""


def thin_plate_flow(target: Tensor, source: Tensor, size: int, smoothness: float = 1e-3, border: int = 0) -> Tensor:
    """The flow of a thin-plate spline through landmarks (Bookstein, Principal Warps, PAMI 1989).

    Args:
        target (`torch.Tensor` of shape `(batch, points, 2)`): Landmarks in the image that the flow makes.
        source (`torch.Tensor` of shape `(batch, points, 2)`): The same landmarks in the image that is warped.
        size (`int`): Height and width of the flow.
        smoothness (`float`, *optional*, defaults to 1e-3): At 0 every landmark is met exactly, which folds the flow
            where landmarks meet, as those of shut lids do.
        border (`int`, *optional*, defaults to 0): Points along each side of the image that stay where they are.

    Returns:
        `torch.Tensor` of shape `(batch, 2, size, size)`: source position minus target position.

    Raises:
        ValueError: If the landmarks have different shapes, or there are fewer than three.
    """
    if target.shape != source.shape or target.dim() != 3 or target.shape[1] < 3 or target.shape[2] != 2:
        raise ValueError(
            f"`target` has shape {tuple(target.shape)} and `source` {tuple(source.shape)}; expected the same "
            "(batch, points, 2) with at least three points."
        )
    target, source = target.float(), source.float()
    if border:
        still = _border_points(border, target).expand(len(target), -1, -1)
        target, source = torch.cat([target, still], 1), torch.cat([source, still], 1)
    with torch.autocast(target.device.type, enabled=False):  # a few bits of a position are several pixels
        return _spline(target, source, size, smoothness)


def _spline(target: Tensor, source: Tensor, size: int, smoothness: float) -> Tensor:
    batch, count = target.shape[:2]
    kernel = _thin_plate(target, target) + smoothness * torch.eye(count, device=target.device)
    affine = torch.cat([target.new_ones(batch, count, 1), target], 2)  # (batch, points, 3)
    system = torch.cat([torch.cat([kernel, affine], 2), torch.cat([affine.mT, target.new_zeros(batch, 3, 3)], 2)], 1)
    values = torch.cat([source - target, target.new_zeros(batch, 3, 2)], 1)
    weights = torch.linalg.solve(system, values)  # (batch, points + 3, 2)
    pixels = pixel_positions(size, target).flatten(1).T[None]  # (1, size * size, 2)
    flow = _thin_plate(pixels, target) @ weights[:, :count] + weights[:, count : count + 1]
    flow = flow + pixels @ weights[:, count + 1 :]
    return flow.mT.unflatten(2, (size, size))


def _thin_plate(a: Tensor, b: Tensor) -> Tensor:
    """The kernel r^2 log r^2 between points `(batch, a, 2)` and `(batch, b, 2)`: `(batch, a, b)`."""
    square = (a[:, :, None, 0] - b[:, None, :, 0]).square() + (a[:, :, None, 1] - b[:, None, :, 1]).square()
    return square * square.clamp_min(1e-9).log()


def _border_points(count: int, like: Tensor) -> Tensor:
    """Points `(1, 4 * count, 2)` along the sides of the image."""
    along = torch.arange(count, device=like.device, dtype=like.dtype) / count * 2 - 1
    one = torch.ones_like(along)
    sides = [torch.stack(side, 1) for side in ((along, -one), (one, along), (-along, one), (-one, -along))]
    return torch.cat(sides)[None]


def pixel_positions(size: int, like: Tensor) -> Tensor:
    """Positions of the pixels of a square image `(2, size, size)`: x, then y; on the device of `like`."""
    along = (torch.arange(size, device=like.device, dtype=like.dtype) + 0.5) / size * 2 - 1
    return torch.stack([along.expand(size, size), along[:, None].expand(size, size)])


def landmark_maps(landmarks: Tensor, size: int, sigma: float = 0.04) -> Tensor:
    """Draw landmarks as soft dots, one channel a group of `LANDMARK_GROUPS`.

    Args:
        landmarks (`torch.Tensor` of shape `(batch, 68, 2)`): Positions.
        size (`int`): Height and width of the maps.
        sigma (`float`, *optional*, defaults to 0.04): Standard deviation of a dot, in half images.

    Returns:
        `torch.Tensor` of shape `(batch, 6, size, size)`: in [0, 1].
    """
    along = (torch.arange(size, device=landmarks.device, dtype=landmarks.dtype) + 0.5) / size * 2 - 1
    profile = torch.exp((along - landmarks[..., None]).square() / (-2 * sigma**2))  # (batch, 68, 2, size)
    dots = profile[:, :, 1, :, None] * profile[:, :, 0, None, :]  # (batch, 68, size, size)
    return torch.stack([dots[:, group].amax(1) for group in LANDMARK_GROUPS], 1)


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """Move an image by a flow, at the image's own resolution.

    Args:
        image (`torch.Tensor` of shape `(batch, channels, H, W)`): The source.
        flow (`torch.Tensor` of shape `(batch, 2, height, width)`): Source position minus target position; it is
            enlarged to the image's size if it is smaller.

    Returns:
        `torch.Tensor` of shape `(batch, channels, H, W)`: the target; the image's edge continues beyond the image.
    """
    size = image.shape[-2:]
    if flow.shape[-2:] != size:
        flow = F.interpolate(flow, size, mode="bilinear", align_corners=False)
    y = (torch.arange(size[0], device=flow.device, dtype=flow.dtype) + 0.5) / size[0] * 2 - 1
    x = (torch.arange(size[1], device=flow.device, dtype=flow.dtype) + 0.5) / size[1] * 2 - 1
    positions = torch.stack([flow[:, 0] + x, flow[:, 1] + y[:, None]], -1)
    return F.grid_sample(image, positions.to(image.dtype), padding_mode="border", align_corners=False)
