"""Faces as few numbers: how a face differs from another picture of the same person.

Shapes are written in 28 principal components of how rendered faces move within a person, from
`training/tools/fit_warping.py`; where the head is, in five numbers more.
"""

from __future__ import annotations

import math
from functools import cache
from importlib.resources import files

import numpy as np
from safetensors.numpy import load

from vivface.faces.pose import HeadPose, turn_of
from vivface.warping.mesh import PosedFace, place

PLACES = 4  # numbers that say where a head is beside yaw and pitch: shift to the right and down, zoom, roll
UNIT = 0.01  # sides of the crop, or its logarithm, that a shift or zoom of 1 stands for


@cache
def components() -> np.ndarray:
    """One standard deviation of each component `(28, 478, 3)`, millimetres."""
    return load((files("vivface.warping") / "components.safetensors").read_bytes())["components"].astype(np.float64)


def to_numbers(face: PosedFace, own: PosedFace) -> np.ndarray:
    """A face as numbers.

    Args:
        face (`PosedFace`): A face in its crop.
        own (`PosedFace`): The same person's face that it is compared with.

    Returns:
        `np.ndarray` of shape `(34,)`: Yaw and pitch in degrees; shift in hundredths of the crop, zoom in hundredths of
        its logarithm, roll in degrees; 28 components in standard deviations.
    """
    yaw, pitch, roll = np.degrees(face.pose.angles)
    shift = (face.pose.center[:2] - own.pose.center[:2]) / UNIT
    zoom = math.log(face.pose.scale / own.pose.scale) / UNIT
    vectors = components().reshape(len(components()), -1)
    values = vectors @ (face.shape - own.shape).ravel() / (vectors**2).sum(1)
    return np.concatenate([[yaw, pitch, *shift, zoom, roll], values])


def to_points(numbers: np.ndarray, own: PosedFace) -> np.ndarray:
    """The inverse of `to_numbers`, but for what the components leave out: points `(478, 3)` of numbers `(34,)`."""
    yaw, pitch, right, down, zoom, roll = numbers[: 2 + PLACES]
    center = own.pose.center + np.array([right, down, 0.0]) * UNIT
    pose = HeadPose(turn_of(np.radians([yaw, pitch, roll])), own.pose.scale * math.exp(zoom * UNIT), center)
    return place(own.shape + np.tensordot(numbers[2 + PLACES :], components(), 1), pose)
