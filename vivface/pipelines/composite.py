"""The share of every pipeline that changes faces where they are: several of one photograph, or those of a film."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from vivface.editing import TimedAmount, TimedEdits, TimedExpression
from vivface.errors import MediaError, OptionError
from vivface.faces.landmarks import Face, choose_face
from vivface.media.images import is_film, load_image
from vivface.media.video import VideoReader
from vivface.pipelines.editable import Image
from vivface.reenactment.codes import IdentityCode, MotionCodes
from vivface.reenactment.expressive_film import ExpressiveFilm
from vivface.reenactment.face_pairs import FacePair, Faces, face_pairs
from vivface.reenactment.film import Film
from vivface.reenactment.film_result import FilmOptions, FilmResult
from vivface.reenactment.portrait import source_name
from vivface.reenactment.rendering import RenderOptions, photo_edit, photo_with
from vivface.reenactment.result import ReenactmentResult
from vivface.reenactment.several_faces import DrivenFace, FacesResult
from vivface.warping.controls import CONTROLS, HEAD


class Composite:
    """Faces that are changed in their picture; mixed into `ReenactmentPipeline`."""

    def composes(self, source: object, faces: Faces | None) -> bool:
        """Whether a run changes faces where they are, in a film or several in a photograph."""
        return faces is not None or is_film(source)

    def film_options(self, source: object, head: str, fit: str, sound: str | None) -> FilmOptions:
        """What is done to a film; a photograph takes the lengths only.

        Raises:
            OptionError: If a value is unknown, or is for films and the source is none.
        """
        options = FilmOptions(head, fit, sound or "source")
        if (head != "keep" or sound == "source") and not is_film(source):
            raise OptionError("A photograph has neither motion nor sound of its own: `head` and `sound` are for films.")
        return options

    def check_composed(
        self,
        source: object,
        edits: TimedEdits | None,
        pose: str,
        film_options: FilmOptions,
        adapt: object,
        detail: bool | None,
    ) -> None:
        """Refuse what faces that are changed where they are do not take.

        Raises:
            OptionError: What, and what to do instead.
        """
        if detail is False:
            raise OptionError("Films and `faces` are changed in the picture itself: leave out `detail`.")
        if edits is not None and is_film(source):
            raise OptionError(
                "A film is not edited: what an edit does to a face is known for one pose, and a film's head turns; "
                "leave out `edits`."
            )
        if edits is not None and not edits.constant:
            raise OptionError("With `faces` the photograph is edited once: give edits that stay the same.")
        if is_film(source) and (pose == "co_driving") > (film_options.head == "replace"):
            raise OptionError(
                "The heads of a film move as they do, so the pose of a second video is not shown: ask for `head` "
                "'replace', or leave out `co_driving`."
            )
        if is_film(source) and pose == "source" and film_options.head == "replace":
            raise OptionError("`pose` is 'source', but `head` is 'replace': choose one of them.")
        if adapt not in (None, 0):
            raise OptionError(
                "The generator is not shown in films and with `faces`, so it is not tuned: leave out `adapt`."
            )

    @torch.no_grad()
    def compose(
        self,
        source: Image | IdentityCode | VideoReader,
        driving: str | os.PathLike | MotionCodes,
        options: RenderOptions,
        film_options: FilmOptions,
        faces: Faces | None,
        face: int | None,
        driving_face: int | None,
        start: float | Fraction = 0,
        duration: float | Fraction | None = None,
        co_driving: str | os.PathLike | MotionCodes | None = None,
        pose: str = "driving",
        edits: TimedEdits | None = None,
    ) -> ReenactmentResult:
        """Several faces of a photograph, or one or several of a film, under one or several drivers.

        Args:
            source, driving, faces, face, driving_face, start, duration, co_driving, pose: As for `__call__`.
            edits (`TimedEdits`, *optional*): Of every face of the photograph that is driven.
            options (`RenderOptions`), film_options (`FilmOptions`): How.
        """
        film = is_film(source)
        if faces is not None and face is not None:
            raise OptionError("`face` and `faces` were both given: `faces` names the faces itself.")
        if isinstance(source, IdentityCode):
            raise OptionError("`faces` needs the photograph itself: an identity code holds one face of it.")
        options = _checked(options, film)
        if pose == "source":
            options = replace(options, parts=replace(options.parts, pose=0.0))
        drivers = _Drivers(self, driving, driving_face, (start, duration), co_driving)
        if film:
            return self._compose_film(source, drivers, options, film_options, faces, face, driving_face)
        return self._compose_photo(source, drivers, options, film_options.fit, faces, driving_face, edits)

    def _compose_photo(
        self,
        source: Image,
        drivers: _Drivers,
        options: RenderOptions,
        fit: str,
        faces: Faces,
        driving_face: int | None,
        edits: TimedEdits | None,
    ) -> FacesResult:
        image, name = load_image(source), source_name(source)
        found = self.backend.detect(image, effort="high")
        choose_face(found, None, name)
        pairs = _chosen(face_pairs(faces, len(found), driving_face), found, name)
        file = Path(source) if isinstance(source, str | os.PathLike) else None
        driven, edited = [], image
        for pair in pairs:
            identity = self.encode_identity(image, pair.face, adapt=0)
            identity.photo, identity.file = edited, file
            if edits is not None:
                edited = self._with_edits(identity, edits, options)
            driven.append(DrivenFace(identity, drivers.of(pair)))
        for face in driven:
            face.identity.photo = edited
        others = [face.landmarks for number, face in enumerate(found) if number not in {pair.face for pair in pairs}]
        return FacesResult(self, driven, drivers.timeline(), options, fit, others)

    def _with_edits(self, identity: IdentityCode, edits: TimedEdits, options: RenderOptions) -> np.ndarray:
        """The photograph with one face edited, uint8 RGB; the face's points go where the edit has moved them."""
        edit = photo_edit(self, identity, edits, options.refine)
        photo = photo_with(edit, self, identity, options)
        identity.points = edit.points(identity.points)
        return photo

    def express_film(
        self,
        film: str | os.PathLike | VideoReader,
        expression: Mapping[str, TimedAmount],
        *,
        faces: Sequence[int] | Literal["all"] | None = None,
    ) -> ExpressiveFilm:
        """Show a film whose face wears an expression added to its own, lazily.

        Args:
            film (`str`, `os.PathLike` or `VideoReader`): The film, or the part of it to use.
            expression (mapping of `str` to number or key frames): Amounts by name of
                `vivface.warping.controls.CONTROLS`, as `{"smile": 0.6}`; key frames as `{"smile": {0: 0, 2.5: 0.6}}`,
                seconds of the film.
            faces (sequence of `int` or `"all"`, *optional*): Which faces, 0 the largest of the first frame that shows
                any; by default the largest alone.

        Returns:
            `ExpressiveFilm`: Iterate it for uint8 frames, or `save` it as a video.

        Raises:
            OptionError: If a control is unknown or out of its range, or the expression is empty.
            MediaError: If the film cannot be read.
        """
        timed = TimedExpression(expression)
        if not timed.names:
            raise OptionError("The expression changes nothing; expected amounts by name, such as {'smile': 0.6}.")
        reader = film if isinstance(film, VideoReader) else VideoReader(film)
        chosen = range(self._faces_of(reader)) if faces == "all" else [None] if faces is None else faces
        turns = any(CONTROLS[name].group == HEAD for name in timed.names)
        return ExpressiveFilm(self, Film(reader, self.backend, list(chosen)), timed, turns)

    def _compose_film(
        self,
        source: str | os.PathLike | VideoReader,
        drivers: _Drivers,
        options: RenderOptions,
        film_options: FilmOptions,
        faces: Faces | None,
        face: int | None,
        driving_face: int | None,
    ) -> FilmResult:
        reader = source if isinstance(source, VideoReader) else VideoReader(source)
        if faces is None:
            pairs = [FacePair(face, None, driving_face)]
        else:
            pairs = face_pairs(faces, self._faces_of(reader) if faces == "all" else None, driving_face)
        film = Film(reader, self.backend, [pair.face for pair in pairs])
        motions = [drivers.of(pair) for pair in pairs]
        if film_options.sound == "driving" and motions[0].video is None:
            raise OptionError(
                f"`sound` is 'driving', but '{motions[0].name}' has none: leave it out for the film's own."
            )
        return FilmResult(self, film, motions, options, film_options)

    def _faces_of(self, reader: VideoReader) -> int:
        """How many faces the first frame of a film with any shows; 1 if none does, which is said when it is read."""
        for frame in reader:
            if found := self.backend.detect(frame.image, effort="normal"):
                return len(found)
        return 1


