"""What lies behind the person of a moving photograph: as it is, another picture, one colour, or nothing."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageColor

from vivface.errors import OptionError

KEEP, TRANSPARENT = "keep", "transparent"
Background = str | os.PathLike | Image.Image | np.ndarray


def check_background(background: Background) -> None:
    """Refuse what is no background.

    Raises:
        OptionError: If a word is neither `"keep"` nor `"transparent"`, nor a colour, nor the name of a file.
    """
    if not is_picture(background) and background not in (KEEP, TRANSPARENT):
        _colour(background)


def is_picture(background: Background) -> bool:
    """Whether it is a picture, read or yet to be read, and neither a word nor a colour."""
    return not isinstance(background, str) or Path(background).is_file()


def behind(background: str | np.ndarray, size: int) -> np.ndarray:
    """A background that fills a frame: uint8 RGB `(size, size, 3)`.

    Args:
        background (`str` or `np.ndarray` of shape `(height, width, 3)`): A colour as CSS writes it, `"white"` or
            `"#00b140"`; or a picture, uint8 RGB, whose middle is shown.
        size (`int`): Width and height in pixels.

    Raises:
        OptionError: If a word is no colour.
    """
    if isinstance(background, str):
        return np.full((size, size, 3), _colour(background), np.uint8)
    side = min(background.shape[:2])
    top, left = (background.shape[0] - side) // 2, (background.shape[1] - side) // 2
    middle = background[top : top + side, left : left + side]
    return cv2.resize(middle, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_CUBIC)


def _colour(name: str) -> tuple[int, ...]:
    try:
        return ImageColor.getrgb(name)[:3]
    except ValueError:
        raise OptionError(
            f"The background is {name!r}; expected keep, transparent, a colour such as white or #00b140, or a picture."
        ) from None
