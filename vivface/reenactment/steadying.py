"""A driver's points without trembling: every frame is read together with those before and after it.

The networks read every frame anew, so that a head that holds still trembles by a fraction of a millimetre. Around every
frame a parabola over time is fitted by least squares, and gives its pose and its shape: movements keep their speed and
their extremes, and nothing lags. Lips and lids, which move fast, are read from a shorter time. (Savitzky and Golay,
Smoothing and Differentiation of Data by Simplified Least Squares Procedures, 1964.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

from vivface.faces.pose import HeadPose
from vivface.faces.smoothing import OneEuroFilter
from vivface.reenactment.driving import DrivingFrame
from vivface.reenactment.streams import with_neighbours
from vivface.warping.mesh import PosedFace, place
from vivface.warping.regions import quickness

REACH, QUICK_REACH = 0.125, 0.085  # seconds before and after a frame: of pose and skin, and of lips, lids and irises
MOST = 8  # frames before and after at most, whatever the frame rate
LEAST = 5  # frames from which a parabola is not simply their points
# Without the frames to come: cut-off in Hz of what stands still, and its rise per radian, e-fold, crop or millimetre a
# second, of turn, size, place and skin.
CAUSAL = ((3.0, 23.0), (2.0, 10.0), (3.0, 30.0), (3.0, 0.3))
SPEED_CUTOFF = 8.0  # Hz
CUT = 0.06  # crops that points move on average from one frame to the next, from which on it is another take


@dataclass(frozen=True)
class _Reading:
    """A frame, and the numbers of its face: turn against a reference, logarithm of the scale, centre, shape."""

    frame: DrivingFrame
    time: float
    anew: bool = True
    reference: np.ndarray | None = None
    pose: np.ndarray | None = None
    shape: np.ndarray | None = None


def steady_points(frames: Iterator[DrivingFrame]) -> Iterator[DrivingFrame]:
    """The same frames with steadied points, as lazy as they were but for a few frames.

    Frames in which no face was found stay as they are. Nothing is shared across a cut: where the face had to be
    searched, or jumps.

    Args:
        frames (iterator of `DrivingFrame`): Consecutive frames of one video.
    """
    for readings, middle in with_neighbours(_read(frames), MOST):
        reading = readings[middle]
        if reading.shape is None:
            yield reading.frame
        else:
            yield replace(reading.frame, points=_steadied(_same_take(readings, middle), reading))


def _read(frames: Iterator[DrivingFrame]) -> Iterator[_Reading]:
    reference = last = None
    for frame in frames:
        points = frame.points if frame.found else None
        if points is None:
            yield _Reading(frame, float(frame.time))
        else:
            anew = frame.anew or _jumps(last, points)
            face = PosedFace.of(points)
            reference = face.pose.turn if anew else reference
            pose = _numbers(face.pose, reference)
            yield _Reading(frame, float(frame.time), anew, reference, pose, face.shape)
        last = points


def _same_take(readings: list[_Reading], middle: int) -> list[_Reading]:
    """The readings around one that show the same face without a break, as many before as after."""
    count = 0
    while count < middle and middle + count + 1 < len(readings):
        before, after = readings[middle - count - 1], readings[middle + count + 1]
        if readings[middle - count].anew or after.anew or before.shape is None or after.shape is None:
            break
        count += 1
    return readings[middle - count : middle + count + 1]


def _steadied(take: list[_Reading], own: _Reading) -> np.ndarray:
    """Points `(478, 3)` of the middle of a take."""
    times = tuple(round(reading.time - own.time, 6) for reading in take)
    long, short = _parabola(times, REACH), _parabola(times, QUICK_REACH)
    pose = long @ np.stack([reading.pose for reading in take])
    shapes = np.stack([reading.shape for reading in take])
    slow, fast = (np.tensordot(weights, shapes, 1) for weights in (long, short))
    shape = slow + quickness()[:, None] * (fast - slow)
    return place(shape, _pose(pose, own.reference))


@lru_cache(256)
def _parabola(times: tuple[float, ...], reach: float) -> np.ndarray:
    """Weights `(T,)` by which values at `times`, seconds, give that of the parabola through them at time 0."""
    at = np.array(times)
    near = np.abs(at) <= reach
    if near.sum() < LEAST:
        return (at == 0).astype(np.float64)
    weights = np.zeros(len(at))
    weights[near] = np.linalg.pinv((at[near, None] / reach) ** np.arange(3))[0]
    return weights


class CausalSteadying:
    """The same for a camera, whose next frames are not known: One-Euro filters, which follow what moves fast."""

    def __init__(self) -> None:
        self._reference: np.ndarray | None = None
        self._last: np.ndarray | None = None
        self._filters: list[OneEuroFilter] = []

    def update(self, points: np.ndarray, seconds: float, anew: bool = False) -> np.ndarray:
        """Steadied points of a frame.

        Args:
            points (`np.ndarray` of shape `(478, 3)`): A face in its crop.
            seconds (`float`): When it was seen, later than the frame before.
            anew (`bool`, *optional*, defaults to False): Whether the face had to be searched.

        Returns:
            `np.ndarray` of shape `(478, 3)`.
        """
        face = PosedFace.of(points)
        if anew or _jumps(self._last, points):
            self._reference = face.pose.turn
            self._filters = [OneEuroFilter(*setting, speed_cutoff=SPEED_CUTOFF) for setting in CAUSAL]
        self._last = points
        numbers, size = _numbers(face.pose, self._reference), np.sqrt(len(points))
        parts = (numbers[:3], numbers[3], numbers[4:], face.shape / size)
        turn, scale, center, slow = (f.update(part, seconds) for f, part in zip(self._filters, parts, strict=True))
        shape = size * slow + quickness()[:, None] * (face.shape - size * slow)
        return place(shape, _pose(np.concatenate([turn, [float(scale)], center]), self._reference))


def _jumps(last: np.ndarray | None, points: np.ndarray) -> bool:
    """Whether points cannot follow those of the frame before, or there are none."""
    return last is None or bool(np.linalg.norm(points - last, axis=1).mean() > CUT)


def _numbers(pose: HeadPose, reference: np.ndarray) -> np.ndarray:
    """A pose as numbers `(7,)`: turn against a reference in radians, logarithm of the scale, centre."""
    turn = cv2.Rodrigues(pose.turn @ reference.T)[0].ravel()
    return np.concatenate([turn, [np.log(pose.scale)], pose.center])


def _pose(numbers: np.ndarray, reference: np.ndarray) -> HeadPose:
    return HeadPose(cv2.Rodrigues(numbers[:3])[0] @ reference, float(np.exp(numbers[3])), numbers[4:])
