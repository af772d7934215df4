"""The page's work for many visitors: consent, what is remembered, and one run at a time. Scripts can call it, too."""

from __future__ import annotations

import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vivface.editing import AttributeDirections
from vivface.errors import OptionError
from vivface.faces.backends import get_backend
from vivface.pipelines.base import ReenactmentPipeline
from vivface.pipelines.codec import ExpressiveCodecPipeline
from vivface.provenance import Verification, verify
from vivface.reenactment.codes import MOTION_SUFFIX, IdentityCode
from vivface.reenactment.expressive_photo import ExpressivePhoto
from vivface.reenactment.portrait_tuning import CODE_STEPS
from vivface.reenactment.progress import OnProgress, ignore_progress
from vivface.space.codec_service import CodecService
from vivface.space.detection import SharedBackend
from vivface.space.examples import EXAMPLES, ResultCache
from vivface.space.jobs import Job, JobQueue, Outputs, Update
from vivface.space.limits import Limits
from vivface.space.live import LiveDriver
from vivface.space.memory import FileKeys, VisitorMemory
from vivface.space.options import Options
from vivface.space.previews import MAX_SEARCH_FRAMES, FaceDetections, detect_in_image, detect_in_video
from vivface.space.renderer import Renderer, plain_names
from vivface.space.text import CONSENT_NEEDED, NO_DRIVING, NO_FILE, NO_PORTRAIT
from vivface.warping.parts import Parts

UPDATE_SECONDS = 0.4


@dataclass(frozen=True)
class Portrait:
    """A portrait, or a film, that may be animated: `ReenactmentService.admit` makes it, and what renders wants it.

    Attributes:
        path (`str`): The file.
        key (`str`): Of its content.
        is_example (`bool`): Whether it is one of the examples.
    """

    path: str
    key: str
    is_example: bool


def new_visitor() -> str:
    """A name for somebody who has opened the page."""
    return secrets.token_hex(8)


