"""What the program sees in a picture or a video: numbered faces and the aligned crop."""

import os
from dataclasses import dataclass

import cv2
import numpy as np

from vivface.errors import NoFaceError
from vivface.faces.alignment import align_ffhq, crop_quad, ffhq_quad
from vivface.faces.landmarks import Face, LandmarkBackend
from vivface.media.images import load_image
from vivface.media.video import VideoReader

PREVIEW_SIDE = 640  # of a picture with numbered faces, pixels
CROP_SIDE = 256
WORKING_SIDE = 2560  # larger pictures are reduced to this before anything else, pixels
LOOKED_AT = 90  # frames of a video in which the first face is searched
CHOSEN, OTHER = (52, 211, 153), (148, 163, 184)  # colours, RGB
INK = (15, 23, 42)


@dataclass
class Seen:
    """A picture, or the first frame of a video with a face, and the faces in it.

    Attributes:
        image (`numpy.ndarray` of shape `(height, width, 3)`): uint8 RGB.
        faces (list of `Face`): the largest first, in pixels of `image`.
        name (`str`): of the file.
        time (`float`): of the frame in its video, seconds.
    """

    image: np.ndarray
    faces: list[Face]
    name: str
    time: float = 0.0

    @property
    def scale(self) -> float:
        """Pixels of the preview for one of the picture."""
        return min(1.0, PREVIEW_SIDE / max(self.image.shape[:2]))

    def choose(self, number: int) -> Face:
        """The face of a number, counted from 1.

        Raises:
            NoFaceError: If there is no such face.
        """
        if not 1 <= number <= len(self.faces):
            found = "1 face was" if len(self.faces) == 1 else f"{len(self.faces)} faces were"
            raise NoFaceError(
                f"Face {number} was asked for, but {found} found in '{self.name}': choose another number."
            )
        return self.faces[number - 1]

    def annotated(self, number: int = 1) -> np.ndarray:
        """The picture, reduced, with a numbered frame around every face; the chosen one stands out."""
        height, width = self.image.shape[:2]
        size = (max(1, round(width * self.scale)), max(1, round(height * self.scale)))
        drawn = np.ascontiguousarray(cv2.resize(self.image, size, interpolation=cv2.INTER_AREA))
        line = max(2, round(max(size) / 200))
        letter = max(0.5, max(size) / 750)
        for index in reversed(range(len(self.faces))):
            color = CHOSEN if index == number - 1 else OTHER
            x0, y0, x1, y1 = (round(v) for v in _frame(self.faces[index]) * self.scale)
            cv2.rectangle(drawn, (x0, y0), (x1, y1), color, line, cv2.LINE_AA)
            text = str(index + 1)
            (text_width, text_height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, letter, 1)
            pad = round(6 * letter) + 2
            x0, y0 = max(x0, 0), max(y0, 0)
            cv2.rectangle(drawn, (x0, y0), (x0 + text_width + 2 * pad, y0 + text_height + 2 * pad), color, -1)
            at = (x0 + pad, y0 + text_height + pad)
            cv2.putText(drawn, text, at, cv2.FONT_HERSHEY_DUPLEX, letter, INK, 1, cv2.LINE_AA)
        return drawn

    def crop(self, number: int, mode: str) -> np.ndarray:
        """The aligned crop of a face as a checkpoint of crop `mode` sees it."""
        landmarks = self.choose(number).landmarks
        if mode == "ffhq":
            return align_ffhq(self.image, landmarks, CROP_SIDE)
        return crop_quad(self.image, ffhq_quad(landmarks), CROP_SIDE)

    def face_at(self, x: float, y: float) -> int | None:
        """Number of the smallest face around a pixel of the preview, None where there is none."""
        hits = []
        for index, face in enumerate(self.faces):
            x0, y0, x1, y1 = _frame(face) * self.scale
            if x0 <= x <= x1 and y0 <= y <= y1:
                hits.append((x1 - x0, index + 1))
        return min(hits)[1] if hits else None


def see_picture(path: str | os.PathLike, backend: LandmarkBackend, max_pixels: int) -> Seen:
    """Find the faces of a picture.

    Raises:
        MediaError: If it cannot be read.
        NoFaceError: If it shows no face.
    """
    name = os.path.basename(os.fspath(path))
    image = load_image(path, max_pixels)
    scale = WORKING_SIDE / max(image.shape[:2])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    faces = backend.detect(image, effort="high")
    if not faces:
        raise NoFaceError(f"No face was found in '{name}': give a picture that shows an upright face clearly.")
    return Seen(image, faces, name)


def see_video(reader: VideoReader, backend: LandmarkBackend) -> Seen:
    """Find the faces of the first frame that shows any.

    Raises:
        MediaError: If it cannot be read.
        NoFaceError: If none of the first frames shows a face.
    """
    frames = iter(reader)
    try:
        for number, frame in enumerate(frames):
            if number >= LOOKED_AT:
                break
            faces = backend.detect(frame.image, effort="normal" if number % 15 == 0 else "low")
            if faces:
                return Seen(frame.image, faces, reader.path.name, float(frame.time))
    finally:
        frames.close()
    raise NoFaceError(
        f"No face was found in the first seconds of '{reader.path.name}': give a video that shows an upright face, or "
        "start later."
    )


def _frame(face: Face) -> np.ndarray:
    """x0, y0, x1, y1 around the landmarks, with some room for the forehead."""
    low, high = face.landmarks.min(0), face.landmarks.max(0)
    width, height = high - low
    return np.array([low[0] - 0.1 * width, low[1] - 0.35 * height, high[0] + 0.1 * width, high[1] + 0.08 * height])
