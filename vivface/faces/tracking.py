"""Follow one face through a video: detect it once, then track it, and search again when it is lost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vivface.faces.landmarks import Face, LandmarkBackend, choose_face, overlap
from vivface.faces.smoothing import Seconds
from vivface.faces.state import FaceState, StateSmoother, read_state

REACH = 1.0  # how far, in widths of its box, a lost face may turn up again in the next frame ...
REACH_PER_FRAME = 0.15  # ... and how much farther with every frame missed
SIZE_CHANGE = 1.8  # factor by which its size may have changed meanwhile
FRAME_SECONDS = 1 / 25  # between frames whose time is not given
WIDE_SEARCH_EVERY = 15  # missed frames between searches for faces of all sizes (the others look for large ones)


@dataclass(frozen=True)
class TrackedFace:
    """The face in one frame.

    Attributes:
        landmarks (`np.ndarray` of shape `(68, 2)`, or None): float64 pixels. In a frame without the face those of the
            frame before; None as long as the face was never seen.
        found (`bool`): Whether the face is in this frame.
        redetected (`bool`): Whether it had to be searched in the picture (true in its first frame).
        state (`FaceState`, or None): Lids, lips, brows, gaze and pose, smoothed; in a frame without the face those of
            the frame before, with confidence 0. None with backends that do not see them, before the first face, and
            where states were not asked for.
        face (`Face`, or None): All that the backend knows of the face in this frame; None in a frame without it.
    """

    landmarks: np.ndarray | None
    found: bool
    redetected: bool
    state: FaceState | None = None
    face: Face | None = None


class FaceTracker:
    """Follow the largest face of the first frame that shows any, or the one asked for.

    Args:
        backend (`LandmarkBackend`): Finds and follows faces.
        face (`int`, *optional*): Number of the face by size, 0 for the largest.
        where (`str`, *optional*, defaults to `"the video"`): How error messages name the frames.
        states (`bool`, *optional*, defaults to `True`): Whether to read the states of the face.

    Attributes:
        frames (`int`): Frames seen.
        missing (`int`): Frames without the face.
        faces_first (`int`): Faces in the first frame that shows any.
    """

    def __init__(
        self, backend: LandmarkBackend, face: int | None = None, where: str = "the video", states: bool = True
    ):
        self.backend = backend
        self.index = face
        self.where = where
        self.frames = 0
        self.missing = 0
        self.faces_first = 0
        self._face: Face | None = None  # where it was seen last
        self._others: list[Face] = []  # the other people, where they were seen last
        self._missed = 0  # frames since then
        self._smoother = StateSmoother() if states else None

    def update(self, image: np.ndarray, time_s: Seconds | None = None) -> TrackedFace:
        """Find the face in the next frame.

        Args:
            image (`np.ndarray` of shape `(H, W, 3)`): uint8 RGB.
            time_s (`float` or `Fraction`, *optional*): Presentation time in seconds, for the smoothing of the state; by
                default `FRAME_SECONDS` after the frame before.

        Returns:
            `TrackedFace`: The face, or where it was last.

        Raises:
            NoFaceError: If the first frame that shows any face does not show the one asked for.
        """
        self.frames += 1
        face, redetected = None, False
        if self._face is not None and self._missed == 0:
            face = self.backend.refine(image, self._face)
        if face is None:
            face = self._start(image) if self._face is None else self._search(image, self._face)
            redetected = face is not None
        if face is None:
            self.missing += 1
            self._missed += 1
        else:
            self._face, self._missed = face, 0
        landmarks = None if self._face is None else self._face.landmarks
        state = self._state(face, self.frames * FRAME_SECONDS if time_s is None else time_s, redetected)
        return TrackedFace(landmarks, face is not None, redetected, state, face)

    def _state(self, face: Face | None, time_s: Seconds, redetected: bool) -> FaceState | None:
        if self._smoother is None:
            return None
        if redetected:
            self._smoother.reset()
        seen = None if face is None or face.points is None else read_state(face.points)
        return self._smoother.update(seen, time_s)

    def check(self) -> None:
        """Raise a NoFaceError when no frame so far showed the face."""
        if self._face is None:
            choose_face([], self.index, f"the {self.frames} frames of {self.where}")

    def _start(self, image: np.ndarray) -> Face | None:
        wide = self._missed % WIDE_SEARCH_EVERY == 0
        faces = self.backend.detect(image, effort="normal" if wide else "low")
        if faces and self.index is not None and self.index >= len(faces):
            faces = self.backend.detect(image, effort="high")
        if not faces:
            return None
        self.faces_first = len(faces)
        face = choose_face(faces, self.index, f"the first frame with a face in {self.where}")
        self._others = [other for other in faces if other is not face]
        return face

    def _search(self, image: np.ndarray, last: Face) -> Face | None:
        """The face again, but nobody else: near where it was last, of a similar size, and not where others were."""
        wide = self._missed % WIDE_SEARCH_EVERY == WIDE_SEARCH_EVERY - 1
        faces = self.backend.detect(image, effort="normal" if wide else "low", near=last)
        reach = (REACH + REACH_PER_FRAME * self._missed) * last.width
        strangers = [face for face in faces if any(overlap(face.box, other.box) > 0.3 for other in self._others)]
        if strangers:
            self._others = strangers
        candidates = [face for face in faces if not any(face is stranger for stranger in strangers)]
        if len(candidates) == 1 and not self._others:
            return candidates[0]
        candidates = [
            face
            for face in candidates
            if _distance(face, last) < reach and 1 / SIZE_CHANGE < face.width / last.width < SIZE_CHANGE
        ]
        return min(candidates, key=lambda face: _distance(face, last), default=None)


def _distance(a: Face, b: Face) -> float:
    return float(np.hypot(*(a.center - b.center)))
