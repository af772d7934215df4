"""Put a generated crop back into the picture that its quad comes from."""

from __future__ import annotations

import math

import cv2
import numpy as np

from vivface.faces.alignment import check_image, crop_quad, crop_to_image_matrix, quad_size

SOLID, GONE = 0.74, 0.97  # the mask is 1 within the first share of the half side and 0 beyond the second
ROUNDNESS = 4.0  # exponent of the mask's superellipse: 2 is a circle, a high one a square
SHRINK_TO = 2.0  # pixels of the crop left for one of the picture where the crop has more
HARMONY_SIZE = 32  # the colour correction is computed at this side, pixels
HARMONY_REACH = 5.0  # sigma of its diffusion inwards, pixels of HARMONY_SIZE
HARMONY_LIMIT = 40.0  # levels it may add or take at most


def soft_mask(size: int) -> np.ndarray:
    """A rounded square that fades out towards the border of an FFHQ crop; it leaves room for hair, ears and chin.

    Returns:
        `np.ndarray` of shape `(size, size)`, float32 in [0, 1]: 1 in the middle, 0 at the border.
    """
    if size < 2:
        raise ValueError(f"size is {size}, expected at least 2 pixels")
    offset = np.abs((np.arange(size) + 0.5) / size * 2 - 1)  # distance from the middle in half sides
    radius = (offset[None] ** ROUNDNESS + offset[:, None] ** ROUNDNESS) ** (1 / ROUNDNESS)
    ramp = np.clip((GONE - radius) / (GONE - SOLID), 0, 1)
    return (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)


def paste_back(
    photo: np.ndarray, crop: np.ndarray, quad: np.ndarray, mask: np.ndarray | None = None, harmonize: bool = False
) -> np.ndarray:
    """Paste one crop; see `PasteBack`, which is faster for many crops at one place."""
    return PasteBack(photo, quad, check_image(crop, "crop").shape[0], mask=mask, harmonize=harmonize)(crop)


