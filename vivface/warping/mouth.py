"""The inside of the mouth, drawn behind the lips: rigid teeth, a tongue and the dark.

Upper teeth are fixed to the skull: they move with the head and no expression moves them. Lower teeth and tongue follow
the chin. Teeth that the photograph shows are taken from it, where they lie; what it does not show comes from a small
picture of a synthetic mouth that `training/tools/render_mouth.py` made, in the photograph's colours and light.

Positions are millimetres of the portrait's own face, see `vivface.warping.mesh`. Surfaces behind the lips are bent like
the arch of the teeth: depth grows with the square of the distance from the middle.
"""

from __future__ import annotations

from functools import cache, cached_property
from importlib.resources import files

import cv2
import numpy as np
from safetensors.numpy import load

from vivface.faces.pose import HeadPose
from vivface.warping.gaps import lip_gaps
from vivface.warping.mesh import LOWER_LIP, MOUTH_CORNERS, UPPER_LIP, PosedFace, in_plane, place, step
from vivface.warping.teeth import (
    LUMA,
    UPPER_WITHIN,
    edge_in_column,
    first_shown,
    mouth_colors,
    parabola,
    shown_teeth,
)
from vivface.warping.tones import Tones

DENSITY, MIDDLE = 6.0, (32.0, 22.0)  # pixels a millimetre of the bundled parts; where their origin lies, millimetres
TALL = 1.4  # how much taller real teeth are than those of the synthetic mouth
NOSE, CHIN = 2, np.array([152, 148, 377, 175])  # points of the mesh
TEETH_BELOW_NOSE = 23.5  # millimetres from the nose to the edge of the upper teeth, in the mean face ...
TEETH_BELOW_LIP = 3.5  # ... and from the rim of the upper lip, at least: long lips do not hide all teeth
BEHIND_LIPS = 4.0  # millimetres from the rim of the lips to the teeth
BENT = 0.006  # 1/mm: how the edge of the bundled upper teeth rises with x squared
ARCH = 0.0232  # 1/mm: depth of the arch of the upper teeth is this times x squared; `render_mouth` measures it
TONGUE_DEPTH, THROAT_DEPTH = 9.0, 22.0  # millimetres behind the teeth
OVERBITE = 1.5  # millimetres by which shut upper teeth cover the lower
BARED = (-3.0, 4.0)  # millimetres of lower teeth above the lower lip: least and most
SAME, OTHER = 0.3, 1.6  # millimetres of change of the lips' gap: below, the photograph's own mouth; above, this layer
COLORS_FROM = (8.0, 40.0)  # mm2 of teeth in the photograph: below, their colour is guessed; above, it is known
TEETH_FROM = (30.0, 80.0)  # mm2: below, none of them are shown; above, all are
LOWER_FROM = 0.8  # millimetres below the edge of the upper teeth from which teeth are lower ones
MANY_COLUMNS = 8  # of 49 half millimetres in the middle, where teeth are seen for their edge to be taken from them
SMILE_GAP = 7.0  # millimetres between lips that part without the jaw

SEAM = np.array([0.42, 0.32, 0.3])  # colour of what lies between lips that touch, beside theirs: they roll inwards
LIT = (0.08, 0.3)  # light behind the lips up to which no teeth of the photograph are seen, and from which on all are
EVEN = 0.6  # power of the bundled parts' own light and shade
WARM = np.array([0.8, 1.05, 1.1])  # powers of the light behind the lips: what comes through them is red


