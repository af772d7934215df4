"""Calmer motion: a low-pass filter over motion codes and the points of the driver's face."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from vivface.errors import OptionError
from vivface.reenactment.codes import MotionBatch, MotionCodes

Value = TypeVar("Value", Tensor, np.ndarray)


def smooth_motion(motion: MotionCodes, seconds: float) -> MotionCodes:
    """The same motion without its tremble, as lazy as it was.

    A first-order filter, causal and exact for any frame rate: after `seconds` it has followed a sudden change to 63 %.

    Args:
        motion (`MotionCodes`): What to smooth.
        seconds (`float`): Time constant, 0 for no change; about 0.05 calms tremble, 0.2 already slurs speech.

    Raises:
        OptionError: If `seconds` is not in [0, 2].
    """
    if not 0 <= seconds <= 2:
        raise OptionError(f"`smoothing` is {seconds} seconds; expected 0 (none) to 2.")
    if seconds == 0:
        return motion

    def smooth(batches: Iterator[MotionBatch]) -> Iterator[MotionBatch]:
        last = last_points = None
        last_time = 0.0
        for batch in batches:
            codes, points = [], None if batch.points is None else []
            for row, time in enumerate(map(float, batch.times)):
                gain = -math.expm1(-(time - last_time) / seconds)
                last = _followed(last, batch.codes[row], gain)  # (*code_shape)
                codes.append(last)
                if points is not None:
                    last_points = _followed(last_points, batch.points[row], gain)  # (478, 3)
                    points.append(last_points)
                last_time = time
            yield replace(batch, codes=torch.stack(codes), points=None if points is None else np.stack(points))

    return motion.map(smooth)


def _followed(last: Value | None, value: Value, gain: float) -> Value:
    return value if last is None else last + gain * (value - last)
