"""A head in a picture at the picture's own pixels: cut out, moved and put back without being resampled as a whole.

A photograph with several faces, and a film whose frames are the photograph of their own moment, keep every pixel that
does not move. So a head is not cut along its crop, which is turned and scaled, but as an upright square of whole pixels
around it, whose border does not move.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from vivface.faces.alignment import from_crop, quad_center, quad_frame, quad_size, to_crop
from vivface.faces.pose import HeadPose
from vivface.warping.compositor import SURROUNDINGS, Box, DrawnOut, PhotoCompositor, blended
from vivface.warping.filling import with_border
from vivface.warping.mouth import MouthLayer

REACH = 1.5  # crops of a face that a window shows
LEAST_DRAWN, MOST_DRAWN = 512, 1536  # pixels of windows: smaller ones are drawn twice as large, larger ones smaller
FADING = 0.02  # of a window's side, over which it passes into the picture
SAME, CHANGED = 2.0, 6.0  # levels by which a pixel differs that stays the picture's, and one that is drawn


@dataclass(frozen=True)
class Window:
    """An upright square of whole pixels.

    Attributes:
        left, top (`int`): Its first pixel, which may lie outside of the picture.
        size (`int`): Its side, a multiple of 4.
    """

    left: int
    top: int
    size: int

    @classmethod
    def around(cls, quad: np.ndarray, reach: float = REACH) -> Window:
        """The square about a face's crop.

        Args:
            quad (`np.ndarray` of shape `(4, 2)`): The crop, pixels of the picture.
            reach (`float`, *optional*, defaults to 1.5): Its side in crops.
        """
        size = max(4 * round(quad_size(quad) * reach / 4), 16)
        left, top = np.round(quad_center(quad) + 0.5 - size / 2).astype(int)
        return cls(int(left), int(top), size)

    @property
    def quad(self) -> np.ndarray:
        """Its corners `(4, 2)` in pixels of the picture, counter-clockwise from the top left."""
        low, high = np.array([self.left, self.top]) - 0.5, np.array([self.left, self.top]) - 0.5 + self.size
        return np.array([low, [low[0], high[1]], high, [high[0], low[1]]])

    @property
    def drawn(self) -> int:
        """Pixels of its side as it is drawn."""
        return 2 * self.size if self.size < LEAST_DRAWN else min(self.size, MOST_DRAWN)

    def cut(self, picture: np.ndarray, surroundings: float = 1.0) -> np.ndarray:
        """Its pixels, `drawn * surroundings` a side; what lies beyond the picture is its reflection."""
        margin = round(self.size * (surroundings - 1) / 2)
        low = np.array([self.left, self.top]) - margin
        part = with_border(picture, low, low + self.size + 2 * margin, cv2.BORDER_REFLECT_101)
        if self.drawn == self.size:
            return np.ascontiguousarray(part)
        return _resized(part, round(self.drawn * surroundings))

    def put(self, picture: np.ndarray, drawn: np.ndarray, still: np.ndarray, weight: np.ndarray) -> None:
        """Lay what has changed over the picture, in place; every other pixel stays as it is.

        Args:
            picture (`np.ndarray` of shape `(height, width, 3)`): uint8 RGB.
            drawn, still (`np.ndarray` of shape `(drawn, drawn, 3)`): The window now and as it was cut, uint8 RGB.
            weight (`np.ndarray` of shape `(drawn, drawn)`): How far it may cover the picture, from 0 to 1.
        """
        drawn, still, weight = (_resized(image, self.size) for image in (drawn, still, weight))
        height, width = picture.shape[:2]
        rows = slice(max(-self.top, 0), max(min(height - self.top, self.size), 0))
        columns = slice(max(-self.left, 0), max(min(width - self.left, self.size), 0))
        if rows.stop <= rows.start or columns.stop <= columns.start:
            return
        part = picture[
            self.top + rows.start : self.top + rows.stop, self.left + columns.start : self.left + columns.stop
        ]
        red, green, blue = cv2.split(cv2.absdiff(drawn, still))
        changed = (np.maximum(np.maximum(red, green), blue).astype(np.float32) - SAME) / (CHANGED - SAME)
        weight = np.ascontiguousarray((cv2.blur(changed.clip(0, 1), (3, 3)) * weight)[rows, columns])
        now = np.ascontiguousarray(drawn[rows, columns])
        part[:] = cv2.blendLinear(now, np.ascontiguousarray(part), weight, 1 - weight)


def _resized(image: np.ndarray, size: int) -> np.ndarray:
    if len(image) == size:
        return np.ascontiguousarray(image)
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if size < len(image) else cv2.INTER_CUBIC)


def pose_in_picture(pose: HeadPose, quad: np.ndarray) -> HeadPose:
    """A pose in pixels of the picture, from one in a crop `(4, 2)` of it."""
    return HeadPose(_turn(quad) @ pose.turn, pose.scale * quad_size(quad), from_crop(pose.center, quad))


def pose_in_crop(pose: HeadPose, quad: np.ndarray) -> HeadPose:
    """A pose in a crop `(4, 2)` of a picture, from one in the picture's pixels: the inverse of `pose_in_picture`."""
    return HeadPose(_turn(quad).T @ pose.turn, pose.scale / quad_size(quad), to_crop(pose.center, quad))