class _Drivers:
    """The motions of a run, each opened once."""

    def __init__(
        self,
        system: Composite,
        driving: str | os.PathLike | MotionCodes,
        face: int | None,
        part: tuple[float | Fraction, float | Fraction | None],
        co_driving: str | os.PathLike | MotionCodes | None = None,
    ):
        self._system, self._driving, self._face, self._part = system, driving, face, part
        self._co_driving = co_driving
        self._opened: dict[tuple[object, int | None], MotionCodes] = {}
        self._timeline: MotionCodes | None = None

    def of(self, pair: FacePair) -> MotionCodes:
        """What drives a face."""
        clip = self._driving if pair.clip is None else pair.clip
        key = (id(clip) if isinstance(clip, MotionCodes) else str(clip), pair.driving_face)
        if key not in self._opened:
            self._opened[key] = self._open(clip, pair.driving_face, self._part if pair.clip is None else (0, None))
        if pair.clip is None and self._timeline is None:
            self._timeline = self._opened[key]
        return self._opened[key]

    def timeline(self) -> MotionCodes:
        """The motion of the run's own clip, which gives times and sound."""
        if self._timeline is None:
            self._timeline = self._open(self._driving, self._face, self._part)
        return self._timeline

    def _open(self, clip: object, face: int | None, part: tuple) -> MotionCodes:
        motion = clip if isinstance(clip, MotionCodes) else self._system._motion(clip, face, *part)
        if motion.video is None and face not in (None, 0):
            raise OptionError(f"'{motion.name}' holds the motion of one face, but face {face} of it was asked for.")
        self._system._check_origin(motion.name, motion.code_shape, motion.fingerprint)
        if not motion.has_points:
            raise MediaError(
                f"'{motion.name}' has no points of a face, by which a photograph is moved: extract the motion again "
                "from its video."
            )
        return self._system.co_drive(motion, self._co_driving)


def _chosen(pairs: Sequence[FacePair], found: list[Face], name: str) -> Sequence[FacePair]:
    for pair in pairs:
        choose_face(found, pair.face, name)
    return pairs


def _checked(options: RenderOptions, film: bool) -> RenderOptions:
    what = "A film" if film else "A photograph whose `faces` move"
    if options.size is not None:
        raise OptionError(f"{what} keeps its size: leave out `size`.")
    return replace(options, paste_back=True, detail=True)
