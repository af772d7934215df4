"""From a driving video to a stream of face crops: decode, track, stabilise, crop."""

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import cv2
import numpy as np

from vivface.errors import NoFaceError
from vivface.faces.alignment import crop_quad, make_quad, quad_angle, quad_center, quad_size, to_crop
from vivface.faces.crops import face_quad
from vivface.faces.landmarks import LandmarkBackend
from vivface.faces.position import still_square
from vivface.faces.smoothing import QuadStabilizer, Seconds
from vivface.faces.tracking import FaceTracker, TrackedFace
from vivface.media.video import VideoFrame, VideoReader
from vivface.warping.mesh import PointsReader

QUARTER, LYING = math.pi / 2, math.radians(60)  # a head that is turned farther lies down
KEPT_ZOOM = 1.15  # times as large as at first, or as small, that a head stays which leans forwards or back
SHOWN_HEIGHT = 512  # maximum height of driving frames kept for the side-by-side view, pixels


@dataclass
class DrivingFrame:
    """One frame of the driving video.

    Attributes:
        time, duration (`Fraction`): When it is shown and for how long, seconds.
        crop (`numpy.ndarray` of shape `(size, size, 3)`, *optional*): uint8 RGB; None where the last crop is held, and
            everywhere if crops were not asked for.
        found (`bool`): Whether a face was seen in this very frame.
        points (`numpy.ndarray` of shape `(478, 3)`, *optional*): Of the face in the crop, see `vivface.warping.mesh`;
            None where the last points are held.
        image (`numpy.ndarray`, *optional*): The whole frame, uint8 RGB, of `DrivingVideo.shown_size`, if it was asked
            for.
        quad (`numpy.ndarray` of shape `(4, 2)`, *optional*): Where the crop lies in the frame, pixels of the video;
            None where the last place is held.
        anew (`bool`): Whether the face had to be searched, as after a cut.
    """

    time: Fraction
    duration: Fraction
    crop: np.ndarray | None
    found: bool
    points: np.ndarray | None = None
    image: np.ndarray | None = None
    quad: np.ndarray | None = None
    anew: bool = False


class SteadyCrop:
    """Cuts the face out of consecutive frames, as the network that reads motion sees it, without trembling.

    Args:
        crop (`str`): A key of `vivface.faces.CROPS`. `"stable"` follows slow movement only, `"still"` stays where the
            first face was, upright; the others cut every frame by its own landmarks.
        size (`int`): Width and height of a crop in pixels.

    Attributes:
        quad (`numpy.ndarray` of shape `(4, 2)`): Of the crop that was placed last, pixels of its frame.
        upright (`float`): Radians by which frames are turned, a multiple of 90 degrees: that of a camera on its side.
    """

    def __init__(self, crop: str, size: int):
        self.crop, self.size = crop, size
        self.upright: float | None = None
        self._stabilizer = QuadStabilizer("stable" if crop == "stable" else "ffhq")
        self._points = PointsReader()
        self.quad: np.ndarray | None = None

    def __call__(self, image: np.ndarray, tracked: TrackedFace, time: Seconds) -> np.ndarray:
        """Cut one frame.

        Args:
            image (`numpy.ndarray` of shape `(height, width, 3)`): uint8 RGB.
            tracked (`TrackedFace`): Where its face is; it has been found.
            time (`float` or `Fraction`): When the frame is shown, seconds.

        Returns:
            `numpy.ndarray` of shape `(size, size, 3)`: uint8 RGB.
        """
        self.follow(tracked, time)
        return self.cut(image)

    def follow(self, tracked: TrackedFace, time: Seconds) -> None:
        """Place the crop of a frame, in `quad`, without cutting it."""
        own = face_quad(tracked.landmarks, self.crop)
        quad, angle = self._stabilizer.update(own, time, cut=tracked.redetected), quad_angle(own)
        if self.crop == "still":
            quad = still_square(quad) if self.quad is None else self.quad
        self.quad = quad
        if self.upright is None or (tracked.redetected and abs(math.remainder(angle - self.upright, math.tau)) > LYING):
            self.upright = QUARTER * round(angle / QUARTER)

    def cut(self, image: np.ndarray, of_points: bool = False) -> np.ndarray:
        """The crop that was placed last, or that of its points, uint8 RGB `(size, size, 3)`."""
        return crop_quad(image, self.points_quad if of_points else self.quad, self.size)

    @property
    def points_quad(self) -> np.ndarray:
        """Of the crop that `points` lie in; a `"stable"` one is as if it had hardly turned or grown.

        That crop follows a head that is tilted for a while, or leans towards the camera, which the motion codes want;
        but both are part of the motion of a photograph. It stays by `KEPT_ZOOM` larger or smaller at most.
        """
        if self.crop != "stable":
            return self.quad
        size, first = quad_size(self.quad), self._stabilizer.first_size
        kept = min(max(size / first, 1 / KEPT_ZOOM), KEPT_ZOOM)
        return make_quad(quad_center(self.quad), size / kept / 2, self.upright)

    def points(self, image: np.ndarray, tracked: TrackedFace) -> np.ndarray | None:
        """Points of the face in the crop that was placed last, see `points_quad`.

        Args:
            image (`numpy.ndarray` of shape `(height, width, 3)`), tracked (`TrackedFace`): What it was placed in.

        Returns:
            `numpy.ndarray` of shape `(478, 3)`: See `vivface.warping.mesh`; None if the mesh network sees no face.
        """
        points = self._points.read(image, tracked.face)
        return None if points is None else to_crop(points, self.points_quad)


