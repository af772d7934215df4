"""Steady crops: causal, deterministic filters for the square around a face.

One-Euro filter: Casiez, Roussel and Vogel, 1 Euro Filter: A Simple Speed-based Low-pass Filter for Noisy Input in
Interactive Systems, CHI 2012, eqs. 1 to 6.
"""

from __future__ import annotations

import math
from collections import deque
from fractions import Fraction
from typing import Literal

import numpy as np

from vivface.errors import OptionError
from vivface.faces.alignment import make_quad, quad_angle, quad_center, quad_size

Seconds = float | Fraction


class OneEuroFilter:
    """Low-pass filter whose cut-off frequency rises with the speed of its input.

    Args:
        min_cutoff (`float`, *optional*, defaults to 1.0): Cut-off of a still input in Hz: lower is steadier.
        beta (`float`, *optional*, defaults to 0.0): Rise of the cut-off with speed, in Hz per unit per second: higher
            lags less.
        speed_cutoff (`float`, *optional*, defaults to 1.0): Cut-off of the speed's own filter in Hz.
    """

    def __init__(self, min_cutoff: float = 1.0, beta: float = 0.0, speed_cutoff: float = 1.0):
        if not (min_cutoff > 0 and speed_cutoff > 0 and beta >= 0):
            raise ValueError(
                f"min_cutoff {min_cutoff}, beta {beta}, speed_cutoff {speed_cutoff}: expected cut-offs above 0 Hz and "
                "beta of at least 0"
            )
        self.min_cutoff, self.beta, self.speed_cutoff = min_cutoff, beta, speed_cutoff
        self._value: np.ndarray | None = None  # filtered
        self._raw: np.ndarray | None = None
        self._speed: np.ndarray | None = None  # filtered, units per second
        self._time = 0.0

    def update(self, value: np.ndarray | float, time_s: Seconds) -> np.ndarray:
        """The filtered value at `time_s` seconds, of the shape of `value`; all of a vector shares one cut-off.

        A time that does not grow changes nothing: the last result is returned.
        """
        value, time_s = np.asarray(value, np.float64), float(time_s)
        if self._value is None:
            self._value, self._raw, self._speed, self._time = value, value, np.zeros_like(value), time_s
            return value.copy()
        step = time_s - self._time
        if step > 0:
            speed = (value - self._raw) / step
            self._speed = self._speed + _gain(self.speed_cutoff, step) * (speed - self._speed)
            cutoff = self.min_cutoff + self.beta * float(np.linalg.norm(self._speed))
            self._value = self._value + _gain(cutoff, step) * (value - self._value)
            self._raw, self._time = value, time_s
        return self._value.copy()


def _gain(cutoff: float, step: float) -> float:
    """Weight of a new value after `step` seconds in a first-order filter with a cut-off in Hz."""
    return 1.0 / (1.0 + 1.0 / (2 * math.pi * cutoff * step))


# The "stable" crop follows its target with a first-order filter whose rate grows with the distance to it:
# rate = (1 + (distance / reach) ** 2) / seconds. Small movements stay in the crop, large ones never leave it.
OUTLIER_FRAMES = 3  # the target is the median of so many frames: a single wrong one does nothing
CENTER_SECONDS, CENTER_REACH = 0.4, 0.06  # sides of the square
ZOOM_SECONDS, ZOOM_REACH = 4.0, math.log(1.15)
TURN_SECONDS, TURN_REACH = 4.0, math.radians(20.0)
CUT_SHIFT, CUT_ZOOM = 0.35, math.log(1.5)  # a face that is found again farther away than this starts a new crop


