"""Calmer motion: a low-pass filter over motion codes."""

import math
from collections.abc import Iterator
from dataclasses import replace

import torch

from vivface.errors import OptionError
from vivface.reenactment.codes import MotionBatch, MotionCodes


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
        last, last_time = None, 0.0
        for batch in batches:
            smoothed = []
            for code, time in zip(batch.codes, map(float, batch.times), strict=True):  # (motion_codes, style_dim)
                gain = 1.0 if last is None else -math.expm1(-(time - last_time) / seconds)
                last = code if last is None else last + gain * (code - last)
                last_time = time
                smoothed.append(last)
            yield replace(batch, codes=torch.stack(smoothed))

    return motion.map(smooth)