@dataclass
class DrivingVideo:
    """A driving video as a stream of face crops that can be read several times.

    Frames without a face are bridged: they repeat the last crop, or, before the first face, the first one. Only a
    video without any face is an error.

    Args:
        reader (`VideoReader`): The video, or the part of it to use; every pass iterates it from its start.
        backend (`LandmarkBackend`): Finds faces and their landmarks.
        size (`int`): Width and height of a crop in pixels.
        crop (`str`): A key of `vivface.faces.CROPS`. `"stable"` follows slow movement only, the others cut every frame
            by its own landmarks.
        face (`int`, *optional*): Which face to follow, 0 the largest of the first frame; None follows the largest.

    Attributes:
        searched (`int`): Frames without a face that the present pass has read before the first face.
    """

    reader: VideoReader
    backend: LandmarkBackend
    size: int
    crop: str
    face: int | None = None
    searched: int = field(default=0, init=False)

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height of the frames in `DrivingFrame.image`: those of the video, at most 512 pixels high."""
        width, height = self.reader.size
        scale = min(1.0, SHOWN_HEIGHT / height)
        return max(round(width * scale), 1), round(height * scale)

    def frames(
        self,
        warnings: list[str],
        images: bool = False,
        stop: threading.Event | None = None,
        crops: bool = True,
        points: bool = True,
        of_points: bool = False,
    ) -> Iterator[DrivingFrame]:
        """Read the video from its start.

        Args:
            warnings (list of `str`): Emptied, then filled with what a user should know.
            images (`bool`, *optional*, defaults to False): Whether to return the frames themselves, too.
            stop (`threading.Event`, *optional*): Ends the stream when it is set.
            crops (`bool`, *optional*, defaults to True): Whether to cut the face out.
            points (`bool`, *optional*, defaults to True): Whether to read the points of faces, too; detectors that find
                landmarks alone need another network for them.
            of_points (`bool`, *optional*, defaults to False): Whether crops are those that points lie in, see
                `SteadyCrop.points_quad`, and not those that motion codes are read from.

        Raises:
            MediaError: If the video cannot be read.
            NoFaceError: If no frame shows a face.
        """
        warnings.clear()
        self.searched = 0
        tracker = FaceTracker(self.backend, self.face, where=f"'{self.reader.path.name}'", states=False)
        steady = SteadyCrop(self.crop, self.size)
        early = _EarlyFrames()  # those before the first face
        waiting = True
        for frame in self.reader:
            if stop is not None and stop.is_set():
                return
            tracked = tracker.update(frame.image)
            image = cv2.resize(frame.image, self.shown_size, interpolation=cv2.INTER_AREA) if images else None
            if waiting and not tracked.found:
                early.add(frame, image)
                self.searched += 1
                continue
            crop = seen = quad = None
            if tracked.found:
                steady.follow(tracked, frame.time)
                crop = steady.cut(frame.image, of_points) if crops else None
                seen, quad = steady.points(frame.image, tracked) if points else None, steady.quad
            if waiting:
                waiting = False
                yield from early.release(crop, seen, quad)
            anew = tracked.found and tracked.redetected
            yield DrivingFrame(frame.time, frame.duration, crop, tracked.found, seen, image, quad, anew)
        warnings += self.reader.warnings
        if waiting:
            raise NoFaceError(
                f"No face was found in '{self.reader.path.name}' (searched {self.searched} frames): give a video that "
                "shows a face, upright and not too small."
            )
        if self.face is None and tracker.faces_first > 1:
            warnings.append(
                f"{tracker.faces_first} faces in '{self.reader.path.name}': the largest was followed; choose another "
                f"with driving_face (0 to {tracker.faces_first - 1}, largest first), or somebody who enters later with "
                "start."
            )


class _EarlyFrames:
    """Frames that wait for the first face; images wait as JPEG, so that a long search needs little memory."""

    QUALITY = 95

    def __init__(self) -> None:
        self._frames: list[tuple[Fraction, Fraction, np.ndarray | None]] = []

    def add(self, frame: VideoFrame, image: np.ndarray | None) -> None:
        packed = None
        if image is not None:
            packed = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, self.QUALITY])[1]
        self._frames.append((frame.time, frame.duration, packed))

    def release(self, crop: np.ndarray | None, points: np.ndarray | None, quad: np.ndarray) -> Iterator[DrivingFrame]:
        """The frames, the first of them with the crop of the first face."""
        for number, (time, duration, packed) in enumerate(self._frames):
            image = None if packed is None else np.ascontiguousarray(cv2.imdecode(packed, cv2.IMREAD_COLOR)[..., ::-1])
            first = (crop, points, quad) if number == 0 else (None, None, None)
            yield DrivingFrame(time, duration, first[0], False, first[1], image, first[2])
        self._frames.clear()