class PasteBack:
    """The inverse of `crop_quad` for one picture and one quad, with everything but the crop computed beforehand.

    Pixels outside the quad are those of the picture, bit for bit.

    Args:
        photo (`np.ndarray` of shape `(H, W, 3)`): uint8.
        quad (`np.ndarray` of shape `(4, 2)`): Corners in pixels of `photo`.
        crop_size (`int`): Side of the crops in pixels.
        mask (`np.ndarray` of shape `(crop_size, crop_size)`, *optional*): float in [0, 1], how much of the crop is
            seen where; defaults to `soft_mask`.
        harmonize (`bool`, *optional*, defaults to `False`): Shift the crop's colours so that they meet the picture's
            where the mask fades; the shift dies away towards the middle.
    """

    def __init__(
        self,
        photo: np.ndarray,
        quad: np.ndarray,
        crop_size: int,
        mask: np.ndarray | None = None,
        harmonize: bool = False,
    ):
        self.photo = check_image(photo)
        self.crop_size = crop_size
        mask = soft_mask(crop_size) if mask is None else np.asarray(mask, np.float32)
        if mask.shape != (crop_size, crop_size):
            raise ValueError(f"mask has shape {mask.shape}, expected the crop's ({crop_size}, {crop_size})")

        # A crop with more pixels than its place in the picture is shrunk first, lest it aliases.
        side = quad_size(quad)
        self._shrunk = min(crop_size, max(2, math.ceil(side * SHRINK_TO)))
        to_photo = crop_to_image_matrix(quad, self._shrunk)  # crop pixel -> photo pixel
        corners = np.asarray(quad, np.float64)
        low = np.clip(np.floor(corners.min(0)).astype(int), 0, photo.shape[1::-1])
        high = np.clip(np.ceil(corners.max(0)).astype(int) + 1, low, photo.shape[1::-1])
        self._window = (slice(low[1], high[1]), slice(low[0], high[0]))
        self._size = tuple(int(length) for length in high - low)  # width, height; 0 when the quad misses the picture
        if min(self._size) == 0:
            return
        to_photo[:, 2] -= low
        to_crop = cv2.invertAffineTransform(to_photo)
        x, y = np.meshgrid(*(np.arange(length, dtype=np.float64) for length in self._size))
        source = [(row[0] * x + row[1] * y + row[2]).astype(np.float32) for row in to_crop]
        self._maps = cv2.convertMaps(*source, cv2.CV_16SC2)
        weight = np.clip(self._warp(mask, cv2.BORDER_CONSTANT), 0, 1)
        inside = self._warp(np.ones_like(mask), cv2.BORDER_CONSTANT) > 0.999  # all four neighbours lie in the crop
        self._weight = np.where(inside, weight, 0).astype(np.float32)
        self._rest = 1 - self._weight
        self._background = np.ascontiguousarray(photo[self._window])
        self._harmony = _Harmony(crop_quad(photo, quad, crop_size), mask) if harmonize else None

    def __call__(self, crop: np.ndarray) -> np.ndarray:
        """The picture with `crop` (uint8 `(crop_size, crop_size, 3)`) at its place, `(H, W, 3)` uint8."""
        if check_image(crop, "crop").shape[:2] != (self.crop_size, self.crop_size):
            raise ValueError(f"crop has shape {crop.shape}, expected ({self.crop_size}, {self.crop_size}, 3)")
        result = self.photo.copy()
        if min(self._size) == 0:
            return result
        if self._harmony is not None:
            crop = self._harmony(crop)
        warped = self._warp(crop, cv2.BORDER_REPLICATE)
        result[self._window] = cv2.blendLinear(warped, self._background, self._weight, self._rest)
        return result

    def _warp(self, crop: np.ndarray, border: int) -> np.ndarray:
        if self._shrunk != self.crop_size:
            crop = cv2.resize(crop, (self._shrunk, self._shrunk), interpolation=cv2.INTER_AREA)
        return cv2.remap(crop, *self._maps, cv2.INTER_LINEAR, borderMode=border)


class _Harmony:
    """Difference of colours in the fading rim of the mask, spread inwards by normalised convolution.

    Knutsson and Westin, Normalized and differential convolution, CVPR 1993, eq. 2.
    """

    def __init__(self, target: np.ndarray, mask: np.ndarray):
        small = self._small(mask)
        self._target = self._small(target).astype(np.float32)  # what the picture shows there
        rim = (4 * small * (1 - small))[..., None]  # (32, 32, 1), 1 where the mask is a half
        self._rim = rim + 0.02 * (small < 0.02)[..., None]
        spread = self._spread(self._rim)
        self._scale = 1 / np.maximum(spread, 1e-3)
        # Full strength at the rim, a half in the middle, where only the overall cast is corrected.
        self._strength = 0.5 + 0.5 * np.clip(spread / spread.max(), 0, 1)

    def __call__(self, crop: np.ndarray) -> np.ndarray:
        difference = (self._target - self._small(crop).astype(np.float32)) * self._rim
        shift = self._spread(difference) * self._scale * self._strength
        shift = np.clip(shift, -HARMONY_LIMIT, HARMONY_LIMIT)
        shift = cv2.resize(shift, crop.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        return cv2.add(crop, shift, dtype=cv2.CV_8U)

    @staticmethod
    def _small(image: np.ndarray) -> np.ndarray:
        return cv2.resize(image, (HARMONY_SIZE, HARMONY_SIZE), interpolation=cv2.INTER_AREA)

    @staticmethod
    def _spread(image: np.ndarray) -> np.ndarray:
        blurred = cv2.GaussianBlur(image, (0, 0), HARMONY_REACH, borderType=cv2.BORDER_CONSTANT)
        return blurred if blurred.ndim == 3 else blurred[..., None]
