"""What the program finds in an image or a video: numbered faces, and the aligned crop of each."""

import os
from dataclasses import dataclass

import cv2
import numpy as np

from vivface.errors import NoFaceError
from vivface.faces.landmarks import Face, LandmarkBackend, choose_face
from vivface.media.images import load_image
from vivface.media.video import VideoReader
from vivface.reenactment.portrait import Portrait
from vivface.space.detection import without_memory

PREVIEW_SIZE = 640  # longer side of an image with numbered faces, pixels
CROP_SIZE = 256
WORKING_SIZE = 2560  # larger images are reduced to this longer side before anything else, pixels
MAX_SEARCH_FRAMES = 90  # of a video, in which the first face is searched
CHOSEN, OTHER = (52, 211, 153), (148, 163, 184)  # colours, RGB
INK = (15, 23, 42)


@dataclass
class FaceDetections:
    """The faces in an image, or in the first frame of a video that shows any; the image itself is kept small.

    Attributes:
        name (`str`): Of the file.
        preview (`numpy.ndarray` of shape `(height, width, 3)`): uint8 RGB, at most 640 pixels.
        scale (`float`): Pixels of the preview for one of the image.
        faces (list of `Face`): The largest first, in pixels of the image.
        crops (list of `numpy.ndarray` of shape `(256, 256, 3)`): uint8 RGB, each face as the networks see it.
        time (`float`): Of the frame in its video, seconds.
    """

    name: str
    preview: np.ndarray
    scale: float
    faces: list[Face]
    crops: list[np.ndarray]
    time: float = 0.0

    @classmethod
    def of(cls, image: np.ndarray, faces: list[Face], name: str, crop: str, time: float = 0.0) -> "FaceDetections":
        """Keep what pages show of an image.

        Args:
            image (`numpy.ndarray` of shape `(height, width, 3)`): uint8 RGB.
            faces (list of `Face`): In pixels of the image.
            name (`str`): Of the file.
            crop (`str`): A key of `vivface.faces.CROPS`: how the checkpoint cuts such faces.
            time (`float`, *optional*, defaults to 0): Of the frame, seconds.
        """
        height, width = image.shape[:2]
        scale = min(1.0, PREVIEW_SIZE / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        preview = np.ascontiguousarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
        crops = [Portrait(image, face.landmarks, []).crop(crop, CROP_SIZE) for face in faces]
        return cls(name, preview, scale, [without_memory(face) for face in faces], crops, time)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the images and landmarks hold."""
        faces = sum(face.landmarks.nbytes + face.box.nbytes for face in self.faces)
        return self.preview.nbytes + sum(crop.nbytes for crop in self.crops) + faces

    def choose(self, face: int) -> Face:
        """A face by its number, 0 the largest.

        Raises:
            NoFaceError: If there is no such face.
        """
        return choose_face(self.faces, face, where=f"'{self.name}'")

    def crop(self, face: int) -> np.ndarray:
        """The aligned crop of a face: uint8 RGB `(256, 256, 3)`.

        Raises:
            NoFaceError: If there is no such face.
        """
        self.choose(face)
        return self.crops[face]

    def annotated(self, face: int = 0) -> np.ndarray:
        """The preview with a frame around every face, numbered from 1; the chosen one stands out."""
        drawn = self.preview.copy()
        longest = max(drawn.shape[:2])
        line, letter = max(2, round(longest / 200)), max(0.5, longest / 750)
        for index in reversed(range(len(self.faces))):
            color = CHOSEN if index == face else OTHER
            x0, y0, x1, y1 = (round(v) for v in _frame(self.faces[index]) * self.scale)
            cv2.rectangle(drawn, (x0, y0), (x1, y1), color, line, cv2.LINE_AA)
            text = str(index + 1)
            (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, letter, 1)
            pad = round(6 * letter) + 2
            x0, y0 = max(x0, 0), max(y0, 0)
            cv2.rectangle(drawn, (x0, y0), (x0 + width + 2 * pad, y0 + height + 2 * pad), color, -1)
            cv2.putText(
                drawn, text, (x0 + pad, y0 + height + pad), cv2.FONT_HERSHEY_DUPLEX, letter, INK, 1, cv2.LINE_AA
            )
        return drawn

    def face_at(self, x: float, y: float) -> int | None:
        """Number of the smallest face around a pixel of the preview, None where there is none."""
        hits = []
        for index, face in enumerate(self.faces):
            x0, y0, x1, y1 = _frame(face) * self.scale
            if x0 <= x <= x1 and y0 <= y <= y1:
                hits.append((x1 - x0, index))
        return min(hits)[1] if hits else None


def load_portrait(path: str | os.PathLike, max_pixels: int) -> np.ndarray:
    """Read a portrait, reduced to what is needed: uint8 RGB `(height, width, 3)`.

    Raises:
        MediaError: If it cannot be read.
    """
    image = load_image(path, max_pixels)
    scale = WORKING_SIZE / max(image.shape[:2])
    return image if scale >= 1 else cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def detect_in_image(path: str | os.PathLike, backend: LandmarkBackend, max_pixels: int, crop: str) -> FaceDetections:
    """Find the faces of an image.

    Raises:
        MediaError: If it cannot be read.
        NoFaceError: If it shows no face.
    """
    name = os.path.basename(os.fspath(path))
    image = load_portrait(path, max_pixels)
    faces = backend.detect(image, effort="high")
    if not faces:
        raise NoFaceError(f"No face was found in '{name}': give an image that clearly shows an upright face.")
    return FaceDetections.of(image, faces, name, crop)


def detect_in_video(reader: VideoReader, backend: LandmarkBackend, crop: str) -> FaceDetections:
    """Find the faces of the first frame that shows any.

    Raises:
        MediaError: If it cannot be read.
        NoFaceError: If none of the first frames shows a face.
    """
    frames, searched = iter(reader), 0
    try:
        for frame in frames:
            if searched >= MAX_SEARCH_FRAMES:
                break
            faces = backend.detect(frame.image, effort="normal" if searched % 15 == 0 else "low")
            searched += 1
            if faces:
                return FaceDetections.of(frame.image, faces, reader.path.name, crop, float(frame.time))
    finally:
        frames.close()
    raise NoFaceError(
        f"No face was found in '{reader.path.name}' (searched {searched} frames): give a video that shows an upright "
        "face, or start later."
    )


def _frame(face: Face) -> np.ndarray:
    """x0, y0, x1, y1 around the landmarks, with some room for the forehead."""
    low, high = face.landmarks.min(0), face.landmarks.max(0)
    width, height = high - low
    return np.array([low[0] - 0.1 * width, low[1] - 0.35 * height, high[0] + 0.1 * width, high[1] + 0.08 * height])
