"""The dark line between shut lips goes on beside them. When they part, it would be stretched into a blot.

So there is a second photograph in which the lines beside the mouth are painted over with the skin around them (Telea,
An Image Inpainting Technique Based on the Fast Marching Method, 2004), and it is shown as far as the lips part there.
"""

from __future__ import annotations

import cv2
import numpy as np

from vivface.warping.gaps import lip_gaps
from vivface.warping.mesh import MOUTH_CORNERS, step
from vivface.warping.teeth import LUMA

INWARDS, LONGEST, STEP = 3.0, 9.0, 0.25  # millimetres from the corners of the mouth: begin of a line, end at most
ACROSS = np.linspace(-3.0, 3.0, 25)  # millimetres across the line that are looked at
LINE, BESIDE = 1.5, 2.0  # millimetres from its middle: within, the line; beyond, skin
DARKER = 5.0  # levels by which a line is darker than what lies beside it, of 255
SMOOTH = 0.3  # millimetres
HALF = 1.3  # millimetres: half of the width that is painted over
PARTED = (1.0, 6.0)  # millimetres that lips part beside their corners: the lines begin to go, are gone
AROUND = 14.0  # millimetres around a corner in which a frame may show its line


def without_creases(photo: np.ndarray, points: np.ndarray, millimetre: float) -> np.ndarray:
    """A photograph without the lines that go on beside the mouth.

    Args:
        photo (`np.ndarray` of shape `(height, width, 3 or 4)`): uint8 RGB or RGBA.
        points (`np.ndarray` of shape `(478, >= 2)`): Its face, in pixels.
        millimetre (`float`): Of the face, pixels.

    Returns:
        `np.ndarray`: As `photo`, a copy.
    """
    changed = photo.copy()
    corners = points[MOUTH_CORNERS, :2]
    outwards = corners - corners.mean(0)
    outwards /= np.maximum(np.linalg.norm(outwards, axis=1, keepdims=True), 1e-9)
    for corner, direction in zip(corners, outwards, strict=True):
        reach = (LONGEST + 3 * HALF) * millimetre
        low = np.floor(corner - reach).astype(int).clip(0)
        high = np.ceil(corner + reach).astype(int).clip(0, photo.shape[1::-1])
        if (high - low < 8).any():
            continue
        part = np.s_[low[1] : high[1], low[0] : high[0]]
        image = np.ascontiguousarray(photo[part][..., :3])
        line = _line(image, corner - low, direction, millimetre)
        mask = np.zeros(image.shape[:2], np.uint8)
        for x, y in line:
            cv2.circle(mask, (round(x), round(y)), max(round(HALF * millimetre), 1), 255, -1)
        changed[part][..., :3] = cv2.inpaint(image, mask, max(HALF * millimetre, 2.0), cv2.INPAINT_TELEA)
    return changed


def parted(shape: np.ndarray, own: np.ndarray) -> np.ndarray:
    """How far the lines are to go at both corners `(2,)`, from 0 to 1, for a face `(478, 3)` and the portrait's own."""
    return step((lip_gaps(shape) - lip_gaps(own))[[0, -1]], *PARTED)


def _line(image: np.ndarray, corner: np.ndarray, outwards: np.ndarray, millimetre: float) -> np.ndarray:
    """Places `(N, 2)` along a dark line from a corner outwards, as far as it goes, in pixels; and a little inwards."""
    luma = cv2.GaussianBlur(image, (0, 0), max(SMOOTH * millimetre, 0.5)) @ LUMA
    along = np.arange(-INWARDS, LONGEST + STEP / 2, STEP)
    across = np.array([-outwards[1], outwards[0]])
    at = corner + millimetre * (along[:, None, None] * outwards + ACROSS[:, None] * across)  # (N, 25, 2)
    seen = cv2.remap(luma.astype(np.float32), at.astype(np.float32), None, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
    line, beside = np.abs(ACROSS) <= LINE, np.abs(ACROSS) >= BESIDE
    darkest = np.flatnonzero(line)[seen[:, line].argmin(1)]
    dark = seen[:, beside].mean(1) - seen[:, line].min(1) > DARKER
    dark[along <= 0] = True
    length = len(dark) if dark.all() else int(dark.argmin())
    return at[np.arange(length), darkest[:length]]
