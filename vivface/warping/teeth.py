"""What a portrait shows of its mouth: teeth, their edges, and colours."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from vivface.warping.mesh import LID_CORNERS, LOWER_LID, UPPER_LID, mirror, step

LIPS = np.array([15, 16, 85, 86, 179, 180, 315, 316, 403, 404])  # on the red of the lower lip
SKIN = np.array([205, 425, 206, 426, 200, 199])  # around the mouth
UPPER_WITHIN = 4.0  # millimetres below the upper lip within which upper teeth begin
LUMA = np.array([0.299, 0.587, 0.114])
BESIDE_WHITE, BESIDE_SKIN = 1.15, (1.08, 1.5)  # lightness of teeth beside the white of the eyes, and beside the skin
TEETH_TINT = np.array([1.01, 1.0, 0.96])
FLESH_RED, FLESH_BLUE = (1.15, 1.45), (0.9, 1.3)  # red and blue to green, beside the skin's, of lips without lipstick
REDDER = (1.02, 1.15)  # red to green, beside the skin's: below, these are teeth; above, lips that were taken for them


@dataclass(frozen=True)
class MouthColors:
    """Colours of a portrait, RGB from 0 to 1, `(3,)` each.

    Attributes:
        teeth (`np.ndarray`): Of well lit teeth.
        lips (`np.ndarray`): Of the red of the lips.
        flesh (`np.ndarray`): Of tongue and gums: that of the lips, without their lipstick.
    """

    teeth: np.ndarray
    lips: np.ndarray
    flesh: np.ndarray


def mouth_colors(photo: np.ndarray, points: np.ndarray, teeth: np.ndarray, trust: float) -> MouthColors:
    """Colours for a portrait's mouth.

    Args:
        photo (`np.ndarray` of shape `(size, size, 3)`): uint8 RGB.
        points (`np.ndarray` of shape `(478, 3)`): From 0 to 1.
        teeth (`np.ndarray` of shape `(size, size)`): Where it shows teeth, from 0 to 1, see `shown_teeth`.
        trust (`float`): How far to take the teeth's colour from there, 0 to 1; else it follows the eyes and the skin.
    """
    size = len(photo)
    smooth = cv2.GaussianBlur(photo, (0, 0), size / 250)
    lips, skin = lip_color(photo, points), np.median(_at(smooth, points[SKIN]), 0)
    white = [_brightest(photo, _loop(points[lids], size)) for lids in _lids()]
    white = np.max([w for w in white if w is not None] or [skin], axis=0)
    level = np.clip(BESIDE_WHITE * _luma(white), BESIDE_SKIN[0] * _luma(skin), BESIDE_SKIN[1] * _luma(skin))
    cast = 0.4 * white / max(_luma(white), 1e-3) + 0.2 * skin / max(_luma(skin), 1e-3) + 0.4
    tint = TEETH_TINT * cast
    color = (level * tint / _luma(tint)).clip(0, 0.95)
    if trust > 0 and (shown := teeth > 0.5).any():
        values = photo[shown] / 255.0
        bright = values @ LUMA >= np.median(values @ LUMA)
        found = values[bright].mean(0)
        color = color + trust * (1 - step(_to_green(found, skin)[0], *REDDER)) * (found - color)
    return MouthColors(color, lips, _flesh(lips, skin))


def lip_color(photo: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The red of the lower lip without its highlights `(3,)`, from 0 to 1."""
    colors = _at(cv2.GaussianBlur(photo, (0, 0), len(photo) / 250), points[LIPS])
    luma = colors @ LUMA
    return colors[luma <= np.median(luma)].mean(0)


def _flesh(lips: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """The colour of lips `(3,)` as red and as blue, beside the skin, as lips are that wear nothing."""
    red, _, blue = _to_green(lips, skin)
    worn = _to_green(skin) * [np.clip(red, *FLESH_RED), 1, np.clip(blue, *FLESH_BLUE)]
    return worn * max(lips[0], 1e-3) / worn[0]


def _to_green(color: np.ndarray, beside: np.ndarray | float = 1.0) -> np.ndarray:
    """Red, green and blue to green `(3,)`, beside those of another colour."""
    color, beside = (np.maximum(np.broadcast_to(each, 3), 1e-3) for each in (color, beside))
    return color / color[1] / (beside / beside[1])


def _luma(color: np.ndarray) -> float:
    return float(color @ LUMA)


def _lids() -> tuple[np.ndarray, np.ndarray]:
    right = np.concatenate([LID_CORNERS[:1], LOWER_LID, LID_CORNERS[1:], UPPER_LID[::-1]])
    return right, mirror()[right]


def _loop(points: np.ndarray, size: int) -> np.ndarray:
    """Pixels inside of a polygon: bool `(size, size)`."""
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [np.round(points[:, :2] * size - 0.5).astype(np.int32)], 1)
    return mask > 0


