"""What lies behind the person of a moving photograph: as it is, another picture, one colour, or nothing."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageColor

from vivface.errors import OptionError
from vivface.media.images import load_image

KEEP, TRANSPARENT = "keep", "transparent"
Background = str | os.PathLike | Image.Image | np.ndarray


def check_background(background: Background) -> None:
    """Refuse what is no background.

    Raises:
        OptionError: If a word is neither `"keep"` nor `"transparent"`, nor a colour, nor the name of a file.
    """
    if isinstance(background, str) and background not in (KEEP, TRANSPARENT) and not Path(background).is_file():
        _colour(background)


def behind(background: Background, size: int) -> np.ndarray:
    """A background that fills a frame: uint8 RGB `(size, size, 3)`.

    Args:
        background (`str`, `os.PathLike`, `PIL.Image.Image` or `np.ndarray`): A colour as CSS writes it, `"white"` or
            `"#00b140"`; or a picture, whose middle is shown.
        size (`int`): Width and height in pixels.

    Raises:
        OptionError: If a word is neither a colour nor the name of a file.
        MediaError: If the picture cannot be read.
    """
    if isinstance(background, str) and not Path(background).is_file():
        return np.full((size, size, 3), _colour(background), np.uint8)
    picture = load_image(background)
    side = min(picture.shape[:2])
    top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
    picture = picture[top : top + side, left : left + side]
    return cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_CUBIC)


def _colour(name: str) -> tuple[int, ...]:
    try:
        return ImageColor.getrgb(name)[:3]
    except ValueError:
        raise OptionError(
            f"The background is {name!r}; expected keep, transparent, a colour such as white or #00b140, or a picture."
        ) from None
