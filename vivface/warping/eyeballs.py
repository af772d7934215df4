"""Eyes for a portrait that keeps its own shut: drawn behind the lids when these open.

A drawn eye is round, looks where it is told to and lies in the shade of its upper lid. What it cannot know, the colour
of the iris, is a dark brown, the most common one, where the photograph has colours.
"""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np

from vivface.faces.pose import HeadPose
from vivface.warping.gaps import both_shut, lid_gaps
from vivface.warping.mesh import IRISES, PosedFace, eye_loops, in_plane, place, step
from vivface.warping.teeth import LUMA
from vivface.warping.tones import Tones

SHUT = (2.2, 2.6)  # millimetres between a portrait's lids: up to the first its eyes are drawn, from the second on not
OPENS = (0.2, 1.5)  # millimetres that lids open: up to the first the photograph's line stays, from the second on not
IRIS, PUPIL, LIGHT = 5.9, 2.0, 0.7  # millimetres: radius of iris, pupil and of the light that it mirrors
LIGHT_AT = (-1.6, -1.9)  # millimetres from the middle of the iris, right and down in the image
SHADE, SHADE_REACH = 0.45, 2.2  # of the upper lid on the eye; millimetres over which it fades
COMES_DOWN = (0.8, 3.5)  # millimetres by which lids are less open than in the photograph: no shade, and all of it
NARROW = 0.2  # part of the light that does not come in between lids that are
LASHES, LASH_REACH = 0.8, 0.6  # the same of its lashes
ROUND = 0.35  # how much darker an eye is at its corners
SOFT = 0.35  # millimetres of the edges
FIBRES = 24  # bright lines from the pupil outwards
BROWN = np.array([0.42, 0.28, 0.2])  # beside the skin's lightness
# Of nine photographs of open eyes: how much of the skin's colour the white has, and its lightness beside the skin's.
WHITE_TINT, WHITE = 0.6, 0.85
CHEEKS = np.array([50, 280, 101, 330, 205, 425])  # points of the mesh


def shut_eyes(shape: np.ndarray) -> np.ndarray:
    """Which eyes of a portrait's face `(478, 3)` are shut, so that they are drawn when they open: `(2,)`, 0 to 1."""
    gaps = lid_gaps(shape)
    return both_shut(1 - step(gaps, *SHUT), gaps)


