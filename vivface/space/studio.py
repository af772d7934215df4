"""The work behind the page, without the page: every method can be called from a script."""

import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
import torch

from vivface.editing import AttributeDirections, smooth_motion
from vivface.errors import OptionError, VivFaceError
from vivface.faces.backends import get_backend
from vivface.pipelines.vivface import VivFacePipeline
from vivface.reenactment.codes import MOTION_SUFFIX, IdentityCode, MotionBatch, MotionCodes, MotionRecorder
from vivface.reenactment.portrait_tuning import CODE_STEPS
from vivface.reenactment.result import Report
from vivface.space.detection import SharedBackend
from vivface.space.jobs import Job, Outputs, Writing, write_result
from vivface.space.limits import Limits
from vivface.space.live import LiveDriver, to_picture
from vivface.space.previews import Seen, see_picture, see_video
from vivface.space.sessions import Session, SessionStore, file_key

POLL_SECONDS = 0.4
STOP_SECONDS = 10.0  # how long a stopped job is waited for
MAX_HEIGHT = 1080


@dataclass(frozen=True)
class Options:
    """How a portrait is re-enacted.

    Attributes:
        face, driving_face (`int`): which face, 1 the largest.
        adapt (`bool`): adapt to the portrait first, with the checkpoint's own number of steps.
        refine (`bool`): second stage, when the checkpoint has one.
        paste_back (`bool`): put the face back into the photo.
        relative (`bool`): take over the driver's changes only, not pose and expression themselves.
        strength (`float`): of the motion, 0 to 2, 1 for the driver's own.
        smoothing (`float`): seconds over which motion is smoothed, 0 to 0.5.
        start, length (`float`): part of the clip, seconds; length 0 for all the rest.
        height (`int`): of the video in pixels; 0 as it is made.
        compare (`bool`): also write source, driving video and result side by side.
        edits (`dict`): amounts by name, see `AttributeDirections`.
    """

    face: int = 1
    driving_face: int = 1
    adapt: bool = True
    refine: bool = True
    paste_back: bool = False
    relative: bool = False
    strength: float = 1.0
    smoothing: float = 0.0
    start: float = 0.0
    length: float = 0.0
    height: int = 0
    compare: bool = False
    edits: dict[str, float] = field(default_factory=dict)

    def check(self) -> None:
        """Raise an OptionError for a value out of its range."""
        ranges = {"strength": (0, 2), "smoothing": (0, 0.5), "start": (0, 1e5), "length": (0, 1e5)}
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not (isinstance(value, int | float) and low <= value <= high):
                raise OptionError(f"`{name}` is {value!r}; expected a number from {low} to {high:g}.")
        if self.height and not (64 <= self.height <= MAX_HEIGHT and self.height % 2 == 0):
            raise OptionError(f"`height` is {self.height}; expected 0, or an even number from 64 to {MAX_HEIGHT}.")

    @property
    def key(self) -> tuple:
        """The same for the same options."""
        values = [getattr(self, item.name) for item in fields(self)]
        return tuple(tuple(sorted(v.items())) if isinstance(v, dict) else v for v in values)


@dataclass
class Update:
    """How far a re-enactment is; the last one carries the files.

    Attributes:
        step (`str`): what is going on.
        frames, total (`int`): made so far, to be made (None while unknown).
        seconds_left (`float`, *optional*): estimate.
        preview (`Path`, *optional*): the first frames, once they are there.
        outputs (`Outputs`, *optional*): the files, in the last update.
        report (`Report`, *optional*): what happened, in the last update.
    """

    step: str
    frames: int = 0
    total: int | None = None
    seconds_left: float | None = None
    preview: Path | None = None
    outputs: Outputs | None = None
    report: Report | None = None


