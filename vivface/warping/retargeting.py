"""From the driver's face to the portrait's: the same expression and pose, on another shape.

Movements are those of the driver's points against the driver's own face at rest, in millimetres of the mean face. Two
things do not add up between faces and are set outright: how far the lips are apart, so that lips meet when the driver's
do whatever the portrait showed, and how far the lids are open as a share of the open eye. Where portrait and driver at
rest wear different expressions, the difference is estimated from their shapes and taken back, so that a smile of the
portrait does not stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import cv2
import numpy as np
from safetensors.numpy import load

from vivface.faces.alignment import quad_center, quad_size
from vivface.faces.crops import face_quad
from vivface.faces.pose import HeadPose, angles_of, turn_of
from vivface.warping.gaps import (
    LOWER_SHARE,
    both_sides,
    least_lids,
    lid_gaps,
    lip_gaps,
    lip_weights,
    mouth_corner_weights,
    mouth_width,
    open_lids,
    with_lid_gaps,
)
from vivface.warping.jaw import CHIN, CHIN_SHARE, gap_of_jaw, gap_of_own_jaw, with_jaw_down
from vivface.warping.lip_thickness import with_fuller_lips, with_own_lower_lip
from vivface.warping.mesh import (
    IRISES,
    LID_CORNERS,
    MESH,
    UPPER_LIP,
    PosedFace,
    landmarks_of,
    step,
)
from vivface.warping.neutral import MOST_SHUT, mean_lip_gaps, neutral_shape
from vivface.warping.regions import part_weights

NOSE = 2  # point of the mesh: where the nose meets the lip
REST_FRAMES, MOST_REST_FRAMES = 25, 100  # from which the face at rest is taken: more where no lips have met by then
OPEN_LIDS = 75  # percentile of the lids' gaps in these frames that is an open eye
SMILES = (0, 1, 2)  # expressions of `expression.safetensors` that are smiles: left, right, with teeth
SHUT_LIDS = 0.14  # share of the open eye at which the network sees shut lids
NARROW_LIDS = 0.6  # of the driver's open lids, how far the portrait's are open at least
LID_GAIN = 1.25  # how much more lids move than the network sees
BROW_GAIN = 0.35  # how much more brows and forehead move, or they would be read as moving three quarters of the way
WINK = (0.25, 0.45)  # difference of an eye from the mean of both, of the wider one: from here and there on, a wink
MOST_WIDER = 5.0  # millimetres that an eye may open beyond rest
SHUT_LIPS = (0.2, MOST_SHUT)  # millimetres between lips that touch, as the network sees them: least and most
HIGHEST_LIP = 0.6  # of the way from nose to upper lip that is left at least when the lip is lifted
PARTED, OWN_RATIO = 1.0, (0.5, 2.0)  # millimetres from which a portrait's lips part; of gaps shown and seen
MOUTH_RATIO = (0.85, 1.05)  # how much less or more than the driver's lips those of a wider mouth part
FACE_RATIO, FACE_FROM = (0.7, 1.0), (8.0, 30.0)  # the same of a lower half of a face; gaps: it does not count, it does
TURNS = (0.9, 1.08, 1.0)  # true yaw, pitch, roll, of those that the mesh shows
TURNED = np.radians((6.0, 8.0))  # yaw and pitch from where on a portrait stays turned away from the driver ...
MOST_TURNED = np.radians((18.0, 12.0))  # ... and by how much at most
WIDEST = 1.08  # of the wider one of the portrait's and the driver's mouth, how wide a mouth gets
SMILING_FROM, SMILING_SHARE = 49.0, 0.5  # millimetres of a mouth's width that smile; share of what is more
MOST_GAZE = 4.0  # millimetres that an iris may move


@dataclass(frozen=True)
class Rest:
    """A driver's face at rest.

    Attributes:
        shape (`np.ndarray` of shape `(478, 3)`): See `PosedFace`.
        lids (`np.ndarray` of shape `(2,)`): Gap of the open lids, right and left, millimetres.
        lips (`float`): Gap at which the network sees this driver's lips touch, millimetres.
        pose (`HeadPose`): Of the first frame, where relative motion starts.
        first (`np.ndarray` of shape `(478, 3)`): Shape of the first frame, by which the driver's crop was cut.
        looks (`np.ndarray` of shape `(2,)`): True yaw and pitch of the frames, their medians, radians.
    """

    shape: np.ndarray
    lids: np.ndarray
    lips: float
    pose: HeadPose
    first: np.ndarray
    looks: np.ndarray

    @classmethod
    def of(cls, frames: np.ndarray) -> Rest:
        """The face at rest of some points `(T, 478, 3)` of a driver, see `vivface.warping.neutral`."""
        faces = [PosedFace.of(points) for points in frames]
        shapes = np.stack([face.shape for face in faces])
        gaps = np.array([lid_gaps(shape) for shape in shapes])
        smiles = _read_expressions(shapes - shapes[:1])[:, SMILES].mean(1)
        shape = neutral_shape(shapes, gaps, smiles)
        touching = float(np.clip(np.percentile(mean_lip_gaps(shapes), 10), *SHUT_LIPS))
        lids = np.maximum(np.percentile(gaps, OPEN_LIDS, axis=0), least_lids(shape))
        looks = np.median([_true_angles(face.pose.turn)[:2] for face in faces], axis=0)
        return cls(shape, lids, touching, faces[0].pose, shapes[0], looks)

    def smile(self, shape: np.ndarray) -> float:
        """How much more a face `(478, 3)` smiles: 0 not at all, 1 as far as rendered people do."""
        return float(_read_expressions((shape - self.shape)[None])[0, SMILES].mean())

    @classmethod
    def at(cls, points: np.ndarray) -> Rest:
        """A face `(478, 3)` as it is, where it is known which frame the portrait shows."""
        face = PosedFace.of(points)
        lids, looks = np.maximum(lid_gaps(face.shape), least_lids(face.shape)), _true_angles(face.pose.turn)[:2]
        return cls(face.shape, lids, SHUT_LIPS[0], face.pose, face.shape, looks)


def rest_is_seen(frames: np.ndarray) -> bool:
    """Whether the lips of a driver's points `(T, 478, 3)` met and its lids were open: then the face at rest is seen."""
    shapes = np.stack([PosedFace.of(points).shape for points in frames])
    opened = np.percentile([lid_gaps(shape) for shape in shapes], 75, axis=0)
    met = float(np.percentile(mean_lip_gaps(shapes), 10)) <= SHUT_LIPS[1]
    return met and bool(opened.mean() >= least_lids(shapes[0]).mean())


