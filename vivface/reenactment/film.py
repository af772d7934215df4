"""A film as the source: where its faces are, frame by frame, without trembling."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache

import numpy as np

from vivface.errors import NoFaceError
from vivface.faces.crops import face_quad
from vivface.faces.landmarks import LandmarkBackend
from vivface.faces.smoothing import QuadStabilizer
from vivface.faces.tracking import FaceTracker
from vivface.media.video import VideoReader
from vivface.reenactment.streams import ReadAhead, with_neighbours
from vivface.runtime import use_one_thread
from vivface.warping.mesh import PointsReader, PosedFace, place
from vivface.warping.regions import quickness

AHEAD = 8  # frames that wait between reading and drawing
RADIUS = 4  # frames on either side over which the shape of a face is averaged
SKIN, QUICK = 2.0, 0.7  # frames: width of that average for skin, and for lips and lids, which move fast


@dataclass(frozen=True)
class FilmFace:
    """A face in one frame of a film.

    Attributes:
        face (`PosedFace`): Its shape, and its pose in pixels of the frame.
        quad (`np.ndarray` of shape `(4, 2)`): A crop around it that follows slow movement only, pixels.
        anew (`bool`): Whether it had to be searched, as after a cut.
    """

    face: PosedFace
    quad: np.ndarray
    anew: bool


@dataclass(frozen=True)
class FilmFrame:
    """A frame of a film.

    Attributes:
        image (`np.ndarray` of shape `(height, width, 3)`): uint8 RGB.
        time, duration (`Fraction`): When it is shown and for how long, seconds.
        faces (list of `FilmFace`, *optional*): Those that are followed; None where one is not seen.
    """

    image: np.ndarray
    time: Fraction
    duration: Fraction
    faces: list[FilmFace | None]


@dataclass
class Film:
    """A film whose faces are followed; it can be read several times, and memory does not grow with its length.

    Args:
        reader (`VideoReader`): The film, or the part of it to use.
        backend (`LandmarkBackend`): Finds faces.
        faces (list of `int`, *optional*): Which faces of the first frame that shows any, 0 the largest; None follows
            the largest.

    Attributes:
        warnings (list of `str`): What a user should know; complete once the film was read.
    """

    reader: VideoReader
    backend: LandmarkBackend
    faces: list[int | None]
    warnings: list[str] = field(default_factory=list, init=False)

    def frames(self) -> Iterator[FilmFrame]:
        """Read the film from its start, in a thread that reads ahead.

        Raises:
            MediaError: If it cannot be read.
            NoFaceError: If no frame shows a face, or not the one asked for.
        """
        with ReadAhead(self._tracked, AHEAD) as ahead:
            yield from steady(iter(ahead))

    def _tracked(self, stop: threading.Event) -> Iterator[FilmFrame]:
        if getattr(self.backend, "name", None) == "mesh":
            use_one_thread()
        self.warnings.clear()
        name = f"'{self.reader.path.name}'"
        followed = [_Followed(self.backend, face, name) for face in self.faces]
        count = 0
        for frame in self.reader:
            if stop.is_set():
                return
            count += 1
            faces = [one.update(frame.image, frame.time) for one in followed]
            yield FilmFrame(frame.image, frame.time, frame.duration, faces)
        self.warnings += self.reader.warnings
        if not any(one.tracker.faces_first for one in followed):
            raise NoFaceError(
                f"No face was found in {name} (searched {count} frames): give a film that shows a face, upright and "
                "not too small."
            )
        if self.faces == [None] and (seen := followed[0].tracker.faces_first) > 1:
            self.warnings.append(
                f"{seen} faces in {name}: the largest was changed; choose another with face (0 to {seen - 1}, largest "
                "first), or several with faces."
            )


class _Followed:
    """One face of a film."""

    def __init__(self, backend: LandmarkBackend, face: int | None, name: str):
        self.tracker = FaceTracker(backend, face, where=name, states=False)
        self._stabilizer, self._points = QuadStabilizer("stable"), PointsReader()

    def update(self, image: np.ndarray, time: Fraction) -> FilmFace | None:
        tracked = self.tracker.update(image, time)
        points = self._points.read(image, tracked.face) if tracked.found else None
        if points is None:
            return None
        quad = self._stabilizer.update(face_quad(tracked.landmarks, "stable"), time, cut=tracked.redetected)
        return FilmFace(PosedFace.of(points), quad, tracked.redetected)


def steady(frames: Iterator[FilmFrame]) -> Iterator[FilmFrame]:
    """The frames with the shapes of their faces averaged over the frames around, without lag.

    Points of the lips and lids, which move fast, are averaged over fewer frames than skin. Poses stay as they are.
    """
    for near, middle in with_neighbours(frames, RADIUS):
        yield replace(near[middle], faces=[_average(near, middle, k) for k in range(len(near[middle].faces))])


def _average(frames: list[FilmFrame], middle: int, number: int) -> FilmFace | None:
    own = frames[middle].faces[number]
    if own is None:
        return None
    shapes, distances = [own.face.shape], [0]
    for direction in (-1, 1):
        for distance in range(1, RADIUS + 1):
            place_ = middle + direction * distance
            if not 0 <= place_ < len(frames) or (other := frames[place_].faces[number]) is None:
                break
            before = other if direction == 1 else frames[place_ + 1].faces[number]  # it was searched: another take
            if before.anew:
                break
            shapes.append(other.face.shape)
            distances.append(distance)
    widths = _widths()  # (478,)
    weights = np.exp(-0.5 * (np.array(distances)[:, None] / widths) ** 2)
    shape = np.einsum("kp,kpc->pc", weights / weights.sum(0), np.stack(shapes))
    return replace(own, face=PosedFace(shape, own.face.pose))


@cache
def _widths() -> np.ndarray:
    """Over how many frames each point is averaged `(478,)`: standard deviations of a Gaussian."""
    return SKIN + (QUICK - SKIN) * quickness()


def points_of(face: FilmFace) -> np.ndarray:
    """Points `(478, 3)` in pixels of the frame."""
    return place(face.face.shape, face.face.pose)
