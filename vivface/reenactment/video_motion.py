"""Motion codes read off a driving video while it is decoded."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import islice
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from vivface.faces.landmarks import LandmarkBackend
from vivface.media.video import MAX_PIXELS, VideoReader
from vivface.reenactment.codes import BATCH_SIZE, MotionBatch, MotionCodes
from vivface.reenactment.driving import DrivingFrame, DrivingVideo
from vivface.reenactment.progress import OnProgress, Progress
from vivface.reenactment.steadying import steady_points
from vivface.reenactment.streams import ReadAhead
from vivface.runtime import use_one_thread


class MotionReader(Protocol):
    """A system, as far as it reads motion."""

    code_shape: tuple[int, ...]
    fingerprint: list[float]
    backend: LandmarkBackend
    motion_size: int
    motion_crop: str

    def encode_crops(self, crops: list[np.ndarray]) -> Tensor:
        """uint8 RGB crops `(size, size, 3)` to motion codes `(batch, *code_shape)`."""


class VideoMotion(MotionCodes):
    """The motion of a video: crops are cut in a thread that reads ahead, and encoded in batches.

    Args:
        driving (`DrivingVideo`): Gives the crops.
        system (`MotionReader`): Turns them into codes.
        duration (`Fraction`, *optional*): How much of the video is read at most, seconds, as the reader was told.
    """

    def __init__(self, driving: DrivingVideo, system: MotionReader, duration=None):
        reader = driving.reader
        super().__init__(
            name=reader.path.name,
            fps=reader.fps,
            time_base=reader.time_base,
            frames=reader.frames_estimate,
            seconds=reader.duration,
            code_shape=system.code_shape,
            fingerprint=system.fingerprint,
            video=reader.path,
            video_size=driving.shown_size,
            start=reader.start,
            duration=duration,
        )
        self.has_points = True
        self._driving = driving
        self._system = system
        self._has_codes = True

    @classmethod
    def open(
        cls,
        video: str | os.PathLike,
        system: MotionReader,
        face: int | None = None,
        start: Fraction = Fraction(0),
        duration: Fraction | None = None,
        max_pixels: int = MAX_PIXELS,
        max_frames: int | None = None,
    ) -> VideoMotion:
        """Open a video; arguments and errors as for `ReenactmentPipeline.encode_motion`."""
        reader = VideoReader(video, start, duration, max_pixels=max_pixels, max_frames=max_frames)
        driving = DrivingVideo(reader, system.backend, system.motion_size, system.motion_crop, face)
        return cls(driving, system, duration)

    def points_only(self) -> VideoMotion:
        """The same motion without codes: faces are followed, but neither cut nor encoded."""
        other = copy.copy(self)
        other._has_codes = False
        return other

    def codes_only(self) -> VideoMotion:
        """The same motion without points, which some detectors need another network for."""
        other = copy.copy(self)
        other.has_points = False
        return other

    def batches(
        self, batch_size: int = BATCH_SIZE, images: bool = False, on_progress: OnProgress | None = None
    ) -> Iterator[MotionBatch]:
        """Decode, track and encode; a frame without a face repeats the last code."""

        def open_frames(stop: threading.Event) -> Iterator[DrivingFrame]:
            self._fit_threads()
            frames = self._driving.frames(self.warnings, images, stop, crops=self._has_codes, points=self.has_points)
            return steady_points(frames) if self.has_points else frames

        def tell() -> None:
            if on_progress is not None:
                on_progress(Progress("searching", self._driving.searched, self.frames))

        last = last_points = last_quad = None
        with ReadAhead(open_frames, depth=2 * batch_size, on_wait=tell) as ahead:
            frames = iter(ahead)
            while chunk := list(islice(frames, batch_size)):
                crops = [frame.crop for frame in chunk if frame.crop is not None]
                encoded = iter(self._system.encode_crops(crops)) if crops else iter(())
                codes, points, quads = [], [], []
                for frame in chunk:
                    last = next(encoded) if frame.crop is not None else last
                    codes.append(last)
                    last_points = last_points if frame.points is None else frame.points
                    points.append(last_points)
                    last_quad = last_quad if frame.quad is None else frame.quad
                    quads.append(last_quad)
                yield MotionBatch(
                    torch.stack(codes) if self._has_codes else None,
                    times=[frame.time for frame in chunk],
                    durations=[frame.duration for frame in chunk],
                    found=[frame.found for frame in chunk],
                    images=[frame.image for frame in chunk] if images else None,
                    points=None if points[0] is None else np.stack(points),
                    quads=np.stack(quads),
                )

    def _fit_threads(self) -> None:
        """In the reading thread: the mesh's networks are small."""
        if getattr(self._driving.backend, "name", None) == "mesh":
            use_one_thread()

    def crops(self, most: int, on_progress: Callable[[], None] | None = None) -> list[np.ndarray]:
        """Read the whole video, keeping few crops at a time; a frame without a face has none."""

        def open_frames(stop: threading.Event) -> Iterator[DrivingFrame]:
            self._fit_threads()
            return self._driving.frames(self.warnings, stop=stop, points=False)

        kept, stride = [], 1
        with ReadAhead(open_frames, depth=2 * BATCH_SIZE, on_wait=on_progress) as ahead:
            faces = (frame.crop for frame in ahead if frame.crop is not None)
            for number, crop in enumerate(faces):
                if on_progress is not None:
                    on_progress()
                if number % stride:
                    continue
                kept.append(crop)
                if len(kept) == 4 * most:  # thin out, and keep that spacing from now on
                    kept, stride = kept[::2], 2 * stride
        places = np.linspace(0, len(kept) - 1, min(most, len(kept))).round().astype(int)
        return [kept[place] for place in places]
