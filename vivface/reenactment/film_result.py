"""A film whose faces wear the expression of another film's: video to video."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from vivface.errors import OptionError
from vivface.media.side_by_side import side_by_side as in_a_row
from vivface.reenactment.codes import MotionCodes
from vivface.reenactment.driving import SHOWN_HEIGHT
from vivface.reenactment.film import Film, FilmFace, FilmFrame, points_of
from vivface.reenactment.motion_file import MotionRecorder
from vivface.reenactment.points_track import Fit, PointsTrack, check_fit
from vivface.reenactment.progress import OnProgress, Progress, ignore_progress
from vivface.reenactment.rendering import RenderedFrame, RenderOptions
from vivface.reenactment.result import ReenactmentResult, System
from vivface.warping.film_head import FRONTAL, FilmHead
from vivface.warping.gaps import lip_gaps
from vivface.warping.head_window import Window
from vivface.warping.mesh import place
from vivface.warping.retargeting import Rest, lid_gaps
from vivface.warping.territories import Territories

HEADS = ("keep", "replace")
SOUNDS = ("source", "driving")
AT_REST = 75  # frames of the film from which its faces at rest are taken
BATCH = 8  # frames between reports of progress
Wanted = Callable[
    [float], list[Any] | None
]  # at a time in seconds, what `draw` of each head takes; None ends the result


@dataclass(frozen=True)
class FilmOptions:
    """What is done to a film.

    Attributes:
        head (`str`): `"keep"` leaves every head as it moves, `"replace"` turns it as the driver's.
        fit (`str`): What follows the end of a driver that is shorter than the film, see `PointsTrack`.
        sound (`str`): Whose sound is kept: `"source"`, the film's, or `"driving"`.

    Raises:
        OptionError: If one is none of these.
    """

    head: Literal["keep", "replace"] = "keep"
    fit: Fit = "trim"
    sound: Literal["source", "driving"] = "source"

    def __post_init__(self) -> None:
        check_fit(self.fit)
        for name, choices in (("head", HEADS), ("sound", SOUNDS)):
            if (value := getattr(self, name)) not in choices:
                raise OptionError(f"`{name}` is {value!r}; expected {' or '.join(map(repr, choices))}.")


@dataclass
class Clock:
    """Times of the result, and where its sound comes from; the attributes are those of `MotionCodes`."""

    name: str
    fps: Fraction
    time_base: Fraction
    frames: int | None
    video: Path | None
    start: Fraction
    duration: Fraction | None
    video_size: tuple[int, int]
    warnings: list[str] = field(default_factory=list)


class FilmResult(ReenactmentResult):
    """A film under the expression of drivers, made lazily; see `ReenactmentResult`.

    Args:
        system (`System`): The pipeline.
        film (`Film`): The film and the faces that are followed in it.
        drivers (list of `MotionCodes`): Of each of these faces; the same object for the same driver.
        options (`RenderOptions`): Motion mode and strength.
        film_options (`FilmOptions`): Head, lengths and sound.
    """

    def __init__(
        self,
        system: System,
        film: Film,
        drivers: list[MotionCodes],
        options: RenderOptions,
        film_options: FilmOptions,
    ):
        self.film, self.drivers, self.film_options = film, drivers, film_options
        super().__init__(system, None, _clock(film, drivers, film_options), options)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a frame in pixels: those of the film."""
        return self.film.reader.size

    def save(self, path: str | Path, *, save_motion: str | Path | None = None, **options: Any) -> Path:
        """As `ReenactmentResult.save`; a row shows film and result.

        Raises:
            OptionError: If `save_motion` is given.
        """
        if save_motion is not None:
            raise OptionError("A film's result has no motion to save: use `vivface motion` on the driving video.")
        return super().save(path, **options)

    def _origin(self) -> list[object]:
        reader, drivers = self.film.reader, [driver.name for driver in self.drivers]
        return [reader.path.name, reader.start, self.film.faces, drivers, self.film_options]

    def _files(self) -> dict[Path, str]:
        drivers = {driver.video: "driving video" for driver in self.drivers if driver.video is not None}
        return drivers | {self.film.reader.path: "film"}

    def _row(self, size: tuple[int, int]) -> FilmRow:
        return FilmRow(self.motion.video_size, size)

    def _render(
        self, images: bool, recorder: MotionRecorder | None, on_progress: OnProgress | None
    ) -> Iterator[RenderedFrame]:
        on_progress = on_progress or ignore_progress
        self._unseen = self._count = 0
        with ExitStack() as stack:
            heads, wanted = self._prepared(stack, on_progress)
            for frame in stack.enter_context(closing(self.film.frames())):
                if (each := wanted(float(frame.time))) is None:
                    break
                picture = self._changed(frame, heads, each)
                self._count += 1
                self._unseen += all(face is None for face in frame.faces)
                shown = _shown(frame.image, self.motion.video_size) if images else None
                yield RenderedFrame(picture, frame.time, frame.duration, True, shown)
                if self._count % BATCH == 0:
                    on_progress(Progress("rendering", self._count, self.motion.frames))
        on_progress(Progress("rendering", self._count, self.motion.frames))

    def _changed(self, frame: FilmFrame, heads: list[FilmHead | None], wanted: list[Any]) -> np.ndarray:
        """A frame whose faces do what is wanted of each; smaller heads are drawn first."""
        seen = [number for number, face in enumerate(frame.faces) if face is not None]
        seen.sort(key=lambda number: frame.faces[number].face.pose.scale)
        territories = None
        if len(seen) > 1:
            territories = Territories([points_of(frame.faces[number]) for number in seen], self.size)
        picture = frame.image
        for place_, number in enumerate(seen):
            face = frame.faces[number]
            free = None if territories is None else territories.of(place_, Window.around(face.quad))
            picture = heads[number].draw(
                picture, face.face, face.quad, wanted[number], free, face.anew, float(frame.time)
            )
        return picture

    def _prepared(self, stack: ExitStack, on_progress: OnProgress) -> tuple[list[FilmHead | None], Wanted]:
        """The heads of the film, and what is wanted of each of them at any time."""
        tracks = {
            id(motion): stack.enter_context(closing(PointsTrack(motion, self.film_options.fit, on_progress)))
            for motion in self.drivers
        }
        rests = {key: track.rest() for key, track in tracks.items()}
        how = dict(
            relative=self.options.motion_mode == "relative",
            strength=self.options.strength,
            replace_pose=self.film_options.head == "replace",
            parts=self.options.parts,
            crop=self._system.crops[1],
        )
        heads = self._heads([partial(FilmHead, rest=rests[id(motion)], **how) for motion in self.drivers], on_progress)

        def wanted(seconds: float) -> list[np.ndarray] | None:
            points = {key: track.at(seconds) for key, track in tracks.items()}
            ended = any(found is None for found in points.values())
            return None if ended else [points[id(motion)] for motion in self.drivers]

        return heads, wanted

    def _heads(self, kinds: list[Callable[[Rest], FilmHead]], on_progress: OnProgress) -> list[FilmHead | None]:
        """The heads of the film, once its first frames have shown them at rest; None for one that is never seen."""
        first = [_FirstSight() for _ in kinds]
        with closing(self.film.frames()) as frames:
            for count, frame in enumerate(frames):
                for sight, face in zip(first, frame.faces, strict=True):
                    if face is not None and not sight.complete:
                        sight.add(frame.image, face)
                if all(sight.complete for sight in first):
                    break
                on_progress(Progress("searching", count, self.motion.frames))
        return [sight.head(kind) for sight, kind in zip(first, kinds, strict=True)]

    def _first_notes(self) -> list[str]:
        return []

    def _notes(self) -> list[str]:
        notes = [*self.film.warnings, *(note for motion in self.drivers for note in motion.warnings)]
        if self._unseen:
            notes.append(
                f"No face was seen in {self._unseen} of the {self._count} frames of '{self.film.reader.path.name}': "
                "those stayed as they are."
            )
        return list(dict.fromkeys(notes))


