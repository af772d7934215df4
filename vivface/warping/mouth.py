"""The inside of the mouth, drawn behind the lips: rigid teeth, a tongue and the dark.

Upper teeth are fixed to the skull: they move with the head and no expression moves them. Lower teeth and tongue follow
the chin. Teeth that the photograph shows are taken from it, where they lie; what it does not show comes from a small
picture of a synthetic mouth that `training/tools/render_mouth.py` made, in the photograph's colours and light.

Positions are millimetres of the portrait's own face, see `vivface.warping.mesh`. Surfaces behind the lips are bent like
the arch of the teeth: depth grows with the square of the distance from the middle.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import cv2
import numpy as np
from safetensors.numpy import load

from vivface.faces.pose import HeadPose
from vivface.warping.mesh import (
    LID_CORNERS,
    LOWER_LID,
    LOWER_LIP,
    MOUTH_CORNERS,
    UPPER_LID,
    UPPER_LIP,
    PosedFace,
    mirror,
    place,
)

DENSITY, MIDDLE = 6.0, (32.0, 22.0)  # pixels a millimetre of the bundled parts; where their origin lies, millimetres
TALL = 1.4  # how much taller real teeth are than those of the synthetic mouth
NOSE, CHIN = 2, np.array([152, 148, 377, 175])  # points of the mesh
LIPS = np.array([15, 16, 85, 86, 179, 180, 315, 316, 403, 404])  # on the red of the lower lip
SKIN = np.array([205, 425, 206, 426, 200, 199])  # around the mouth
TEETH_BELOW_NOSE = 23.5  # millimetres from the nose to the edge of the upper teeth, in the mean face
BEHIND_LIPS = 4.0  # millimetres from the rim of the lips to the teeth
BENT = 0.006  # 1/mm: how the edge of the bundled upper teeth rises with x squared
ARCH = 0.0232  # 1/mm: depth of the arch of the teeth is this times x squared
TONGUE_DEPTH, THROAT_DEPTH = 9.0, 22.0  # millimetres behind the teeth
OVERBITE = 1.5  # millimetres by which shut upper teeth cover the lower
BARED = (-3.0, 4.0)  # millimetres of lower teeth above the lower lip: least and most
SAME, OTHER = 0.3, 1.6  # millimetres of change of the lips' gap: below, the photograph's own mouth; above, this layer
COLORS_FROM = (8.0, 40.0)  # mm2 of teeth in the photograph: below, their colour is guessed; above, it is known
TEETH_FROM = (30.0, 80.0)  # mm2: below, none of them are shown; above, all are
MANY_COLUMNS = 8  # of 49 half millimetres in the middle, where teeth are seen for their edge to be taken from them
SMILE_GAP = 7.0  # millimetres between lips that part without the jaw

EVEN = 0.6  # power of the bundled parts' own light and shade
WARM = np.array([0.8, 1.05, 1.1])  # powers of the light behind the lips: what comes through them is red
LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class MouthColors:
    """Colours of a portrait, RGB from 0 to 1, `(3,)` each.

    Attributes:
        teeth (`np.ndarray`): Of well lit teeth.
        lips (`np.ndarray`): Of the red of the lips.
    """

    teeth: np.ndarray
    lips: np.ndarray


@cache
def parts() -> dict[str, np.ndarray]:
    """The bundled parts `upper`, `lower` and `tongue`: float32 RGBA in [0, 1], origin at the edge of the teeth."""
    stored = load((files("vivface.warping") / "mouth.safetensors").read_bytes())
    names = ("upper", "lower", "tongue")
    images = [cv2.imdecode(stored[name], cv2.IMREAD_UNCHANGED).astype(np.float32) / 255 for name in names]
    return {name: image[..., [2, 1, 0, 3]] for name, image in zip(names, images, strict=True)}


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
    level = np.clip(0.9 * _luma(white), 0.8 * _luma(skin), 1.3 * _luma(skin))
    cast = 0.4 * white / max(_luma(white), 1e-3) + 0.2 * skin / max(_luma(skin), 1e-3) + 0.4
    tint = np.array([1.02, 1.0, 0.93]) * cast
    color = (level * tint / _luma(tint)).clip(0, 0.95)
    if trust > 0 and (shown := teeth > 0.5).any():
        values = photo[shown] / 255.0
        bright = values @ LUMA >= np.median(values @ LUMA)
        color = color + trust * (values[bright].mean(0) - color)
    return MouthColors(color, lips)


def lip_color(photo: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The red of the lower lip without its highlights `(3,)`, from 0 to 1."""
    colors = _at(cv2.GaussianBlur(photo, (0, 0), len(photo) / 250), points[LIPS])
    luma = colors @ LUMA
    return colors[luma <= np.median(luma)].mean(0)


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
    teeth[box] = _step(score, 0.3 * most, 0.7 * most) * _step(inside, 0.2, 0.6)
    teeth[box] = cv2.GaussianBlur(teeth[box], (0, 0), size / 900)
    return teeth


