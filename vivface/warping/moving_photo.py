"""A portrait's photograph as the driver moves it: retargeting, then compositing."""

from __future__ import annotations

import copy
import math
from functools import partial

import cv2
import numpy as np

from vivface.faces.alignment import align_quad, crop_quad, quad_size
from vivface.faces.pose import HeadPose
from vivface.warping.background import KEEP, Background
from vivface.warping.compositor import SURROUNDINGS, PhotoCompositor, inner_crop
from vivface.warping.eye_rims import with_hidden_rims
from vivface.warping.filling import continued, with_border
from vivface.warping.framing import WHOLE, Framing, beyond_photo, enlarged
from vivface.warping.lips import fit_lips
from vivface.warping.mesh import PosedFace
from vivface.warping.parts import PartMotion, Parts
from vivface.warping.photo_edit import PhotoEdit, with_crop
from vivface.warping.retargeting import Rest, Retargeting
from vivface.warping.surface import BEYOND

PASTED = 1.5  # crops of a frame that is pasted back: its border lies where nothing moves
EDGE = 0.004  # widths along a photograph's border that may be spoilt
SMOOTH, DETAILS = 0.008, 0.08  # widths: standard deviation of colours that are spread; how far details are mirrored
AROUND = 0.2  # crops around a square that cutting it out may read


class MovingPhoto:
    """Frames of a photograph under a driver's points.

    Args:
        photo (`np.ndarray` of shape `(height, width, 3)`): uint8 RGB.
        quad (`np.ndarray` of shape `(4, 2)`): The face's crop in it, pixels.
        points (`np.ndarray` of shape `(478, 3)`): The face in the crop, see `vivface.warping.mesh`.
        size (`int`): Width and height of the frames in pixels; of the crop, if they show more than it.
        rest (`Rest`): The driver's face at rest.
        edit (`PhotoEdit`, *optional*): Of the photograph, before it moves.
        framing (`Framing`, *optional*): What frames show, by default the crop. If it is larger, frames are so many
            times as large; from `PASTED` crops on, their border does not move.
        background (optional): See `PhotoCompositor`.
        parts (`Parts`, *optional*): Strengths of the parts of the motion.
        relative (`bool`, *optional*, defaults to False), strength (`float`, *optional*, defaults to 1.0), crops
            (`tuple[str, str]`, *optional*): See `Retargeting`.
    """

    def __init__(
        self,
        photo: np.ndarray,
        quad: np.ndarray,
        points: np.ndarray,
        size: int,
        rest: Rest,
        relative: bool = False,
        strength: float = 1.0,
        crops: tuple[str, str] = ("ffhq", "ffhq"),
        edit: PhotoEdit | None = None,
        framing: Framing = WHOLE,
        background: Background = KEEP,
        parts: Parts | None = None,
    ):
        crop_size = size
        if framing.side < 1:
            crop_size = framing.crop_size(size)
            framing, left, top = framing.in_pixels(size)
        wide = cut_photo(photo, enlarged(quad, SURROUNDINGS), round(crop_size * SURROUNDINGS), crops[0])
        seen = points
        if edit is not None:
            wide, points = edit.apply(wide, points, crop_size)
        crop = inner_crop(wide, crop_size)
        fitted = with_hidden_rims(fit_lips(crop, points))
        self._retarget = partial(Retargeting, fitted, relative=relative, strength=strength, crops=crops, seen=seen)
        self._retargeting = self._retarget(rest)
        self._parts = PartMotion(parts, self.face) if parts is not None and parts.changes else None
        self._framing = framing
        if framing.side > 1:  # the same in a larger square, which is a crop of its own
            size = reached(size, framing.side)
            quad = enlarged(quad, SURROUNDINGS * framing.side)
            wide = cut_photo(photo, quad, round(size * SURROUNDINGS), crops[0])
            if edit is not None:
                wide = with_crop(wide, crop)
        elif framing.side < 1:  # the same in a part of it
            wide = _part(wide, left, top, crop_size, size)
        beyond = BEYOND if framing.side <= 1 else 0.0
        self._compositor = PhotoCompositor(wide, framing.points(fitted), size, beyond, background)
        self._still = self._compositor.still()

    def with_rest(self, rest: Rest) -> MovingPhoto:
        """The same photograph for another face at rest."""
        other = copy.copy(self)
        other._retargeting = self._retarget(rest)
        return other

    @property
    def face(self) -> PosedFace:
        """The portrait's own face in its crop."""
        return self._retargeting.portrait

    def __call__(self, driver: np.ndarray | None, seconds: float = 0.0) -> np.ndarray:
        """The frame of a driver's points, see `PhotoCompositor`; the photograph as it is for None.

        Args:
            driver (`np.ndarray` of shape `(478, 3)`, *optional*): Points in the driver's crop.
            seconds (`float`, *optional*, defaults to 0): When the frame is shown; blinks have their times.
        """
        if driver is None:
            return self._still.copy()
        shape, pose = self._retargeting(driver)
        if self._parts is not None:
            shape, pose = self._parts(shape, pose, seconds)
        return self.show(shape, pose)

    @property
    def nbytes(self) -> int:
        """Bytes of the photograph as it is kept, about."""
        return 2 * self._still.nbytes + self._compositor.photo.nbytes

    def show(self, shape: np.ndarray, pose: HeadPose) -> np.ndarray:
        """The frame of the portrait's own face under a shape `(478, 3)` and a pose, see `face`."""
        return self._compositor(shape, self._framing.pose(pose))


