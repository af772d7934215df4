"""Quads: the four corners of a crop in a frame, top-left, bottom-left, bottom-right, top-right, in pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.arguments import AugmentOptions
from vivface.faces.alignment import ffhq_quad, make_quad, quad_angle, quad_center, quad_frame

if TYPE_CHECKING:
    from training.data.shards import ShardRecord


def adjust_quad(
    quad: np.ndarray,
    shift: np.ndarray | tuple[float, float] = (0.0, 0.0),
    scale: float = 1.0,
    degrees: float = 0.0,
    stretch: tuple[float, float] = (1.0, 1.0),
) -> np.ndarray:
    """Move, scale, rotate and stretch a quad about its centre.

    Args:
        quad (`np.ndarray` of shape `(4, 2)`): Corners, pixels.
        shift (pair of `float`, *optional*): Of the centre, in fractions of the quad's own width and height.
        scale (`float`, *optional*, defaults to 1.0): Of width and height.
        degrees (`float`, *optional*, defaults to 0.0): Clockwise on the screen.
        stretch (pair of `float`, *optional*): Further factors of width and height.

    Returns:
        `np.ndarray` of shape `(4, 2)`: Corners, pixels.
    """
    center = quad.mean(axis=0)
    right, down = quad_frame(quad)[1].T / 2
    center = center + 2 * (shift[0] * right + shift[1] * down)
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[cos, -sin], [sin, cos]])
    right, down = turn @ right * (scale * stretch[0]), turn @ down * (scale * stretch[1])
    return np.stack([center - right - down, center - right + down, center + right + down, center + right - down])


def jitter(
    rng: np.random.Generator, quad: np.ndarray, center: float, scale: float, degrees: float, stretch: float
) -> np.ndarray:
    """A quad moved at random.

    Args:
        rng (`np.random.Generator`): Random numbers.
        quad (`np.ndarray` of shape `(4, 2)`): Corners, pixels.
        center (`float`): Largest shift along each axis, fraction of the crop size.
        scale (`float`): Largest change of the scale, fraction.
        degrees (`float`): Largest rotation.
        stretch (`float`): Largest change of the aspect ratio, fraction.

    Returns:
        `np.ndarray` of shape `(4, 2)`: Corners, pixels.
    """
    wide, high = rng.uniform(-1, 1, size=2) * stretch / 2
    return adjust_quad(
        quad,
        shift=rng.uniform(-1, 1, size=2) * center,
        scale=1.0 + rng.uniform(-1, 1) * scale,
        degrees=rng.uniform(-1, 1) * degrees,
        stretch=(1.0 + wide, 1.0 + high),
    )


@dataclass(frozen=True)
class Drift:
    """Offset of a "stable" crop, which follows a head slowly, from the face in it.

    Attributes:
        shift (`np.ndarray` of shape `(2,)`): Of the centre, in fractions of the crop size.
        scale (`float`): Factor of the crop size.
        degrees (`float`): Rotation of the crop against the upright face, clockwise.
    """

    shift: np.ndarray
    scale: float
    degrees: float

    def quad(self, record: ShardRecord, frame: int) -> np.ndarray:
        """The crop around the face of a frame, of the median size of this identity's faces, off by the drift.

        Args:
            record (`ShardRecord`): Whose frame.
            frame (`int`): Index of the frame in the shard.

        Returns:
            `np.ndarray` of shape `(4, 2)`: Corners, pixels.
        """
        face = ffhq_quad(record.landmarks[frame])
        upright = make_quad(quad_center(face), record.face_size / 2, quad_angle(face))
        return adjust_quad(upright, self.shift, self.scale, self.degrees)


def sample_drift(rng: np.random.Generator, augment: AugmentOptions) -> Drift:
    """Draw a drift: normal with the standard deviations of the options, clipped at two of them."""
    x, y, zoom, turn = rng.normal(size=4).clip(-2, 2)
    shift = np.array([x, y]) * augment.drift_center
    return Drift(shift, 1.0 + zoom * augment.drift_scale, turn * augment.drift_rotation)


def central_square(image: np.ndarray) -> np.ndarray:
    """The quad `(4, 2)` of the largest central square of an image `(height, width, 3)`."""
    height, width = image.shape[:2]
    return make_quad(np.array([(width - 1) / 2, (height - 1) / 2]), min(width, height) / 2)
