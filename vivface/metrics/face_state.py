"""What the package's own face networks read of a face, as tensors: the offline stand-in of 3DMM codes and OpenFace."""

import numpy as np
import torch
from torch import Tensor

from vivface.faces.state import STATE_NAMES

EXPRESSION = ("lid_right", "lid_left", "mouth_open", "mouth_width", "brow_right", "brow_left")  # units: `FaceState`
GAZE = ("gaze_yaw", "gaze_pitch")  # degrees
POSE = ("yaw", "pitch", "roll")  # degrees


def expression(state: np.ndarray) -> Tensor:
    """Lids, lips and brows `(1, 6)` of `FaceState.as_array()`."""
    return _pick(state, EXPRESSION)


def gaze(state: np.ndarray) -> Tensor:
    """Yaw and pitch `(1, 2)` of the eyes relative to the head, degrees."""
    return _pick(state, GAZE)


def pose(state: np.ndarray) -> Tensor:
    """Yaw, pitch and roll `(1, 3)` of the head, degrees."""
    return _pick(state, POSE)


def pose_difference(a: np.ndarray, b: np.ndarray) -> float:
    """Mean absolute difference of the three angles, degrees: the measure of extreme pairs (HyperReenact, sec. 4)."""
    return float((pose(a) - pose(b)).abs().mean())


def _pick(state: np.ndarray, names: tuple[str, ...]) -> Tensor:
    return torch.tensor([[state[STATE_NAMES.index(name)] for name in names]], dtype=torch.float64)