@cache
def parts() -> dict[str, np.ndarray]:
    """The bundled parts `upper`, `lower` and `tongue`: float32 RGBA in [0, 1], origin at the edge of the teeth."""
    stored = load((files("vivface.warping") / "mouth.safetensors").read_bytes())
    names = ("upper", "lower", "tongue")
    images = [cv2.imdecode(stored[name], cv2.IMREAD_UNCHANGED).astype(np.float32) / 255 for name in names]
    return {name: image[..., [2, 1, 0, 3]] for name, image in zip(names, images, strict=True)}


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
        self.colors = mouth_colors(photo, points, self.teeth, float(step(area, *COLORS_FROM)))
        self._parts = {name: self._recolored(name) for name in parts()}
        self._gap = lip_gaps(own)
        self._middle = float(own[[NOSE, 13, 14], 0].mean())
        self._depth = float(own[[13, 14], 2].mean()) + BEHIND_LIPS
        self._edge = max(float(own[NOSE, 1]) + TEETH_BELOW_NOSE, float(own[13, 1]) + TEETH_BELOW_LIP)
        self._lower_off = 0.0  # millimetres from where the lower teeth are expected to where they are seen
        self._jaw = max(float(self._gap.max()) - SMILE_GAP, 0.0)  # how far the photograph's jaw is open
        self._curve: np.ndarray | None = None  # of the edge of the teeth that the photograph shows, over x
        self._split_teeth()

    @cached_property
    def _tones(self) -> Tones:
        return Tones(self._photo)

    def _split_teeth(self) -> None:
        """Tell the upper from the lower teeth that the photograph shows, and find their edges."""
        x, y = np.meshgrid(np.arange(-12, 12.1, 0.5), np.arange(self._edge - 14, self._edge + 40, 0.25))
        at = self._in_photo(x, y)
        teeth = cv2.remap(self.teeth, *at, cv2.INTER_LINEAR)
        luma = cv2.remap(cv2.GaussianBlur(self._photo, (0, 0), 0.3 * self._density) @ LUMA, *at, cv2.INTER_LINEAR)
        upper = self.face.shape[UPPER_LIP]
        rim = np.interp(x[0] + self._middle, upper[:, 0], upper[:, 1])
        found = [edge_in_column(*column) for column in zip(luma.T, teeth.T, y.T, rim, strict=True)]
        known = np.isfinite(found)
        if known.sum() >= MANY_COLUMNS:
            self._curve = parabola(x[0, known], np.array(found)[known])
            self._edge = float(np.polyval(self._curve, 0.0))
        low = self._edge_curve(x[0]) + LOWER_FROM if self._curve is not None else rim + UPPER_WITHIN
        tops = np.array([first_shown(column, y[:, 0]) for column in ((teeth > 0.5) & (y > low)).T])
        if self._curve is None and np.isfinite(tops).sum() >= MANY_COLUMNS:  # a mouth that shows its lower row alone
            wanted = float(np.nanmedian(tops)) - self._lower_row(self.face.shape)[0]
            self._lower_off = float(np.clip(wanted, -6.0, 6.0))
        self._lower = self._lower_row(self.face.shape)[0]
        self._rows = self._both_rows()
        self._shares = [float(step(row.sum() / self._density**2, *TEETH_FROM)) for row in self._rows]

    def _both_rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Where the photograph shows lower and upper teeth, from 0 to 1."""
        ys, xs = np.nonzero(self.teeth > 0)
        lower, upper = np.zeros_like(self.teeth), np.zeros_like(self.teeth)
        if not len(ys):
            return lower, upper
        box = (int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1)
        part = np.s_[box[1] : box[3], box[0] : box[2]]
        x, y = self._behind(box, self.face.pose, self._depth, self.size)
        if self._curve is None:
            rim = self.face.shape[UPPER_LIP]
            edge = np.interp(x + self._middle, rim[:, 0], rim[:, 1]) + UPPER_WITHIN
            lower[part] = self.teeth[part] * step(y - edge, 0.0, 1.0)
            return lower, upper
        beyond = y - self._edge_curve(x)
        upper[part] = self.teeth[part] * (1 - step(beyond, 0.1, 0.9))
        lower[part] = self.teeth[part] * step(beyond, 0.4, LOWER_FROM + 0.4)
        return lower, upper

    def _edge_curve(self, x: np.ndarray) -> np.ndarray:
        return np.polyval(self._curve, np.clip(x, -14, 14))

    def _in_photo(self, x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
        """Pixels x and y of the photograph at places of the arch of the teeth, x from the middle."""
        own = place(np.stack([x + self._middle, y, self._depth + ARCH * x * x], -1), self.face.pose)
        return [(own[..., k] * self.size - 0.5).astype(np.float32) for k in (0, 1)]

    def _recolored(self, name: str) -> np.ndarray:
        """A bundled part in the portrait's colours, sharp as the photograph's pixels: RGBA multiplied by coverage."""
        image = parts()[name]
        color, value = image[..., :3], image[..., :3].max(-1, keepdims=True)
        red = self.colors.flesh * [0.87, 0.77, 0.8]
        if name == "tongue":
            back = np.linspace(-MIDDLE[1], MIDDLE[1], len(value), dtype=np.float32)[:, None, None]
            aside = np.linspace(-MIDDLE[0], MIDDLE[0], value.shape[1], dtype=np.float32)[None, :, None]
            new = (value / 0.38) ** 0.8 * red * (0.5 + 0.5 * step(back, -12.0, 3.0))
            new = new * (1 - 0.12 * np.exp(-((aside / 1.2) ** 2)))  # its groove
        else:
            gum = step(1 - color.min(-1, keepdims=True) / np.maximum(value, 1e-3), 0.25, 0.6)
            new = (value / 0.66) ** EVEN * self.colors.teeth * (1 - gum) + (value / 0.24) ** EVEN * red * gum
        image = np.concatenate([new.clip(0, 1), image[..., 3:]], 2).astype(np.float32)
        if name == "upper":  # pointed teeth that stand out
            x, y = (
                np.arange(n, dtype=np.float32) / DENSITY - m for n, m in zip(value.shape[1::-1], MIDDLE, strict=True)
            )
            image[..., 3] *= 1 - step(y[:, None] * TALL + BENT * x**2, 0.2, 0.9)
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
        strength = self.strength(shape)
        if strength == 0:
            return
        seen = [np.flatnonzero((mask > 0).any(axis)) for axis in (1, 0)]
        if not len(seen[0]):
            return
        rows, columns = (slice(int(s[0]), int(s[-1]) + 1) for s in seen)
        left, top = box[0] + columns.start, box[1] + rows.start
        right, bottom = box[0] + columns.stop, box[1] + rows.stop
        mask = mask[rows, columns]
        x, y = self._behind((left, top, right, bottom), pose, self._depth, len(frame))
        inside = self._paint(x, y, shape, pose)
        part = frame[top:bottom, left:right]
        weight = (mask * strength)[..., None]
        part[:] = np.round(part + weight * (255 * inside - part)).clip(0, 255).astype(np.uint8)

    def strength(self, shape: np.ndarray) -> float:
        """How far this layer covers what the skin's layer shows between the lips, from 0 to 1."""
        return float(step(np.abs(lip_gaps(shape) - self._gap).max(), SAME, OTHER))

    def _behind(
        self, box: tuple[int, int, int, int], pose: HeadPose, depth: float, size: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where pixels of a box meet the arch of the teeth: x from the middle and y, millimetres `(height, width)`."""
        turn = pose.turn
        slope = np.linalg.inv(turn[:2, :2]) @ turn[:2, 2]  # how far a point moves in that plane for its depth
        x, y = in_plane(box, size, pose.center, pose)
        x, y = x - slope[0] * depth - self._middle, y - slope[1] * depth
        bend = slope[0] * ARCH  # x_seen = x + bend x^2
        x = 2 * x / (1 + np.sqrt(np.maximum(1 + 4 * bend * x, 0.04)))
        return x, y - slope[1] * ARCH * x * x

    def _paint(self, x: np.ndarray, y: np.ndarray, shape: np.ndarray, pose: HeadPose) -> np.ndarray:
        """Colours `(height, width, 3)` from 0 to 1 behind the lips."""
        slope = np.linalg.solve(pose.turn[:2, :2], pose.turn[:2, 2])
        lower, aside = self._lower_row(shape)
        room = max(lower - self._edge, 0.0)
        light = _light(x + self._middle, y, shape)

        flesh = self.colors.flesh
        far = step(y - slope[1] * THROAT_DEPTH, self._edge - 4, self._edge + max(room, 6.0) + 8)
        color = (flesh * [0.42, 0.27, 0.27]) * (0.35 + 0.65 * far)[..., None]
        tall = max(0.75 * room, 3.0) + 4
        ty = (y - slope[1] * TONGUE_DEPTH - (lower + 4 - tall)) / tall * 20 - 10
        color = _over(color, self._sample("tongue", (x - slope[0] * TONGUE_DEPTH - aside) * 0.9, ty))
        color = _over(color, self._sample("lower", x - aside, (y - lower) / TALL))
        color = _over(color, self._sample("upper", x, (y - self._edges(x)) / TALL))
        shut = SEAM * self.colors.lips  # what lies between lips that touch
        color = self._tones(color * light[..., None] ** WARM + shut * (1 - light[..., None]) ** 3)
        lower_y = y - (lower - self._lower)
        for k, (row_x, row_y) in enumerate([(x - aside, lower_y), (x, y)]):  # the photograph's lower and upper row
            if self._shares[k] == 0:
                continue
            at = self._in_photo(row_x, row_y)
            shown = cv2.remap(self._photo, *at, cv2.INTER_CUBIC).astype(np.float32) / 255
            teeth = self._shares[k] * cv2.remap(self._rows[k], *at, cv2.INTER_LINEAR) * step(light, *LIT)
            before = _light(row_x + self._middle, row_y, self.face.shape)
            shown *= np.clip(light / np.maximum(before, 0.3), 0.2, 1.0)[..., None] ** WARM
            color = color + teeth[..., None] * (shown - color)
        return color

    def _lower_row(self, shape: np.ndarray) -> tuple[float, float]:
        """Where the edge of the lower teeth is: y, and how far the jaw has moved aside, millimetres."""
        chin = shape[CHIN].mean(0) - self.face.shape[CHIN].mean(0)
        lip = float(shape[14, 1])
        edge = self._edge - OVERBITE + max(self._jaw + float(chin[1]), 0.0)
        return lip - float(np.clip(lip - edge, *BARED)) + self._lower_off, 0.8 * float(chin[0])

    def _edges(self, x: np.ndarray) -> np.ndarray:
        """Where the edge of the upper teeth lies, as the bundled ones are bent: y over x."""
        if self._curve is None:
            return np.full_like(x, self._edge)
        return self._edge + np.clip(self._edge_curve(x) - self._edge + BENT * np.clip(x, -14, 14) ** 2, -2.5, 2.5)

    def _sample(self, name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        u = ((x + MIDDLE[0]) * DENSITY - 0.5).astype(np.float32)
        v = ((y + MIDDLE[1]) * DENSITY - 0.5).astype(np.float32)
        return cv2.remap(self._parts[name], u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


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
    return shade * (1 - np.exp(-gap / 2.6)) * (1 - 0.6 * np.clip(aside, 0, 1.1) ** 3)
