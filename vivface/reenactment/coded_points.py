"""Coded videos whose numbers move the points of a key picture: no generator takes part.

Ours, beside the bases of Expressive Talking Head Video Encoding in StyleGAN2 Latent Space: the same 35 numbers a frame
(yaw, pitch, roll and 32 values), read off the clip by the face tracker instead of a network's codes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from vivface.faces.landmarks import LandmarkBackend
from vivface.reenactment.coded_frames import CodecFrames, held
from vivface.reenactment.coded_video import CodedMotion, CodedVideo, crop_row
from vivface.reenactment.codes import BATCH_SIZE, MotionBatch
from vivface.reenactment.key_picture import PicturePoints, read_key_picture, take_key_picture
from vivface.reenactment.progress import OnProgress, Progress
from vivface.reenactment.steadying import steady_points
from vivface.warping.components import to_numbers, to_points
from vivface.warping.mesh import PosedFace
from vivface.warping.retargeting import MOST_REST_FRAMES, Rest

CORRECTED = 0.7  # of what decoded faces miss


@dataclass
class PointedClip:
    """A clip as numbers.

    Attributes:
        numbers (`torch.Tensor` of shape `(frames, 35)`), crop (`torch.Tensor` of shape `(frames, 4)`): float16.
        times, durations (lists of `Fraction`): Seconds.
        missing (list of `int`): Frames without a face.
        key (`bytes`), key_points (`np.ndarray` of shape `(478, 3)`): The key picture, and its face.
        key_frame (`int`): Which frame it shows.
    """

    numbers: Tensor
    crop: Tensor
    times: list[Fraction]
    durations: list[Fraction]
    missing: list[int]
    key: bytes
    key_points: np.ndarray
    key_frame: int


def encode_points(
    frames: CodecFrames, backend: LandmarkBackend, name: str, on_progress: OnProgress | None = None
) -> PointedClip:
    """Read a clip's numbers.

    Args:
        frames (`CodecFrames`): The clip, cut as large as a key picture.
        backend (`LandmarkBackend`): Finds faces.
        name (`str`): Of the clip, for messages.
        on_progress (callable, *optional*): Told of every frame; may raise to stop.

    Raises:
        MediaError: If the clip cannot be read.
        NoFaceError: If no frame shows a face.
    """
    reader, size = PicturePoints(backend, name), frames.reader.size
    rows, times, durations, missing = [], [], [], []
    for number, frame in enumerate(frames):
        if frame.crop is None:
            missing.append(number)
        else:
            rows.append((PosedFace.of(reader(frame.crop[None])[0]), frame.roll, crop_row(frame.quad, size)))
        times.append(frame.time)
        durations.append(frame.duration)
        if on_progress is not None:
            on_progress(Progress("analysing", number + 1, frames.reader.frames_estimate))
    faces, rolls, crop = zip(*held(rows, len(times), missing), strict=True)
    turned = torch.from_numpy(np.degrees([face.pose.angles for face in faces]))
    key, key_frame = take_key_picture(frames, turned)
    key_points = read_key_picture(key, name, backend)[1]  # as decoding will see it
    own = PosedFace.of(key_points)
    numbers = np.stack([to_numbers(face, own) for face in faces])
    numbers = np.insert(numbers, 2, rolls, axis=1)  # yaw, pitch, roll of the crop, 32 values
    halves = (torch.from_numpy(values).half() for values in (numbers, np.stack(crop)))
    return PointedClip(*halves, times, durations, missing, key, key_points, key_frame)


@dataclass
class _Face:
    """One frame of a coded video, as `steady_points` takes it."""

    time: Fraction
    found: bool
    points: np.ndarray
    anew: bool = False


class CodedPoints(CodedMotion):
    """The numbers of a coded video as the points of faces.

    Args:
        coded (`CodedVideo`): With points.
        key (`np.ndarray` of shape `(478, 3)`): Points of its key picture, against which they count.
        steady (`bool`, *optional*, defaults to False): Take the trembling out, as of a driving video.
    """

    has_points = True

    def __init__(self, coded: CodedVideo, key: np.ndarray, steady: bool = False):
        super().__init__(coded)
        self._key, self._own, self._steady, self.rest = key, PosedFace.of(key), steady, Rest.at(key)

    def batches(
        self, batch_size: int = BATCH_SIZE, images: bool = False, on_progress: OnProgress | None = None
    ) -> Iterator[MotionBatch]:
        """As those of `CodedMotion`, with points."""
        faces = steady_points(self._faces()) if self._steady else self._faces()
        for batch in super().batches(batch_size, images, on_progress):
            yield replace(batch, points=np.stack([next(faces).points for _ in batch.times]))

    def _faces(self) -> Iterator[_Face]:
        for batch in super().batches():
            for time, found, numbers in zip(batch.times, batch.found, batch.codes, strict=True):
                yield _Face(time, found, self._points(numbers[None])[0])

    def for_others(self) -> CodedPoints:
        """The same, counted from the driver's face at rest and without trembling, to move another person."""
        other = CodedPoints(self._coded, self._key, steady=True)
        other.rest = Rest.of(self._points(self._coded.frames[:MOST_REST_FRAMES].float()))
        return other

    def _points(self, numbers: Tensor) -> np.ndarray:
        rows = numbers.double().cpu().numpy()
        return np.stack([tilted(to_points(np.delete(row, 2), self._own), row[2]) for row in rows])


def tilted(points: np.ndarray, degrees: float) -> np.ndarray:
    """Points `(478, 3)` of a crop turned clockwise about its middle."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turned = points.copy()
    turned[:, :2] = (points[:, :2] - 0.5) @ np.array([[cosine, sine], [-sine, cosine]]) + 0.5
    return turned


def corrected(coded: CodedVideo, shown: Iterable[np.ndarray], key: np.ndarray, backend: LandmarkBackend) -> Tensor:
    """Numbers `(frames, 35)` that show what was wanted, as far as one look at what they show can tell.

    Args:
        coded (`CodedVideo`): With points, upright: its rolls are 0.
        shown (iterable of `np.ndarray` of shape `(size, size, 3)`): Its decoded frames, uint8 RGB.
        key (`np.ndarray` of shape `(478, 3)`): Points of its key picture.
        backend (`LandmarkBackend`): Finds faces.
    """
    reader, own = PicturePoints(backend, coded.name), PosedFace.of(key)
    seen = np.stack([to_numbers(PosedFace.of(reader(image[None])[0]), own) for image in shown])
    wanted = coded.frames.double()
    better = (wanted + CORRECTED * (wanted - torch.from_numpy(np.insert(seen, 2, 0.0, axis=1)))).half()
    found = [row for number, row in enumerate(better) if number not in set(coded.missing)]
    return torch.stack(list(held(found, len(coded), coded.missing)))