class _FirstSight:
    """What the first frames of a film show of a face: at rest, with shut lips, and with mouth and eyes wide open."""

    def __init__(self) -> None:
        self._shapes: list[np.ndarray] = []
        self._lips: tuple[float, np.ndarray, FilmFace] | None = None
        self._mouth: tuple[float, np.ndarray, FilmFace] | None = None
        self._eyes: tuple[float, np.ndarray, FilmFace] | None = None

    @property
    def complete(self) -> bool:
        return len(self._shapes) == AT_REST

    def add(self, image: np.ndarray, face: FilmFace) -> None:
        shape = face.face.shape
        self._shapes.append(shape)
        lips, lids = float(lip_gaps(shape).mean()), float(lid_gaps(shape).min())
        if self._lips is None or lips < self._lips[0]:
            self._lips = (lips, image, face)
        if self._mouth is None or lips > self._mouth[0]:
            self._mouth = (lips, image, face)
        if self._eyes is None or lids > self._eyes[0]:
            self._eyes = (lids, image, face)

    def head(self, kind: Callable[[Rest], FilmHead]) -> FilmHead | None:
        """The head, made of its face at rest; None if it was never seen."""
        if not self._shapes:
            return None
        head = kind(Rest.of(np.stack([place(shape, FRONTAL) for shape in self._shapes])))
        sights = (self._lips, self._mouth, self._eyes)
        for remember, (_, image, face) in zip(
            (head.remember_lips, head.remember_mouth, head.remember_eyes), sights, strict=True
        ):
            remember(image, face.face, face.quad)
        return head


class FilmRow:
    """Film and result in a row."""

    def __init__(self, film_size: tuple[int, int], result_size: tuple[int, int]):
        self._height = min(result_size[1], SHOWN_HEIGHT)
        blanks = [np.zeros((height, width, 3), np.uint8) for width, height in (film_size, result_size)]
        self.size: tuple[int, int] = in_a_row(blanks, self._height).shape[1::-1]

    def __call__(self, film: np.ndarray, result: np.ndarray) -> np.ndarray:
        return in_a_row([film, result], self._height)


def _shown(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return image if image.shape[1::-1] == size else cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _clock(film: Film, drivers: list[MotionCodes], options: FilmOptions) -> Clock:
    reader = film.reader
    lengths = [reader.duration]
    if options.fit == "trim":
        lengths += [driver.seconds for driver in drivers]
    length = min((seconds for seconds in lengths if seconds is not None), default=None)
    frames = reader.frames_estimate
    if length is not None and length != reader.duration:
        frames = max(round(length * reader.fps), 1)
    width, height = reader.size
    scale = min(1.0, SHOWN_HEIGHT / height)
    sound = (reader.path, reader.start) if options.sound == "source" else (drivers[0].video, drivers[0].start)
    return Clock(
        reader.path.name,
        reader.fps,
        reader.time_base,
        frames,
        sound[0],
        sound[1],
        length,
        (max(round(width * scale), 1), round(height * scale)),
    )
