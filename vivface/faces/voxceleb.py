"""Squares around a face as HyperReenact cuts them, and where its identity network looks.

Bounareli et al., HyperReenact (ICCV 2023), and the authors' code: the crop of the VoxCeleb data sets, DECA's square for
the pose encoder, and ArcFace's alignment of five points. Coordinates and quads are those of `vivface.faces.alignment`.
"""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from vivface.faces.alignment import LEFT_EYE, MOUTH_CORNERS, RIGHT_EYE, check_image, make_quad

WIDEST = 1000  # pixels; a wider image is reduced before the crop
RAISE = 6  # the square's centre lies a sixth of the face's extent above the landmarks' middle
BLUR = 5.0  # sigma in pixels of what is reflected outside the image

DECA_SIZE = 224  # pixels of the crop that DECA's scale is defined for
DECA_SCALE = 1.1 * 1.25  # side of DECA's square by the mean of the face's width and height

NOSE_TIP = 30
ARCFACE_SIZE = 112
ARCFACE_POINTS = np.array(  # left and right eye, nose tip, mouth corners in ArcFace's crop, as seen in the image
    [[35.343697, 51.6963], [76.453766, 51.5014], [56.029396, 71.7366], [39.14085, 92.3655], [73.18488, 92.2041]]
)


def voxceleb_box(landmarks: np.ndarray) -> tuple[int, int, int, int]:
    """The square of whole pixels that the VoxCeleb crop takes.

    Args:
        landmarks (`np.ndarray` of shape `(68, 2)`): iBUG landmarks in pixels.

    Returns:
        `tuple[int, int, int, int]`: Left, top, right, bottom; the last two are outside. It may leave the image.

    Raises:
        ValueError: If the landmarks have another shape, are not finite, or lie within one pixel.
    """
    low, high = _extremes(landmarks)
    half = int((high - low).max())
    if half < 1:
        raise ValueError("landmarks have no extent: the face is smaller than a pixel")
    x, y = np.rint((low + high) / 2).astype(int)
    y -= half // RAISE
    return int(x - half), int(y - half), int(x + half), int(y + half)


def voxceleb_quad(landmarks: np.ndarray) -> np.ndarray:
    """The corners of `voxceleb_box`, `(4, 2)` float64; argument and errors as there."""
    left, top, right, _ = voxceleb_box(landmarks)
    half = (right - left) / 2
    return make_quad(np.array([left + half - 0.5, top + half - 0.5]), half)


def align_voxceleb(image: np.ndarray, landmarks: np.ndarray, size: int = 256) -> np.ndarray:
    """Cut a portrait as the authors do: reduce a wide image, cut, fill what lies outside, resample bicubically.

    Args:
        image (`np.ndarray` of shape `(H, W, 3)`): uint8 RGB.
        landmarks (`np.ndarray` of shape `(68, 2)`): In pixels of `image`.
        size (`int`, *optional*, defaults to 256): Width and height of the result in pixels.

    Returns:
        `np.ndarray` of shape `(size, size, 3)`, uint8.

    Raises:
        ValueError: If an argument has another shape or type, or the face has no extent.
    """
    height, width = check_image(image).shape[:2]
    landmarks = np.asarray(landmarks, np.float64)
    if width > WIDEST:
        scale = WIDEST / width
        image = cv2.resize(image, (WIDEST, max(int(height * scale), 1)), interpolation=cv2.INTER_AREA)
        landmarks = (landmarks + 0.5) * scale - 0.5
    box = np.array(voxceleb_box(landmarks))
    bounds = np.array([*image.shape[1::-1], *image.shape[1::-1]])
    outside = np.maximum([*-box[:2], *(box - bounds)[2:]], 0)  # left, top, right, bottom
    if outside.any():
        image = _fill_outside(image, outside)
        box[:2] += outside[:2]
        box[2:] += outside[:2]
    left, top, right, bottom = box
    crop = Image.fromarray(np.ascontiguousarray(image[top:bottom, left:right]))
    return np.asarray(crop.resize((size, size), Image.Resampling.BICUBIC))