def _brightest(photo: np.ndarray, where: np.ndarray) -> np.ndarray | None:
    """Mean colour `(3,)` of the brightest fifth of some pixels, or None if they are few."""
    values = photo[where] / 255.0
    if len(values) < 20:
        return None
    luma = values @ LUMA
    return values[luma >= np.percentile(luma, 80)].mean(0)


def _at(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Colours `(n, 3)` from 0 to 1 at points `(n, >= 2)`."""
    size = len(image)
    x, y = (np.clip(points[:, :2] * size, 0, size - 1)).astype(int).T
    return image[y, x] / 255.0


def shown_teeth(photo: np.ndarray, points: np.ndarray, loop: np.ndarray) -> np.ndarray:
    """Where a portrait shows teeth: inside of the lips, and brighter and less red than they are.

    Args:
        photo (`np.ndarray` of shape `(size, size, 3)`): uint8 RGB.
        points (`np.ndarray` of shape `(478, 3)`): From 0 to 1.
        loop (`np.ndarray` of shape `(20,)`): Points of the inner rim of the lips.

    Returns:
        `np.ndarray` of shape `(size, size)`: float32 from 0 to 1.
    """
    size = len(photo)
    rim = points[loop, :2] * size
    low = np.floor(rim.min(0) - 0.02 * size).astype(int).clip(0, size)
    high = np.ceil(rim.max(0) + 0.02 * size).astype(int).clip(0, size)
    teeth = np.zeros((size, size), np.float32)
    if (high - low < 2).any():
        return teeth
    box = np.s_[low[1] : high[1], low[0] : high[0]]
    lab = cv2.cvtColor(
        cv2.GaussianBlur(photo, (0, 0), max(size / 1000, 0.5))[box].astype(np.float32) / 255, cv2.COLOR_RGB2LAB
    )
    lips = lip_color(photo, points)
    lips = cv2.cvtColor(lips.astype(np.float32)[None, None], cv2.COLOR_RGB2LAB)[0, 0]
    score = (lips[1] - lab[..., 1]) + 0.5 * (lab[..., 0] - lips[0])
    inside = cv2.GaussianBlur(_loop(points[loop], size)[box].astype(np.float32), (0, 0), size / 250)
    most = np.clip(np.percentile(score[inside > 0.5], 90), 8.0, 24.0) if (inside > 0.5).any() else 24.0
    teeth[box] = step(score, 0.3 * most, 0.7 * most) * step(inside, 0.2, 0.6)
    teeth[box] = cv2.GaussianBlur(teeth[box], (0, 0), size / 900)
    return teeth


def parabola(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A parabola through points `(n,)`, without those far from it: coefficients `(3,)`."""
    for _ in range(3):
        curve = np.polyfit(x, y, 2, w=1 / (1 + np.abs(y - np.median(y))))
        off = np.abs(np.polyval(curve, x) - y)
        near = off <= max(2 * np.median(off), 0.4)
        if near.sum() < 6:
            break
        x, y = x[near], y[near]
    return curve


def first_shown(shown: np.ndarray, y: np.ndarray) -> float:
    return float(y[shown.argmax()]) if shown.any() else np.nan


def edge_in_column(luma: np.ndarray, teeth: np.ndarray, y: np.ndarray, rim: float) -> float:
    """Where upper teeth end in a column `(n,)`: at a dark line between both rows, or where teeth end; NaN if none."""
    rows = np.flatnonzero((teeth > 0.5) & (y > rim - 3))
    if len(rows) < 6 or y[rows[0]] > rim + UPPER_WITHIN:
        return np.nan
    breaks = np.flatnonzero(np.diff(rows) > 3)
    first, last = rows[0], rows[breaks[0]] if len(breaks) else rows[-1]
    if last - first < 5:
        return np.nan
    above = np.maximum.accumulate(luma[first : last + 1])
    below = np.maximum.accumulate(luma[first : last + 1][::-1])[::-1]
    depth = 1 - luma[first : last + 1] / np.maximum(np.minimum(above, below), 1e-3)
    depth[: int(2.0 / (y[1] - y[0]))] = 0
    valley = int(depth.argmax())
    return float(y[first + valley] if depth[valley] > 0.06 else y[last])
