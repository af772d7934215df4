"""Cut, loop and join motions: files that `MotionCodes.save` wrote, or any motion codes.

Codes of neighbouring frames are close and their space is linear, so motions are joined by a crossfade of their codes,
and of the points of the driver's face where all of them have points.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from vivface.errors import OptionError
from vivface.reenactment.codes import BATCH_SIZE, MotionBatch, MotionCodes
from vivface.reenactment.progress import OnProgress
from vivface.warping.joining import on_face_of

BLEND = Fraction(1, 5)  # seconds of a crossfade
MOST_FRAMES = 100_000  # of a result, which is held in memory
_TIME_BASE = Fraction(1, 90_000)


@dataclass(frozen=True)
class _Frames:
    """All frames of a motion.

    Attributes:
        codes (`torch.Tensor` of shape `(frames, *code_shape)`): Motion codes.
        times (list of `Fraction`): When each frame begins and, one more, when the last one ends, seconds.
        found (list of `bool`): As in `MotionBatch`.
        points (`numpy.ndarray` of shape `(frames, 478, 3)`, *optional*): As in `MotionBatch`.
    """

    codes: Tensor
    times: list[Fraction]
    found: list[bool]
    points: np.ndarray | None = None


class MotionSequence(MotionCodes):
    """Motion codes in memory.

    Args:
        like (`MotionCodes`): Where rate, shape and origin of the codes are taken from.
        name (`str`): For messages.
        frames (`_Frames`): The frames.
    """

    def __init__(self, like: MotionCodes, name: str, frames: _Frames):
        super().__init__(
            name=name,
            fps=like.fps,
            time_base=like.time_base,
            frames=len(frames.found),
            seconds=frames.times[-1],
            code_shape=like.code_shape,
            fingerprint=like.fingerprint,
        )
        self._frames = frames
        self.has_points = frames.points is not None

    def batches(
        self, batch_size: int = BATCH_SIZE, images: bool = False, on_progress: OnProgress | None = None
    ) -> Iterator[MotionBatch]:
        """The codes in order; there are no images."""
        codes, times, found, points = (getattr(self._frames, name) for name in ("codes", "times", "found", "points"))
        for start in range(0, len(found), batch_size):
            end = min(start + batch_size, len(found))
            lengths = [times[row + 1] - times[row] for row in range(start, end)]
            shown = None if points is None else points[start:end]
            yield MotionBatch(codes[start:end], times[start:end], lengths, found[start:end], points=shown)


def cut_motion(
    motion: MotionCodes, start: float | Fraction = 0, duration: float | Fraction | None = None
) -> MotionCodes:
    """A part of a motion, from the frame that is shown at `start` on.

    Args:
        motion (`MotionCodes`): The whole.
        start (`float` or `Fraction`, *optional*, defaults to 0): Seconds.
        duration (`float` or `Fraction`, *optional*): Seconds; by default to the end.

    Returns:
        `MotionCodes`: Its times count from 0.

    Raises:
        OptionError: If a time is out of range, or nothing is left.
    """
    start, end = _seconds("start", start), None if duration is None else _seconds("duration", duration)
    if end is not None and end <= 0:
        raise OptionError(f"`duration` is {float(end):g} seconds; expected more than 0.")
    frames = _read(motion)
    if start >= frames.times[-1]:
        raise OptionError(
            f"`start` is {float(start):g} seconds, but '{motion.name}' lasts {float(frames.times[-1]):.2f} seconds."
        )
    end = frames.times[-1] if end is None else min(start + end, frames.times[-1])
    rows = [row for row in range(len(frames.found)) if frames.times[row + 1] > start and frames.times[row] < end]
    times = [max(frames.times[row] - start, Fraction(0)) for row in rows] + [end - start]
    return _sequence(motion, motion.name, replace(_rows(frames, rows), times=times))


def loop_motion(
    motion: MotionCodes, count: int = 2, blend: float | Fraction = BLEND, mirror: bool = False
) -> MotionCodes:
    """A motion again and again, without a jump where it begins anew.

    Args:
        motion (`MotionCodes`): The motion.
        count (`int`, *optional*, defaults to 2): How many times it is shown.
        blend (`float` or `Fraction`, *optional*, defaults to 0.2): Seconds over which its end passes into its
            beginning; the result is shorter by this each time. 0 for none.
        mirror (`bool`, *optional*, defaults to False): Play every second time backwards instead; nothing is blended.

    Raises:
        OptionError: If an option is out of its range, or the result would be too long.
    """
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise OptionError(f"`count` is {count!r}; expected how often the motion is shown, 1 or more.")
    frames = _read(motion)
    if count * len(frames.found) > MOST_FRAMES:
        raise OptionError(f"The result would have {count * len(frames.found)} frames; at most {MOST_FRAMES} are held.")
    turns = [_backwards(frames) if mirror and turn % 2 else frames for turn in range(count)]
    return _joined(motion, f"{motion.name}, {count} times", turns, Fraction(0) if mirror else _seconds("blend", blend))


def join_motions(motions: Sequence[MotionCodes], blend: float | Fraction = BLEND) -> MotionCodes:
    """Motions one after the other, each passing into the next.

    Args:
        motions (sequence of `MotionCodes`): Read by the same checkpoint. The result declares the rate of the first, and
            every frame keeps its own length. Where all of them have the points of their driver's face, all show the
            face of the first driver.
        blend (`float` or `Fraction`, *optional*, defaults to 0.2): Seconds of the crossfade, by which the result is
            shorter at every seam; at most half of the shorter neighbour.

    Raises:
        OptionError: If there is no motion, they come from different checkpoints, or `blend` is out of range.
    """
    if not motions:
        raise OptionError("There is no motion to join: give two or more.")
    first = motions[0]
    for other in motions[1:]:
        if other.code_shape != first.code_shape or not _same_origin(first, other):
            raise OptionError(
                f"'{first.name}' and '{other.name}' were read by different checkpoints: extract both with the same one."
            )
    if sum(motion.frames or 0 for motion in motions) > MOST_FRAMES:
        raise OptionError(f"The result would have more than {MOST_FRAMES} frames.")
    name = " + ".join(motion.name for motion in motions)
    parts = [_read(motion) for motion in motions]
    if any(part.points is None for part in parts):
        parts = [replace(part, points=None) for part in parts]
    else:
        own = parts[0].points
        parts = parts[:1] + [replace(part, points=on_face_of(own, part.points)) for part in parts[1:]]
    return _joined(first, name, parts, _seconds("blend", blend))


def _joined(like: MotionCodes, name: str, parts: list[_Frames], blend: Fraction) -> MotionCodes:
    whole = parts[0]
    for part in parts[1:]:
        whole = _appended(whole, part, min(blend, whole.times[-1] / 2, part.times[-1] / 2))
    return _sequence(like, name, whole)


def _appended(before: _Frames, after: _Frames, blend: Fraction) -> _Frames:
    """Two motions that overlap by `blend` seconds: the frames of the first stay until its end, then the second's."""
    seam, end = before.times[-1] - blend, before.times[-1]
    codes = before.codes.clone()
    points = None if before.points is None else before.points.copy()
    for row, time in enumerate(before.times[:-1]):
        if time >= seam and blend > 0:
            weight = float((time - seam) / blend)
            weight = weight * weight * (3 - 2 * weight)
            codes[row] = (1 - weight) * codes[row] + weight * _at(after, after.codes, time - seam)
            if points is not None:
                points[row] = (1 - weight) * points[row] + weight * _at(after, after.points, time - seam)
    rows = [row for row in range(len(after.found)) if after.times[row + 1] + seam > end]
    times = before.times[:-1] + [max(after.times[row] + seam, end) for row in rows] + [after.times[-1] + seam]
    found = before.found + [after.found[row] for row in rows]
    points = None if points is None else np.concatenate([points, after.points[rows]])
    return _Frames(torch.cat([codes, after.codes[rows]]), times, found, points)