def _turn(quad: np.ndarray) -> np.ndarray:
    """The rotation `(3, 3)` from a crop to its picture."""
    turn = np.eye(3)
    turn[:2, :2] = quad_frame(quad)[1] / quad_size(quad)
    return turn


class HeadInPicture:
    """A head of a picture that can be drawn in another pose, with another expression.

    Args:
        picture (`np.ndarray` of shape `(height, width, 3)`): uint8 RGB; it shows the head.
        window (`Window`): What of it may change.
        points (`np.ndarray` of shape `(478, 3)`): The face in pixels of the picture, see `vivface.warping.mesh`.
        free (`np.ndarray` of shape `(drawn, drawn)`, *optional*): How far each pixel of the window may move, from 0 to
            1; all of them by default.
        still (`bool`, *optional*, defaults to False): Whether the head stays where it is, so that no part of it comes
            to light that the picture does not show.
        matte (`bool`, *optional*, defaults to True): Whether the head moves before its background, see
            `PhotoCompositor`; else the background around it moves with it.
        mouth (`MouthLayer`, *optional*): The inside of the mouth; by default what this picture shows of it.
        eyes (`HeadInPicture`, *optional*): Another picture of this head, which shows the eyes open.
    """

    def __init__(
        self,
        picture: np.ndarray,
        window: Window,
        points: np.ndarray,
        free: np.ndarray | None = None,
        still: bool = False,
        matte: bool = True,
        mouth: MouthLayer | None = None,
        eyes: HeadInPicture | None = None,
    ):
        self.window = window
        wide = window.cut(picture, SURROUNDINGS)
        eyes = None if eyes is None else eyes.compositor
        points = to_crop(points, window.quad)
        self.compositor = BoundedCompositor(wide, points, window.drawn, free, matte and not still, mouth, eyes)
        if still:
            self.compositor.surface.hold()
        self._still = self.compositor.unmoved()
        self._weight = inside(window.drawn)

    def draw(self, picture: np.ndarray, shape: np.ndarray, pose: HeadPose) -> None:
        """Draw the head into a picture.

        Args:
            picture (`np.ndarray` of shape `(height, width, 3)`): uint8 RGB, of the size of the head's own, changed in
                place.
            shape (`np.ndarray` of shape `(478, 3)`): The face in millimetres.
            pose (`HeadPose`): Where it is, in pixels of the picture.
        """
        drawn = self.compositor(shape, pose_in_crop(pose, self.window.quad))
        self.window.put(picture, drawn, self._still, self._weight)


class BoundedCompositor(PhotoCompositor):
    """A photograph whose pixels move as far as they are free to; see `HeadInPicture`."""

    def __init__(
        self,
        photo: np.ndarray,
        points: np.ndarray,
        size: int,
        free: np.ndarray | None = None,
        matte: bool = True,
        mouth: MouthLayer | None = None,
        eyes: PhotoCompositor | None = None,
    ):
        super().__init__(photo, points, size, beyond=0.0, matte=matte, mouth=mouth)
        self._free, self._eyes = free, eyes

    def unmoved(self) -> np.ndarray:
        """The photograph as its layers give it, uint8 RGB `(size, size, 3)`."""
        picture = self.photo if self._layers is None else self._layers.person
        border = (len(picture) - self.size) // 2
        picture = np.ascontiguousarray(picture[border : border + self.size, border : border + self.size])
        return picture if self._layers is None else blended(picture, self._plate)

    def _positions(self, shown: np.ndarray, tables: np.ndarray, box: Box, size: int) -> np.ndarray:
        where = super()._positions(shown, tables, box, size)
        if self._free is None:
            return where
        left, top, right, bottom = box
        free = cv2.resize(self._free, (size, size), interpolation=cv2.INTER_LINEAR)[top:bottom, left:right, None]
        x, y = ((np.arange(*ends, dtype=np.float32) + 0.5) / size for ends in ((left, right), (top, bottom)))
        here = np.stack(np.broadcast_arrays(x[None], y[:, None]), -1)
        where[..., :2] = here + free * (where[..., :2] - here)
        where[..., 4:] *= free
        return where

    def _drawn_out(self, target: np.ndarray, tables: np.ndarray, shown: np.ndarray) -> list[DrawnOut]:
        found = super()._drawn_out(target, tables, shown)
        if not found or self._free is None:
            return found
        free = cv2.resize(self._free, (self.size, self.size), interpolation=cv2.INTER_LINEAR)
        return [(box, share * free[box[1] : box[3], box[0] : box[2]]) for box, share in found]

    def _eye(self, frame: np.ndarray, side: int, shape: np.ndarray, pose: HeadPose) -> None:
        if self._eyes is None:
            super()._eye(frame, side, shape, pose)
        else:
            self._eyes._eye(frame, side, shape, pose)


def inside(size: int) -> np.ndarray:
    """1 inside of a square, `(size, size)`, fading at its border."""
    from_border = np.minimum(np.arange(size), np.arange(size)[::-1]) / (FADING * size)
    return np.minimum.outer(from_border, from_border).clip(0, 1).astype(np.float32)
