"""The points of a driver's face at any time, and what happens after the driver's end.

Films and drivers differ in frame rate and length, so drivers are read by time: between two frames in proportion.
"""

from __future__ import annotations

import tempfile
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from typing import Literal

import numpy as np

from vivface.errors import MediaError, OptionError
from vivface.reenactment.codes import BATCH_SIZE, MotionCodes
from vivface.reenactment.progress import OnProgress
from vivface.warping.mesh import POINTS, step
from vivface.warping.retargeting import MOST_REST_FRAMES, REST_FRAMES, Rest, rest_is_seen

Fit = Literal["trim", "loop", "hold", "mirror"]
FITS = ("trim", "loop", "hold", "mirror")
BLEND = 0.2  # seconds over which the end of a loop passes into its beginning
EXACT = 1e-6  # seconds by which times of two clips may differ and be the same
_ROW = POINTS * 3


def check_fit(fit: str) -> None:
    """Raise an OptionError for what is none of `FITS`."""
    if fit not in FITS:
        raise OptionError(f"`fit` is {fit!r}; expected {', '.join(map(repr, FITS[:-1]))} or {FITS[-1]!r}.")


class PointsTrack:
    """The points of one driver, asked for in rising order of time.

    Memory does not grow with the driver's length: where it is shown again, its points wait in a temporary file.

    Args:
        motion (`MotionCodes`): The driver.
        fit (`str`): What follows its end: `"trim"` nothing, `"hold"` its last frame, `"loop"` its beginning, `"mirror"`
            itself backwards, then forwards.
        on_progress (callable, *optional*): Told while its first face is searched; may raise to stop.

    Raises:
        OptionError: If `fit` is none of these.
    """

    def __init__(self, motion: MotionCodes, fit: Fit = "trim", on_progress: OnProgress | None = None):
        check_fit(fit)
        self.motion, self.fit = motion, fit
        self._stream = self._frames(on_progress)
        self._times: list[float] = []  # when the frames read so far begin ...
        self._end: float | None = None  # ... and when the last one ends, once it is known
        self._last_duration = 0.0
        self._recent: deque[tuple[float, np.ndarray]] = deque(maxlen=2)
        self._first: deque[tuple[float, float, np.ndarray]] = deque()  # read ahead for the face at rest
        self._kept = tempfile.TemporaryFile(prefix="vivface-") if fit in ("loop", "mirror") else None

    def close(self) -> None:
        """Stop reading."""
        self._stream.close()
        if self._kept is not None:
            self._kept.close()

    def rest(self) -> Rest:
        """The driver's face at rest.

        Raises:
            MediaError: If the driver has no points of a face.
        """
        while len(self._first) < MOST_REST_FRAMES and (frame := next(self._stream, None)) is not None:
            self._first.append(frame)
            if len(self._first) % REST_FRAMES == 0 and rest_is_seen(self._seen()):
                break
        return Rest.of(self._seen())

    def _seen(self) -> np.ndarray:
        return np.stack([points for _, _, points in self._first])

    def at(self, seconds: float) -> np.ndarray | None:
        """Points `(478, 3)` in the driver's crop at a time; None after the end of a trimmed driver."""
        while self._end is None and (not self._times or self._times[-1] < seconds):
            self._read()
        if self._end is None or seconds < self._times[-1]:
            return _between(seconds, *self._recent[0], *self._recent[-1])
        if seconds < self._end - EXACT or self.fit == "hold":
            return self._recent[-1][1]
        if self.fit == "trim":
            return None
        start, last = self._times[0], self._times[-1]
        if self.fit == "mirror":
            length = last - start
            phase = (seconds - start) % (2 * length) if length > 0 else 0.0
            return self._seek(start + min(phase, 2 * length - phase))
        phase = (seconds - start) % (self._end - start)
        share = float(step(phase, 0.0, min(BLEND, (self._end - start) / 2)))
        return self._recent[-1][1] + share * (self._seek(start + phase) - self._recent[-1][1])

    def _read(self) -> None:
        frame = self._first.popleft() if self._first else next(self._stream, None)
        if frame is None:
            self._end = self._times[-1] + self._last_duration
            return
        time, self._last_duration, points = frame
        self._times.append(time)
        self._recent.append((time, points))
        if self._kept is not None:
            self._kept.write(points.astype(np.float32).tobytes())
        elif len(self._times) > 2:
            del self._times[0]

    def _seek(self, seconds: float) -> np.ndarray:
        """Points at a time that was read already."""
        row = max(bisect_right(self._times, seconds) - 1, 0)
        following = min(row + 1, len(self._times) - 1)
        return _between(seconds, self._times[row], self._row(row), self._times[following], self._row(following))

    def _row(self, row: int) -> np.ndarray:
        self._kept.seek(row * _ROW * 4)
        return np.frombuffer(self._kept.read(_ROW * 4), np.float32).reshape(POINTS, 3).astype(np.float64)

    def _frames(self, on_progress: OnProgress | None) -> Iterator[tuple[float, float, np.ndarray]]:
        for batch in self.motion.points_only().batches(BATCH_SIZE, on_progress=on_progress):
            if batch.points is None:
                raise MediaError(
                    f"'{self.motion.name}' has no points of a face, by which a photograph is moved: extract the motion "
                    "again from its video."
                )
            for time, duration, points in zip(batch.times, batch.durations, batch.points, strict=True):
                yield float(time), float(duration), points


def _between(seconds: float, start: float, before: np.ndarray, end: float, after: np.ndarray) -> np.ndarray:
    share = min(max((seconds - start) / (end - start), 0.0), 1.0) if end > start else 1.0
    return before + share * (after - before)
