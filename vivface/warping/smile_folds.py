"""The fold between nose and corner of the mouth (nasolabial), which smiling cheeks make: drawn as shade and light.

A warp moves the cheeks of a face at rest, but not how they catch the light. Where a corner of the mouth is drawn out
and up from where the portrait has it, the skin below the fold gets darker and the cheek above it a little lighter;
where the photograph shows a fold, a beard or a shadow already, less so.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, cached_property

import cv2
import numpy as np

from vivface.faces.pose import HeadPose
from vivface.warping.mesh import MOUTH_CORNERS, PosedFace, box_around, mirror, place, step
from vivface.warping.teeth import LUMA
from vivface.warping.tones import Tones
from vivface.warping.triangulation import affine_tables, between_rows, interpolate, shown_triangles

LINE = np.array([129, 203, 206, 216, 212])  # points of the mesh from the nose to beside the mouth, right side
STATIONS = 12  # along the fold
BELOW, ABOVE = 6.0, 9.0  # millimetres beside it that it changes, towards the mouth and towards the cheek
SMILES = (1.0, 6.5)  # millimetres of a corner outwards and up: up to the first there is no fold, from the second on all
DARK, DARK_WIDTH = 0.13, (3.2, 1.7)  # how dark it gets; millimetres over which, towards the mouth and the cheek
LIGHT, LIGHT_AT, LIGHT_WIDTH = 0.05, 3.5, 2.4  # the same of the cheek, and where it is lightest
WARM = np.array([0.8, 1.1, 1.06], np.float32)  # powers of the shade, RGB: light in a fold comes off skin
FOLDED = (0.03, 0.12)  # how much darker than both its sides the photograph has a line there: none is drawn any more
SEEN_BLUR = 0.8  # millimetres: standard deviation of the photograph that is looked at


class SmileFolds:
    """The folds that a portrait's smile adds.

    Args:
        crop (callable): Gives the aligned portrait, uint8 RGB `(size, size, 3)`; called when it first smiles.
        points (`np.ndarray` of shape `(478, 3)`): Its face, see `vivface.warping.mesh`.
    """

    def __init__(self, crop: Callable[[], np.ndarray], points: np.ndarray):
        self._crop, self._face = crop, PosedFace.of(points)

    def draw(self, frame: np.ndarray, side: int, shape: np.ndarray, pose: HeadPose) -> None:
        """Draw the fold of one cheek.

        Args:
            frame (`np.ndarray` of shape `(size, size, 3)`): uint8 RGB, changed in place.
            side (`int`): 0 for the person's right cheek, 1 for the left.
            shape (`np.ndarray` of shape `(478, 3)`), pose (`HeadPose`): The face, and where it is in the crop.
        """
        strength = smiles(shape, self._face.shape)[side]
        strength = strength * self._free[side] if strength > 0 else 0.0
        if strength == 0:
            return
        size, strip = len(frame), place(_strip(shape, side), pose)
        box = box_around(strip, size)
        if box is None:
            return
        corners = between_rows(STATIONS, 3)
        shown = shown_triangles(strip, corners, range(len(corners)), box, size)
        along, beside = interpolate(shown, affine_tables(strip, _values(), corners), box, size).transpose(2, 0, 1)
        change = strength * _profile(along, beside) * (shown >= 0)
        left, top, right, bottom = box
        part = frame[top:bottom, left:right]
        part[:] = (part * (1 + change[..., None]) ** self._warm).clip(0, 255).astype(np.uint8)

    @cached_property
    def _photo(self) -> np.ndarray:
        return self._crop()

    @cached_property
    def _warm(self) -> np.ndarray:
        """`WARM`, or none of it in a photograph without colours."""
        return WARM + np.float32(Tones(self._photo).share) * (1 - WARM)

    @cached_property
    def _free(self) -> np.ndarray:
        """How far the photograph has no fold at either cheek, `(2,)` from 0 to 1."""
        photo, face = self._photo, self._face
        luma = cv2.GaussianBlur(photo @ LUMA, (0, 0), max(SEEN_BLUR * face.pose.scale * len(photo), 0.5))
        return np.array(
            [1 - step(_depth(luma, place(_across(face.shape, side), face.pose)), *FOLDED) for side in (0, 1)]
        )


def smiles(shape: np.ndarray, own: np.ndarray) -> np.ndarray:
    """How far either corner of the mouth is drawn out and up from where the portrait has it: `(2,)`, from 0 to 1.

    Args:
        shape, own (`np.ndarray` of shape `(478, 3)`): The face now and in the photograph, millimetres.
    """
    moved = shape[MOUTH_CORNERS] - own[MOUTH_CORNERS]
    return step(moved[:, 0] * [-1, 1] - moved[:, 1], *SMILES)


def _profile(along: np.ndarray, beside: np.ndarray) -> np.ndarray:
    """What is added to 1: at places along the fold from 0 to 1, and millimetres beside it, positive on the cheek."""
    width = np.where(beside < 0, *DARK_WIDTH)
    change = LIGHT * np.exp(-(((beside - LIGHT_AT) / LIGHT_WIDTH) ** 2)) - DARK * np.exp(-((beside / width) ** 2))
    return change * np.sin(np.pi * along).clip(0, 1) ** 0.7


def _fold(shape: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Places along a fold and a millimetre from there to the cheek `(STATIONS, 3)` each."""
    points = shape[LINE if side == 0 else mirror()[LINE]]
    at = np.linspace(0, len(LINE) - 1, STATIONS)
    fold = np.stack([np.interp(at, np.arange(len(LINE)), column) for column in points.T], 1)
    fold[1:-1] = (fold[:-2] + 2 * fold[1:-1] + fold[2:]) / 4
    along = np.gradient(fold[:, :2], axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-6)
    out = np.stack([-along[:, 1], along[:, 0]], 1) * (1 if side == 0 else -1)
    return fold, np.concatenate([out, np.zeros((STATIONS, 1))], 1)


def _strip(shape: np.ndarray, side: int) -> np.ndarray:
    """Points below, on and above a fold `(3 * STATIONS, 3)`, millimetres."""
    fold, out = _fold(shape, side)
    return np.concatenate([fold - BELOW * out, fold, fold + ABOVE * out])


@cache
def _values() -> np.ndarray:
    """Where along the fold and how far beside it the points of `_strip` are: `(3 * STATIONS, 2)`."""
    along = np.tile(np.linspace(0, 1, STATIONS), 3)
    return np.stack([along, np.repeat([-BELOW, 0.0, ABOVE], STATIONS)], 1)


def _across(shape: np.ndarray, side: int) -> np.ndarray:
    """Places on lines across the middle half of a fold, a millimetre apart: `(lines, places, 3)`."""
    fold, out = _fold(shape, side)
    middle = slice(STATIONS // 4, STATIONS - STATIONS // 4)
    beside = np.arange(-BELOW, ABOVE + 0.5)[None, :, None]
    return fold[middle, None] + beside * out[middle, None]


def _depth(luma: np.ndarray, places: np.ndarray) -> float:
    """How much darker than what lies to both its sides the darkest line across `places` is, a share of those."""
    x, y = (places[..., k] * len(luma) - 0.5 for k in (0, 1))
    seen = cv2.remap(luma.astype(np.float32), x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR).mean(0)
    before = np.maximum.accumulate(seen)
    after = np.maximum.accumulate(seen[::-1])[::-1]
    return float((1 - seen / np.maximum(np.minimum(before, after), 1.0)).max())
