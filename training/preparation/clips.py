"""One video to aligned clips: the face is followed, unusable parts are left out and counted by reason.

Frames are cut by FFHQ's square around the face, its trembling taken away (`vivface.faces.smoothing`), as the papers'
pre-processing does. A clip ends where the picture cuts, where the face is lost or where a frame is unusable.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from vivface.errors import MediaError, NoFaceError
from vivface.faces.alignment import crop_quad, ffhq_quad, quad_center, quad_size, to_crop
from vivface.faces.backends import get_backend
from vivface.faces.landmarks import LandmarkBackend
from vivface.faces.smoothing import QuadStabilizer
from vivface.faces.tracking import FaceTracker
from vivface.media.video import VideoFrame, VideoReader

QUALITY = 95  # of the JPEG files
CUT_COLOURS = 0.5  # two frames whose colour histograms share less belong to two scenes ...
CUT_PLACE = 0.35  # ... and so do faces that jump farther than this, in sides of the square
REASONS = {
    "unreadable": "videos that cannot be opened or break off",
    "no face": "videos without a face",
    "lost": "frames without the face that was followed",
    "cut": "clips ended by a cut (no frame is dropped)",
    "small": "frames whose face is smaller than --min-side",
    "blurred": "frames less sharp than --min-sharpness",
    "several": "frames with another face in the crop",
    "short": "frames of clips shorter than --min-frames",
}


@dataclass(frozen=True)
class Filters:
    """What is left out.

    Attributes:
        size (`int`): Side of the aligned frames, pixels.
        min_side (`float`): Shortest side of FFHQ's square in the video, pixels.
        min_sharpness (`float`): Least variance of the Laplacian of the grey crop at `size`, levels of 0 to 255. At 256
            sharp clips have 15 to 140, the same blurred by a sigma of 1.5 pixels 4 to 8.
        min_frames (`int`): Fewest frames of a clip.
        max_frames (`int`): Most frames of a video, counted from its start; 0 for all.
        check_every (`int`): Frames between searches for further faces.
        backend (`str`): What finds faces, see `vivface.faces.backends`.
    """

    size: int = 256
    min_side: float = 160.0
    min_sharpness: float = 8.0
    min_frames: int = 16
    max_frames: int = 500
    check_every: int = 25
    backend: str = "auto"


@dataclass
class Clip:
    """Aligned frames of one scene.

    Attributes:
        first (`int`): Number of its first frame in the video.
        images (`list[bytes]`): JPEG files.
        landmarks (`list[np.ndarray]`): Of every frame, `(68, 2)`, in fractions of the crop.
        times (`list[float]`): Seconds in the video.
    """

    first: int
    images: list[bytes] = field(default_factory=list)
    landmarks: list[np.ndarray] = field(default_factory=list)
    times: list[float] = field(default_factory=list)


@dataclass
class Prepared:
    """What became of a video.

    Attributes:
        clips (`list[Clip]`): May be empty.
        dropped (`Counter`): Reason -> how many, see `REASONS`.
        frames (`int`): Frames that were read.
        fault (`str`): What the reader said about a damaged file, else empty.
        fps (`float`): Frames per second.
    """

    clips: list[Clip] = field(default_factory=list)
    dropped: Counter = field(default_factory=Counter)
    frames: int = 0
    fault: str = ""
    fps: float = 0.0


def prepare_video(path: Path, filters: Filters, backend: LandmarkBackend | None = None) -> Prepared:
    """Cut a video into aligned clips.

    Args:
        path (`Path`): The video. One that cannot be read gives no clips and a `fault`; of one that breaks off, what was
            read before counts.
        filters (`Filters`): What is left out.
        backend (`LandmarkBackend`, *optional*): What finds faces, if it is loaded already.

    Returns:
        `Prepared`: The clips.
    """
    scanner = _Scanner(filters, backend or get_backend(filters.backend))
    try:
        with VideoReader(path, max_frames=filters.max_frames or None) as reader:
            scanner.result.fps = float(reader.fps)
            for frame in reader:
                scanner.add(frame)
    except (MediaError, NoFaceError) as error:
        scanner.result.fault = str(error)
        scanner.result.dropped["unreadable"] += 1
    return scanner.finish()


class _Scanner:
    """Goes through the frames of one video and collects clips."""

    def __init__(self, filters: Filters, backend: LandmarkBackend):
        self.filters, self.backend = filters, backend
        self.result, self.seen = Prepared(), False
        self._start()
        self.histogram: np.ndarray | None = None

    def _start(self) -> None:
        """A new scene: whoever is largest there is followed."""
        self.tracker, self.checked, self.alone = FaceTracker(self.backend), 0, True
        self._break()

    def _break(self) -> None:
        """End the clip."""
        clip = getattr(self, "clip", None)
        if clip is not None and clip.images:
            if len(clip.images) < self.filters.min_frames:
                self.result.dropped["short"] += len(clip.images)
            else:
                self.result.clips.append(clip)
        self.clip: Clip | None = None
        self.stabilizer, self.centre = QuadStabilizer("ffhq"), None

    def add(self, frame: VideoFrame) -> None:
        """The next frame."""
        number, self.result.frames = self.result.frames, self.result.frames + 1
        histogram = _colours(frame.image)
        if self.histogram is not None and np.minimum(histogram, self.histogram).sum() < CUT_COLOURS:
            self.result.dropped["cut"] += 1
            self._start()
        self.histogram = histogram

        tracked = self.tracker.update(frame.image, frame.time)
        if not tracked.found:
            if self.seen:
                self.result.dropped["lost"] += 1
            self.checked = 0
            self._break()
            return
        self.seen = True
        raw = ffhq_quad(tracked.landmarks)
        if self.centre is not None and np.linalg.norm(quad_center(raw) - self.centre) > CUT_PLACE * quad_size(raw):
            self.result.dropped["cut"] += 1
            self._break()
        self.centre = quad_center(raw)
        quad = self.stabilizer.update(raw, frame.time)
        image = crop_quad(frame.image, quad, self.filters.size)
        reason = self._fault(frame.image, image, quad)
        if reason:
            self.result.dropped[reason] += 1
            self._break()
            return
        if self.clip is None:
            self.clip = Clip(number)
        packed = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
        self.clip.images.append(packed.tobytes())
        self.clip.landmarks.append(to_crop(tracked.landmarks, quad).astype(np.float32))
        self.clip.times.append(round(float(frame.time), 6))

    def _fault(self, picture: np.ndarray, image: np.ndarray, quad: np.ndarray) -> str | None:
        if quad_size(quad) < self.filters.min_side:
            return "small"
        if sharpness(image) < self.filters.min_sharpness:
            return "blurred"
        if self.checked == 0:
            self.alone = self._is_alone(picture, quad)
        self.checked = (self.checked + 1) % self.filters.check_every
        return None if self.alone else "several"

    def _is_alone(self, picture: np.ndarray, quad: np.ndarray) -> bool:
        faces = self.backend.detect(picture, effort="normal")
        inside = [to_crop(face.center[None], quad)[0] for face in faces]
        return sum(bool(((place > 0) & (place < 1)).all()) for place in inside) < 2

    def finish(self) -> Prepared:
        """After the last frame."""
        self._break()
        if not self.seen and self.result.frames:
            self.result.dropped["no face"] += 1
        return self.result


def sharpness(image: np.ndarray) -> float:
    """Variance of the Laplacian of the grey image, levels of 0 to 255; blur and coding lower it.

    Args:
        image (`np.ndarray` of shape `(H, W, 3)`): uint8 RGB.
    """
    return float(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())


def _colours(image: np.ndarray) -> np.ndarray:
    """Histogram `(512,)` of a small copy, sum 1."""
    small = cv2.resize(image, (96, 96), interpolation=cv2.INTER_AREA) // 32
    index = small[..., 0].astype(np.int64) * 64 + small[..., 1] * 8 + small[..., 2]
    return np.bincount(index.ravel(), minlength=512) / index.size