def expression_between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """How the first face would move to wear the second's expression, as far as shapes tell: `(478, 3)`, millimetres.

    A linear estimate that `training/tools/fit_warping.py` fitted to rendered people: what is due to the people and not
    to their expression is left alone, and what is uncertain comes out too small. The width of a smile would: so it is
    that of the mouths, see `_widened`.
    """
    moved = (_read_expressions((second - first)[None])[0] @ _expression()["move"].astype(np.float64)).reshape(MESH, 3)
    moved[:, 0] += mouth_corner_weights() * (_widened(first) - _widened(second)) / 2
    return np.concatenate([moved, np.zeros((len(first) - MESH, 3))])


def _widened(shape: np.ndarray) -> float:
    """How much of a mouth's width is a smile, millimetres: hardly any mouth is as wide as that at rest."""
    return SMILING_SHARE * max(float(mouth_width(shape)) - SMILING_FROM, 0.0)


def _read_expressions(differences: np.ndarray) -> np.ndarray:
    """How much of each expression lies in differences `(T, 478, 3)` of shapes: `(T, 5)`."""
    return differences[:, :MESH].reshape(len(differences), -1) @ _expression()["read"].astype(np.float64)


@cache
def _expression() -> dict[str, np.ndarray]:
    return load((files("vivface.warping") / "expression.safetensors").read_bytes())


def lips_apart(shape: np.ndarray, rest: Rest) -> np.ndarray:
    """How far a driver's lips are apart `(9,)`, millimetres, 0 where they touch."""
    return np.maximum(lip_gaps(shape) - rest.lips, 0)


def frontal_placement(shape: np.ndarray, crop: str) -> tuple[np.ndarray, float]:
    """Where a crop would hold a face that looks into the camera: centre `(2,)` of its pose, and its scale."""
    quad = face_quad(landmarks_of(shape), crop)
    side = quad_size(quad)
    return (np.zeros(2) - quad_center(quad)) / side + 0.5, 1 / side


