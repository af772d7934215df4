"""A visible label in a corner of a picture."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vivface.errors import OptionError

LABEL = "AI-generated"
LONGEST = 60  # characters
_HEIGHT = 0.045  # of the text, as a part of the picture's shorter side
_SMALLEST = 9  # pixels


def check_label(text: str) -> str:
    """A label that can be drawn.

    Raises:
        OptionError: If it is empty, too long, has more than one line or letters that the font lacks.
    """
    if not isinstance(text, str) or not text.strip() or len(text) > LONGEST or not text.isprintable():
        raise OptionError(f"The label is {text!r}; expected one line of 1 to {LONGEST} characters.")
    if any(ord(letter) > 0x17F for letter in text):
        raise OptionError(f"The label {text!r} has letters that the built-in font lacks: use Latin ones.")
    return text


def add_label(image: np.ndarray, text: str = LABEL) -> np.ndarray:
    """Write a label into the lower left corner, white on a dark ground.

    Args:
        image (`numpy.ndarray` of shape `(height, width, 3)`, `uint8`): RGB.
        text (`str`, *optional*): One line, Latin letters.

    Returns:
        `numpy.ndarray` of the same shape, `uint8`: A new picture.
    """
    height, width = image.shape[:2]
    colour, cover = _patch(width, height, text)
    rows, columns = cover.shape[:2]
    margin = max(min(height, width) // 50, 1)
    top, left = max(height - rows - margin, 0), min(margin, max(width - columns, 0))
    result = image.copy()
    place = result[top : top + rows, left : left + columns]
    colour, cover = colour[: place.shape[0], : place.shape[1]], cover[: place.shape[0], : place.shape[1]]
    place[:] = np.rint(place * (1 - cover) + colour * cover).astype(np.uint8)
    return result


@lru_cache(maxsize=4)
def _patch(width: int, height: int, text: str) -> tuple[np.ndarray, np.ndarray]:
    """Colour `(rows, columns, 3)` and cover `(rows, columns, 1)` in [0, 1], as wide as fits."""
    size = max(round(min(width, height) * _HEIGHT), _SMALLEST)
    while True:
        font = ImageFont.load_default(size)
        left, top, right, bottom = font.getbbox(text)
        if right - left + size <= width or size <= 4:
            break
        size -= 1
    pad = size // 2
    ground = Image.new("L", (round(right - left) + 2 * pad, round(bottom - top) + 2 * pad), 0)
    ImageDraw.Draw(ground).text((pad - left, pad - top), text, fill=255, font=font)
    ink = np.asarray(ground, np.float32)[:, :, None] / 255
    cover = 0.65 + 0.35 * ink
    return np.broadcast_to(255 * ink / cover, (*ink.shape[:2], 3)).clip(0, 255), cover