def _step(x: np.ndarray | float, low: float, high: float) -> np.ndarray:
    """From 0 at `low` to 1 at `high`, smooth."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


class MouthLayer:
    """The inside of a portrait's mouth.

    Args:
        photo (`np.ndarray` of shape `(size, size, 3)`): The aligned portrait, uint8 RGB.
        points (`np.ndarray` of shape `(478, 3)`): Its face, see `vivface.warping.mesh`.
        loop (`np.ndarray` of shape `(20,)`): Points of the inner rim of the lips.
    """

    def __init__(self, photo: np.ndarray, points: np.ndarray, loop: np.ndarray):
        self.size, self.face = len(photo), PosedFace.of(points)
        self._photo = photo
        own = self.face.shape
        self.teeth = shown_teeth(photo, points, loop)
        self._density = self.face.pose.scale * self.size  # pixels a millimetre
        area = float(self.teeth.sum()) / self._density**2
        self.colors = mouth_colors(photo, points, self.teeth, float(_step(area, *COLORS_FROM)))
        self._share = float(_step(area, *TEETH_FROM))
        self._parts = {name: self._recolored(name) for name in parts()}
        self._gap = _gaps(own)
        self._middle = float(own[[NOSE, 13, 14], 0].mean())
        self._depth = float(own[[13, 14], 2].mean()) + BEHIND_LIPS
        self._edge = float(own[NOSE, 1]) + TEETH_BELOW_NOSE
        self._curve: np.ndarray | None = None  # of the edge of the teeth that the photograph shows, over x
        self._split_teeth()
        self._jaw = max(float(self._gap.max()) - SMILE_GAP, 0.0)  # how far the photograph's jaw is open

    def _split_teeth(self) -> None:
        """Find the edge of the upper teeth that the photograph shows, and leave out of it what lies lower."""
        x, y = np.meshgrid(np.arange(-12, 12.1, 0.5), np.arange(self._edge - 12, self._edge + 12, 0.25))
        at = self._in_photo(x, y)
        teeth = cv2.remap(self.teeth, *at, cv2.INTER_LINEAR)
        luma = cv2.remap(cv2.GaussianBlur(self._photo, (0, 0), 0.3 * self._density) @ LUMA, *at, cv2.INTER_LINEAR)
        found = [_edge_in(column, mask, y[:, 0]) for column, mask in zip(luma.T, teeth.T, strict=True)]
        known = np.isfinite(found)
        if known.sum() < MANY_COLUMNS:
            return
        places, edges = x[0, known], np.array(found)[known]
        for _ in range(3):  # a parabola, without columns far from it
            curve = np.polyfit(places, edges, 2, w=1 / (1 + np.abs(edges - np.median(edges))))
            off = np.abs(np.polyval(curve, places) - edges)
            near = off <= max(2 * np.median(off), 0.4)
            places, edges = places[near], edges[near]
        self._edge = float(np.polyval(curve, 0.0))
        self._curve = curve

    def _in_photo(self, x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
        """Pixels x and y of the photograph at places of the arch of the teeth, x from the middle."""
        own = place(np.stack([x + self._middle, y, self._depth + ARCH * x * x], -1), self.face.pose)
        return [(own[..., k] * self.size - 0.5).astype(np.float32) for k in (0, 1)]

    def _recolored(self, name: str) -> np.ndarray:
        """A bundled part in the portrait's colours, sharp as the photograph's pixels: RGBA multiplied by coverage."""
        image = parts()[name]
        color, value = image[..., :3], image[..., :3].max(-1, keepdims=True)
        red = self.colors.lips * [0.95, 0.8, 0.82]
        if name == "tongue":
            back = np.linspace(-MIDDLE[1], MIDDLE[1], len(value), dtype=np.float32)[:, None, None]
            aside = np.linspace(-MIDDLE[0], MIDDLE[0], value.shape[1], dtype=np.float32)[None, :, None]
            new = (value / 0.38) ** 0.8 * red * (0.5 + 0.5 * _step(back, -12.0, 3.0))
            new = new * (1 - 0.12 * np.exp(-((aside / 1.2) ** 2)))  # its groove
        else:
            gum = _step(1 - color.min(-1, keepdims=True) / np.maximum(value, 1e-3), 0.25, 0.6)
            new = (value / 0.66) ** EVEN * self.colors.teeth * (1 - gum) + (value / 0.24) ** EVEN * red * gum
        image = np.concatenate([new.clip(0, 1), image[..., 3:]], 2).astype(np.float32)
        if name == "upper":  # pointed teeth that stand out
            x, y = (
                np.arange(n, dtype=np.float32) / DENSITY - m for n, m in zip(value.shape[1::-1], MIDDLE, strict=True)
            )
            image[..., 3] *= 1 - _step(y[:, None] * TALL + BENT * x**2, 0.2, 0.9)
        image[..., :3] *= image[..., 3:]
        return cv2.GaussianBlur(image, (0, 0), max(0.6 * DENSITY / self._density, 0.5))

    def __call__(
        self, frame: np.ndarray, mask: np.ndarray, box: tuple[int, int, int, int], shape: np.ndarray, pose: HeadPose
    ) -> None:
        """Draw the inside of the mouth into a frame.

        Args:
            frame (`np.ndarray` of shape `(size, size, 3)`): uint8 RGB, changed in place.
            mask (`np.ndarray` of shape `(height, width)`): The opening of the lips in a box, from 0 to 1.
            box (`tuple[int, int, int, int]`): Left, top, right, bottom in pixels.
            shape (`np.ndarray` of shape `(478, 3)`): The face in millimetres.
            pose (`HeadPose`): Where it is in the crop.
        """
        change = float(np.abs(_gaps(shape) - self._gap).max())
        strength = float(_step(change, SAME, OTHER))
        if strength == 0:
            return
        seen = [np.flatnonzero((mask > 0).any(axis)) for axis in (1, 0)]
        if not len(seen[0]):
            return
        rows, columns = (slice(int(s[0]), int(s[-1]) + 1) for s in seen)
        left, top = box[0] + columns.start, box[1] + rows.start
        right, bottom = box[0] + columns.stop, box[1] + rows.stop
        mask = mask[rows, columns]
        x, y = self._behind((left, top, right, bottom), pose, self._depth)
        inside = self._paint(x, y, shape, pose)
        part = frame[top:bottom, left:right]
        weight = (mask * strength)[..., None]
        part[:] = np.round(part + weight * (255 * inside - part)).clip(0, 255).astype(np.uint8)

    def _behind(self, box: tuple[int, int, int, int], pose: HeadPose, depth: float) -> tuple[np.ndarray, np.ndarray]:
        """Where pixels of a box meet the arch of the teeth: x from the middle and y, millimetres `(height, width)`."""
        left, top, right, bottom = box
        u = (np.arange(left, right, dtype=np.float32) + 0.5) / self.size - pose.center[0]
        v = (np.arange(top, bottom, dtype=np.float32) + 0.5) / self.size - pose.center[1]
        turn = pose.turn
        back = np.linalg.inv(turn[:2, :2])
        slope = back @ turn[:2, 2]  # how far a point moves in the plane of the lips for a millimetre of depth
        flat = back / pose.scale
        x = flat[0, 0] * u[None] + flat[0, 1] * v[:, None] - slope[0] * depth - self._middle
        y = flat[1, 0] * u[None] + flat[1, 1] * v[:, None] - slope[1] * depth
        bend = slope[0] * ARCH  # x_seen = x + bend x^2
        x = 2 * x / (1 + np.sqrt(np.maximum(1 + 4 * bend * x, 0.04)))
        return x, y - slope[1] * ARCH * x * x

    def _paint(self, x: np.ndarray, y: np.ndarray, shape: np.ndarray, pose: HeadPose) -> np.ndarray:
        """Colours `(height, width, 3)` from 0 to 1 behind the lips."""
        slope = np.linalg.solve(pose.turn[:2, :2], pose.turn[:2, 2])
        chin = shape[CHIN].mean(0) - self.face.shape[CHIN].mean(0)
        lip = float(shape[14, 1])
        lower = self._edge - OVERBITE + max(self._jaw + float(chin[1]), 0.0)
        lower = lip - float(np.clip(lip - lower, *BARED))
        aside = 0.8 * float(chin[0])
        room = max(lower - self._edge, 0.0)
        light = _light(x + self._middle, y, shape)

        red = self.colors.lips
        far = _step(y - slope[1] * THROAT_DEPTH, self._edge - 4, self._edge + max(room, 6.0) + 8)
        color = (red * [0.42, 0.27, 0.27]) * (0.35 + 0.65 * far)[..., None]
        tall = max(0.75 * room, 3.0) + 4
        ty = (y - slope[1] * TONGUE_DEPTH - (lower + 4 - tall)) / tall * 20 - 10
        color = _over(color, self._sample("tongue", (x - slope[0] * TONGUE_DEPTH - aside) * 0.9, ty))
        color = _over(color, self._sample("lower", x - aside, (y - lower) / TALL))
        color = _over(color, self._sample("upper", x, (y - self._edges(x)) / TALL))
        shut = 0.28 * red * [1.0, 0.85, 0.85]  # what lies between lips that touch
        color = color * light[..., None] ** WARM + shut * (1 - light[..., None]) ** 3
        at = self._in_photo(x, y)
        shown = cv2.remap(self._photo, *at, cv2.INTER_CUBIC).astype(np.float32) / 255
        teeth = cv2.remap(self.teeth, *at, cv2.INTER_LINEAR)[..., None]
        if self._curve is not None:
            edge = np.polyval(self._curve, np.clip(x, -14, 14))
            teeth = teeth * (1 - _step(y - edge, 0.1, 0.9))[..., None]
        before = _light(x + self._middle, y, self.face.shape)
        teeth = teeth * self._share
        shown *= np.clip(light / np.maximum(before, 0.3), 0.2, 1.1)[..., None]
        return color + teeth * (shown - color)

    def _edges(self, x: np.ndarray) -> np.ndarray:
        """Where the edge of the upper teeth lies, as the bundled ones are bent: y over x."""
        if self._curve is None:
            return np.full_like(x, self._edge)
        inner = np.clip(x, -14, 14)
        return self._edge + np.clip(np.polyval(self._curve, inner) - self._edge + BENT * inner**2, -2.5, 2.5)

    def _sample(self, name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        u = ((x + MIDDLE[0]) * DENSITY - 0.5).astype(np.float32)
        v = ((y + MIDDLE[1]) * DENSITY - 0.5).astype(np.float32)
        return cv2.remap(self._parts[name], u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def _gaps(shape: np.ndarray) -> np.ndarray:
    """How far the lips are apart `(9,)`, millimetres."""
    return shape[LOWER_LIP, 1] - shape[UPPER_LIP, 1]


def _edge_in(luma: np.ndarray, teeth: np.ndarray, y: np.ndarray) -> float:
    """Where upper teeth end in a column `(n,)`: at a dark line between both rows, or where teeth end; NaN if none."""
    rows = np.flatnonzero(teeth > 0.5)
    if len(rows) < 6:
        return np.nan
    first, last = rows[0], rows[-1]
    above = np.maximum.accumulate(luma[first : last + 1])
    below = np.maximum.accumulate(luma[first : last + 1][::-1])[::-1]
    depth = 1 - luma[first : last + 1] / np.maximum(np.minimum(above, below), 1e-3)
    depth[: int(2.0 / (y[1] - y[0]))] = 0
    valley = int(depth.argmax())
    return float(y[first + valley] if depth[valley] > 0.06 else y[last])


def _over(below: np.ndarray, part: np.ndarray) -> np.ndarray:
    return below * (1 - part[..., 3:]) + part[..., :3]


def _light(x: np.ndarray, y: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """How much light places behind the lips `(height, width)` get, from 0 to 1."""
    ends = shape[MOUTH_CORNERS]
    upper, lower = (np.concatenate([ends[:1], shape[row], ends[1:]]) for row in (UPPER_LIP, LOWER_LIP))
    top, bottom = (np.interp(x, row[:, 0], row[:, 1]).astype(np.float32) for row in (upper, lower))
    half = max(float(ends[1, 0] - ends[0, 0]) / 2, 1.0)
    aside = np.abs(x - float(ends[:, 0].mean())) / half
    gap = np.maximum(bottom - top, 0)
    shade = 1 - 0.4 * np.exp(-np.maximum(y - top, 0) / 1.5)
    shade *= 1 - 0.3 * np.exp(-np.maximum(bottom - y, 0) / 1.5)
    return shade * (1 - np.exp(-gap / 1.8)) * (1 - 0.6 * np.clip(aside, 0, 1.1) ** 3)