def _fill_outside(image: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Pad by reflection; the farther out, the more of a blur and then of the median colour."""
    left, top, right, bottom = (int(pixels) for pixels in outside)
    padded = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_REFLECT).astype(np.float32)
    height, width = padded.shape[:2]
    x, y = np.arange(width, dtype=np.float32)[None], np.arange(height, dtype=np.float32)[:, None]
    # Of the way from the outer edge to the image: 0 at the edge, 1 where the image begins, huge on a side not padded
    least = np.float32(1e-10)
    across = np.minimum(x / max(left, least), (width - 1 - x) / max(right, least))
    along = np.minimum(y / max(top, least), (height - 1 - y) / max(bottom, least))
    inside = np.minimum(across, along)
    fade = 1.0 - inside[..., None]

    radius = int(4.0 * BLUR + 0.5)
    blurred = cv2.GaussianBlur(padded, (2 * radius + 1, 2 * radius + 1), BLUR, borderType=cv2.BORDER_REFLECT)
    padded += (blurred - padded) * np.clip(fade * 3.0 + 1.0, 0.0, 1.0)
    padded += (np.median(padded, axis=(0, 1)) - padded) * np.clip(fade, 0.0, 1.0)
    return np.clip(padded, 0, 255).astype(np.uint8)


def deca_quad(landmarks: np.ndarray) -> np.ndarray:
    """The square around a face that DECA's encoder sees, upright.

    Args:
        landmarks (`np.ndarray` of shape `(68, 2)`): iBUG landmarks in pixels.

    Returns:
        `np.ndarray` of shape `(4, 2)`, float64: the quad.

    Raises:
        ValueError: If the landmarks have another shape, are not finite, or fall on one point.
    """
    low, high = _extremes(landmarks)
    side = float((high - low).mean()) * DECA_SCALE  # from the middle of the crop's first pixel to that of its last
    return make_quad((low + high) / 2, side * DECA_SIZE / (DECA_SIZE - 1) / 2)


def arcface_transform(landmarks: np.ndarray, size: int) -> np.ndarray:
    """From ArcFace's crop to an image: the similarity that fits five points best, in least squares.

    Args:
        landmarks (`np.ndarray` of shape `(68, 2)`): iBUG landmarks in pixels of the image.
        size (`int`): Width and height of the image in pixels.

    Returns:
        `np.ndarray` of shape `(2, 3)`, float32: as `torch.nn.functional.affine_grid` takes it, for a crop of
        112 x 112 pixels and `align_corners=False`.

    Raises:
        ValueError: If the landmarks have another shape or are not finite.
    """
    points = _checked(landmarks)
    five = np.stack(
        [points[LEFT_EYE].mean(0), points[RIGHT_EYE].mean(0), points[NOSE_TIP], *points[list(MOUTH_CORNERS)]]
    )
    # Points as complex numbers: a similarity is z -> a z + b
    source, target = (p[:, 0] + 1j * p[:, 1] for p in (ARCFACE_POINTS, five))
    centred = source - source.mean()
    a = (centred.conj() * (target - target.mean())).sum() / (np.abs(centred) ** 2).sum()
    b = target.mean() - a * source.mean()
    linear = np.array([[a.real, -a.imag], [a.imag, a.real]]) * (ARCFACE_SIZE / size)
    shift = np.array([b.real, b.imag]) * (2 / size) + linear.sum(1) - 1
    return np.column_stack([linear, shift]).astype(np.float32)


def _extremes(landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    points = _checked(landmarks)
    return points.min(0), points.max(0)


def _checked(landmarks: np.ndarray) -> np.ndarray:
    points = np.asarray(landmarks, np.float64)
    if points.shape != (68, 2):
        raise ValueError(f"landmarks has shape {points.shape}, expected (68, 2)")
    if not np.isfinite(points).all():
        raise ValueError("landmarks holds values that are not finite, expected pixel coordinates")
    return points