class DrawnEyes:
    """The eyes of a portrait that keeps them shut.

    Args:
        photo (`np.ndarray` of shape `(size, size, 3)`): The aligned portrait, uint8 RGB.
        points (`np.ndarray` of shape `(478, 3)`): Its face, see `vivface.warping.mesh`.
    """

    def __init__(self, photo: np.ndarray, points: np.ndarray):
        self._photo, self._points = photo, points
        own = PosedFace.of(points).shape
        self._gaps, self._shut = lid_gaps(own), shut_eyes(own)

    def strengths(self, shape: np.ndarray) -> np.ndarray:
        """How far either eye of a shape `(478, 3)` is a drawn one: `(2,)`, in [0, 1]."""
        return self._shut * step(lid_gaps(shape) - self._gaps, *OPENS)

    def __call__(
        self, box: tuple[int, int, int, int], side: int, shape: np.ndarray, pose: HeadPose, size: int
    ) -> np.ndarray:
        """One eye in a box of a frame.

        Args:
            box (`tuple[int, int, int, int]`): Left, top, right, bottom in pixels.
            side (`int`): 0 for the person's right eye, 1 for the left.
            shape (`np.ndarray` of shape `(478, 3)`), pose (`HeadPose`): The face, and where it is in the crop.
            size (`int`): Width and height of the frame in pixels.

        Returns:
            `np.ndarray` of shape `(height, width, 3)`: float32 RGB, 0 to 255.
        """
        white, iris = self._colors
        x, y = in_plane(box, size, place(shape[IRISES[side]][:1], pose)[0], pose)  # from the middle of the iris
        away = np.hypot(x, y)
        fibres = 0.5 + 0.5 * np.cos(FIBRES * np.arctan2(y, x) + 3 * np.sin(5 * np.arctan2(y, x)))
        rings = 0.8 + 0.3 * step(away, PUPIL, IRIS - 1.5) * fibres - 0.45 * step(away, IRIS - 1.4, IRIS)
        inside = 1 - step(away, IRIS - SOFT, IRIS + SOFT)
        color = white + inside[..., None] * (iris * rings[..., None] - white)
        color = color * step(away, PUPIL - SOFT, PUPIL + SOFT)[..., None]
        color = self._tones(color * _shade(box, side, shape, pose, size)[..., None])
        light = 1 - step(np.hypot(x - LIGHT_AT[0], y - LIGHT_AT[1]), LIGHT - SOFT, LIGHT + SOFT)
        return (255 * (color + 0.8 * light[..., None] * (1 - color))).clip(0, 255).astype(np.float32)

    @cached_property
    def _tones(self) -> Tones:
        return Tones(self._photo)

    @cached_property
    def _colors(self) -> tuple[np.ndarray, np.ndarray]:
        """Of the white of the eyes and of their irises, RGB from 0 to 1."""
        size = len(self._photo)
        x, y = (self._points[CHEEKS, :2] * size).astype(int).clip(0, size - 1).T
        skin = np.median(cv2.GaussianBlur(self._photo, (0, 0), size / 250)[y, x], 0) / 255
        luma = float(skin @ LUMA)
        level = min(WHITE * luma, 0.8)
        white = level * (1 + WHITE_TINT * (skin / max(luma, 1e-3) - 1))
        return white.clip(0, 1), BROWN * luma


def _shade(box: tuple[int, int, int, int], side: int, shape: np.ndarray, pose: HeadPose, size: int) -> np.ndarray:
    """How much light there is on a drawn eye `(height, width)`, 0 to 1."""
    below, aside = _under_lid(box, side, shape, pose, size)
    lid = 1 - SHADE * np.exp(-below / SHADE_REACH)
    lashes = 1 - LASHES * np.exp(-((below / LASH_REACH) ** 2))
    return lid * lashes * (1 - ROUND * aside)


def shade_of_lid(
    box: tuple[int, int, int, int], side: int, shape: np.ndarray, own: np.ndarray, pose: HeadPose, size: int
) -> np.ndarray | None:
    """What an upper lid that comes down takes from the light on the photograph's own eye.

    Args:
        box (`tuple[int, int, int, int]`), side (`int`), pose (`HeadPose`), size (`int`): See `DrawnEyes`.
        shape, own (`np.ndarray` of shape `(478, 3)`): The face now and in the photograph, millimetres.

    Returns:
        `np.ndarray` of shape `(height, width)`: Factors, 0 to 1; None where the lid is not lower.
    """
    lower = float(step((lid_gaps(own) - lid_gaps(shape))[side], *COMES_DOWN))
    if lower == 0:
        return None
    below, _ = _under_lid(box, side, shape, pose, size)
    return (1 - lower * NARROW) * (1 - lower * SHADE * np.exp(-below / SHADE_REACH))


def _under_lid(
    box: tuple[int, int, int, int], side: int, shape: np.ndarray, pose: HeadPose, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Millimetres below the rim of the upper lid `(height, width)`; 0 in the middle of the eye, 1 at its corners."""
    left, top, right, bottom = box
    rim = place(shape[eye_loops()[side]], pose)[:, :2] * size
    upper = rim[[0, *range(15, 8, -1), 8]]
    upper = upper[np.argsort(upper[:, 0])]
    x, y = np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5
    below = (y[:, None] - np.interp(x, upper[:, 0], upper[:, 1])) / (pose.scale * size)
    middle, half = rim[[0, 8], 0].mean(), max(float(np.abs(np.diff(rim[[0, 8], 0])[0])) / 2, 1.0)
    return np.maximum(below, 0), ((x - middle) / half).clip(-1, 1) ** 2
