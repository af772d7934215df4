"""The face of a film under another driver's expression: every frame is the photograph of its own moment.

What the film's face does is taken back and the driver's expression put in its place. The photograph changes with every
frame, so what a single frame may lack is remembered: the inside of the mouth, and how the open eyes look.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from vivface.faces.alignment import to_crop
from vivface.faces.pose import HeadPose
from vivface.warping.gaps import lip_gaps, with_lip_gaps
from vivface.warping.head_window import HeadInPicture, Window, pose_in_picture
from vivface.warping.jaw import gap_of_jaw, with_jaw_down
from vivface.warping.lip_thickness import with_own_lower_lip
from vivface.warping.lips import fit_lips
from vivface.warping.mesh import (
    LOWER_LID,
    MESH,
    MOUTH_CORNERS,
    POINTS,
    UPPER_LID,
    PosedFace,
    from_outline,
    lip_loop,
    mirror,
    place,
    step,
    triangles,
)
from vivface.warping.mouth import OTHER, SAME, MouthLayer
from vivface.warping.parts import AS_DRIVEN, PartMotion, Parts
from vivface.warping.retargeting import Rest, Retargeting, expression_between, lid_gaps, lips_apart
from vivface.warping.surface import facing

OUTLINE = (4.0, 30.0)  # millimetres from the rim of the face within which only an expression is taken back, and beyond
STAYS = (0.0, 15.0)  # millimetres from the rim within which nothing moves if the head stays, and beyond which all does
JAW = (0.0, 20.0)  # millimetres below the lips' corners from where the rim moves, too: it is the jaw
TURNED, INNER = (-0.1, 0.25), (15.0, 35.0)  # cosines to the camera and millimetres from the rim: where points near the
# rim turn away they stay, lest an outline is torn
LIPS_FOLLOW = 0.4  # of the way from frame to frame that the rim of the lips, as the picture shows it, follows
WIDE = (4.0, 9.0)  # millimetres between the lips: below, their rim is where the picture shows it; above, tongue and
# teeth deceive, and it is as far apart as the mesh is known to be wrong
OPEN, SHUT = 0.8, 0.6  # of the open eye: lids above show an eye worth remembering, below the remembered one is drawn
FADE_OUT = 0.8  # from frame to frame, how much of the drawn inside of a mouth stays once the film shows the same
FRONTAL = HeadPose(np.eye(3), 1 / 250, np.array([0.5, 0.5, 0.0]))


class FilmHead:
    """One head of a film.

    Args:
        own (`Rest`): The film's face at rest.
        rest (`Rest`): The driver's face at rest.
        relative (`bool`, *optional*, defaults to False): Add the driver's changes to what the film's face does.
        strength (`float`, *optional*, defaults to 1.0): How far to go from the film's own expression to that.
        replace_pose (`bool`, *optional*, defaults to False): Turn the head as the driver does, instead of as it turns.
        parts (`Parts`, *optional*): Strengths of the parts of the motion; 0 leaves a part to the film.
        crop (`str`, *optional*): How the driver is cut: a key of `vivface.faces.crops.CROPS`.
    """

    def __init__(
        self,
        own: Rest,
        rest: Rest,
        relative: bool = False,
        strength: float = 1.0,
        replace_pose: bool = False,
        parts: Parts = AS_DRIVEN,
        crop: str = "stable",
    ):
        self._own, self._rest, self._relative, self._strength = _with_open_lids(own), rest, relative, strength
        self._parts, self._motion = parts, None
        self._replace_pose, self._crops = replace_pose, ("stable", crop)
        self._lips: np.ndarray | None = None  # from the mesh to the rim that the picture shows, millimetres ...
        self._lips_at_rest = np.zeros_like(own.shape)  # ... and of shut lips
        self._mouth: RememberedMouth | None = None
        self._eyes: HeadInPicture | None = None

    def _retarget(self, shape: np.ndarray, seen: np.ndarray) -> Retargeting:
        shape, seen = (place(one, FRONTAL) for one in (shape, seen))
        return Retargeting(shape, self._rest, self._relative, 1.0, self._crops, seen, stay_turned=False)

    def remember_eyes(self, image: np.ndarray, face: PosedFace, quad: np.ndarray) -> None:
        """Take the eyes from a frame, see `draw`; from one in which they are open."""
        mouth = self._mouth  # of no use there
        self._eyes = HeadInPicture(image, Window.around(quad), place(face.shape, face.pose), still=True, mouth=mouth)

    def remember_lips(self, image: np.ndarray, face: PosedFace, quad: np.ndarray) -> None:
        """Take the rim of the lips from a frame in which they are shut, or nearly so."""
        self._lips_at_rest = _rim_of_lips(image, face, Window.around(quad))

    def remember_mouth(self, image: np.ndarray, face: PosedFace, quad: np.ndarray) -> None:
        """Take the inside of the mouth from a frame, see `draw`; best from one whose mouth is open."""
        window = Window.around(quad)
        crop, points = window.cut(image), to_crop(place(face.shape, face.pose), window.quad)
        self._mouth = RememberedMouth(crop, fit_lips(crop, points), lip_loop())

    def draw(
        self,
        image: np.ndarray,
        face: PosedFace,
        quad: np.ndarray,
        driver: np.ndarray,
        free: np.ndarray | None,
        anew: bool,
        seconds: float,
    ) -> np.ndarray:
        """A frame with the driver's expression.

        Args:
            image (`np.ndarray` of shape `(height, width, 3)`): The frame, uint8 RGB; it stays as it is.
            face (`PosedFace`): Its face, in pixels.
            quad (`np.ndarray` of shape `(4, 2)`): The crop around it, pixels.
            driver (`np.ndarray` of shape `(478, 3)`): Points in the driver's crop.
            free (`np.ndarray`, *optional*): What of the window may move, see `HeadInPicture`.
            anew (`bool`): Whether the face was just found, as after a cut.
            seconds (`float`): When the frame is shown.

        Returns:
            `np.ndarray` of shape `(height, width, 3)`: uint8 RGB.
        """
        window = Window.around(quad)
        if anew:
            self._lips = None
        if self._mouth is None:
            self.remember_mouth(image, face, quad)
        shown = PosedFace(self._with_lips(image, face, window), face.pose)
        shape, pose = self._target(shown, face.shape, quad, driver)
        if self._parts.changes:
            shape, pose = self._in_parts(shown)(shape, pose, seconds)
        self._mouth.see(shown.shape)
        lids = lid_gaps(face.shape) / np.maximum(self._own.lids, 1e-6)
        eyes = self._eyes if lids.min() < SHUT else None
        points, stays = place(shown.shape, shown.pose), not self._replace_pose
        head = HeadInPicture(image, window, points, free, stays, matte=False, mouth=self._mouth, eyes=eyes)
        if lids.min() > OPEN:
            self._eyes = head
        picture = image.copy()
        head.draw(picture, shape, pose)
        return picture

    def _with_lips(self, image: np.ndarray, face: PosedFace, window: Window) -> np.ndarray:
        """The shape with the rim of the lips where it is, which follows slowly."""
        fitted = _rim_of_lips(image, face, window)
        self._lips = fitted if self._lips is None else self._lips + LIPS_FOLLOW * (fitted - self._lips)
        wide = float(step(lip_gaps(face.shape).max(), *WIDE))
        shape = face.shape + (1 - wide) * self._lips + wide * self._lips_at_rest
        seen, parted = lip_gaps(shape), lips_apart(face.shape, self._own)
        shape = with_jaw_down(shape, self._own.shape, gap_of_jaw(parted, self._own.smile(face.shape)))
        shape = with_lip_gaps(shape, seen + wide * np.maximum(parted - seen, 0))
        return with_own_lower_lip(shape, self._own.shape, self._own.shape, self._own.shape)

    def _target(
        self, shown: PosedFace, seen: np.ndarray, quad: np.ndarray, driver: np.ndarray
    ) -> tuple[np.ndarray, HeadPose]:
        """Shape in millimetres and pose in pixels that the frame's face is to have; `seen` is its mesh."""
        if self._relative:
            shape, pose = self._retarget(shown.shape, shown.shape)(driver)
        else:
            shape, pose = self._retarget(self._own.shape + self._lips_at_rest, self._own.shape)(driver)
            shape = shape + _rim()[:, None] * (self._kept(seen) - self._own.shape)
        change = self._strength * (shape - shown.shape)
        if self._replace_pose:
            return shown.shape + change, pose_in_picture(pose, quad)
        return shown.shape + moves(place(shown.shape, shown.pose))[:, None] * change, shown.pose

    def _in_parts(self, shown: PosedFace) -> PartMotion:
        if self._motion is None:
            self._motion = PartMotion(self._parts, shown)
        self._motion.portrait = shown
        return self._motion

    def _kept(self, shape: np.ndarray) -> np.ndarray:
        """A frame's shape without its expression."""
        return shape + expression_between(shape, self._own.shape)


