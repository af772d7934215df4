"""The dark at the corners of the mouth: lines that go on beside shut lips, and the inside of a mouth that smiles.

When lips part, such a line would be stretched into a blot; when a smile shuts, what the rim of the lips leaves of the
dark behind them would stay as one. So there is a second photograph in which both are painted over with the skin around
them (Telea, An Image Inpainting Technique Based on the Fast Marching Method, 2004), and it is shown as far as the lips
part or shut there.
"""

from __future__ import annotations

import cv2
import numpy as np

from vivface.warping.gaps import lip_gaps
from vivface.warping.mesh import MOUTH_CORNERS, lip_loop, step
from vivface.warping.teeth import LUMA

INWARDS, LONGEST, STEP = 3.0, 9.0, 0.25  # millimetres from the corners of the mouth: begin of a line, end at most
ACROSS = np.linspace(-3.0, 3.0, 25)  # millimetres across the line that are looked at
LINE, BESIDE = 1.5, 2.0  # millimetres from its middle: within, the line; beyond, skin
DARKER = 5.0  # levels by which a line is darker than what lies beside it, of 255
SMOOTH = 0.3  # millimetres
HALF = 1.3  # millimetres: half of the width that is painted over
PARTED, SHUT = (1.0, 6.0), (0.5, 2.0)  # millimetres that lips part or shut there: the dark begins to go, is gone
MOST_DARK = 4.0  # millimetres beyond the rim that it reaches; what goes on farther is a beard
DARK = 0.5  # of the lightness around a corner: less is the inside of the mouth, if it goes on from there
AROUND = 14.0  # millimetres around a corner in which a frame may show its line


def without_creases(photo: np.ndarray, points: np.ndarray, millimetre: float) -> np.ndarray:
    """A photograph without the lines that go on beside the mouth, and without the dark in its corners.

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
        mask = _inside(image, points[lip_loop(), :2] - low, millimetre)
        for x, y in line:
            cv2.circle(mask, (round(x), round(y)), max(round(HALF * millimetre), 1), 255, -1)
        changed[part][..., :3] = cv2.inpaint(image, mask, max(HALF * millimetre, 2.0), cv2.INPAINT_TELEA)
    return changed


def parted(shape: np.ndarray, own: np.ndarray) -> np.ndarray:
    """How far the dark is to go at both corners `(2,)`, from 0 to 1, for a face `(478, 3)` and the portrait's own."""
    opened = (lip_gaps(shape) - lip_gaps(own))[[0, -1]]
    return np.maximum(step(opened, *PARTED), step(-opened, *SHUT))


def _inside(image: np.ndarray, rim: np.ndarray, millimetre: float) -> np.ndarray:
    """What is inside the rim `(20, 2)` of parted lips and what goes on from there as dark: 255, else 0."""
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(rim).astype(np.int32)], 255)
    luma = image @ LUMA
    dark = ((luma < DARK * np.median(luma)) & (mask == 0)).astype(np.uint8)
    _, parts = cv2.connectedComponents(dark)
    near = np.unique(parts[cv2.dilate(mask, np.ones((3, 3), np.uint8)) > 0])
    away = cv2.distanceTransform(255 - mask, cv2.DIST_L2, 3)
    far = np.unique(parts[away > MOST_DARK * millimetre])  # a moustache
    near = np.setdiff1d(near[near > 0], far)
    found = cv2.dilate(np.isin(parts, near).astype(np.uint8) * 255, np.ones((3, 3), np.uint8))
    return np.maximum(mask, found)


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
