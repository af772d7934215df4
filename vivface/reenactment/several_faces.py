"""Several faces of one photograph, each moved by a driver of its own, in one picture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from vivface.errors import MediaError
from vivface.faces.alignment import from_crop, quad_size, to_crop
from vivface.reenactment.codes import IdentityCode, MotionCodes
from vivface.reenactment.motion_file import MotionRecorder
from vivface.reenactment.points_track import Fit, PointsTrack
from vivface.reenactment.progress import OnProgress, Progress, ignore_progress
from vivface.reenactment.rendering import RenderedFrame, RenderOptions, frames_at_rest
from vivface.reenactment.result import ReenactmentResult, System
from vivface.warping.eye_rims import with_hidden_rims
from vivface.warping.head_window import HeadInPicture, Window, pose_in_picture
from vivface.warping.lips import fit_lips
from vivface.warping.parts import PartMotion
from vivface.warping.retargeting import MOST_REST_FRAMES, Rest, Retargeting
from vivface.warping.territories import Territories


@dataclass(frozen=True)
class DrivenFace:
    """A face of the photograph and what drives it.

    Attributes:
        identity (`IdentityCode`): The face; all of them have the same photograph.
        motion (`MotionCodes`): Its driver; faces with the same driver have the same object.
    """

    identity: IdentityCode
    motion: MotionCodes


class MovingHead:
    """One head of a photograph under a driver's points.

    Args:
        identity (`IdentityCode`): The face and its photograph.
        rest (`Rest`): The driver's face at rest.
        options (`RenderOptions`): Motion mode and strength.
        crops (`tuple[str, str]`): How portrait and driver are cut: keys of `vivface.faces.crops.CROPS`.
        window (`Window`), free (`np.ndarray`): What of the photograph may move, see `HeadInPicture`.

    Raises:
        MediaError: If the face has no points.
    """

    def __init__(
        self,
        identity: IdentityCode,
        rest: Rest,
        options: RenderOptions,
        crops: tuple[str, str],
        window: Window,
        free: np.ndarray,
    ):
        if identity.points is None:
            raise MediaError("A face of the portrait has no points, by which a photograph is moved: read it again.")
        self._quad = identity.quad
        seen = to_crop(from_crop(identity.points, identity.quad), window.quad)
        fitted = from_crop(with_hidden_rims(fit_lips(window.cut(identity.photo), seen)), window.quad)
        relative = options.motion_mode == "relative"
        own = to_crop(fitted, identity.quad)
        self._retargeting = Retargeting(own, rest, relative, options.strength, crops, identity.points)
        self._parts = PartMotion(options.parts, self._retargeting.portrait) if options.parts.changes else None
        self._head = HeadInPicture(identity.photo, window, fitted, free)

    def draw(self, picture: np.ndarray, driver: np.ndarray, seconds: float) -> None:
        """Draw the head under a driver's points `(478, 3)` at a time into a picture, uint8 RGB, changed in place."""
        shape, pose = self._retargeting(driver)
        if self._parts is not None:
            shape, pose = self._parts(shape, pose, seconds)
        self._head.draw(picture, shape, pose_in_picture(pose, self._quad))


class FacesResult(ReenactmentResult):
    """A photograph in which several faces move; see `ReenactmentResult`.

    Args:
        system (`System`): The pipeline.
        faces (list of `DrivenFace`): What moves; the first one's driver gives times, sound and driving frames unless
            `timeline` is given.
        timeline (`MotionCodes`): The clip that gives times, sound and driving frames.
        options (`RenderOptions`): How frames are made.
        fit (`str`): What follows the end of other clips that are shorter, see `PointsTrack`.
        others (list of `np.ndarray` of shape `(N, >= 2)`): Landmarks of faces that stay as they are, in pixels.
    """

    def __init__(
        self,
        system: System,
        faces: list[DrivenFace],
        timeline: MotionCodes,
        options: RenderOptions,
        fit: Fit,
        others: list[np.ndarray],
    ):
        super().__init__(system, faces[0].identity, timeline, options)
        self.faces = sorted(faces, key=lambda face: quad_size(face.identity.quad))  # larger heads are in front
        self._fit, self._others = fit, others

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a frame in pixels: those of the photograph."""
        return self.identity.photo.shape[1::-1]

    def _origin(self) -> list[object]:
        drivers = [(face.motion.name, quad_size(face.identity.quad)) for face in self.faces]
        return [*super()._origin(), drivers, self._fit]

    def _files(self) -> dict[Path, str]:
        others = {face.motion.video: "driving video" for face in self.faces if face.motion.video is not None}
        return super()._files() | others

    def _render(
        self, images: bool, recorder: MotionRecorder | None, on_progress: OnProgress | None
    ) -> Iterator[RenderedFrame]:
        on_progress, batch_size = on_progress or ignore_progress, self._system.default_batch_size
        with ExitStack() as stack:
            # 1. The clip that gives the times, and one track for every other driver.
            timeline = self.motion if recorder is not None else self.motion.points_only()
            batches = stack.enter_context(closing(timeline.batches(batch_size, images, on_progress)))
            tracks = {
                id(motion): stack.enter_context(closing(PointsTrack(motion, self._fit, on_progress)))
                for motion in (face.motion for face in self.faces)
                if motion is not self.motion
            }

            # 2. Each face as a photograph of its own.
            first, seen = frames_at_rest(batches)
            batches, heads = chain(first, batches), self._heads(seen, tracks)

            # 3. Frame by frame, smaller heads first.
            done = 0
            for batch in batches:
                if recorder is not None:
                    recorder.add(batch)
                for number, time in enumerate(batch.times):
                    points = {key: track.at(float(time)) for key, track in tracks.items()}
                    if any(found is None for found in points.values()):
                        return
                    points[id(self.motion)] = None if batch.points is None else batch.points[number]
                    picture = self.identity.photo.copy()
                    for face, head in zip(self.faces, heads, strict=True):
                        head.draw(picture, points[id(face.motion)], float(time))
                    shown = batch.images[number] if batch.images else None
                    yield RenderedFrame(picture, time, batch.durations[number], batch.found[number], shown)
                done += len(batch.times)
                on_progress(Progress("rendering", done, self.motion.frames))

    def _heads(self, seen: list[np.ndarray], tracks: dict[int, PointsTrack]) -> list[MovingHead]:
        rests = {key: track.rest() for key, track in tracks.items()}
        if any(face.motion is self.motion for face in self.faces):
            if not seen:
                raise MediaError(
                    f"'{self.motion.name}' has no points of a face, by which a photograph is moved: extract the motion "
                    "again from its video."
                )
            rests[id(self.motion)] = Rest.of(np.concatenate(seen)[:MOST_REST_FRAMES])
        hulls = [from_crop(face.identity.points, face.identity.quad) for face in self.faces]
        territories = Territories([*hulls, *self._others], self.size)
        heads = []
        for number, face in enumerate(self.faces):
            window = Window.around(face.identity.quad)
            free = territories.of(number, window)
            rest = rests[id(face.motion)]
            heads.append(MovingHead(face.identity, rest, self.options, self._system.crops, window, free))
        return heads

    def _notes(self) -> list[str]:
        notes = super()._notes()
        for face in self.faces:
            notes += [*face.identity.warnings, *(() if face.motion is self.motion else face.motion.warnings)]
        return list(dict.fromkeys(notes))