class Studio:
    """A pipeline that many visitors share.

    Args:
        pipeline (`VivFacePipeline`): makes the frames.
        directions (`AttributeDirections`, *optional*): of its checkpoint.
        limits (`Limits`, *optional*): of uploads.
        examples (list of `Path`, *optional*): portraits and clips whose faces need no consent; results made from
            these alone are remembered.
    """

    def __init__(
        self,
        pipeline: VivFacePipeline,
        directions: AttributeDirections | None = None,
        limits: Limits | None = None,
        examples: list[Path] | None = None,
    ):
        self.pipeline = pipeline
        self.pipeline.set_progress_bar_config(disable=True)
        self.pipeline.use_detector(SharedBackend(get_backend("auto")))
        self.directions = directions or AttributeDirections()
        self.limits = limits or Limits()
        self.sessions = SessionStore()
        self._examples = {file_key(path) for path in examples or []}
        self._folder = tempfile.TemporaryDirectory(prefix="vivface-examples-")
        self._remembered: dict[tuple, tuple[Outputs, Report]] = {}
        self._lock = threading.Lock()

    # ---- what the program sees

    def look_at_portrait(self, session: Session, path: str) -> Seen:
        """Find the faces of a portrait.

        Raises:
            MediaError: If it cannot be read or is too large.
            NoFaceError: If it shows no face.
        """
        path = self.limits.check_picture(path)
        with _plain_names(path):
            return session.keep(
                "portrait", file_key(path), lambda: see_picture(path, self.pipeline.backend, self.limits.picture_pixels)
            )

    def look_at_driving(self, session: Session, path: str, start: float = 0.0, length: float = 0.0) -> Seen:
        """Find the faces in the first frame of a clip that shows any.

        Raises:
            MediaError: If it cannot be read or is too large.
            NoFaceError: If it shows no face.
        """
        with _plain_names(path):
            reader = self.limits.check_video(path, start, length or None)
            return session.keep("driving", (file_key(path), start), lambda: see_video(reader, self.pipeline.backend))

    def is_example(self, path: str) -> bool:
        """Whether a file is one of the examples, byte for byte."""
        return file_key(path) in self._examples

    # ---- stills

    def encode(self, session: Session, path: str, face: int = 1, adapt: bool | None = None) -> IdentityCode:
        """Encode a portrait, once a session.

        Args:
            session (`Session`): remembers it.
            path (`str`): of the picture.
            face (`int`): which face, 1 the largest.
            adapt (`bool`, *optional*): adapt to it, with the checkpoint's own number of steps, or not at all; by
                default as far as it takes no time worth waiting for: all of it if it was done already, else the steps
                that move the code alone.

        Raises:
            MediaError: If it cannot be read or is too large.
            NoFaceError: If it does not show that face.
        """
        seen = self.look_at_portrait(session, path)
        seen.choose(face)
        key, steps = (file_key(path), face), self.pipeline.config.adapt_steps
        if adapt is False:
            steps = 0
        elif adapt is None and not session.knows("identity", (*key, steps)):
            steps = min(steps, CODE_STEPS)
        return session.keep(
            "identity",
            (*key, steps),
            lambda: self.pipeline.encode_identity(seen.image, face=face - 1, adapt=steps),
        )

    @torch.no_grad()
    def edited_still(self, session: Session, path: str, face: int, edits: dict[str, float], refine: bool) -> np.ndarray:
        """The portrait with its own motion under edits: uint8 RGB.

        Raises:
            VivFaceError: As `encode`; if an edit is unknown or out of range.
        """
        identity = self.encode(session, path, face)
        edited = self.directions.edit_identity(self.pipeline.generator, identity, edits)
        return to_picture(self.pipeline.generate(edited, edited.motion, refine))

    # ---- videos

    def reenact(
        self, session: Session, portrait: str, driving: str, options: Options, folder: Path
    ) -> Iterator[Update]:
        """Re-enact a portrait, telling how far it is; closing the iterator stops the work at the next frame.

        Args:
            session (`Session`): of the visitor; `session.job.cancel()` stops the work, too.
            portrait (`str`): path of a picture.
            driving (`str`): path of a video or of a motion file.
            options (`Options`): how.
            folder (`Path`): where the files go.

        Raises:
            VivFaceError: What a visitor can cause.
            Cancelled: If the job was cancelled.
        """
        options.check()
        self.directions.check(options.edits)
        key = self._example_key(portrait, driving, options)
        if key in self._remembered:
            outputs, report = self._remembered[key]
            yield Update("Done", report.frames, report.frames, outputs=outputs, report=report)
            return
        if session.job is not None:
            session.job.cancel()
            session.job.wait(STOP_SECONDS)
        outputs = _outputs(folder, options, driving)
        job = Job(lambda job: self._work(session, portrait, driving, options, outputs, job))
        session.job = job
        job.start()
        try:
            while not job.wait(POLL_SECONDS):
                yield Update(job.step, job.report.frames, job.total, job.seconds_left, job.preview)
            if job.error is not None:
                raise job.error
            if key is not None:
                outputs = self._remember(key, outputs, job.report)
            yield Update("Done", job.report.frames, job.report.frames, 0, job.preview, outputs, job.report)
        finally:
            job.cancel()
            job.wait(STOP_SECONDS)
            if session.job is job:
                session.job = None

    def open_motion(self, driving: str, options: Options) -> MotionCodes:
        """Open a clip or a motion file as a stream of motion codes, within the limits.

        Raises:
            MediaError: If it cannot be read or is too large.
            OptionError: If the options do not go with it.
        """
        if Path(driving).suffix == MOTION_SUFFIX:
            if options.compare:
                raise OptionError(
                    "A motion file has no pictures to show side by side: choose a driving video for that."
                )
            return self.limits.check_motion(driving)
        length = options.length or None
        reader = self.limits.check_video(driving, options.start, length)
        if reader.duration is None:  # unknown: read no more than is allowed
            length = min(length or self.limits.seconds, self.limits.seconds)
        return self.pipeline.encode_motion(driving, options.driving_face - 1 or None, options.start, length)

    def save_motion(self, driving: str, options: Options, folder: Path) -> tuple[Path, int, float]:
        """Write the motion of a clip to a file in `folder`; gives its path, frames and seconds.

        Raises:
            VivFaceError: What a visitor can cause.
        """
        options.check()
        with _plain_names(driving):
            path = self.open_motion(driving, options).save(folder / f"vivface-motion{MOTION_SUFFIX}")
        motion = MotionCodes.load(path)
        return path, motion.frames, motion.frames / float(motion.fps)

    def live(
        self, session: Session, path: str, face: int, edits: dict[str, float], refine: bool, relative: bool
    ) -> LiveDriver:
        """Make a portrait ready to follow a camera.

        Raises:
            VivFaceError: As `encode`; if an edit is unknown or out of range.
        """
        identity = self.encode(session, path, face)
        return LiveDriver(self.pipeline, identity, self.directions, edits, refine, relative)

    # ---- details

    def _work(
        self, session: Session, portrait: str, driving: str, options: Options, outputs: Outputs, job: Job
    ) -> None:
        with _plain_names(portrait, driving):
            # 1. The portrait and its edits.
            job.step = "Learning the portrait" if options.adapt else "Reading the portrait"
            identity = self.encode(session, portrait, options.face, options.adapt)
            identity = self.directions.edit_identity(self.pipeline.generator, identity, options.edits)
            job.check()

            # 2. The motion, kept as it was read, then smoothed and edited.
            job.step = "Finding the face in the driving video"
            motion = self.open_motion(driving, options)
            job.total = motion.frames
            with ExitStack() as stack:
                recorder = stack.enter_context(MotionRecorder(motion, outputs.motion)) if outputs.motion else None
                recorded = _recorded(motion, recorder, job)
                motion = self.directions.edit_motion(smooth_motion(recorded, options.smoothing), options.edits)

                # 3. Frames, to the files.
                result = self.pipeline(
                    identity,
                    motion,
                    refine=options.refine,
                    paste_back=options.paste_back,
                    motion="relative" if options.relative else "absolute",
                    strength=options.strength,
                )
                write_result(result, Writing(outputs, options.height or None), job)

    def _example_key(self, portrait: str, driving: str, options: Options) -> tuple | None:
        keys = file_key(portrait), file_key(driving)
        return (*keys, options.key) if self._examples.issuperset(keys) else None

    def _remember(self, key: tuple, outputs: Outputs, report: Report) -> Outputs:
        """Copy the files of an example's result to where they stay."""
        with self._lock:
            folder = Path(self._folder.name) / str(len(self._remembered))
            folder.mkdir(exist_ok=True)
            kept = Outputs(
                *(
                    path and Path(shutil.copy2(path, folder))
                    for path in (outputs.video, outputs.comparison, outputs.motion)
                )
            )
            if len(self._remembered) < 32:
                self._remembered[key] = (kept, report)
            return kept


def _recorded(motion: MotionCodes, recorder: MotionRecorder | None, job: Job) -> MotionCodes:
    """The same stream; codes pass the recorder, and a cancelled job ends it."""
    opened = motion.batches

    def batches(batch_size: int, images: bool) -> Iterator[MotionBatch]:
        for batch in opened(batch_size, images):
            job.check()
            job.step = "Making frames"
            if recorder is not None:
                recorder.add(batch)
            yield batch

    motion.batches = batches
    return motion


def _outputs(folder: Path, options: Options, driving: str) -> Outputs:
    is_motion = Path(driving).suffix == MOTION_SUFFIX
    return Outputs(
        folder / "vivface.mp4",
        folder / "vivface-side-by-side.mp4" if options.compare else None,
        None if is_motion else folder / "vivface-motion.safetensors",
    )


class _plain_names:  # noqa: N801 - reads as a statement
    """Leave the folders of uploads out of messages: they say nothing to a visitor."""

    def __init__(self, *paths: str | Path):
        self._paths = paths

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error: BaseException | None, traceback) -> None:
        if not isinstance(error, VivFaceError):
            return
        message = str(error)
        for path in self._paths:
            message = message.replace(str(path), Path(path).name)
        if message != str(error):
            raise type(error)(message) from error
