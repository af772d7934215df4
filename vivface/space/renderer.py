"""The work on the device: portraits, stills, videos and motion files, without visitors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from vivface.editing import AttributeDirections, TimedEdits, smooth_motion
from vivface.errors import OptionError, VivFaceError
from vivface.pipelines.base import ReenactmentPipeline
from vivface.provenance import Provenance
from vivface.reenactment.codes import MOTION_SUFFIX, IdentityCode, MotionBatch, MotionCodes
from vivface.reenactment.expressive_photo import ExpressivePhoto
from vivface.reenactment.face_pairs import Faces, face_pairs
from vivface.reenactment.motion_file import MotionRecorder
from vivface.reenactment.progress import OnProgress, Progress
from vivface.reenactment.result import ReenactmentResult, Report
from vivface.space.first_frames import FirstFrames
from vivface.space.jobs import Outputs
from vivface.space.limits import Limits
from vivface.space.live import LiveDriver
from vivface.space.options import Options
from vivface.space.previews import load_portrait
from vivface.warping.parts import Parts


class Renderer:
    """A pipeline, its directions and the limits, as functions of plain values.

    Args:
        pipeline (`ReenactmentPipeline`): Makes the frames.
        directions (`AttributeDirections`): Of its checkpoint.
        limits (`Limits`): Held while files are read.
    """

    offers_live = True

    def __init__(self, pipeline: ReenactmentPipeline, directions: AttributeDirections, limits: Limits):
        self.pipeline = pipeline
        self.directions = directions
        self.limits = limits

    def encode(self, portrait: str, face: int, steps: int, on_progress: OnProgress) -> IdentityCode:
        """Read a portrait and tune to it.

        Raises:
            MediaError: If it cannot be read.
            NoFaceError: If it does not show that face.
        """
        with plain_names(portrait):
            image = load_portrait(portrait, self.limits.image_pixels)
            identity = self.pipeline.encode_identity(image, face=face, adapt=steps, on_progress=on_progress)
            identity.file = Path(portrait)  # an ingredient of results, as long as it is there
            return identity

    @torch.no_grad()
    def edited_still(self, identity: IdentityCode, edits: dict[str, float], refine: bool) -> np.ndarray:
        """The portrait with its own motion under edits: uint8 RGB `(size, size, 3)`.

        Raises:
            OptionError: If an edit is unknown or out of range.
        """
        return self.pipeline.edit(identity, edits, refine=refine)

    def check_edits(self, options: Options) -> None:
        """Check all edits of a run before any work.

        Raises:
            OptionError: If one is unknown, out of range, or not understood.
        """
        self.directions.check(options.edits)
        self._edits(options)

    def open_motion(self, driving: str, options: Options) -> MotionCodes:
        """Open a video or a motion file as a stream of motion codes, within the limits.

        Raises:
            MediaError: If it cannot be read or is too large.
            OptionError: If the options do not go with it.
        """
        if Path(driving).suffix == MOTION_SUFFIX:
            if options.compare:
                raise OptionError("A motion file has no images to show side by side: choose a driving video for that.")
            return self.limits.open_motion_file(driving)
        face = options.driving_face or None  # the largest, with a word about the others
        return self.limits.open_driving(self.pipeline, driving, face, options.start, options.duration)

    def render(
        self,
        identity: IdentityCode,
        driving: str,
        options: Options,
        outputs: Outputs,
        on_progress: OnProgress,
        co_driving: str | None = None,
    ) -> Report:
        """Write the files of a run; the head follows `co_driving`, a second video or motion file, if there is one.

        Raises:
            VivFaceError: What a visitor can cause.
        """
        with plain_names(*(path for path in (driving, co_driving) if path)), ExitStack() as stack:
            # 1. The motion, saved as it was read, then smoothed.
            motion = self.open_motion(driving, options)
            if outputs.motion is not None:
                recorder = stack.enter_context(MotionRecorder(motion, outputs.motion))
                motion = motion.map(lambda batches: _recorded(batches, recorder))
            motion = smooth_motion(motion, options.smoothing)

            # 2. The edited portrait under it, or several faces of its photograph.
            made = dict(motion_mode=options.motion_mode, strength=options.strength, edits=self._edits(options))
            made["parts"] = options.parts
            if co_driving is not None:
                whole = replace(options, driving_face=0, start=0.0, duration=0.0, compare=False)
                made["co_driving"] = self.open_motion(co_driving, whole)
            if options.faces.strip():
                faces = self._faces(driving, motion, options)
                result = self.pipeline(identity.photo, motion, faces=faces, **made)
                result.identity.file = identity.file
            else:
                result = self.pipeline(
                    identity,
                    motion,
                    refine=options.refine,
                    paste_back=options.paste_back,
                    detail=None if options.shows_detail(self.pipeline.offers_detail) else False,
                    background=options.shown_background(self.pipeline.offers_detail),
                    **made,
                )

            # 3. Frames, to the files.
            return _written(result, options, outputs, on_progress)

    def render_film(
        self, film: str, driving: str, options: Options, outputs: Outputs, on_progress: OnProgress
    ) -> Report:
        """Write the files of a run with a film as the source.

        Raises:
            VivFaceError: What a visitor can cause.
        """
        with (
            plain_names(film, driving),
            self.limits.open_film(film, options.film_start, options.film_duration) as reader,
        ):
            motion = smooth_motion(self.open_motion(driving, replace(options, compare=False)), options.smoothing)
            faces = self._faces(driving, motion, options) if options.faces.strip() else None
            result = self.pipeline(
                reader,
                motion,
                face=None if faces is not None else options.face or None,  # the largest, with a word about the others
                faces=faces,
                fit=options.fit,
                head=options.head,
                sound=options.sound,
                motion_mode=options.motion_mode,
                strength=options.strength,
                parts=options.parts,
            )
            return _written(result, options, outputs, on_progress)

    def _faces(self, driving: str, motion: MotionCodes, options: Options) -> Faces:
        """What drives each face: the motion at hand, or that of another face of the same video."""
        if options.faces.strip() == "all":
            return "all"
        opened = {options.driving_face: motion}
        pairs = face_pairs(options.faces)
        for face in {pair.driving_face for pair in pairs} - set(opened):
            other = self.open_motion(driving, replace(options, driving_face=face))
            opened[face] = smooth_motion(other, options.smoothing)
        return [(pair.face, opened[pair.driving_face]) for pair in pairs]

    def _edits(self, options: Options) -> TimedEdits | None:
        """Edits that stay the same, and those over time."""
        edits = {name: amount for name, amount in options.edits.items() if amount} | options.timed_edits
        return TimedEdits(self.directions, edits, self.pipeline.generator) if edits else None

    def save_motion(self, driving: str, options: Options, path: Path, on_progress: OnProgress) -> Path:
        """Write the motion of a video to a file.

        Raises:
            VivFaceError: What a visitor can cause.
        """
        with plain_names(driving):
            motion, done = self.open_motion(driving, options), 0
            with MotionRecorder(motion, path) as recorder:
                for batch in motion.batches(on_progress=on_progress):
                    recorder.add(batch)
                    done += len(batch.times)
                    on_progress(Progress("rendering", done, motion.frames))
        return path

    def expressive_photo(self, identity: IdentityCode, paste_back: bool) -> ExpressivePhoto:
        """A portrait's photograph, ready to wear any expression; needs no network.

        Raises:
            MediaError: If the portrait has no points of a face.
        """
        return ExpressivePhoto(identity, self.pipeline.crops, paste_back=paste_back)

    def live(
        self,
        identity: IdentityCode,
        edits: dict[str, float],
        refine: bool,
        motion_mode: str,
        parts: Parts | None = None,
    ) -> LiveDriver:
        """Make a portrait ready to follow a camera.

        Raises:
            OptionError: If an edit is unknown or out of range.
        """
        return LiveDriver(self.pipeline, identity, self.directions, edits, refine, motion_mode, parts)


def _written(result: ReenactmentResult, options: Options, outputs: Outputs, on_progress: OnProgress) -> Report:
    """Make the frames, and write them to the files."""
    first = FirstFrames(outputs.preview, result.fps)
    try:
        result.save(
            outputs.video,
            comparison=outputs.comparison,
            height=options.height or None,
            provenance=Provenance(label=options.label),
            on_frame=first.add,
            on_progress=on_progress,
        )
    finally:
        first.wait()
    return result.report


def _recorded(batches: Iterator[MotionBatch], recorder: MotionRecorder) -> Iterator[MotionBatch]:
    for batch in batches:
        recorder.add(batch)
        yield batch


@contextmanager
def plain_names(*paths: str | Path) -> Iterator[None]:
    """Leave the folders of uploads out of messages: they mean nothing to a visitor."""
    try:
        yield
    except VivFaceError as error:
        message = str(error)
        for path in paths:
            message = message.replace(str(path), Path(path).name)
        if message == str(error):
            raise
        raise type(error)(message) from error