def _at(frames: _Frames, values: Tensor | np.ndarray, time: Fraction) -> Tensor | np.ndarray:
    """The code or the points at a time, between those of the two frames around it."""
    row = max(sum(begin <= time for begin in frames.times[:-1]) - 1, 0)
    if row + 1 == len(frames.found):
        return values[row]
    part = float((time - frames.times[row]) / (frames.times[row + 1] - frames.times[row]))
    return (1 - part) * values[row] + part * values[row + 1]


def _rows(frames: _Frames, rows: list[int]) -> _Frames:
    """Some of the frames, with the times of all."""
    points = None if frames.points is None else frames.points[rows]
    return _Frames(frames.codes[rows], frames.times, [frames.found[row] for row in rows], points)


def _backwards(frames: _Frames) -> _Frames:
    end = frames.times[-1]
    points = None if frames.points is None else frames.points[::-1]
    return _Frames(frames.codes.flip(0), [end - time for time in reversed(frames.times)], frames.found[::-1], points)


def _read(motion: MotionCodes) -> _Frames:
    codes, times, found, points, end = [], [], [], [], Fraction(0)
    for batch in motion.batches():
        codes.append(batch.codes.detach().float().cpu())
        times += batch.times
        found += batch.found
        points.append(batch.points)
        end = batch.times[-1] + batch.durations[-1]
        if len(found) > MOST_FRAMES:
            raise OptionError(f"'{motion.name}' has more than {MOST_FRAMES} frames: cut it first.")
    first = times[0]
    whole = None if any(part is None for part in points) else np.concatenate(points)
    return _Frames(torch.cat(codes), [time - first for time in [*times, end]], found, whole)


def _sequence(like: MotionCodes, name: str, frames: _Frames) -> MotionSequence:
    sequence = MotionSequence(like, name, frames)
    if any((time / sequence.time_base).denominator != 1 for time in frames.times):
        sequence.time_base = _TIME_BASE  # times of another clock; a ninety-thousandth of a second is fine enough
    return sequence


def _same_origin(first: MotionCodes, second: MotionCodes) -> bool:
    ours, theirs = torch.tensor(first.fingerprint), torch.tensor(second.fingerprint)
    return ours.shape == theirs.shape and bool(torch.allclose(ours, theirs, rtol=1e-2, atol=1e-3))


def _seconds(name: str, value: float | Fraction) -> Fraction:
    try:
        seconds = Fraction(value).limit_denominator(1_000_000)
    except (ValueError, TypeError, OverflowError) as error:
        raise OptionError(f"`{name}` is {value!r}; expected a number of seconds.") from error
    if seconds < 0:
        raise OptionError(f"`{name}` is {float(seconds):g} seconds; expected 0 or more.")
    return seconds