class ReenactmentService(CodecService):
    """A pipeline that many visitors share.

    Args:
        pipeline (`ReenactmentPipeline`): Makes the frames.
        directions (`AttributeDirections`, *optional*): Of its checkpoint.
        limits (`Limits`, *optional*): Of uploads, runs and memory.
        examples (list of `Path`, *optional*): Portraits and videos that need no consent; results made from these alone
            are kept.
        renderer (class, *optional*): `Renderer`, or what runs it elsewhere.
        codec (`ExpressiveCodecPipeline`, *optional*): The codec on the same networks; not offered without it.
    """

    def __init__(
        self,
        pipeline: ReenactmentPipeline,
        directions: AttributeDirections | None = None,
        limits: Limits | None = None,
        examples: list[Path] | None = None,
        renderer: type[Renderer] = Renderer,
        codec: ExpressiveCodecPipeline | None = None,
    ):
        pipeline.set_progress_bar_config(disable=True)
        pipeline.use_detector(SharedBackend(get_backend("auto")))
        self.pipeline, self.codec = pipeline, codec
        self.directions = AttributeDirections() if directions is None else directions
        self.limits = limits or Limits()
        self.renderer = renderer(pipeline, self.directions, self.limits)
        self.memory = VisitorMemory(self.limits.memory_bytes)
        self.results = ResultCache()
        self.queue = JobQueue()
        self._jobs: dict[str, list[Job]] = {}  # by visitor, those that have not ended
        self._lock = threading.Lock()
        self._file_key = FileKeys()
        self._examples = {self._file_key(path) for path in examples or []}

    # Consent ---------------------------------------------------------------------------------------------------------

    def admit(self, portrait: str | None, consent: object, missing: str = NO_PORTRAIT) -> Portrait:
        """Ask for consent before a portrait or film is animated: needed for every upload, not for the examples.

        Args:
            portrait (`str`, *optional*): Path of an image, or of a film.
            consent: True if the person agreed, or the visitor has the right to use it.
            missing (`str`, *optional*): What is said if there is none.

        Raises:
            VivFaceError: If there is no portrait, or no consent.
        """
        if portrait is None:
            raise OptionError(missing)
        key = self._file_key(portrait)
        if consent is not True and key not in self._examples:
            raise OptionError(CONSENT_NEEDED)
        return Portrait(portrait, key, key in self._examples)

    # Faces -----------------------------------------------------------------------------------------------------------

    def detect_portrait(self, visitor: str, path: str | None) -> FaceDetections:
        """Find the faces of a portrait.

        Raises:
            MediaError: If it cannot be read or is too large.
            NoFaceError: If it shows no face.
        """
        if path is None:
            raise OptionError(NO_PORTRAIT)
        path, crop = self.limits.check_image(path), self.pipeline.config.crop
        with plain_names(path):
            return self.memory.get_or_create(
                visitor,
                ("portrait", self._file_key(path)),
                lambda: detect_in_image(path, self.pipeline.backend, self.limits.image_pixels, crop),
            )

    def detect_driving(self, visitor: str, path: str | None, start: float = 0.0) -> FaceDetections:
        """Find the faces in the first frame of a video that shows any.

        Raises:
            MediaError: If it cannot be read or is too large.
            NoFaceError: If it shows no face.
        """
        if path is None:
            raise OptionError(NO_DRIVING)

        def detect() -> FaceDetections:
            with self.limits.open_video(path, start, MAX_SEARCH_FRAMES) as reader:
                return detect_in_video(reader, self.pipeline.backend, self.pipeline.motion_crop)

        with plain_names(path):
            return self.memory.get_or_create(visitor, ("driving", self._file_key(path), start), detect)

    # Stills and live -------------------------------------------------------------------------------------------------

    def encode(
        self,
        visitor: str,
        portrait: Portrait,
        face: int = 0,
        adapt: bool | None = None,
        on_progress: OnProgress = ignore_progress,
    ) -> IdentityCode:
        """Encode a portrait, once a visitor; examples once for all.

        Args:
            visitor (`str`): Whose memory keeps it.
            portrait (`Portrait`): From `admit`.
            face (`int`, *optional*, defaults to 0): Which face, 0 the largest.
            adapt (`bool`, *optional*): Tune to it, with the checkpoint's own number of steps, or not at all; by
                default reuse a finished tuning, else take only the steps that tune the code.
            on_progress (callable, *optional*): Told of every step; may raise to stop.

        Raises:
            MediaError: If it cannot be read or is too large.
            NoFaceError: If it does not show that face.
        """
        self.detect_portrait(visitor, portrait.path).choose(face)
        owner = EXAMPLES if portrait.is_example else visitor
        key, steps = ("identity", portrait.key, face), self.pipeline.config.adapt_steps
        if adapt is False:
            steps = 0
        elif adapt is None and self.pipeline.offers_detail:
            steps = 0  # the photograph is shown, not the generator's image
        elif adapt is None and self.memory.get(owner, (*key, steps)) is None:
            steps = min(steps, CODE_STEPS)
        return self.memory.get_or_create(
            owner, (*key, steps), lambda: self.renderer.encode(portrait.path, face, steps, on_progress)
        )

    def edited_still(
        self, visitor: str, portrait: Portrait, face: int, edits: dict[str, float], refine: bool
    ) -> np.ndarray:
        """The portrait with its own motion under edits: uint8 RGB `(size, size, 3)`.

        Raises:
            VivFaceError: As `encode`; if an edit is unknown or out of range.
        """
        self.directions.check(edits)
        return self.renderer.edited_still(self.encode(visitor, portrait, face), edits, refine)

    def expressive_photo(self, visitor: str, portrait: Portrait, face: int, paste_back: bool) -> ExpressivePhoto:
        """The portrait's photograph, ready to wear any expression, prepared once a visitor.

        Raises:
            VivFaceError: As `encode`.
        """
        return self.memory.get_or_create(
            visitor,
            ("expression", portrait.key, face, paste_back),
            lambda: self.renderer.expressive_photo(self.encode(visitor, portrait, face, False), paste_back),
        )

    def live(
        self,
        visitor: str,
        portrait: Portrait,
        face: int,
        edits: dict[str, float],
        refine: bool,
        motion_mode: str,
        parts: Parts | None = None,
    ) -> LiveDriver:
        """The driver of a portrait that follows the visitor's camera, made once for the same choices.

        Raises:
            VivFaceError: As `encode`; if an edit is unknown or out of range.
        """
        self.directions.check(edits)
        key = ("live", portrait.key, face, tuple(sorted(edits.items())), refine, motion_mode, parts)
        return self.memory.get_or_create(
            visitor,
            key,
            lambda: self.renderer.live(self.encode(visitor, portrait, face), edits, refine, motion_mode, parts),
        )

    # Verification ----------------------------------------------------------------------------------------------------

    def verify(self, path: str | None) -> Verification:
        """Look for signs that a trained model made a file.

        Raises:
            MediaError: If it cannot be read or is too large.
        """
        if path is None:
            raise OptionError(NO_FILE)
        self.limits.check_file(path)
        with plain_names(path):
            return verify(path, max(self.limits.image_pixels, self.limits.video_pixels))

    # Runs ------------------------------------------------------------------------------------------------------------

    def reenact(
        self,
        visitor: str,
        portrait: Portrait,
        driving: str | None,
        options: Options,
        co_driving: str | None = None,
    ) -> Iterator[Update]:
        """Re-enact a portrait and tell how far it is. Closing the iterator stops the work, and so does `stop`.

        Args:
            visitor (`str`): Who asks.
            portrait (`Portrait`): From `admit`.
            driving (`str`, *optional*): Path of a video or of a motion file.
            options (`Options`): How.
            co_driving (`str`, *optional*): Path of a second video or motion file, which the head follows.

        Returns:
            Iterator of `Update`: The last one carries `Outputs`, whose files go when the iterator is closed.

        Raises:
            VivFaceError: What a visitor can cause.
            Cancelled: If it was stopped.
        """
        if driving is None:
            raise OptionError(NO_DRIVING)
        self.renderer.check_edits(options)
        driving_key = self._file_key(driving)
        known = portrait.is_example and driving_key in self._examples and co_driving is None
        key = (portrait.key, driving_key, options.key) if known else None

        def work(job: Job) -> Outputs:
            outputs = _outputs(job.folder, options, driving)
            job.step, job.preview = "Reading the portrait", outputs.preview
            adapt = options.adapt and not options.shows_detail(self.pipeline.offers_detail)
            identity = self.encode(visitor, portrait, options.face, adapt, job.on_progress)
            job.check()
            job.step = "Opening the driving video"
            job.report = self.renderer.render(identity, driving, options, outputs, job.on_progress, co_driving)
            return outputs

        yield from self._run_once(visitor, key, work)

    def reenact_film(self, visitor: str, film: Portrait, driving: str | None, options: Options) -> Iterator[Update]:
        """Put the expression of a driving clip onto the face of a film; see `reenact`.

        Args:
            visitor (`str`): Who asks.
            film (`Portrait`): From `admit`.
            driving (`str`, *optional*): Path of a video or of a motion file.
            options (`Options`): How; those of `FILM_OPTIONS` count.
        """
        if driving is None:
            raise OptionError(NO_DRIVING)
        driving_key = self._file_key(driving)
        known = film.is_example and driving_key in self._examples
        key = ("film", film.key, driving_key, options.key) if known else None

        def work(job: Job) -> Outputs:
            outputs = replace(_outputs(job.folder, options, driving), motion=None)
            job.step, job.preview = "Opening the film", outputs.preview
            job.report = self.renderer.render_film(film.path, driving, options, outputs, job.on_progress)
            return outputs

        yield from self._run_once(visitor, key, work)

    def extract_motion(self, visitor: str, driving: str | None, options: Options) -> Iterator[Update]:
        """Write the motion of a video to a file and tell how far it is; see `reenact`.

        Returns:
            Iterator of `Update`: The last one carries the `Path` of the file.

        Raises:
            VivFaceError: What a visitor can cause.
            Cancelled: If it was stopped.
        """
        if driving is None:
            raise OptionError(NO_DRIVING)

        def work(job: Job) -> Path:
            job.step = "Opening the driving video"
            path = job.folder / f"vivface-motion{MOTION_SUFFIX}"
            return self.renderer.save_motion(driving, options, path, job.on_progress)

        yield from self._run(visitor, work)

    def stop(self, visitor: str, seconds: float = 0.0) -> None:
        """Ask for the end of the visitor's runs, and wait for it at most so long."""
        with self._lock:
            jobs = list(self._jobs.get(visitor, []))
        for job in jobs:
            job.cancel()
        until = time.monotonic() + seconds
        for job in jobs:
            job.wait(max(until - time.monotonic(), 0))

    def forget(self, visitor: str) -> None:
        """Stop what a visitor runs and forget what is remembered."""
        self.stop(visitor)
        self.memory.forget(visitor)

    def _run_once(self, visitor: str, key: tuple | None, work: Callable[[Job], Outputs]) -> Iterator[Update]:
        """Run, or fetch what is kept of the same run with examples; without a key nothing is kept."""
        if key is not None:
            with tempfile.TemporaryDirectory(prefix="vivface-") as folder:
                if (kept := self.results.fetch(key, Path(folder))) is not None:
                    yield Update("Done", result=kept[0], report=kept[1], kept=True)
                    return

        def work_and_keep(job: Job) -> Outputs:
            outputs = work(job)
            if key is not None:
                self.results.keep(key, outputs, job.report)
            return outputs

        yield from self._run(visitor, work_and_keep)

    def _run(self, visitor: str, work: Callable[[Job], Any]) -> Iterator[Update]:
        def unregister(job: Job) -> None:
            with self._lock:
                self._jobs[visitor].remove(job)
                if not self._jobs[visitor]:
                    del self._jobs[visitor]

        job = Job(work, self.queue, on_end=unregister)
        with self._lock:
            self._jobs.setdefault(visitor, []).append(job)
        yield from job.start().updates(UPDATE_SECONDS)


def _outputs(folder: Path, options: Options, driving: str) -> Outputs:
    is_motion = Path(driving).suffix == MOTION_SUFFIX
    return Outputs(
        folder / "vivface.mp4",
        folder / "vivface-side-by-side.mp4" if options.compare else None,
        None if is_motion else folder / f"vivface-motion{MOTION_SUFFIX}",
        folder / "first-frames.webp",
    )
