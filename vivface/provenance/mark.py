"""An imperceptible mark in pictures: a periodic pattern of weak waves that says "made by vivface" and carries a number.

The pattern repeats with a period of half the picture's shorter side, so that it scales with the picture. Within a
period it is a sum of 800 waves of 8 to 24 cycles, low enough for codecs to keep and fine enough for eyes to miss. Half
of them have fixed phases: they tell the mark's presence, scale and place.
The other half are multiplied by the signs of the coded identifier (`vivface.provenance.code`).

It is spread-spectrum marking (Cox, Kilian, Leighton, Shamoon: "Secure Spread Spectrum Watermarking for Multimedia",
IEEE Transactions on Image Processing 6(12), 1997) with a periodic pattern for synchronisation (Kutter: "Watermarking
Resisting to Translation, Rotation and Scaling", SPIE 3528, 1998); the layout is this project's.

The waves are public, as the program is: who wants to can remove the mark or forge one. It serves those who do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from vivface.provenance.code import CODED_BITS, encode

SMALLEST = 96  # pixels of the shorter side below which there is no room for a mark
LOWEST, HIGHEST = 8, 24  # cycles a period
PEAK_SNR = 42.6  # decibels: the mark is weakened where a picture would come out below
_FLAT, _BUSY, _SLOPE = 0.75, 2.2, 0.25  # levels of 255 in flat and in busy places, and per level of texture
_SEED = 20260802  # of the waves; RandomState's stream never changes
_ANALYSED = 160  # pixels of the shorter side at which detail is measured
_TEXTURE = 5
_PLENTY = 512  # pixels of the shorter side from which on the mark is as weak as that


@dataclass(frozen=True)
class Waves:
    """The waves of the pattern.

    Attributes:
        vertical, horizontal (`numpy.ndarray` of shape `(waves,)`): Cycles a period, whole numbers.
        phases (`numpy.ndarray` of shape `(waves,)`): Radians.
        bits (`numpy.ndarray` of shape `(waves,)`): Which coded bit a wave carries, -1 for those that are always there.
    """

    vertical: np.ndarray
    horizontal: np.ndarray
    phases: np.ndarray
    bits: np.ndarray


@lru_cache(maxsize=1)
def waves() -> Waves:
    """All waves, in an order that scatters the bits."""
    span = range(-HIGHEST, HIGHEST + 1)
    found = [
        (v, h)
        for v in span
        for h in range(HIGHEST + 1)
        if LOWEST**2 <= v * v + h * h <= HIGHEST**2 and (h > 0 or v > 0)
    ]
    random = np.random.RandomState(_SEED)
    cycles = np.array(found)[random.permutation(len(found))]
    phases = random.uniform(0, 2 * np.pi, len(found))
    steady = len(found) // 2
    bits = np.concatenate([np.full(steady, -1), np.arange(len(found) - steady) % CODED_BITS])
    return Waves(cycles[:, 0], cycles[:, 1], phases, bits)


def period_of(size: tuple[int, int]) -> float:
    """Period of the pattern in pixels, of a picture of this width and height."""
    return min(size) / 2


@lru_cache(maxsize=8)
def pattern(size: tuple[int, int], identifier: int) -> np.ndarray:
    """The pattern for pictures of one size.

    Args:
        size (`tuple[int, int]`): Width and height in pixels.
        identifier (`int`): 0 to 2 ** 32 - 1.

    Returns:
        `numpy.ndarray` of shape `(height, width)`, float32: Mean 0, standard deviation 1. Do not change it.
    """
    width, height = size
    set_of = waves()
    signs = np.where(set_of.bits < 0, 1.0, encode(identifier)[set_of.bits])
    amplitudes = np.zeros((2 * HIGHEST + 1, HIGHEST + 1), complex)
    amplitudes[set_of.vertical + HIGHEST, set_of.horizontal] = signs * np.exp(1j * set_of.phases)
    turn = 2j * np.pi / period_of(size)
    rows = np.exp(turn * np.outer(np.arange(height) + 0.5, np.arange(-HIGHEST, HIGHEST + 1)))
    columns = np.exp(turn * np.outer(np.arange(HIGHEST + 1), np.arange(width) + 0.5))
    values = (rows @ amplitudes @ columns).real
    return (values / np.sqrt(len(set_of.bits) / 2)).astype(np.float32)


def add_mark(image: np.ndarray, identifier: int) -> np.ndarray:
    """Put the mark into a picture, weaker in flat places; the peak signal-to-noise ratio stays above 42 dB.

    Args:
        image (`numpy.ndarray` of shape `(height, width, 3)`, `uint8`): RGB.
        identifier (`int`): The number it carries, 0 to 2 ** 32 - 1.

    Returns:
        `numpy.ndarray` of the same shape, `uint8`: A new picture; `image` itself where a side is below `SMALLEST`.
    """
    height, width = image.shape[:2]
    if min(height, width) < SMALLEST:
        return image
    strength = _strength(image)
    full = cv2.resize(strength, (width, height), interpolation=cv2.INTER_LINEAR)
    waves_here = pattern((width, height), identifier)
    brighter, darker = (cv2.multiply(full, waves_here, scale=sign, dtype=cv2.CV_8U) for sign in (1, -1))
    return cv2.subtract(cv2.add(image, cv2.merge([brighter] * 3)), cv2.merge([darker] * 3))


def _strength(image: np.ndarray) -> np.ndarray:
    """How strong the mark may be, in levels, at about `_ANALYSED` pixels: more where there is texture to hide it.

    Texture is detail that lasts over `_TEXTURE` pixels in all directions; a lone edge hides nothing beside it.
    """
    height, width = image.shape[:2]
    scale = min(_ANALYSED / min(height, width), 1.0)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    grey = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY).astype(np.float32)
    detail = _blurred(cv2.absdiff(grey, _blurred(grey)))
    texture = _blurred(cv2.erode(detail, np.ones((_TEXTURE, _TEXTURE), np.uint8)))
    strength = np.clip(_FLAT + _SLOPE * texture, _FLAT, _BUSY)
    strength *= np.clip(np.sqrt(_PLENTY / min(height, width)), 1.0, 2.0)  # few pixels have to carry more each
    allowed = 255.0 / 10 ** (PEAK_SNR / 20)
    return strength * min(allowed / np.sqrt(np.mean(strength**2)), 1.0)


def _blurred(image: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), 1.5)