def reached(size: int, reach: float) -> int:
    """Width and height in pixels of frames that show `reach` crops of a size, an even number."""
    return 2 * round(size * reach / 2)


def _part(wide: np.ndarray, left: int, top: int, crop_size: int, size: int) -> np.ndarray:
    """A square of `size` pixels of a crop of `crop_size`, and what lies around it, of what lies around the crop."""
    around = round((crop_size - size) * (SURROUNDINGS - 1) / 2)
    rows, columns = (slice(around + start, around + start + round(size * SURROUNDINGS)) for start in (top, left))
    return np.ascontiguousarray(wide[rows, columns])


def cut_photo(photo: np.ndarray, quad: np.ndarray, size: int, crop: str) -> np.ndarray:
    """The face's crop at a size, uint8 RGB `(size, size, 3)`.

    Beyond the photograph's border its colours are spread, and its details mirrored a little way. FFHQ's own fill, a
    reflection, blurs part of the photograph, too, and shows eyes twice where faces are cut closely.
    """
    unknown = beyond_photo(photo.shape, quad, size)
    if not unknown.any():
        return _cut(photo, quad, size, crop)
    margin = math.ceil(AROUND * quad_size(quad))
    low, high = np.floor(quad.min(0)).astype(int) - margin, np.ceil(quad.max(0)).astype(int) + margin
    around = with_border(photo, low, high, cv2.BORDER_REPLICATE)
    cut, known = _cut(around, quad - low, size, crop).astype(np.float32), 1 - unknown.astype(np.float32)
    reach = 2 * max(round(EDGE * size / 2), 1) + 1
    clear = cv2.erode(known, np.ones((reach, reach), np.uint8))
    if not clear.any():
        return cut.astype(np.uint8)
    filled = continued(cut, clear, SMOOTH * size, DETAILS * size)
    own = np.minimum(cv2.blur(clear, (reach, reach)), known)[..., None]
    return np.round(filled + own * (cut - filled)).clip(0, 255).astype(np.uint8)


def _cut(photo: np.ndarray, quad: np.ndarray, size: int, crop: str) -> np.ndarray:
    if crop in ("ffhq", "stable"):
        return align_quad(photo, quad, size)
    if quad_size(quad) > 2 * size:
        scale = 2 * size / quad_size(quad)
        photo = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        quad = (quad + 0.5) * scale - 0.5
    return crop_quad(photo, quad, size)
