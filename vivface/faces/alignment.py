"""FFHQ alignment: from 68 landmarks to a square of the picture, and from that square to a crop.

A *quad* is a `(4, 2)` float64 array of pixel coordinates (x right, y down; the centre of the top left pixel is
`(0, 0)`): top left, bottom left, bottom right and top right corner of a rotated square. Pixel `(i, j)` of a crop of
`size` pixels a side lies at `top_left + (i + 0.5) / size * (top_right - top_left) + (j + 0.5) / size *
(bottom_left - top_left)`.

The square is that of FFHQ (Karras et al., A Style-Based Generator Architecture for Generative Adversarial Networks,
CVPR 2019, sec. 4 and appendix A), as the published StyleGAN2 encoders use it. Two crops of it exist here:
`align_ffhq` reproduces the published pre-processing of portraits value for value, with its blurred and faded
reflections outside the picture; `crop_quad` is fast, antialiased at any scale, and serves video frames.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from PIL import Image

LEFT_EYE = slice(36, 42)  # the person's right eye: left in the picture
RIGHT_EYE = slice(42, 48)
MOUTH_CORNERS = (48, 54)


def ffhq_quad(landmarks: np.ndarray) -> np.ndarray:
    """The square that FFHQ cuts around a face.

    Args:
        landmarks (`np.ndarray` of shape `(68, 2)`): iBUG landmarks in pixels.

    Returns:
        `np.ndarray` of shape `(4, 2)`, float64: the quad.

    Raises:
        ValueError: If `landmarks` is not `(68, 2)`, not finite, or if eyes and mouth fall on one point.
    """
    points = np.asarray(landmarks, np.float64)
    if points.shape != (68, 2):
        raise ValueError(f"landmarks has shape {points.shape}, expected (68, 2)")
    if not np.isfinite(points).all():
        raise ValueError("landmarks holds values that are not finite, expected pixel coordinates")
    left_eye, right_eye = points[LEFT_EYE].mean(0), points[RIGHT_EYE].mean(0)
    eye_middle = (left_eye + right_eye) * 0.5
    eye_to_eye = right_eye - left_eye
    eye_to_mouth = points[list(MOUTH_CORNERS)].mean(0) - eye_middle

    x_axis = eye_to_eye + np.array([eye_to_mouth[1], -eye_to_mouth[0]])  # the mouth's direction, turned to the right
    length = math.hypot(*x_axis)
    if length == 0:
        raise ValueError("landmarks have no extent: eyes and mouth fall on one point")
    half_side = max(math.hypot(*eye_to_eye) * 2.0, math.hypot(*eye_to_mouth) * 1.8)
    x_axis *= half_side / length
    y_axis = np.array([-x_axis[1], x_axis[0]])
    center = eye_middle + eye_to_mouth * 0.1
    return np.stack(
        [center - x_axis - y_axis, center - x_axis + y_axis, center + x_axis + y_axis, center + x_axis - y_axis]
    )


# ---- quads


def make_quad(center: np.ndarray, half: float, angle: float = 0.0) -> np.ndarray:
    """A square from its centre (pixels), half side (pixels) and angle (radians, clockwise in the picture).

    Returns:
        `np.ndarray` of shape `(4, 2)`, float64.
    """
    if not half > 0:
        raise ValueError(f"half is {half}, expected half a side of more than 0 pixels")
    x_axis = half * np.array([math.cos(angle), math.sin(angle)])
    y_axis = np.array([-x_axis[1], x_axis[0]])
    center = np.asarray(center, np.float64)
    return np.stack(
        [center - x_axis - y_axis, center - x_axis + y_axis, center + x_axis + y_axis, center + x_axis - y_axis]
    )


def whole_quad(size: int) -> np.ndarray:
    """The corners `(4, 2)` of a square image, counter-clockwise from the top left."""
    return make_quad(np.full(2, (size - 1) / 2), size / 2)


def quad_center(quad: np.ndarray) -> np.ndarray:
    """Centre `(2,)` in pixels."""
    return np.asarray(quad, np.float64).mean(0)


def quad_size(quad: np.ndarray) -> float:
    """Side in pixels."""
    return float(math.hypot(*quad_axes(quad)[0]))


def quad_angle(quad: np.ndarray) -> float:
    """Angle of the upper side in radians, in (-pi, pi], clockwise in the picture: 0 when upright."""
    x_axis, _ = quad_axes(quad)
    return math.atan2(x_axis[1], x_axis[0])


def quad_axes(quad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sides as vectors, left to right and top to bottom, each `(2,)` in pixels (means of opposite sides)."""
    top_left, bottom_left, bottom_right, top_right = check_quad(quad)
    return (
        (top_right - top_left + bottom_right - bottom_left) * 0.5,
        (bottom_left - top_left + bottom_right - top_right) * 0.5,
    )


