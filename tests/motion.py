"""Motion codes without a video."""

from collections.abc import Collection, Iterator
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from vivface.reenactment.co_driving import PoseSubspace
from vivface.reenactment.codes import BATCH_SIZE, MotionBatch, MotionCodes


class ListedMotion(MotionCodes):
    """The codes of a tensor, one a frame.

    Args:
        codes (`torch.Tensor` of shape `(frames, *code_shape)`)
        times (list of `Fraction`, *optional*): Of every frame, and where the last one ends; 25 a second by default.
        missing (collection of `int`): Frames without a face.
        fail_after (`int`, *optional*): The batch that starts here or later interrupts the program.
        points (`numpy.ndarray` of shape `(frames, 478, 3)`, *optional*): Of the driver's face.
    """

    def __init__(
        self,
        codes: Tensor,
        times: list[Fraction] | None = None,
        fps: Fraction = Fraction(25),
        time_base: Fraction = Fraction(1, 25),
        missing: Collection[int] = (),
        fingerprint: list[float] | None = None,
        fail_after: int | None = None,
        points: np.ndarray | None = None,
    ):
        shape = tuple(codes.shape[1:])
        super().__init__(
            name="clip.mp4",
            fps=fps,
            time_base=time_base,
            frames=len(codes),
            code_shape=shape,
            fingerprint=fingerprint or [0.0],
        )
        self._codes = codes
        self._times = times or [Fraction(n, 25) for n in range(len(codes) + 1)]
        self._missing = missing
        self._fail_after = fail_after
        self._points = points
        self.has_points = points is not None

    def batches(self, batch_size: int = BATCH_SIZE, images: bool = False, on_progress=None) -> Iterator[MotionBatch]:
        times = self._times
        for start in range(0, len(self._codes), batch_size):
            if self._fail_after is not None and start >= self._fail_after:
                raise KeyboardInterrupt
            rows = range(start, min(len(self._codes), start + batch_size))
            yield MotionBatch(
                self._codes[rows.start : rows.stop],
                times=[times[row] for row in rows],
                durations=[times[row + 1] - times[row] for row in rows],
                found=[row not in self._missing for row in rows],
                points=None if self._points is None else self._points[rows.start : rows.stop],
            )


def talking(system, lips: list[float], fps: int = 25) -> ListedMotion:
    """The motion of the mean face, its lips so many millimetres apart in each frame, for a system."""
    from tests.warping.faces import face, points

    times = [Fraction(n, fps) for n in range(len(lips) + 1)]
    codes = torch.zeros(len(lips), *system.code_shape)
    shown = np.stack([points(face(lips=gap)) for gap in lips])
    return ListedMotion(codes, times, Fraction(fps), Fraction(1, fps), fingerprint=system.fingerprint, points=shown)


def turning(system, yaws: list[float]) -> ListedMotion:
    """The motion of the mean face at rest, turned by so many degrees in each frame."""
    from tests.warping.faces import face, points, turned

    driver = talking(system, [1.0] * len(yaws))
    driver._points = np.stack([points(face(), turned(yaw=yaw)) for yaw in yaws])
    return driver


def blind_subspace(system) -> PoseSubspace:
    """A pose subspace that leaves codes alone: points have poses of their own."""
    nothing = torch.zeros(1, *system.code_shape)
    return PoseSubspace(("yaw",), nothing, nothing)
