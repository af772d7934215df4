"""A re-enactment that is made while it is read: frames, a video file, and what was met on the way."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from vivface.errors import OptionError
from vivface.media.side_by_side import side_by_side as in_a_row
from vivface.media.writer import VideoWriter
from vivface.reenactment.codes import IdentityCode, MotionCodes, MotionRecorder
from vivface.reenactment.streams import WriteBehind

WRITE_DEPTH = 16  # frames that may wait for the video encoder


@dataclass
class RenderedFrame:
    """A frame of the result: uint8 RGB `(height, width, 3)`, its time in seconds, and what drove it."""

    image: np.ndarray
    time: Fraction
    duration: Fraction
    found: bool
    driving: np.ndarray | None = None


@dataclass
class Report:
    """What happened: frames made, seconds it took, driving frames whose missing face was bridged, warnings."""

    frames: int = 0
    seconds: float = 0.0
    missing: int = 0
    warnings: list[str] = field(default_factory=list)

    @property
    def fps(self) -> float:
        """Frames made per second of computing."""
        return self.frames / self.seconds if self.seconds else 0.0


class ReenactmentResult:
    """A re-enactment, made lazily: each iteration, and each `save`, reads the driving video and renders anew.

    Args:
        render (callable `(images, recorder) -> iterator of RenderedFrame`): opens the stream.
        identity (`IdentityCode`): whose face.
        motion (`MotionCodes`): whose motion.
        size (`tuple`): width and height of a frame in pixels.
        progress (callable `total -> progress bar`): opens a bar with `update()` and `close()`.

    Attributes:
        report (`Report`): of the last iteration or `save`.
    """

    def __init__(
        self,
        render: Callable[[bool, MotionRecorder | None], Iterator[RenderedFrame]],
        identity: IdentityCode,
        motion: MotionCodes,
        size: tuple[int, int],
        progress: Callable[[int], object],
    ):
        self._render = render
        self.identity = identity
        self.motion = motion
        self.size = size
        self.report = Report(warnings=list(identity.warnings))
        self._progress = progress

    @property
    def fps(self) -> Fraction:
        """Frames per second of the video."""
        return self.motion.fps

    def __iter__(self) -> Iterator[np.ndarray]:
        """uint8 RGB frames `(height, width, 3)`."""
        for frame in self.frames():
            yield frame.image

    def save(
        self,
        path: str | Path,
        *,
        side_by_side: bool = False,
        save_motion: str | Path | None = None,
        on_frame: Callable[[Report], None] | None = None,
    ) -> Path:
        """Write the video, with the timestamps and the sound of the driving video.

        Args:
            path: where to, an .mp4 file. It appears when it is complete.
            side_by_side (`bool`, *optional*, defaults to `False`): show source, driving video and result in a row.
            save_motion (*optional*): also write the motion codes there, as `MotionCodes.save` does.
            on_frame (callable, *optional*): called with the report so far after each frame.

        Raises:
            MediaError: If the driving video cannot be read or the result cannot be written.
            NoFaceError: If the driving video shows no face at all.
            OptionError: If `side_by_side` is asked of a motion file, which has no pictures.
        """
        if side_by_side and self.motion.video is None:
            raise OptionError(
                f"side_by_side shows the driving video, but '{self.motion.name}' is a motion file: give the video."
            )
        photo, motion, size = self.identity.photo, self.motion, self.size
        if side_by_side:
            height = max(size[1], motion.video_size[1])
            size = in_a_row([photo, _blank(motion.video_size), _blank(size)], height).shape[1::-1]
        with ExitStack() as stack:
            recorder = stack.enter_context(MotionRecorder(motion, save_motion)) if save_motion else None
            writer = stack.enter_context(
                VideoWriter(
                    path,
                    size,
                    motion.fps,
                    motion.time_base,
                    audio_from=motion.video,
                    audio_start=motion.start,
                    audio_duration=motion.duration,
                )
            )
            behind = stack.enter_context(
                WriteBehind(lambda frame: writer.write(frame.image, frame.time, frame.duration), WRITE_DEPTH)
            )
            for frame in self.frames(side_by_side, recorder):
                if side_by_side:
                    frame.image = in_a_row([photo, frame.driving, frame.image], size[1])
                behind.put(frame)
                if on_frame is not None:
                    on_frame(self.report)
        self.report.warnings += writer.warnings
        return Path(path)

    def frames(self, images: bool = False, recorder: MotionRecorder | None = None) -> Iterator[RenderedFrame]:
        """Frames with their times, for those who write them in their own way; `report` is kept up to date.

        Args:
            images (`bool`, *optional*, defaults to `False`): give the driving frames, too.
            recorder (`MotionRecorder`, *optional*): receives the motion codes.
        """
        self.report = report = Report(warnings=list(self.identity.warnings))
        began = time.perf_counter()
        bar = self._progress(self.motion.frames or 0)
        try:
            for frame in self._render(images, recorder):
                report.frames += 1
                report.missing += not frame.found
                report.seconds = time.perf_counter() - began
                bar.update()
                yield frame
        finally:
            bar.close()
        report.warnings += self.motion.warnings
        if report.missing:
            report.warnings.append(
                f"No face was seen in {report.missing} of the {report.frames} frames of '{self.motion.name}': the "
                "motion was held there."
            )


def _blank(size: tuple[int, int]) -> np.ndarray:
    return np.zeros((size[1], size[0], 3), np.uint8)
