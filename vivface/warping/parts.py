"""Which parts of a driver's motion are taken, and how strong: mouth, eyes, brows and pose.

A part of strength 0 stays as the portrait shows it, 1 follows the driver, more goes beyond. Beyond 1 it is what the
driver does that grows, not the way from the portrait: lips and lids that meet go on meeting.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, fields

import numpy as np

from vivface.errors import OptionError
from vivface.faces.pose import HeadPose
from vivface.warping.gaps import lip_gaps, with_lid_gaps, with_lip_gaps
from vivface.warping.gaze import EyeContact
from vivface.warping.mesh import PosedFace
from vivface.warping.regions import PARTS, part_weights
from vivface.warping.retargeting import lid_gaps, pose_between

MAX_PART = 3.0
MAX_BLINK_RATE = 60.0
BLINK_SECONDS = (0.1, 0.05, 0.2)  # lids fall, stay shut, rise
SPREAD = 4.0  # shape of the gamma distribution of the pauses between blinks: 1 is by mere chance, more is more regular
OPEN_SECONDS = 1.0  # over which a driver's open lids are seen
OPEN, SHARE_OPEN = 80, 0.9  # percentile of the lids' gaps in that time; the share of it below which lids are not let


def _between(value: object, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most


@dataclass(frozen=True)
class Parts:
    """Strengths of the parts of a motion, and what is to be held whatever the driver does.

    Attributes:
        mouth, eyes, brows, pose (`float`): 0 keeps the portrait's own, 1 is the driver's motion, 3 at most. The mouth
            has nose, cheeks and jaw with it, the eyes are lids and gaze, pose is turn, place and size of the head.
        keep_lips_shut (`bool`): Lips stay shut.
        eye_contact (`bool`): The eyes look into the camera however the head turns.
        blink_rate (`float`, *optional*): Blinks a minute, 0 to 60, instead of the driver's short ones; with `eyes` 0
            beside the portrait's own lids. None leaves blinking alone.
        seed (`int`): Of the times of these blinks.

    Raises:
        OptionError: If a value is out of its range.
    """

    mouth: float = 1.0
    eyes: float = 1.0
    brows: float = 1.0
    pose: float = 1.0
    keep_lips_shut: bool = False
    eye_contact: bool = False
    blink_rate: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in (*PARTS, "pose"):
            if not _between(getattr(self, name), MAX_PART):
                raise OptionError(
                    f"`{name}` is {getattr(self, name)!r}; expected 0 (the portrait's own) to {MAX_PART:g}, 1 for the "
                    "driver's motion."
                )
        for name in ("keep_lips_shut", "eye_contact"):
            if not isinstance(getattr(self, name), bool):
                raise OptionError(f"`{name}` is {getattr(self, name)!r}; expected true or false.")
        if self.blink_rate is not None and not _between(self.blink_rate, MAX_BLINK_RATE):
            raise OptionError(f"`blink_rate` is {self.blink_rate!r}; expected 0 to {MAX_BLINK_RATE:g} blinks a minute.")

    @property
    def changes(self) -> bool:
        """Whether anything differs from the driver's motion."""
        return any(getattr(self, item.name) != item.default for item in fields(self) if item.name != "seed")

    @property
    def expression(self) -> float | None:
        """The strength of the whole expression; None where its parts differ or something is held."""
        held = self.keep_lips_shut or self.eye_contact or self.blink_rate is not None
        return None if held or not self.mouth == self.eyes == self.brows else self.mouth


AS_DRIVEN = Parts()


class PartMotion:
    """A portrait's motion with its parts in other strengths, frame after frame.

    Args:
        parts (`Parts`): How strong.
        portrait (`PosedFace`): The portrait's own face.
    """

    def __init__(self, parts: Parts, portrait: PosedFace):
        self.parts, self.portrait = parts, portrait
        strengths = np.array([parts.mouth, parts.eyes, parts.brows])
        self._strengths = (part_weights() @ strengths)[:, None]  # (478, 1)
        self._contact = EyeContact(portrait.shape, portrait.pose) if parts.eye_contact else None
        self._seen: deque[tuple[float, np.ndarray]] = deque()  # gaps of the lids in the last second
        self._blinks = None if parts.blink_rate is None else Blinks(parts.blink_rate, parts.seed)

    def __call__(self, shape: np.ndarray, pose: HeadPose, seconds: float) -> tuple[np.ndarray, HeadPose]:
        """One frame.

        Args:
            shape (`np.ndarray` of shape `(478, 3)`), pose (`HeadPose`): The portrait under the driver's motion.
            seconds (`float`): When the frame is shown; never earlier than the frame before.
        """
        parts, own = self.parts, self.portrait.shape
        moved = own + self._strengths * (shape - own)
        pose = pose_between(self.portrait.pose, pose, parts.pose)
        if parts.keep_lips_shut:
            moved = with_lip_gaps(moved, np.zeros(9))
        elif parts.mouth > 1:
            moved = with_lip_gaps(moved, np.maximum(parts.mouth * lip_gaps(shape), 0))
        if parts.eyes > 1:
            moved = with_lid_gaps(moved, np.maximum(lid_gaps(moved), 0))
        if self._blinks is not None:
            moved = with_lid_gaps(moved, self._without_blinks(lid_gaps(moved), seconds) * (1 - self._blinks(seconds)))
        if self._contact is not None:
            moved = self._contact(moved, pose)
        return moved, pose

    def _without_blinks(self, gaps: np.ndarray, seconds: float) -> np.ndarray:
        """Gaps `(2,)` of the lids without short closings: no smaller than they were for most of the last second."""
        self._seen.append((seconds, gaps))
        while self._seen[0][0] < seconds - OPEN_SECONDS:
            self._seen.popleft()
        return np.maximum(gaps, SHARE_OPEN * np.percentile([seen for _, seen in self._seen], OPEN, axis=0))


class Blinks:
    """Blinks at times that a seed gives.

    Args:
        rate (`float`): Blinks a minute on the mean.
        seed (`int`): Of their times.
    """

    def __init__(self, rate: float, seed: int):
        self._rng = np.random.default_rng([seed, 7])
        self._pause = 60 / rate if rate > 0 else np.inf
        self._begin, self._next = -np.inf, self._drawn() * 0.5  # of the blink that goes on, and of the one to come

    def __call__(self, seconds: float) -> float:
        """How far lids are shut at a time, 0 to 1; times must not go back."""
        while self._next <= seconds:
            self._begin, self._next = self._next, self._next + max(self._drawn(), sum(BLINK_SECONDS))
        since = seconds - self._begin
        fall, shut, rise = BLINK_SECONDS
        share = np.interp(since, [0, fall, fall + shut, fall + shut + rise], [0.0, 1.0, 1.0, 0.0])
        return float(share * share * (3 - 2 * share))

    def _drawn(self) -> float:
        return self._rng.gamma(SPREAD) / SPREAD * self._pause
