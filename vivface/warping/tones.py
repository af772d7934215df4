"""What a photograph without colours, grey or sepia, does to the colours that are drawn into it."""

from __future__ import annotations

import cv2
import numpy as np

from vivface.warping.mesh import step
from vivface.warping.teeth import LUMA

SMALL = 96  # pixels to which the photograph is averaged: grain and JPEG's blocks are no colours
POWERS = np.arange(4)  # of lightness, in the curve of what a toned photograph adds to grey
FAR = 99  # percentile of pixels whose distance from the curve counts
COLORLESS = (10 / 255, 18 / 255)  # that distance: below, a photograph has one tone; above, colours
SPREAD = (0.05, 0.15)  # of lightness: below, a photograph is too flat to tell


class Tones:
    """The tone of a photograph: in one that is grey or toned, colour follows from lightness.

    Args:
        photo (`np.ndarray` of shape `(height, width, 3)`): uint8 RGB.

    Attributes:
        share (`float`): 1 for a photograph in one tone, 0 for one in colours.
    """

    def __init__(self, photo: np.ndarray):
        colors = cv2.resize(photo, (SMALL, SMALL), interpolation=cv2.INTER_AREA).reshape(-1, 3) / 255.0
        luma = colors @ LUMA
        powers = luma[:, None] ** POWERS
        self._curve = np.linalg.lstsq(powers, colors - luma[:, None], rcond=None)[0]
        off = np.abs(colors - luma[:, None] - powers @ self._curve).max(1)
        spread = float(np.ptp(np.percentile(luma, [5, 95])))
        self.share = float(step(spread, *SPREAD)) * (1 - float(step(np.percentile(off, FAR), *COLORLESS)))

    def __call__(self, colors: np.ndarray) -> np.ndarray:
        """Drawn colours in the photograph's tone.

        Args:
            colors (`np.ndarray` of shape `(..., 3)`): RGB in [0, 1].

        Returns:
            `np.ndarray`: Of the same shape; as they were for a photograph in colours.
        """
        if self.share == 0:
            return colors
        luma = colors @ LUMA
        toned = luma[..., None] + (luma[..., None] ** POWERS) @ self._curve
        return (colors + self.share * (toned - colors)).astype(colors.dtype)