class Retargeting:
    """Carry a driver's points over to a portrait.

    Args:
        portrait (`np.ndarray` of shape `(478, 3)`): Points in the portrait's crop.
        rest (`Rest`): The driver's face at rest.
        relative (`bool`, *optional*, defaults to False): Add the driver's changes to the portrait's own pose.
        strength (`float`, *optional*, defaults to 1.0): How far to go from the portrait's own face to the driver's.
        crops (`tuple[str, str]`, *optional*): How portrait and driver are cut: keys of `vivface.faces.crops.CROPS`.
        seen (`np.ndarray` of shape `(478, 3)`, *optional*): The portrait's points as the network sees them, if it is
            given others: its expression is read from these.
        stay_turned (`bool`, *optional*, defaults to True): Go only a part of the way to the driver's direction where
            the portrait is turned away from it.
    """

    def __init__(
        self,
        portrait: np.ndarray,
        rest: Rest,
        relative: bool = False,
        strength: float = 1.0,
        crops: tuple[str, str] = ("ffhq", "ffhq"),
        seen: np.ndarray | None = None,
        stay_turned: bool = True,
    ):
        self.portrait, self.rest, self.strength = PosedFace.of(portrait), rest, strength
        self.relative = relative
        shape = self.portrait.shape
        seen_shape = shape if seen is None else PosedFace.of(seen).shape
        self._center, self._scale = frontal_placement(shape, crops[0])
        self._driver_center, self._driver_scale = frontal_placement(rest.first, crops[1])
        self._lids = np.maximum(open_lids(shape), NARROW_LIDS * rest.lids)
        self._mouth = float(np.clip(mouth_width(shape) / mouth_width(rest.shape), *MOUTH_RATIO))
        self._jaw = gap_of_own_jaw(lip_gaps(shape))
        lower_face = _lower_face(shape, self._jaw) / _lower_face(rest.shape, gap_of_own_jaw(lip_gaps(rest.shape)))
        self._lower_face = float(np.clip(lower_face, *FACE_RATIO))
        apart = _true_angles(self.portrait.pose.turn)[:2] - rest.looks
        self._stays_turned = _stays_turned(apart) if stay_turned and not relative else np.eye(3)
        self._gaps, self._seen_gaps = lip_gaps(shape), np.maximum(lip_gaps(seen_shape) - SHUT_LIPS[0], 0)
        self._worn = np.zeros_like(shape)
        if not relative:
            self._worn = with_fuller_lips(shape + expression_between(seen_shape, rest.shape), shape) - shape

    def __call__(self, driver: np.ndarray) -> tuple[np.ndarray, HeadPose]:
        """The portrait's face under the driver's motion.

        Args:
            driver (`np.ndarray` of shape `(478, 3)`): Points in the driver's crop.

        Returns:
            `tuple[np.ndarray, HeadPose]`: Shape `(478, 3)` in millimetres and pose in the portrait's crop.
        """
        face = PosedFace.of(driver)
        own = self.portrait.shape
        shape = own + self._worn + (1 + BROW_GAIN * part_weights()[:, 2:]) * (face.shape - self.rest.shape)
        if not self.relative:
            shape = self._part_lips(shape, face.shape)
            shape = self._narrow_mouth(shape, face.shape)
        shape = self._open_lids(shape, face.shape)
        shape = self._look(shape, face.shape)
        return own + self.strength * (shape - own), self._pose(face.pose)

    def _pose(self, driver: HeadPose) -> HeadPose:
        own, rest, strength = self.portrait.pose, self.rest.pose, self.strength
        if self.relative:
            first, scale = rest, own.scale * driver.scale / rest.scale
            center = own.center[:2] + driver.center[:2] - rest.center[:2]
        else:
            first, scale = own, self._scale * driver.scale / self._driver_scale
            center = self._center + driver.center[:2] - self._driver_center
        turn = self._stays_turned @ true_turn(driver.turn) @ true_turn(first.turn).T @ own.turn
        return pose_between(own, HeadPose(turn, scale, np.concatenate([center, own.center[2:]])), strength)

    def _part_lips(self, shape: np.ndarray, driver: np.ndarray) -> np.ndarray:
        """Set the gap of the lips to the driver's; the jaw goes down with it."""
        wanted = lips_apart(driver, self.rest)
        wanted *= self._mouth + (self._lower_face - self._mouth) * step(wanted, *FACE_FROM)
        wanted = self._own_gaps(wanted)
        shape = with_jaw_down(shape, self.portrait.shape, gap_of_jaw(wanted, self.rest.smile(driver)) - self._jaw)
        change = wanted - lip_gaps(shape)  # (9,)
        weights = lip_weights()
        shape[:MESH, 1] += weights @ change
        room = _below_nose(self.portrait.shape + self._worn)
        room = room * np.clip(_below_nose(driver) / _below_nose(self.rest.shape), HIGHEST_LIP, 1)
        lifted = np.maximum(room - _below_nose(shape), 0)
        shape[:MESH, 1] += np.where(weights < 0, weights / (LOWER_SHARE - 1), weights / LOWER_SHARE) @ lifted
        return with_own_lower_lip(shape, self.portrait.shape, driver, self.rest.shape)

    def _narrow_mouth(self, shape: np.ndarray, driver: np.ndarray) -> np.ndarray:
        """Keep the corners of the mouth where those of a portrait can be: changes of two smiles add up to too much."""
        width, own = mouth_width(shape), mouth_width(self.portrait.shape)
        at_rest = mouth_width(self.portrait.shape + self._worn)
        wider = mouth_width(driver) / mouth_width(self.rest.shape)
        most = WIDEST * max(own, min(mouth_width(driver), at_rest * wider))
        if width > most:
            shape = shape.copy()
            shape[:MESH, 0] += mouth_corner_weights() * (width - most) / 2
        return shape

    def _own_gaps(self, wanted: np.ndarray) -> np.ndarray:
        """Gaps `(9,)` as the portrait has them: lips that part as far as the network sees the portrait's stay there."""
        own, seen = self._gaps, self._seen_gaps
        known = wanted * np.clip(own / np.maximum(seen, 1e-6), *OWN_RATIO)
        known = np.where(wanted < seen, known, wanted + own - seen)
        return np.where(seen > PARTED, known, wanted)

    def _open_lids(self, shape: np.ndarray, driver: np.ndarray) -> np.ndarray:
        """Open the lids as far as the driver's are: a share of the open eye, or wider; the upper lid moves."""
        share = _alike((lid_gaps(driver) / self.rest.lids - SHUT_LIDS) / (1 - SHUT_LIDS))
        share = 1 - LID_GAIN * (1 - share)
        wider = LID_GAIN * _alike(np.clip(lid_gaps(driver) - self.rest.lids, 0, MOST_WIDER))
        wanted = np.clip(share, 0, 1) * self._lids + wider
        return with_lid_gaps(shape, wanted)

    def _look(self, shape: np.ndarray, driver: np.ndarray) -> np.ndarray:
        """Look where the driver looks: the irises lie between the corners of the eyes as the driver's do."""
        shape = shape.copy()
        for side, iris in enumerate(IRISES):
            corners = both_sides(LID_CORNERS)[side]
            offset = driver[iris][0] - driver[corners].mean(0)
            own = self.portrait.shape[iris] - self.portrait.shape[corners].mean(0)
            change = np.clip(offset[:2] - own[0, :2], -MOST_GAZE, MOST_GAZE)
            shape[iris, :2] = shape[corners, :2].mean(0) + own[:, :2] + change
        return shape