class RememberedMouth(MouthLayer):
    """The inside of a mouth from one frame of a film, drawn where later frames show another opening."""

    _seen: np.ndarray | None = None
    _strength = 0.0

    def see(self, shape: np.ndarray) -> None:
        """Take note of what the present frame shows: its shape `(478, 3)`, millimetres."""
        self._seen = lip_gaps(shape)

    def strength(self, shape: np.ndarray) -> float:
        """As `MouthLayer.strength`, against the present frame; it comes at once and fades slowly, lest it flickers."""
        wanted = float(step(np.abs(lip_gaps(shape) - self._seen).max(), SAME, OTHER))
        self._strength = max(wanted, FADE_OUT * self._strength)
        return self._strength


def _rim_of_lips(image: np.ndarray, face: PosedFace, window: Window) -> np.ndarray:
    """From the lips of the mesh to the rim that a picture shows: `(478, 3)`, millimetres."""
    points = to_crop(place(face.shape, face.pose), window.quad)
    return PosedFace.of(fit_lips(window.cut(image), points)).shape - PosedFace.of(points).shape


def _with_open_lids(rest: Rest) -> Rest:
    """A face at rest whose lids are as far apart as they are when the eyes are open."""
    shape = rest.shape.copy()
    for side, gap in enumerate(lid_gaps(shape)):
        upper, lower = (([points, mirror()[points]])[side] for points in (UPPER_LID, LOWER_LID))
        wider = max(rest.lids[side] / max(gap, 0.3), 1.0)
        shape[upper, 1] = shape[lower, 1] - wider * (shape[lower, 1] - shape[upper, 1])
    return replace(rest, shape=shape)


def moves(points: np.ndarray) -> np.ndarray:
    """How far points `(478, 3)` of a head that stays may move `(478,)`: all inside of the face, and the jaw."""
    layout = triangles().layout
    below = step(layout[:, 1] - layout[MOUTH_CORNERS, 1].mean(), *JAW)
    inner = np.maximum(step(from_outline(), *STAYS), below)
    faces = np.maximum(step(facing(points[:MESH]), *TURNED), step(from_outline(), *INNER))
    return np.concatenate([inner * faces, np.ones(POINTS - MESH)])


@cache
def _rim() -> np.ndarray:
    """`(478,)`: 1 at the outline of the face, where the networks see a pose as a change of shape, 0 farther inside."""
    return np.concatenate([1 - step(from_outline(), *OUTLINE), np.zeros(POINTS - MESH)])