class QuadStabilizer:
    """Smooth the squares of consecutive frames.

    Args:
        crop (`str`, *optional*, defaults to `"stable"`): `"ffhq"` follows the FFHQ square of every frame and only
            takes its trembling away, as the published systems do: the head stays upright and of one size in the crop.
            `"stable"` starts with the first square; its centre follows within half a second, its angle and size
            follow slow drift only, so that nodding, rolling and leaning stay visible in the crop. What moves faster
            moves in the crop, without any lag.
    """

    def __init__(self, crop: Literal["stable", "ffhq"] = "stable"):
        if crop not in ("stable", "ffhq"):
            raise OptionError(f'`crop` is {crop!r}; expected "ffhq" or "stable".')
        self.crop = crop
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next square starts anew."""
        self._quad: np.ndarray | None = None
        self._time = 0.0
        self._angle = 0.0  # of the last raw square, unwrapped
        self._recent: deque[np.ndarray] = deque(maxlen=OUTLIER_FRAMES)
        self._state = np.zeros(4)  # "stable": centre x, y in pixels, log side, angle
        self._origin = np.zeros(2)  # "ffhq": the centre is filtered relative to this point ...
        self._unit = 1.0  # ... in this unit, the first centre and side
        self._center = OneEuroFilter(0.4, 40.0, speed_cutoff=2.0)
        self._zoom = OneEuroFilter(0.4, 15.0)
        self._turn = OneEuroFilter(0.4, 20.0, speed_cutoff=2.0)

    def update(self, quad: np.ndarray | None, time_s: Seconds, cut: bool = False) -> np.ndarray:
        """The smoothed square of this frame.

        Args:
            quad (`np.ndarray` of shape `(4, 2)`, or None): The square of this frame; None when the frame has no face:
                the crop stays where it is.
            time_s (`float` or `Fraction`): Presentation time in seconds.
            cut (`bool`, *optional*, defaults to `False`): The face was lost and found again: start anew if it is
                elsewhere now.

        Returns:
            `np.ndarray` of shape `(4, 2)`, float64: a square.

        Raises:
            ValueError: If the first `quad` is None.
        """
        if quad is None:
            if self._quad is None:
                raise ValueError("quad is None in the first frame, expected the square of a face to start with")
            return self._quad.copy()
        center, log_side, angle = quad_center(quad), math.log(quad_size(quad)), quad_angle(quad)
        if cut and self._quad is not None and self._is_elsewhere(center, log_side):
            self.reset()
        if self._quad is None:
            self._origin, self._unit, self._angle, self._time = center, math.exp(log_side), angle, float(time_s)
            self._state = np.array([*center, log_side, angle])
        self._angle += math.remainder(angle - self._angle, 2 * math.pi)
        raw = np.array([*center, log_side, self._angle])
        smooth = self._stable(raw, time_s) if self.crop == "stable" else self._ffhq(raw, time_s)
        self._quad = make_quad(smooth[:2], math.exp(smooth[2]) / 2, smooth[3])
        return self._quad.copy()

    @property
    def first_size(self) -> float:
        """Side of the square that the present crop started with, pixels."""
        return self._unit

    def _is_elsewhere(self, center: np.ndarray, log_side: float) -> bool:
        side = quad_size(self._quad)
        shift = np.linalg.norm(center - quad_center(self._quad)) / side
        return shift > CUT_SHIFT or abs(log_side - math.log(side)) > CUT_ZOOM

    def _ffhq(self, raw: np.ndarray, time_s: Seconds) -> np.ndarray:
        center = self._center.update((raw[:2] - self._origin) / self._unit, time_s) * self._unit + self._origin
        return np.array([*center, self._zoom.update(raw[2], time_s), self._turn.update(raw[3], time_s)])

    def _stable(self, raw: np.ndarray, time_s: Seconds) -> np.ndarray:
        step, self._time = max(float(time_s) - self._time, 0.0), max(float(time_s), self._time)
        self._recent.append(raw)
        target = np.median(self._recent, axis=0)
        state = self._state
        side = math.exp(state[2])
        distances = np.array([math.hypot(*(target[:2] - state[:2])) / side, *np.abs(target[2:] - state[2:])])
        rates = (1 + (distances / (CENTER_REACH, ZOOM_REACH, TURN_REACH)) ** 2) / (
            CENTER_SECONDS,
            ZOOM_SECONDS,
            TURN_SECONDS,
        )
        gains = -np.expm1(-step * rates)
        state += (target - state) * gains[[0, 0, 1, 2]]
        return state