def _alike(both: np.ndarray) -> np.ndarray:
    """Values of both eyes `(2,)`, the same unless they differ much, as in a wink: single eyes are seen less surely."""
    mean = both.mean()
    apart = np.abs(both - mean) / max(np.abs(both).max(), 1e-6)
    return mean + (both - mean) * ((apart - WINK[0]) / (WINK[1] - WINK[0])).clip(0, 1)


def true_turn(turn: np.ndarray) -> np.ndarray:
    """How far a head `(3, 3)` is really turned: on renders the mesh moves noses too far aside, and too little down."""
    return turn_of(_true_angles(turn))


def _true_angles(turn: np.ndarray) -> np.ndarray:
    return angles_of(turn) * TURNS


def _stays_turned(apart: np.ndarray) -> np.ndarray:
    """How far a portrait `(3, 3)` stays turned, for yaw and pitch `(2,)` between it and the driver, radians.

    A photograph does not show the far side of a turned face. So only a part of the way to the driver's direction is
    gone; from there on the portrait turns as the driver does. One that is nearly a profile goes the rest of the way,
    too, or it would turn out of sight.
    """
    stays = apart - np.clip(apart, -TURNED, TURNED)
    return turn_of(np.append(np.clip(stays, -MOST_TURNED, MOST_TURNED), 0.0))


def pose_between(first: HeadPose, second: HeadPose, share: float) -> HeadPose:
    """A share of the way from one pose to another; 0 is the first, 1 the second, beyond 1 farther."""
    if share == 1:
        return second
    turn = cv2.Rodrigues(cv2.Rodrigues(second.turn @ first.turn.T)[0] * share)[0] @ first.turn
    scale = first.scale * (second.scale / first.scale) ** share
    return HeadPose(turn, scale, first.center + share * (second.center - first.center))


def _below_nose(shape: np.ndarray) -> np.ndarray:
    """How far the upper lip is below the nose `(9,)`, millimetres."""
    return shape[UPPER_LIP, 1] - shape[NOSE, 1]


def _lower_face(shape: np.ndarray, jaw: float) -> float:
    """From the nose to the chin of a face whose jaw is open by `jaw`, if it were shut: millimetres."""
    return float(shape[CHIN[-1], 1] - shape[NOSE, 1]) - CHIN_SHARE * jaw
