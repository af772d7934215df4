"""A clip as the codec reads it: upright, registered crops of one face, with what is needed to encode them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

import numpy as np

from vivface.errors import NoFaceError
from vivface.faces.alignment import crop_quad, crop_to_image_matrix, ffhq_quad, quad_angle
from vivface.faces.landmarks import LandmarkBackend
from vivface.faces.registration import KeyFrameRegistration
from vivface.faces.tracking import FaceTracker
from vivface.media.video import VideoFrame, VideoReader

T = TypeVar("T")

BLINK = 0.12  # opening of the lids per width of the eye below which gaze is not seen


@dataclass
class CodecFrame:
    """One frame of a clip.

    Attributes:
        time, duration (`Fraction`): When it is shown and for how long, seconds.
        crop (`numpy.ndarray` of shape `(size, size, 3)`, *optional*): uint8 RGB, upright; None without a face.
        quad (`numpy.ndarray` of shape `(4, 2)`, *optional*): Where the crop is in the frame, pixels.
        landmarks (`numpy.ndarray` of shape `(68, 2)`, *optional*): In fractions of the crop.
        blink (`bool`): Whether the eyes are shut.
    """

    time: Fraction
    duration: Fraction
    crop: np.ndarray | None
    quad: np.ndarray | None
    landmarks: np.ndarray | None
    blink: bool = False

    @property
    def roll(self) -> float:
        """Angle that the crop took away, degrees; > 0 clockwise in the image."""
        return 0.0 if self.quad is None else math.degrees(quad_angle(self.quad))


class CodecFrames:
    """A clip as a stream of `CodecFrame` that can be read several times; faces are searched in the first pass only.

    Args:
        reader (`VideoReader`): The clip, or the part of it to use.
        backend (`LandmarkBackend`): Finds faces and their landmarks.
        size (`int`): Width and height of a crop in pixels.
        face (`int`, *optional*): Which face, 0 the largest of the first frame.
        register (`bool`, *optional*, defaults to True): Against jitter; else every frame is cut by its own landmarks.

    Attributes:
        key_frames (`int`): How many frames of the last pass became key frames.
    """

    def __init__(
        self,
        reader: VideoReader,
        backend: LandmarkBackend,
        size: int,
        face: int | None = None,
        register: bool = True,
    ):
        self.reader = reader
        self.key_frames = 0
        self._places: list[_Place | None] | None = None
        self._backend, self._size, self._face, self._register = backend, size, face, register

    def __iter__(self) -> Iterator[CodecFrame]:
        """Frames in order.

        Raises:
            MediaError: If the clip cannot be read.
            NoFaceError: At the end, if no frame showed a face.
        """
        if self._places is not None:
            for frame, place in zip(self.reader, self._places, strict=False):
                yield self._cut(frame, place)
            return
        places = []
        for frame, place in self._search():
            places.append(place)
            yield self._cut(frame, place)
        self._places = places

    def _search(self) -> Iterator[tuple[VideoFrame, _Place | None]]:
        name = self.reader.path.name
        tracker = FaceTracker(self._backend, self._face, where=f"'{name}'")
        registration = KeyFrameRegistration()
        for frame in self.reader:
            tracked = tracker.update(frame.image, frame.time)
            if not tracked.found:
                registration.reset()
                yield frame, None
                continue
            quad = ffhq_quad(tracked.landmarks)
            if self._register:
                quad = registration.update(frame.image, quad, tracked.landmarks)
            self.key_frames = registration.key_frames
            state = tracked.state
            blink = state is not None and max(state.lid_left, state.lid_right) < BLINK
            yield frame, _Place(quad, in_crop(tracked.landmarks, quad).astype(np.float32), blink)
        if tracker.frames == tracker.missing:
            raise NoFaceError(
                f"No face was found in '{name}' (searched {tracker.frames} frames): give a video that shows a face, "
                "upright and not too small."
            )

    def _cut(self, frame: VideoFrame, place: _Place | None) -> CodecFrame:
        if place is None:
            return CodecFrame(frame.time, frame.duration, None, None, None)
        crop = crop_quad(frame.image, place.quad, self._size)
        return CodecFrame(frame.time, frame.duration, crop, place.quad, place.landmarks, place.blink)


@dataclass(frozen=True)
class _Place:
    """Where a face is in a frame."""

    quad: np.ndarray
    landmarks: np.ndarray
    blink: bool


def in_crop(landmarks: np.ndarray, quad: np.ndarray) -> np.ndarray:
    """Landmarks in pixels of the image as fractions `(68, 2)` of the crop."""
    matrix = crop_to_image_matrix(quad, 1)  # pixel 0 of a crop of one pixel is its middle, 0.5
    return (landmarks - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T + 0.5


def held(items: Sequence[T], count: int, missing: Iterable[int]) -> Iterator[T]:
    """What belongs to all of `count` frames, given what belongs to those with a face.

    Frames without a face, `missing`, repeat the one before, or the first.
    """
    gone, found = set(missing), iter(items)
    last = items[0]
    for number in range(count):
        last = last if number in gone else next(found)
        yield last