def check_quad(quad: np.ndarray) -> np.ndarray:
    """`quad` as float64, or a ValueError when its shape or values are wrong."""
    quad = np.asarray(quad, np.float64)
    if quad.shape != (4, 2) or not np.isfinite(quad).all():
        raise ValueError(f"quad is {quad.tolist()}, expected four finite corners (4, 2)")
    return quad


def quad_frame(quad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The top left corner `(2,)`, and the upper and the left side as columns `(2, 2)`, in pixels."""
    top_left, bottom_left, _, top_right = np.asarray(quad)
    return top_left, np.stack([top_right - top_left, bottom_left - top_left], axis=1)


def to_crop(points: np.ndarray, quad: np.ndarray) -> np.ndarray:
    """Points of a picture as they lie in a crop of it.

    Args:
        points (`np.ndarray` of shape `(..., 2)` or `(..., 3)`): Pixels of the picture; a depth is at the same scale.
        quad (`np.ndarray` of shape `(4, 2)`): Corners of the crop, pixels of the picture.

    Returns:
        `np.ndarray` of the shape of `points`: Fractions of the crop, inside it in [0, 1]; depths in upper sides.
    """
    origin, axes = quad_frame(quad)
    flat = (points[..., :2] - origin) @ np.linalg.inv(axes).T
    return np.concatenate([flat, points[..., 2:] / np.linalg.norm(axes[:, 0])], -1)


def from_crop(points: np.ndarray, quad: np.ndarray) -> np.ndarray:
    """Points of a crop in pixels of the picture: the inverse of `to_crop`."""
    origin, axes = quad_frame(quad)
    return np.concatenate([origin + points[..., :2] @ axes.T, points[..., 2:] * np.linalg.norm(axes[:, 0])], -1)


def crop_to_image_matrix(quad: np.ndarray, size: int) -> np.ndarray:
    """Affine map from the pixel indices of a crop to those of the picture.

    Returns:
        `np.ndarray` of shape `(2, 3)`, float64.
    """
    x_axis, y_axis = quad_axes(quad)
    linear = np.stack([x_axis, y_axis], axis=1) / size
    origin = quad_center(quad) - (x_axis + y_axis) * 0.5 + linear @ np.array([0.5, 0.5])
    return np.column_stack([linear, origin])


# ---- crops


def check_image(image: np.ndarray, name: str = "image") -> np.ndarray:
    """`image`, or a ValueError when it is not a `(H, W, 3)` uint8 picture."""
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"{name} is {got}, expected a uint8 RGB array (H, W, 3)")
    return image


def crop_quad(image: np.ndarray, quad: np.ndarray, size: int) -> np.ndarray:
    """Cut a quad out of a picture: antialiased at any scale, the picture reflected beyond its border.

    Args:
        image (`np.ndarray` of shape `(H, W, 3)`): uint8.
        quad (`np.ndarray` of shape `(4, 2)`): Corners in pixels.
        size (`int`): Side of the crop in pixels.

    Returns:
        `np.ndarray` of shape `(size, size, 3)`, uint8.

    Raises:
        ValueError: If an argument has another shape or type, or the quad has no area.
    """
    check_image(image)
    x_axis, y_axis = quad_axes(quad)
    if abs(x_axis[0] * y_axis[1] - x_axis[1] * y_axis[0]) < 1e-9:
        raise ValueError(f"quad {np.asarray(quad).tolist()} has no area")
    reduction = max(math.hypot(*x_axis), math.hypot(*y_axis)) / size  # pixels of the picture per pixel of the crop

    # Shrink the part that is needed by whole blocks until at most two pixels fall on one of the crop ...
    shrink = math.ceil(reduction / 2)
    part, offset = part_around(image, quad, margin=math.ceil(2 * reduction) + 2 + shrink, multiple=shrink)
    corners = np.asarray(quad, np.float64) - offset
    if shrink > 1:
        extent = np.array(part.shape[1::-1])
        reduced = np.maximum(np.rint(extent / shrink).astype(int), 1)
        part = cv2.resize(part, reduced.tolist(), interpolation=cv2.INTER_AREA)
        corners = (corners + 0.5) / (extent / reduced) - 0.5
    # ... then sample two by two points per pixel, unless the crop magnifies.
    samples = 2 if reduction > 1 else 1
    matrix = crop_to_image_matrix(corners, size * samples)
    crop = cv2.warpAffine(
        part,
        matrix,
        (size * samples, size * samples),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    )
    return crop if samples == 1 else cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)


def part_around(image: np.ndarray, quad: np.ndarray, margin: int, multiple: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The part of the picture that a quad and its reflections at the border need, and its top left corner (x, y).

    Its sides are multiples of `multiple`, unless it reaches from border to border; this may cost `multiple - 1` pixels
    of the margin.
    """
    bounds = np.array(image.shape[1::-1])  # width, height
    low = np.floor(np.min(quad, axis=0)).astype(int) - margin
    high = np.ceil(np.max(quad, axis=0)).astype(int) + margin + 1
    start = np.clip(np.minimum(low, 2 * bounds - high), 0, bounds - 1)
    stop = np.clip(np.maximum(high, -low), start + 1, bounds)
    excess = np.where(stop - start > multiple, (stop - start) % multiple, 0)
    start += np.where((stop == bounds) & (start > 0), excess, 0)
    stop -= np.where(stop < bounds, excess, 0)
    return image[start[1] : stop[1], start[0] : stop[0]], start.astype(np.float64)


def align_ffhq(image: np.ndarray, landmarks: np.ndarray, size: int = 256) -> np.ndarray:
    """Align a portrait as the published encoders do: shrink, cut, fill what lies outside, resample bilinearly.

    The result has the published flaws on purpose: it is not antialiased below a reduction of four.

    Args:
        image (`np.ndarray` of shape `(H, W, 3)`): uint8 RGB.
        landmarks (`np.ndarray` of shape `(68, 2)`): In pixels of `image`.
        size (`int`, *optional*, defaults to 256): Side of the result in pixels.

    Returns:
        `np.ndarray` of shape `(size, size, 3)`, uint8.

    Raises:
        ValueError: If an argument has another shape or type.
    """
    return align_quad(image, ffhq_quad(landmarks), size)


def align_quad(image: np.ndarray, quad: np.ndarray, size: int) -> np.ndarray:
    """`align_ffhq` of a square whose corners `(4, 2)`, in pixels of `image`, are known already."""
    picture, quad = ffhq_transform_quad(image, quad, size)
    aligned = picture.transform((size, size), Image.Transform.QUAD, quad.flatten(), Image.Resampling.BILINEAR)
    return np.asarray(aligned)


def ffhq_transform_quad(image: np.ndarray, quad: np.ndarray, size: int) -> tuple[Image.Image, np.ndarray]:
    """The picture shrunk, cut and filled for `align_ffhq`, and the quad in it (pixel corners at whole numbers)."""
    picture = Image.fromarray(check_image(image))
    quad = check_quad(quad).copy()
    side = quad_size(quad)

    # 1. Shrink by a whole factor when the square has at least four times as many pixels a side.
    shrink = math.floor(side / size * 0.5)
    if shrink > 1:
        reduced = tuple(int(np.rint(length / shrink)) for length in picture.size)
        picture = picture.resize(reduced, Image.Resampling.LANCZOS)
        quad /= shrink
        side /= shrink

    # 2. Cut the square's bounding box and a margin out of the picture.
    margin = max(int(np.rint(side * 0.1)), 3)
    low, high = np.floor(quad.min(0)).astype(int) - margin, np.ceil(quad.max(0)).astype(int) + margin
    low, high = np.maximum(low, 0), np.minimum(high, picture.size)
    if (high - low < picture.size).any():
        picture = picture.crop((*low, *high))
        quad -= low

    # 3. Where the square leaves the picture, reflect it, blurring and fading towards the edge.
    before = np.maximum(margin - np.floor(quad.min(0)).astype(int), 0)  # (left, top)
    after = np.maximum(np.ceil(quad.max(0)).astype(int) - picture.size + margin, 0)  # (right, bottom)
    if max(before.max(), after.max()) > margin - 4:
        least = int(np.rint(side * 0.3))
        before, after = np.maximum(before, least), np.maximum(after, least)
        picture = Image.fromarray(_fill_outside(np.asarray(picture), before, after, blur=side * 0.02))
        quad += before
    return picture, quad + 0.5


def _fill_outside(image: np.ndarray, before: np.ndarray, after: np.ndarray, blur: float) -> np.ndarray:
    """Pad by reflection; the farther out, the more of a blur (sigma `blur` pixels) and then of the median colour.

    `before` is (left, top), `after` (right, bottom) in pixels; all of them more than 0.
    """
    padded = np.pad(image.astype(np.float32), [(before[1], after[1]), (before[0], after[0]), (0, 0)], "reflect")
    height, width = padded.shape[:2]
    x, y = np.arange(width, dtype=np.float32)[None], np.arange(height, dtype=np.float32)[:, None]
    inside_x = np.minimum(x / before[0], (width - 1 - x) / after[0])  # 0 at the edge, 1 where the picture begins
    inside_y = np.minimum(y / before[1], (height - 1 - y) / after[1])
    fade = 1.0 - np.minimum(inside_x, inside_y)[..., None]  # (height, width, 1), below 0 inside the picture

    radius = int(4.0 * blur + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / blur) ** 2)
    kernel = (kernel / kernel.sum()).astype(np.float32)
    blurred = cv2.sepFilter2D(padded, -1, kernel, kernel, borderType=cv2.BORDER_REFLECT)
    padded += (blurred - padded) * np.clip(fade * 3.0 + 1.0, 0.0, 1.0)
    padded += (np.median(padded, axis=(0, 1)) - padded) * np.clip(fade, 0.0, 1.0)
    return np.clip(np.rint(padded), 0, 255).astype(np.uint8)
