"""Which pictures of a file are looked at."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from vivface.errors import MediaError
from vivface.media.images import MAX_PIXELS, load_image
from vivface.media.video import VideoReader

PLACES, FRAMES = 4, 6  # of a film, and frames a place
_WORKING_SIDE = 720  # pixels of the shorter side to which larger pictures are reduced


def pictures_of(path: Path, max_pixels: int = MAX_PIXELS) -> Iterator[list[np.ndarray]]:
    """A few consecutive frames from several places of a film, or the one picture.

    Args:
        path (`pathlib.Path`): An image or a video.
        max_pixels (`int`, *optional*): Width times height beyond which a picture is refused.

    Returns:
        Iterator of lists of `numpy.ndarray` of shape `(height, width, 3)`, `uint8`: RGB, large ones reduced.

    Raises:
        MediaError: While it is read, if it is neither an image nor a video that can be read.
    """
    try:
        film = VideoReader(path, max_pixels=max_pixels)
    except MediaError as no_film:
        try:
            yield [_reduced(load_image(path, max_pixels))]
            return
        except MediaError as error:
            raise (no_film if "as an image" in str(error) else error) from error
    with film:
        duration = film.duration or Fraction(0)
    whole = duration * film.fps <= FRAMES * PLACES
    for place in range(1 if whole else PLACES):
        frames = FRAMES * PLACES if whole else FRAMES
        try:
            with VideoReader(path, duration * place / PLACES, max_pixels=max_pixels, max_frames=frames) as reader:
                yield [_reduced(frame.image) for frame in reader]
        except MediaError:  # nothing decodes there
            if place == 0:
                raise


def _reduced(image: np.ndarray) -> np.ndarray:
    scale = _WORKING_SIDE / min(image.shape[:2])
    return image if scale >= 1 else cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
