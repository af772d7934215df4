"""From a driving video to a stream of face crops: decode, track, stabilise, crop."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np

from vivface.errors import NoFaceError
from vivface.faces.alignment import crop_quad, ffhq_quad
from vivface.faces.landmarks import LandmarkBackend
from vivface.faces.smoothing import QuadStabilizer
from vivface.faces.tracking import FaceTracker, TrackedFace
from vivface.media.video import VideoFrame, VideoReader

SHOWN_HEIGHT = 512  # driving frames that wait to be shown beside the result are at most so high, pixels
STABILIZER = {"stable": "stable", "ffhq": "frame"}  # crop of a checkpoint -> how its driving quads move


@dataclass
class DrivingFrame:
    """One frame of the driving video.

    Attributes:
        time, duration (`Fraction`): when it is shown and for how long, seconds.
        crop (`numpy.ndarray` of shape `(size, size, 3)`, *optional*): uint8 RGB; None where the last crop is held.
        found (`bool`): whether a face was seen in this very frame.
        image (`numpy.ndarray`, *optional*): the whole frame, uint8 RGB, of `DrivingVideo.shown_size`, when it was
            asked for.
    """

    time: Fraction
    duration: Fraction
    crop: np.ndarray | None
    found: bool
    image: np.ndarray | None = None


@dataclass
class DrivingVideo:
    """A driving video as a restartable stream of face crops.

    Frames without a face are bridged: they repeat the last crop, or, before the first face, the first one. Only a
    video without any face is an error.

    Args:
        reader (`VideoReader`): the video, or the part of it to use; every pass iterates it anew.
        backend (`LandmarkBackend`): finds faces and their landmarks.
        size (`int`): side of a crop in pixels.
        crop (`str`): "stable" or "ffhq", as the checkpoint was trained.
        face (`int`, *optional*): which face to follow, 0 the largest of the first frame; None follows the largest.
    """

    reader: VideoReader
    backend: LandmarkBackend
    size: int
    crop: str
    face: int | None = None

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height of the frames that are given on: those of the video, at most `SHOWN_HEIGHT` high."""
        width, height = self.reader.size
        scale = min(1.0, SHOWN_HEIGHT / height)
        return max(round(width * scale), 1), round(height * scale)

    def frames(self, warnings: list[str], images: bool = False) -> Iterator[DrivingFrame]:
        """Read the video from its start; `warnings` is emptied, then filled with what a user should know."""
        warnings.clear()
        first, first_crop = self._find_first_face()
        tracker, stabilizer = self._followers()
        for index, frame in enumerate(self.reader):
            image = cv2.resize(frame.image, self.shown_size, interpolation=cv2.INTER_AREA) if images else None
            if index < first:
                yield DrivingFrame(frame.time, frame.duration, first_crop if index == 0 else None, False, image)
                continue
            tracked = tracker.update(frame.image)
            crop = self._crop(frame, tracked, stabilizer) if tracked.found else None
            yield DrivingFrame(frame.time, frame.duration, crop, tracked.found, image)
        warnings += self.reader.warnings
        if self.face is None and tracker.faces_first > 1:
            warnings.append(
                f"{tracker.faces_first} faces in '{self.reader.path.name}': the largest one was followed, another is "
                "chosen by its number."
            )

    def _find_first_face(self) -> tuple[int, np.ndarray]:
        """Number of the first frame with a face, and its crop."""
        tracker, stabilizer = self._followers()
        count = 0
        for index, frame in enumerate(self.reader):
            tracked = tracker.update(frame.image)
            if tracked.found:
                return index, self._crop(frame, tracked, stabilizer)
            count += 1
        raise NoFaceError(
            f"No face found in '{self.reader.path.name}' ({count} frames looked at): give a video in which a face is "
            "seen, upright and not too small."
        )

    def _followers(self) -> tuple[FaceTracker, QuadStabilizer]:
        tracker = FaceTracker(self.backend, self.face, where=f"'{self.reader.path.name}'")
        return tracker, QuadStabilizer(STABILIZER[self.crop])

    def _crop(self, frame: VideoFrame, tracked: TrackedFace, stabilizer: QuadStabilizer) -> np.ndarray:
        quad = stabilizer.update(ffhq_quad(tracked.landmarks), frame.time, cut=tracked.redetected)
        return crop_quad(frame.image, quad, self.size)
