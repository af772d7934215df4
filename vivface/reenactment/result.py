"""A re-enactment that is made while it is read: frames, a video file, and what was met on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from vivface.errors import OptionError
from vivface.media.coding import QUALITY
from vivface.media.output import open_writer
from vivface.media.side_by_side import side_by_side as in_a_row
from vivface.provenance import Ingredient, Provenance, Stamp, number_of
from vivface.reenactment.codes import IdentityCode, MotionCodes
from vivface.reenactment.driving import SHOWN_HEIGHT
from vivface.reenactment.motion_file import MotionRecorder
from vivface.reenactment.portrait import PortraitPhoto
from vivface.reenactment.progress import OnProgress
from vivface.reenactment.rendering import FrameEdits, FrameMaker, RenderedFrame, RenderOptions, render_frames, resized
from vivface.reenactment.streams import WriteBehind
from vivface.warping.background import KEEP

if TYPE_CHECKING:
    from vivface.media.gif import GifWriter
    from vivface.media.sequence import SequenceWriter
    from vivface.media.writer import VideoWriter

WRITE_DEPTH = 16  # frames that may wait for the video encoder


@dataclass
class Report:
    """What happened.

    Attributes:
        frames (`int`): Frames made.
        seconds (`float`): Time it took, with waiting for the driving video, without encoding the portrait.
        missing (`int`): Driving frames without a face, which were bridged.
        warnings (list of `str`): What a user should know.
    """

    frames: int = 0
    seconds: float = 0.0
    missing: int = 0
    warnings: list[str] = field(default_factory=list)

    @property
    def fps(self) -> float:
        """Frames made per second of computing."""
        return self.frames / self.seconds if self.seconds else 0.0


class System(FrameMaker, Protocol):
    """A system, as far as a result uses it."""

    def progress_bar(self, *, total: int):
        """A bar with `update()` and `close()`."""


class ReenactmentResult:
    """A re-enactment, made lazily: each iteration, and each `save`, reads the driving video and renders again.

    Args:
        system (`System`): The pipeline.
        identity (`IdentityCode` or `PortraitPhoto`): Whose face; the latter where its photograph moves.
        motion (`MotionCodes`): Whose motion.
        options (`RenderOptions`): How frames are made.
        edits (`FrameEdits`, *optional*): Of the person and the motion.

    Attributes:
        report (`Report`): Of the last iteration or `save`, kept up to date while it goes on.
    """

    def __init__(
        self,
        system: System,
        identity: IdentityCode | PortraitPhoto,
        motion: MotionCodes,
        options: RenderOptions,
        edits: FrameEdits | None = None,
    ):
        self.identity = identity
        self.motion = motion
        self.options = options
        self.edits = edits
        self.report = Report(warnings=self._first_notes())
        self._system = system

    @property
    def fps(self) -> Fraction:
        """Frames per second of the video."""
        return self.motion.fps

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a frame in pixels."""
        if self.options.paste_back:
            return self.identity.photo.shape[1::-1]
        size = self.options.frame_size(self._system, self.identity)
        return (size, size)

    def __iter__(self) -> Iterator[np.ndarray]:
        """uint8 RGB frames `(height, width, 3)`."""
        for frame in self.frames():
            yield frame.image

    def frames(
        self,
        images: bool = False,
        recorder: MotionRecorder | None = None,
        on_progress: OnProgress | None = None,
    ) -> Iterator[RenderedFrame]:
        """Frames with their times, for those who write them in their own way.

        Args:
            images (`bool`, *optional*, defaults to False): Whether to return the driving frames, too.
            recorder (`MotionRecorder`, *optional*): Receives the motion codes.
            on_progress (callable, *optional*): See `vivface.reenactment.progress`.
        """
        self.report = report = Report(warnings=self._first_notes())
        began = time.perf_counter()
        bar = self._system.progress_bar(total=self.motion.frames or 0)
        frames = self._render(images, recorder, on_progress)
        try:
            for frame in frames:
                report.frames += 1
                report.missing += not frame.found
                report.seconds = time.perf_counter() - began
                bar.update()
                yield frame
        finally:
            frames.close()
            bar.close()
        report.warnings += [note for note in self._notes() if note not in report.warnings]

    def _render(
        self, images: bool, recorder: MotionRecorder | None, on_progress: OnProgress | None
    ) -> Iterator[RenderedFrame]:
        """The frames, see `frames`."""
        return render_frames(
            self._system,
            self.identity,
            self.motion,
            self.options,
            edits=self.edits,
            images=images,
            recorder=recorder,
            on_progress=on_progress,
        )

    def _first_notes(self) -> list[str]:
        """What a user should know before the frames are made."""
        return list(self.identity.warnings)

    def _notes(self) -> list[str]:
        """What a user should know once the frames are made."""
        notes, report = list(self.motion.warnings), self.report
        if report.missing:
            notes.append(
                f"No face was seen in {report.missing} of the {report.frames} frames of '{self.motion.name}': the "
                "motion was held there."
            )
        return notes

    def save(
        self,
        path: str | Path,
        *,
        side_by_side: bool = False,
        comparison: str | Path | None = None,
        height: int | None = None,
        codec: str = "auto",
        quality: float = QUALITY,
        save_motion: str | Path | None = None,
        provenance: Provenance | None = None,
        on_frame: Callable[[RenderedFrame], None] | None = None,
        on_progress: OnProgress | None = None,
    ) -> Path:
        """Write the video, with the timestamps and the audio of the driving video; frames are made once.

        Every file appears when it is complete, and none of them if the work is stopped or fails.

        Args:
            path (`str` or `pathlib.Path`): The video to write (.mp4, .mov, .mkv, .webm, .webp or .gif), or numbered
                images (`frames/%05d.png`).
            side_by_side (`bool`, *optional*, defaults to False): Show source, driving video and result in a row.
            comparison (`str` or `pathlib.Path`, *optional*): Also write such a row to this second video.
            height (`int`, *optional*): Of the result in pixels; as it is made by default.
            codec (`str`, *optional*, defaults to "auto"): "h264", "av1" or "vp9", if the format takes it.
            quality (`float`, *optional*, defaults to 80): 0 to 100; lossless in H.264 and WebP.
            save_motion (`str` or `pathlib.Path`, *optional*): Also write the motion codes to this .safetensors file.
            provenance (`Provenance`, *optional*): What the result says about itself; by default every picture carries
                an imperceptible mark and every file a signed manifest.
            on_frame (callable, *optional*): Called with every frame, without mark and label; may raise to stop.
            on_progress (callable, *optional*): See `vivface.reenactment.progress`; may raise to stop.

        Returns:
            `pathlib.Path`: `path`.

        Raises:
            MediaError: If the driving video cannot be read or a file cannot be written.
            NoFaceError: If the driving video shows no face at all.
            OptionError: If a row is asked of a motion file, which has no images, `height` or `quality` is out of range,
                or the format does not take the codec.
        """
        if height is not None and (not isinstance(height, int) or height < 2):
            raise OptionError(f"`height` is {height!r}; expected a number of pixels, 2 or more.")
        rows = side_by_side or comparison is not None
        if rows and self.motion.video_size is None:
            raise OptionError(
                f"A row shows the driving video, but '{self.motion.name}' is a motion file: give the video."
            )
        size = _scaled(self.size, height)
        if rows and self.options.is_transparent:
            raise OptionError("A row has no transparent background: give a colour or a picture, or leave out the row.")
        stamp = self.stamp(provenance)
        row = self._row(size) if rows else None
        with ExitStack() as stack:
            recorder = stack.enter_context(MotionRecorder(self.motion, save_motion)) if save_motion else None
            writer = stack.enter_context(self._writer(path, row.size if side_by_side else size, stamp, codec, quality))
            second = None
            if comparison is not None:
                second = stack.enter_context(self._writer(comparison, row.size, stamp, "auto", quality))

            def write(frame: RenderedFrame) -> None:
                image = stamp.picture(resized(frame.image, size))
                shown = row(frame.driving, image) if row is not None else image
                writer.write(shown if side_by_side else image, frame.time, frame.duration)
                if second is not None:
                    second.write(shown, frame.time, frame.duration)

            behind = stack.enter_context(WriteBehind(write, WRITE_DEPTH))
            for frame in self.frames(rows, recorder, on_progress):
                behind.put(frame)
                if on_frame is not None:
                    on_frame(frame)
        self.report.warnings += [*writer.warnings, *stamp.warnings]
        return Path(path)

    def stamp(self, provenance: Provenance | None = None) -> Stamp:
        """What marks the pictures of this result and signs its file.

        The number of the mark follows from portrait, motion and options, so that the same call makes the same pictures.
        """
        options = replace(self.options, batch_size=None, background=KEEP)  # the first changes no picture
        number = number_of(*self._origin(), options, *self._behind())
        ingredients = [Ingredient(title, file) for file, title in self._files().items()]
        photograph = self.options.paste_back or self.options.detail
        return Stamp(provenance or Provenance(), number, photograph, ingredients)

    def _origin(self) -> list[object]:
        """What the pictures follow from, beside the options; see `number_of`."""
        return [self.identity.photo, self.motion.name, self.motion.start, self.motion.duration]

    def _behind(self) -> list[object]:
        """What lies behind the person in place of the photograph's own background."""
        return [] if self.options.keeps_background else [self.options.background]

    def _files(self) -> dict[Path, str]:
        """Files that the result is made from, and what they are."""
        files = {self.identity.file: "portrait", self.motion.video: "driving video"}
        return {file: title for file, title in files.items() if file is not None}

    def _row(self, size: tuple[int, int]) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """What puts a driving frame and a result of a width and height into a row, with the attribute `size`."""
        return _Row(self.identity.photo, self.motion.video_size, size)

    def _writer(
        self, path: str | Path, size: tuple[int, int], stamp: Stamp, codec: str, quality: float
    ) -> VideoWriter | GifWriter | SequenceWriter:
        motion = self.motion
        return open_writer(
            path,
            size,
            motion.fps,
            motion.time_base,
            audio_from=motion.video,
            audio_start=motion.start,
            audio_duration=motion.duration,
            codec=codec,
            quality=quality,
            alpha=self.options.is_transparent,
            finish=stamp.finish,
        )


class _Row:
    """Source, driving frame and result in a row as high as the higher of the last two."""

    def __init__(self, photo: np.ndarray, driving_size: tuple[int, int], result_size: tuple[int, int]):
        self._photo = photo
        self._height = max(result_size[1], min(driving_size[1], SHOWN_HEIGHT))
        blanks = [np.zeros((height, width, 3), np.uint8) for width, height in (driving_size, result_size)]
        self.size: tuple[int, int] = in_a_row([photo, *blanks], self._height).shape[1::-1]

    def __call__(self, driving: np.ndarray, result: np.ndarray) -> np.ndarray:
        return in_a_row([self._photo, driving, result], self._height)


def _scaled(size: tuple[int, int], height: int | None) -> tuple[int, int]:
    """Width and height with the asked height, the width even."""
    if height is None:
        return size
    return max(round(size[0] * height / size[1] / 2) * 2, 2), height
