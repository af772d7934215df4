"""A re-enactment that runs beside the page: it can be watched, and stopped between any two frames."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from vivface.media.provenance import picture_options
from vivface.media.side_by_side import side_by_side as in_a_row
from vivface.media.writer import VideoWriter
from vivface.reenactment.result import ReenactmentResult, Report
from vivface.reenactment.streams import WriteBehind

PREVIEW_FRAMES = 24
PREVIEW_SIDE = 320
ROW_HEIGHT = 512
WRITE_DEPTH = 16


class Cancelled(Exception):
    """The visitor stopped the job."""


@dataclass
class Outputs:
    """Files that a job made."""

    video: Path
    comparison: Path | None = None
    motion: Path | None = None


@dataclass
class Writing:
    """How a result is written.

    Attributes:
        outputs (`Outputs`): where to.
        height (`int`, *optional*): of the video in pixels; as the pipeline makes it if None.
    """

    outputs: Outputs
    height: int | None = None


@dataclass
class Job:
    """Runs `work(job)` in a thread.

    Attributes:
        report (`Report`): frames made so far, seconds, warnings.
        total (`int`, *optional*): frames to make, an estimate; None while it is not known.
        preview (`Path`, *optional*): the first frames as a moving picture, once they are made.
        step (`str`): what is going on, for people.
    """

    work: Callable[["Job"], None]
    report: Report = field(default_factory=Report)
    total: int | None = None
    preview: Path | None = None
    step: str = "Starting"
    error: BaseException | None = None

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vivface-job", daemon=True)

    def start(self) -> "Job":
        self._thread.start()
        return self

    def cancel(self) -> None:
        """Ask for the end; the job stops at the next frame and removes what it wrote."""
        self._stop.set()

    def check(self) -> None:
        """Raise Cancelled when the end was asked for; called by the work between frames."""
        if self._stop.is_set():
            raise Cancelled

    @property
    def is_running(self) -> bool:
        return not self._ended.is_set()

    def wait(self, seconds: float | None = None) -> bool:
        """Whether the job has ended, after at most so many seconds."""
        return self._ended.wait(seconds)

    @property
    def seconds_left(self) -> float | None:
        """Estimate, once there is something to estimate from."""
        if not self.total or not self.report.frames or not self.report.seconds:
            return None
        return max(self.total - self.report.frames, 0) * self.report.seconds / self.report.frames

    def _run(self) -> None:
        try:
            self.work(self)
        except BaseException as error:  # noqa: BLE001 - raised again where the job is watched
            self.error = error
        finally:
            self._ended.set()


def write_result(result: ReenactmentResult, writing: Writing, job: Job) -> None:
    """Write the video and, if asked for, the row of source, driving video and result; frames are made once.

    Raises:
        Cancelled: If the job was cancelled; nothing is left behind.
    """
    motion, outputs = result.motion, writing.outputs
    size = _scaled_size(result.size, writing.height)
    photo = result.identity.photo
    began = time.perf_counter()
    preview = _Preview(outputs.video.with_name("first-frames.webp"), motion.fps)
    sound = dict(audio_from=motion.video, audio_start=motion.start, audio_duration=motion.duration)
    with ExitStack() as stack:
        writer = stack.enter_context(VideoWriter(outputs.video, size, motion.fps, motion.time_base, **sound))
        row, row_size = None, None
        if outputs.comparison is not None:
            height = max(size[1], min(motion.video_size[1], ROW_HEIGHT))
            blanks = [np.zeros((h, w, 3), np.uint8) for w, h in (motion.video_size, size)]
            row_size = in_a_row([photo, *blanks], height).shape[1::-1]
            row = stack.enter_context(VideoWriter(outputs.comparison, row_size, motion.fps, motion.time_base, **sound))

        def write(frame) -> None:
            image = frame.image if frame.image.shape[1::-1] == size else _resize(frame.image, size)
            writer.write(image, frame.time, frame.duration)
            if row is not None:
                row.write(in_a_row([photo, frame.driving, image], row_size[1]), frame.time, frame.duration)

        behind = stack.enter_context(WriteBehind(write, WRITE_DEPTH))
        for frame in result.frames(images=row is not None):
            job.check()
            behind.put(frame)
            job.report = result.report
            if preview.add(frame.image):
                job.preview = preview.path
        job.step = "Writing the file"
    job.report = result.report
    job.report.seconds = time.perf_counter() - began
    job.report.warnings += writer.warnings


def _scaled_size(size: tuple[int, int], height: int | None) -> tuple[int, int]:
    """Width and height with the asked height, both even."""
    if height is None:
        return size
    width = round(size[0] * height / size[1] / 2) * 2
    return max(width, 2), height


def _resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    interpolation = cv2.INTER_AREA if size[1] < image.shape[0] else cv2.INTER_CUBIC
    return cv2.resize(image, size, interpolation=interpolation)


class _Preview:
    """The first frames as an animated WebP, marked as synthetic."""

    def __init__(self, path: Path, fps: Fraction):
        self.path = path
        self._milliseconds = max(20, round(1000 / fps))
        self._frames: list[Image.Image] = []
        self._done = False

    def add(self, image: np.ndarray) -> bool:
        """Take a frame; True when the file has just been written."""
        if self._done:
            return False
        picture = Image.fromarray(image)
        picture.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
        self._frames.append(picture)
        if len(self._frames) < PREVIEW_FRAMES:
            return False
        # There and back again, so that the loop has no jump
        frames = self._frames + self._frames[-2:0:-1]
        options = picture_options(".webp")
        frames[0].save(
            self.path, save_all=True, append_images=frames[1:], duration=self._milliseconds, loop=0, method=2, **options
        )
        self._frames, self._done = [], True
        return True
