"""Frames of a moving photograph: background, head, eyes and mouth, each in its own layer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache, cached_property

import cv2
import numpy as np

from vivface.errors import MediaError
from vivface.faces.pose import HeadPose
from vivface.warping.background import KEEP, TRANSPARENT, Background, behind
from vivface.warping.creases import AROUND, parted, without_creases
from vivface.warping.eyeballs import DrawnEyes, shade_of_lid, shut_eyes
from vivface.warping.hair import colours_and_opacity
from vivface.warping.lids import LidSkin
from vivface.warping.lips import rounded
from vivface.warping.matte import separate
from vivface.warping.mesh import IRISES, MESH, MOUTH_CORNERS, PosedFace, box_around, eye_loops, lip_loop, place, shrunk
from vivface.warping.mouth import MouthLayer
from vivface.warping.relighting import relit, with_other_side
from vivface.warping.smile_folds import SmileFolds
from vivface.warping.stretching import smoothed, streaks
from vivface.warping.surface import BEYOND, HeadSurface
from vivface.warping.triangulation import affine_tables, interpolate, shown_triangles

BASE = 512  # pixels at which the flow is computed; eyes and mouth at the photograph's own
SURROUNDINGS = 1.5  # crops that the photograph shows
MARGIN = 0.03  # crops around eyes and mouth
BANDS = 8  # of rows, in each of which only what shows the person is computed
JUMP = 3.0  # pixels of the photograph between neighbours from which on one covers the other
EDGE_BLUR = 0.9  # pixels: standard deviation of what makes the steps of such edges soft
CUBIC = 3  # pixels around a position that its cubic interpolation may see
SEEN, COARSE, FEW_BANDS = 0.08, 4, 6  # share of smooth skin that is seen; pixels that share it, about; bands of it

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels
Corner = tuple[Box, float]  # and how far it is open
DrawnOut = tuple[Box, np.ndarray]  # and how smooth it gets, float32 `(height, width)` in [0, 1]


class PhotoCompositor:
    """A photograph that moves.

    Args:
        photo (`np.ndarray` of shape `(height, height, 3)`): The portrait's crop and what lies around it, `SURROUNDINGS`
            times as wide, uint8 RGB.
        points (`np.ndarray` of shape `(478, 3)`): Its face in the crop, see `vivface.warping.mesh`.
        size (`int`): Width and height of the frames, which show the crop, in pixels.
        beyond (`float`, *optional*): Crops beyond the crop from where on nothing moves.
        background (optional): What lies behind the person, see `vivface.warping.background`; `"transparent"` makes
            frames RGBA.
        matte (`bool`, *optional*, defaults to True): Tell the person from the background, so that this does not move
            with the head.
        mouth (`MouthLayer`, *optional*): The inside of the mouth; by default what the photograph shows of it.

    Raises:
        MediaError: If there is another background, and the person cannot be told from the photograph's own.
    """

    def __init__(
        self,
        photo: np.ndarray,
        points: np.ndarray,
        size: int,
        beyond: float = BEYOND,
        background: Background = KEEP,
        matte: bool = True,
        mouth: MouthLayer | None = None,
    ):
        self.photo, self.points, self.size = photo, points, size
        self.surface = HeadSurface(points, beyond)
        self.face = PosedFace.of(points)
        self._layers = separate(photo, shrunk(points[:MESH], SURROUNDINGS)[:, :2]) if matte else None
        if self._layers is not None:
            seen = colours_and_opacity(photo, self._layers.person[..., 3], SURROUNDINGS)
            self.surface.part_from_background(lambda places: _at(seen, places)[:, 3] / 255)
            self.surface.see_hair(lambda places: _at(seen, places))
        self._is_kept = isinstance(background, str) and background == KEEP
        self._is_clear = isinstance(background, str) and background == TRANSPARENT
        if self._layers is None and not self._is_kept:
            raise MediaError("The person cannot be told from the background of the portrait: keep the background.")
        if self._layers is None or self._is_clear:
            self._plate = None
        else:
            self._plate = inner_crop(self._layers.plate, size) if self._is_kept else behind(background, size)
            near = np.ones((2 * CUBIC + 1,) * 2, np.uint8)
            self._near_person = cv2.dilate((self._layers.person[..., 3] > 0).astype(np.uint8), near)
        self.mouth = mouth or MouthLayer(self._crop, points, lip_loop())
        self._shut_eyes = shut_eyes(self.face.shape)

    def still(self) -> np.ndarray:
        """The photograph as it is, before the background: uint8 RGB `(size, size, 3)`, RGBA if that is transparent."""
        if self._is_kept:
            return self._crop
        person = inner_crop(self._layers.person, self.size)
        return person if self._is_clear else blended(person, self._plate)

    def __call__(self, shape: np.ndarray, pose: HeadPose) -> np.ndarray:
        """The photograph under a shape `(478, 3)` and a pose.

        Returns:
            `np.ndarray` of shape `(size, size, 3)`: uint8 RGB; RGBA `(size, size, 4)` if the background is transparent.
        """
        target, size = self.surface.target(shape, pose), self.size
        order = self.surface.order(target)
        base = min(BASE, size)
        values = self.surface.shown_values(target, pose)
        tables = affine_tables(target, values, self.surface.corners)
        shown = shown_triangles(target, self.surface.corners, order, (0, 0, base, base), base)
        where = self._positions(shown, tables, (0, 0, base, base), base)
        edges = _edges(where)
        drawn_out = self._drawn_out(target, tables, shown)
        where = where if base == size else _enlarged(where, size)
        points = place(shape, pose)
        for loop in (lip_loop(), *eye_loops()):
            box = box_around(points[loop], size, MARGIN)
            if box is not None:
                left, top, right, bottom = box
                near = shown_triangles(target, self.surface.corners, order, box, size)
                where[top:bottom, left:right] = self._positions(near, tables, box, size)
        frame = _softened(self._head(where, self._corners(shape, points), drawn_out), edges)
        opacity = frame[..., 3:]
        frame = np.ascontiguousarray(frame[..., :3])
        for side in (0, 1):
            self._eye(frame, side, shape, pose)
            self._lids.draw(frame, side, shape, pose)
            self._smile_folds.draw(frame, side, shape, pose)
        rim = place(rounded(shape[lip_loop()]), pose)
        if (box := box_around(rim, size, MARGIN)) is not None:
            self.mouth(frame, _polygon(rim, box, size), box, shape, pose)
        return np.concatenate([frame, opacity], 2) if self._is_clear else frame

    def _head(self, where: np.ndarray, corners: list[Corner], drawn_out: list[DrawnOut]) -> np.ndarray:
        """The moved head before the steady background, uint8 RGB `(size, size, 3)`, or RGBA without any.

        Args:
            where (`np.ndarray` of shape `(size, size, 2 or 5)`): See `HeadSurface.values`.
            corners (list of `Corner`): Of the mouth, where they are open.
            drawn_out (list of `DrawnOut`): Skin that gets smooth.
        """
        if self._plate is None:
            frame = self._person(where)
        else:
            frame = self._plate.copy()
            for left, top, right, bottom in _bands(self._shows_person(where)):
                part = np.s_[top:bottom, left:right]
                frame[part] = blended(self._person(where[part]), self._plate[part])
        for (left, top, right, bottom), share in drawn_out:
            part = np.s_[top:bottom, left:right]
            smooth, own = _sample(self._without_details, where[part], cv2.INTER_LINEAR), share
            if where.shape[2] > 2:
                own = share * (1 - where[part][..., 4].clip(0, 1))
            smooth = smooth if self._plate is None else blended(smooth, self._plate[part])
            frame[part] = cv2.blendLinear(smooth, np.ascontiguousarray(frame[part]), own, 1 - own)
        for (left, top, right, bottom), share in corners:
            part = np.s_[top:bottom, left:right]
            shown = cv2.addWeighted(self._person(where[part]), 1 - share, self._person(where[part], True), share, 0)
            frame[part] = shown if self._plate is None else blended(shown, self._plate[part])
        return frame

    def _corners(self, shape: np.ndarray, points: np.ndarray) -> list[Corner]:
        """Parts of a frame in which a corner of the mouth opens, and how far; `points` are those of `shape` in it."""
        found, reach = [], AROUND * self.face.pose.scale
        for corner, share in zip(points[MOUTH_CORNERS, :2], parted(shape, self.face.shape).tolist(), strict=True):
            box = box_around(np.stack([corner - reach, corner + reach]), self.size, MARGIN)
            if share > 0 and box is not None:
                found.append((box, share))
        return found

    def _person(self, where: np.ndarray, open_mouth: bool = False) -> np.ndarray:
        """The moved photograph, RGBA if it is parted from its background; `where` as for `_head`, of any part."""
        head = _sample(self._without_creases if open_mouth else self._source(), where)
        if where.shape[2] > 2 and (box := _extent(where[..., 4] > 0)) is not None:
            left, top, right, bottom = box
            part, where = head[top:bottom, left:right], where[top:bottom, left:right]
            part[:] = with_other_side(part, _sample(self._other_side, where[..., 2:]), where[..., 4].clip(0, 1))
        return head

    @cached_property
    def _other_side(self) -> np.ndarray:
        """What moves in the light of the other side of the face; made when it is first shown."""
        return relit(self._source(), shrunk(self.points[:MESH], SURROUNDINGS), self.face.pose, SURROUNDINGS)

    @cached_property
    def _without_creases(self) -> np.ndarray:
        """What moves, as it is when the mouth is open; made when it first opens."""
        size = len(self.photo)
        points = shrunk(self.points, SURROUNDINGS) * size - 0.5
        return without_creases(self._source(), points, self.face.pose.scale / SURROUNDINGS * size)

    @cached_property
    def _without_details(self) -> np.ndarray:
        """What moves, as it is where skin is drawn out; made when it first is."""
        return smoothed(self._source(), len(self.photo) / SURROUNDINGS)

    @cached_property
    def _crop(self) -> np.ndarray:
        """The portrait's crop as it is: nothing may be drawn into it."""
        return inner_crop(self.photo, self.size)

    @cached_property
    def _smile_folds(self) -> SmileFolds:
        """Folds of cheeks that smile."""
        return SmileFolds(lambda: self._crop, self.points)

    @cached_property
    def _lids(self) -> LidSkin:
        """Skin for lids that come down."""
        return LidSkin(lambda: self._crop, self.points)

    @cached_property
    def _drawn_eyes(self) -> DrawnEyes:
        """Eyes for those that the portrait keeps shut; made when one is first drawn."""
        return DrawnEyes(self._crop, self.points)

    def _drawn_out(self, target: np.ndarray, tables: np.ndarray, shown: np.ndarray) -> list[DrawnOut]:
        """Parts of a frame in which skin is drawn out; `shown` is the triangle of each pixel `(base, base)`."""
        corners = self.surface.corners
        share = streaks(tables, corners, len(target))
        used = (share > SEEN)[corners].any(1)
        if not used.any():
            return []
        table = np.zeros((1, *tables.shape[1:]), np.float32)  # nothing where no such triangle lies
        table[..., :-1][..., used] = affine_tables(target, share[:, None], corners[used])[..., :-1]
        coarse = shown[COARSE // 2 :: COARSE, COARSE // 2 :: COARSE]
        coarse = interpolate(coarse, table, (0, 0, len(coarse), len(coarse)), len(coarse))[..., 0]
        whole = cv2.resize(coarse, (self.size, self.size), interpolation=cv2.INTER_LINEAR)
        return [(box, np.ascontiguousarray(whole[box[1] : box[3], box[0] : box[2]])) for box in self._smooth(coarse)]

    def _smooth(self, coarse: np.ndarray) -> Iterator[Box]:
        """Boxes of a frame around what gets smooth in a small picture of it, at either side of the face."""
        middle, cell = round(float(self.face.pose.center[0].clip(0, 1)) * len(coarse)), self.size / len(coarse)
        for low, high in ((0, middle), (middle, len(coarse))):
            for left, top, right, bottom in _bands(coarse[:, low:high] > SEEN, FEW_BANDS):
                edges = max(low + left - 1, low), top, min(low + right + 1, high), bottom
                left, top, right, bottom = (min(round(edge * cell), self.size) for edge in edges)
                yield left, top, right, bottom

    def _source(self) -> np.ndarray:
        """What moves: the photograph, or the person in it with an opacity."""
        return self.photo if self._layers is None else self._layers.person

    def _shows_person(self, where: np.ndarray) -> np.ndarray:
        """Where the person may be seen, not 0 `(size, size)`; all the rest is background."""
        seen = _sample(self._near_person, where, cv2.INTER_NEAREST)
        return seen | (where[..., 4] > 0) if where.shape[2] > 2 else seen

    def _positions(self, shown: np.ndarray, tables: np.ndarray, box: Box, size: int) -> np.ndarray:
        """Values of the surface, see `HeadSurface.values` and `affine_tables`, for each pixel of a box."""
        return interpolate(shown, tables, box, size)

    def _eye(self, frame: np.ndarray, side: int, shape: np.ndarray, pose: HeadPose) -> None:
        """Draw an eye as it lies behind its lids."""
        size, loop = len(frame), eye_loops()[side]
        target = place(shape[loop], pose)
        box = box_around(target, size, MARGIN)
        if box is None:
            return
        own = self.face.shape
        gaze = (shape[IRISES[side]][0] - own[IRISES[side]][0])[:2]
        center, own_center = (s[loop][[0, 8]].mean(0) for s in (shape, own))
        gaze -= (center - own_center)[:2]
        # where the lids' rim would lie on the photograph's eyeball
        behind = shape[loop] - center + own_center
        width = np.abs(behind[:, 0] - own_center[0]).max()
        inner = 1 - ((behind[:, 0] - own_center[0]) / width).clip(-1, 1) ** 2
        behind[:, :2] -= gaze * inner[:, None]
        for part in (slice(1, 8), slice(9, 16)):  # lids wider open than the photograph's: stretch what is there
            limit = own[loop][part, 1]
            low = part.start == 1
            behind[part, 1] = np.minimum(behind[part, 1], limit) if low else np.maximum(behind[part, 1], limit)
        source = place(behind, self.face.pose)
        fan = _fan()
        shown = _with_border(shown_triangles(target, fan, range(len(fan)), box, size), math.ceil(size / 256))
        where = interpolate(shown, affine_tables(target, source[:, :2], fan), box, size)
        left, top, right, bottom = box
        mask = _polygon(target, box, size)[..., None]
        part = frame[top:bottom, left:right]
        eye = _sample(self.photo, where).astype(np.float32)
        if (shade := shade_of_lid(box, side, shape, own, pose, size)) is not None:
            eye *= shade[..., None].astype(np.float32)
        if self._shut_eyes[side] > 0 and (drawn := self._drawn_eyes.strengths(shape)[side]) > 0:
            eye += drawn * (self._drawn_eyes(box, side, shape, pose, size) - eye)
        part[:] = np.round(part + mask * (eye - part)).astype(np.uint8)


def _with_border(shown: np.ndarray, width: int) -> np.ndarray:
    """Few triangles `(height, width)` with those next to them where none lies: a soft mask reaches a little beyond."""
    near = cv2.dilate((shown + 1).astype(np.uint8), np.ones((2 * width + 1,) * 2, np.uint8)).astype(np.int32) - 1
    return np.where(shown < 0, near, shown)


@cache
def _fan() -> np.ndarray:
    """Triangles between the lids, by numbers of `eye_loops`."""
    out = []
    lower, upper = [0, 1, 2, 3, 4, 5, 6, 7, 8], [0, 15, 14, 13, 12, 11, 10, 9, 8]
    for k in range(8):
        a, b, c, d = lower[k], lower[k + 1], upper[k], upper[k + 1]
        out += [[a, b, d]] if k == 0 else [[a, b, c]] if k == 7 else [[a, b, d], [a, d, c]]
    return np.array(out)


def blended(person: np.ndarray, background: np.ndarray) -> np.ndarray:
    """RGBA `(height, width, 4)` over RGB `(height, width, 3)`: uint8 RGB."""
    opacity = cv2.extractChannel(person, 3)
    shares = (cv2.LUT(opacity, table) for table in _shares())
    return cv2.blendLinear(cv2.cvtColor(person, cv2.COLOR_RGBA2RGB), background, *shares)


@cache
def _shares() -> tuple[np.ndarray, np.ndarray]:
    """What an opacity from 0 to 255 leaves of the person and of the background, float32 `(256,)` each."""
    person = np.arange(256, dtype=np.float32) / 255
    return person, 1 - person


def _edges(where: np.ndarray) -> np.ndarray:
    """Where one part of the head covers another, not 0: pixels `(size, size)` whose neighbours come from far away."""
    far = JUMP / len(where)
    edges = np.zeros(where.shape[:2], np.uint8)
    for k in (0, 1):
        plane = where[..., k]
        edges[:, 1:] |= np.abs(plane[:, 1:] - plane[:, :-1]) > far
        edges[1:] |= np.abs(plane[1:] - plane[:-1]) > far
    return edges


def _softened(frame: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """A frame without steps along edges, see `_edges`."""
    box = _extent(edges > 0)
    if box is None:
        return frame
    if len(edges) != len(frame):
        edges = cv2.resize(edges, frame.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        box = _extent(edges > 0)
    part = np.s_[box[1] : box[3], box[0] : box[2]]
    near = cv2.dilate(edges[part], np.ones((3, 3), np.uint8))
    soft = cv2.GaussianBlur(frame[part], (0, 0), EDGE_BLUR * len(frame) / BASE)
    frame[part] = np.where(near[..., None] > 0, soft, frame[part])
    return frame


def _enlarged(where: np.ndarray, size: int) -> np.ndarray:
    """Values `(height, width, C)` at more pixels, `(size, size, C)`, one after the other in memory as they were."""
    planes = [cv2.resize(plane, (size, size), interpolation=cv2.INTER_LINEAR) for plane in where.transpose(2, 0, 1)]
    return np.stack(planes).transpose(1, 2, 0)


def _bands(mask: np.ndarray, count: int = BANDS) -> Iterator[Box]:
    """Left, top, right, bottom of what is true in a mask `(height, width)`, in each of a few bands of rows."""
    for rows in np.array_split(np.arange(len(mask)), count):
        if len(rows) and (box := _extent(mask[rows[0] : rows[-1] + 1])) is not None:
            yield box[0], box[1] + int(rows[0]), box[2], box[3] + int(rows[0])


def _extent(mask: np.ndarray) -> Box | None:
    """Left, top, right, bottom of what is true in a mask `(height, width)`, or None where nothing is."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1) if len(rows) else None


def _polygon(points: np.ndarray, box: Box, size: int) -> np.ndarray:
    """A soft polygon in a box: float32 in [0, 1]."""
    left, top, right, bottom = box
    mask = np.zeros(((bottom - top) * 2, (right - left) * 2), np.uint8)
    pixels = np.round(((points[:, :2] * size - (left, top)) * 2 - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(mask, [pixels], 255, cv2.LINE_AA, 4)
    mask = cv2.resize(mask, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(mask, (0, 0), max(size / 800, 0.4)).astype(np.float32) / 255


def inner_crop(photo: np.ndarray, size: int) -> np.ndarray:
    """The portrait's crop without its surroundings, `(size, size, 3)`."""
    places = (np.arange(size, dtype=np.float32) + 0.5) / size
    return _sample(photo, np.stack(np.meshgrid(places, places), -1))


def _at(photo: np.ndarray, places: np.ndarray) -> np.ndarray:
    """What a photograph shows at places `(N, 2)` of the crop, `(N, C)`."""
    return _sample(photo, places[:, None].astype(np.float32))[:, 0]


def _sample(photo: np.ndarray, where: np.ndarray, interpolation: int = cv2.INTER_CUBIC) -> np.ndarray:
    scale = len(photo) / SURROUNDINGS
    shift = (SURROUNDINGS - 1) / 2 * scale - 0.5
    return cv2.remap(
        photo,
        where[..., 0] * scale + shift,
        where[..., 1] * scale + shift,
        interpolation,
        borderMode=cv2.BORDER_REFLECT_101,
    )
