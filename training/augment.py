"""Augmentation of images in numpy and OpenCV, cheap enough for two cores.

`Appearance` is what a whole clip shares: one camera, one light, one skin. It is sampled once and applied alike to a
source and its targets, so that the network has to take it from the source. `degrade` changes single images:
blur, noise, compression, something in front of the face. Images are float32 (H, W, 3) RGB in [0, 1] in between.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from training.arguments import AugmentOptions

# RGB to luma and two colour axes (YIQ), in which hue is an angle and saturation a length.
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_FROM_YIQ = np.linalg.inv(_TO_YIQ)


@dataclass(frozen=True)
class Appearance:
    """Colour and light of one clip.

    Attributes:
        curve (`np.ndarray` of shape `(1, 256, 3)`): float32 tone curve per channel: gamma, contrast, brightness, white.
        mix (`np.ndarray` of shape `(3, 3)`): float32 hue rotation and saturation.
        gain (`np.ndarray` of shape `(H, W, 3)`, *optional*): float32 light over the image.
    """

    curve: np.ndarray
    mix: np.ndarray
    gain: np.ndarray | None

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """uint8 (H, W, 3) -> float32 (H, W, 3) in [0, 1]."""
        toned = cv2.LUT(image, self.curve)
        mixed = cv2.transform(toned, self.mix)
        if self.gain is not None:
            cv2.multiply(mixed, self.gain, mixed)
        return np.clip(mixed, 0.0, 1.0, out=mixed)


def sample_appearance(rng: np.random.Generator, size: int, strength: float = 1.0) -> Appearance:
    """Draw the appearance of a clip.

    Args:
        rng (`np.random.Generator`): Source of chance.
        size (`int`): Size of the images it will be applied to.
        strength (`float`, *optional*, defaults to 1.0): Width of all ranges; 0 gives the identity.
    """
    levels = np.arange(256, dtype=np.float64)[:, None] / 255.0  # (256, 1)
    gamma = np.exp(rng.normal(0.0, 0.28 * strength))
    contrast = np.exp(rng.normal(0.0, 0.20 * strength))
    white = np.exp(rng.normal(0.0, 0.09 * strength, size=3) + rng.normal(0.0, 0.10 * strength))
    pivot = rng.uniform(0.3, 0.6)
    curve = (levels**gamma - pivot) * contrast + pivot + rng.normal(0.0, 0.05 * strength)
    curve = np.clip(curve, 0.0, 1.2) * white  # (256, 3)

    angle = math.radians(rng.normal(0.0, 11.0 * strength))
    saturation = math.exp(rng.normal(0.0, 0.35 * strength))
    if rng.random() < 0.04 * strength:  # black and white
        saturation = 0.0
    turn = np.array(
        [
            [1.0, 0.0, 0.0],
            [0.0, saturation * math.cos(angle), -saturation * math.sin(angle)],
            [0.0, saturation * math.sin(angle), saturation * math.cos(angle)],
        ]
    )
    mix = _FROM_YIQ @ turn @ _TO_YIQ

    gain = None
    if rng.random() < 0.7 * strength:
        axis = np.linspace(-1.0, 1.0, size, dtype=np.float32)
        direction = rng.uniform(0.0, 2.0 * math.pi)
        slope = rng.normal(0.0, 0.28 * strength)
        light = slope * (math.cos(direction) * axis[None, :] + math.sin(direction) * axis[:, None])  # (size, size)
        if rng.random() < 0.4:  # a lamp or a vignette
            cx, cy = rng.uniform(-1.0, 1.0, size=2)
            radius = rng.uniform(0.6, 1.6)
            distance = (axis[None, :] - cx) ** 2 + (axis[:, None] - cy) ** 2
            light = light + rng.normal(0.0, 0.35 * strength) * np.exp(-distance / radius**2)
        tint = 1.0 + rng.normal(0.0, 0.12 * strength, size=3)
        gain = np.exp(light[:, :, None] * tint).astype(np.float32)
    return Appearance(curve[None].astype(np.float32), mix.astype(np.float32), gain)


def _blur(rng: np.random.Generator, image: np.ndarray, amount: float) -> np.ndarray:
    scale = image.shape[0] / 256.0
    if rng.random() < 0.6:
        return cv2.GaussianBlur(image, (0, 0), max(0.2, rng.uniform(0.3, 2.2) * scale * amount))
    length = max(2, int(round(rng.uniform(3, 10) * scale * amount)))  # motion blur
    kernel = np.zeros((length, length), np.float32)
    angle = rng.uniform(0.0, math.pi)
    middle, reach = (length - 1) / 2.0, length / 2.0
    start = (round(middle - math.cos(angle) * reach), round(middle - math.sin(angle) * reach))
    end = (round(middle + math.cos(angle) * reach), round(middle + math.sin(angle) * reach))
    cv2.line(kernel, start, end, 1.0)
    return cv2.filter2D(image, -1, kernel / max(kernel.sum(), 1e-6), borderType=cv2.BORDER_REFLECT)


def _downscale(rng: np.random.Generator, image: np.ndarray, amount: float) -> np.ndarray:
    size = image.shape[0]
    small = max(8, int(size / (1.0 + rng.uniform(0.2, 2.5) * amount)))
    reduced = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
    back = [cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST][rng.choice(3, p=[0.5, 0.4, 0.1])]
    return cv2.resize(reduced, (size, size), interpolation=back)


def _noise(rng: np.random.Generator, image: np.ndarray, amount: float) -> np.ndarray:
    height, width = image.shape[:2]
    channels = 1 if rng.random() < 0.4 else 3
    noise = rng.standard_normal((height, width, channels), dtype=np.float32) * (rng.uniform(0.005, 0.06) * amount)
    if rng.random() < 0.4:  # grain of a compressed or denoised camera
        noise = cv2.GaussianBlur(noise, (0, 0), rng.uniform(0.5, 1.2)).reshape(height, width, channels) * 2.0
    return image + noise


def _jpeg(rng: np.random.Generator, image: np.ndarray, amount: float) -> np.ndarray:
    quality = int(np.clip(95 - rng.uniform(5, 70) * amount, 10, 95))
    packed = cv2.imencode(".jpg", (np.clip(image, 0, 1) * 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(packed, cv2.IMREAD_COLOR).astype(np.float32) / 255.0


def _occlude(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Something in front: a blob (hand, cup), a bar (microphone, strap) or a patch of another place."""
    size = image.shape[0]
    mask = np.zeros((size, size), np.float32)
    center = rng.uniform(0.1, 0.9, size=2) * size
    kind = rng.choice(3)
    if kind == 0:
        axes = rng.uniform(0.06, 0.22, size=2) * size
        angle = float(rng.uniform(0, 180))
        cv2.ellipse(mask, (tuple(map(float, center)), tuple(map(float, 2 * axes)), angle), 1.0, -1)
    elif kind == 1:
        toward = center + rng.normal(0.0, 0.7, size=2) * size
        thickness = int(rng.uniform(0.03, 0.12) * size) + 1
        cv2.line(mask, tuple(center.astype(int)), tuple(toward.astype(int)), 1.0, thickness)
    else:
        corners = center + rng.uniform(-0.2, 0.2, size=(5, 2)) * size
        cv2.fillConvexPoly(mask, cv2.convexHull(corners.astype(np.int32)), 1.0)
    mask = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.4, 2.0) * size / 128)[:, :, None]
    if rng.random() < 0.5:
        cover = np.broadcast_to(rng.uniform(0.0, 1.0, size=3).astype(np.float32), image.shape)
        coarse = rng.standard_normal((6, 6, 3), dtype=np.float32) * 0.12
        cover = cover + cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    else:
        cover = np.roll(image, tuple(rng.integers(size // 4, size, size=2)), axis=(0, 1))
    return image + (np.clip(cover, 0.0, 1.0) - image) * mask


def degrade(rng: np.random.Generator, image: np.ndarray, options: AugmentOptions) -> np.ndarray:
    """Degrade an image in ways that real images are degraded.

    Args:
        rng (`np.random.Generator`): Source of chance.
        image (`np.ndarray` of shape `(S, S, 3)`): float32 in [0, 1].
        options (`AugmentOptions`): `degradation` scales amounts and chances, `occluders` is a chance of its own.

    Returns:
        `np.ndarray` of shape `(S, S, 3)`: float32 in [0, 1].
    """
    amount = options.degradation
    if amount <= 0:
        return image
    if rng.random() < options.occluders:
        image = _occlude(rng, image)
    if rng.random() < 0.35 * amount:
        image = _blur(rng, image, amount)
    if rng.random() < 0.25 * amount:
        image = _downscale(rng, image, amount)
    if rng.random() < 0.35 * amount:
        image = _noise(rng, image, amount)
    if rng.random() < 0.4 * amount:
        image = _jpeg(rng, image, amount)
    return np.clip(image, 0.0, 1.0).astype(np.float32, copy=False)
