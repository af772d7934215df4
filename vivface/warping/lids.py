"""Skin of the upper lids, which open eyes fold away: drawn where the lids of a portrait come down.

A photograph of open eyes shows a narrow strip of the lid at most. Stretched over the eye it would be a smear of lashes
and of the fold above them. So new skin is drawn between the places of the open rim and of the rim as it is: in the
colours of the skin below the eye, as dark as that between eye and brow, and with its texture; and lashes at its rim.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from vivface.faces.pose import HeadPose
from vivface.warping.eyeballs import shut_eyes
from vivface.warping.gaps import both_sides
from vivface.warping.mesh import LID_CORNERS, LOWER_LID, UPPER_LID, PosedFace, box_around, place, step
from vivface.warping.regions import BROWS
from vivface.warping.teeth import LUMA
from vivface.warping.triangulation import affine_tables, between_rows, interpolate, shown_triangles

TO_BROW, BELOW = 0.4, 5.0  # of the way from rim to brow, and millimetres below the lower lid, where colours are taken
SHADE = (0.8, 1.08)  # how much darker and lighter than below the eye the lid may be: brows and lashes are no skin
WARM = 1.5  # darker skin is more colourful: exponent of colours from 0 to 1 for each part that they are darker
AT_RIM = 0.35  # how much of the colour below the eye there is at the rim
SMOOTH = 1.3  # millimetres: standard deviation of smooth colours
LEAST_SIZE = 1.0  # pixels of the portrait a millimetre from which on there is texture
LASHES, LASH_WIDTH = 0.85, 2.1  # how dark they are with the shadow that they lie in; millimetres

SHUTS = (0.8, 2.6)  # millimetres by which a lid comes down: up to the first nothing is drawn, from the second on all
BESIDE = (0.2, 2.2)  # the same of a place of the rim
ABOVE, TOP = 3.0, 4.0  # millimetres from the open rim up that are drawn, too; over which the skin begins
END = (1.0, 2.6)  # millimetres below the rim over which it ends
CORNERS = (0.0, 1.6)  # places along the rim from a corner over which it begins
SOFT = 0.5  # millimetres: standard deviation of its edges


@dataclass(frozen=True)
class _Eye:
    """One eye of the portrait at nine places along its rim, from corner to corner.

    Attributes:
        fold, below (`np.ndarray` of shape `(9, 3)`): Colours of the lid at its fold, and below the eye, 0 to 255.
        texture (`np.ndarray` of shape `(9, 2)`): Where the skin below the eye begins in the crop, from 0 to 1.
        down (`np.ndarray` of shape `(2,)`): A millimetre farther down there.
    """

    fold: np.ndarray
    below: np.ndarray
    texture: np.ndarray
    down: np.ndarray


class LidSkin:
    """The upper lids of a portrait.

    Args:
        crop (callable): Gives the aligned portrait, uint8 RGB `(size, size, 3)`; called when a lid first comes down.
        points (`np.ndarray` of shape `(478, 3)`): Its face, see `vivface.warping.mesh`.
    """

    def __init__(self, crop: Callable[[], np.ndarray], points: np.ndarray):
        self._crop, self._face = crop, PosedFace.of(points)
        shape = self._face.shape
        self._opened = 1 - shut_eyes(shape)
        self._rims = shape[_rims(UPPER_LID)] - shape[both_sides(LID_CORNERS)].mean(1, keepdims=True)  # (2, 9, 3)

    def draw(self, frame: np.ndarray, side: int, shape: np.ndarray, pose: HeadPose) -> None:
        """Draw what a lid shows more than the photograph.

        Args:
            frame (`np.ndarray` of shape `(size, size, 3)`): uint8 RGB, changed in place.
            side (`int`): 0 for the person's right eye, 1 for the left.
            shape (`np.ndarray` of shape `(478, 3)`), pose (`HeadPose`): The face, and where it is in the crop.
        """
        size = len(frame)
        rim, opened = shape[_rims(UPPER_LID)[side]], shape[both_sides(LID_CORNERS)[side]].mean(0) + self._rims[side]
        down = rim[:, 1] - opened[:, 1]
        strength = self._opened[side] * step(down[1:-1].mean(), *SHUTS)
        if strength == 0:
            return
        top = opened.copy()
        top[:, 1] = np.minimum(opened[:, 1], rim[:, 1]) - ABOVE
        strip = place(np.concatenate([top, rim + [0, END[1], 0]]), pose)
        box = box_around(strip, size)
        if box is None:
            return
        eye, corners = self._eyes[side], between_rows(len(rim))
        values = _values(eye, down, rim[:, 1] - top[:, 1])
        shown = shown_triangles(strip, corners, range(len(corners)), box, size)
        along, up, from_top, down, *texture = interpolate(
            shown, affine_tables(strip, values, corners), box, size
        ).transpose(2, 0, 1)
        share = strength * step(down, *BESIDE) * step(from_top, 0, TOP) * (1 - step(-up, *END))
        share *= step(np.minimum(along, len(rim) - 1 - along), *CORNERS)
        share = np.where(shown >= 0, share, 0).astype(np.float32)
        share = cv2.GaussianBlur(share, (0, 0), max(SOFT * pose.scale * size, 0.3))[..., None]
        left, top, right, bottom = box
        part = frame[top:bottom, left:right]
        skin = self._skin(eye, along, up, from_top, np.stack(texture, -1))
        part[:] = np.round(part + share * (skin - part)).clip(0, 255).astype(np.uint8)

    @cached_property
    def _photo(self) -> np.ndarray:
        return self._crop()

    @cached_property
    def _smooth(self) -> np.ndarray:
        """The portrait without details, float32."""
        spread = SMOOTH * self._face.pose.scale * len(self._photo)
        return cv2.GaussianBlur(self._photo, (0, 0), max(spread, 0.5)).astype(np.float32)

    @cached_property
    def _details(self) -> np.ndarray:
        """What that leaves out; nothing of a small portrait."""
        sharp = self._face.pose.scale * len(self._photo) >= LEAST_SIZE
        return self._photo - self._smooth if sharp else np.zeros_like(self._smooth)

    @cached_property
    def _eyes(self) -> list[_Eye]:
        """Both eyes; read when a lid first comes down."""
        return [_eye(side, self._face, self._smooth) for side in (0, 1)]

    def _skin(
        self, eye: _Eye, along: np.ndarray, up: np.ndarray, from_top: np.ndarray, texture: np.ndarray
    ) -> np.ndarray:
        """Colours of places of a lid `(height, width, 3)`, 0 to 255; arguments as columns of `_values`."""
        places = np.arange(len(eye.fold))
        at = (from_top / np.maximum(from_top + up, 1e-3)).clip(0, 1)[..., None]  # 0 at the top, 1 at the rim
        aside = (2 * along / (len(places) - 1) - 1)[..., None]  # -1 and 1 at the corners
        colors, ends = (
            np.stack([np.interp(along, places, plane) for plane in each.T], -1) for each in (eye.fold, eye.below)
        )
        colors += AT_RIM * at * (ends - colors)
        where = (texture * len(self._details) - 0.5).astype(np.float32)
        colors += cv2.remap(self._details, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        lashes = LASHES * np.exp(-((up / LASH_WIDTH) ** 2))[..., None] * (1 - np.abs(aside) ** 3)
        return colors * (1 - lashes)


def _eye(side: int, face: PosedFace, smooth: np.ndarray) -> _Eye:
    upper, lower = (_rims(points)[side] for points in (UPPER_LID, LOWER_LID))
    rim, brow = face.shape[upper], face.shape[both_sides(BROWS[5:])[side]]  # its lower rim
    brow = brow[np.argsort(brow[:, 0])]
    above, below = rim.copy(), face.shape[lower] + [0, BELOW, 0]
    above[:, 1] += TO_BROW * (np.interp(rim[:, 0], brow[:, 0], brow[:, 1]) - rim[:, 1])
    above, colors = (_colors(smooth, place(places, face.pose)) for places in (above, below))
    shade = (above @ LUMA) / np.maximum(colors @ LUMA, 1.0)
    fold = 255 * (colors / 255) ** (1 + WARM * (1 - np.clip(shade, *SHADE)))[:, None]
    down = face.pose.scale * face.pose.turn[:2, 1]
    return _Eye(fold, colors, place(below, face.pose)[:, :2], down)


def _rims(lid: np.ndarray) -> np.ndarray:
    """Points of the rims of both eyes along a lid `(7,)`, from corner to corner: `(2, 9)`."""
    return both_sides(np.concatenate([LID_CORNERS[:1], lid, LID_CORNERS[1:]]))


def _colors(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Colours `(N, 3)` at places in a crop `(N, >= 2)`, along which they change little."""
    x, y = (places[:, :2] * len(image)).astype(int).clip(0, len(image) - 1).T
    return cv2.blur(image[y, x], (1, 3), borderType=cv2.BORDER_REPLICATE)


def _values(eye: _Eye, down: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Of the points of a strip, top and bottom `(18, 6)`: place along the rim; millimetres above the rim, below the
    top, and by which the lid comes down; where texture is in the crop."""
    count = len(down)
    up = np.concatenate([height, np.full(count, -END[1])])
    from_top = np.concatenate([np.zeros(count), height + END[1]])
    texture = np.tile(eye.texture, (2, 1)) + np.maximum(up, 0)[:, None] * eye.down
    return np.column_stack([np.tile(np.arange(count), 2), up, from_top, np.tile(down, 2), texture])
