"""A key picture of a coded video: the photograph of one frame, sent once and moved by the faces that are decoded.

Ours, not in Expressive Talking Head Video Encoding in StyleGAN2 Latent Space: what a small generator cannot show of a
person, one picture does. The 35 numbers of a frame are decoded to an image as ever; the points of the face in it,
against those of the image decoded for the key frame, move the key picture.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace

import cv2
import numpy as np
from PIL import Image
from torch import Tensor

from vivface.errors import NoFaceError
from vivface.faces.alignment import crop_quad, to_crop, whole_quad
from vivface.faces.landmarks import LandmarkBackend
from vivface.faces.tracking import FaceTracker
from vivface.media.images import load_image
from vivface.reenactment.coded_frames import CodecFrames
from vivface.reenactment.coded_video import CodedMotion, CodedVideo
from vivface.reenactment.codes import BATCH_SIZE, MotionBatch
from vivface.reenactment.progress import OnProgress
from vivface.warping.mesh import PointsReader
from vivface.warping.retargeting import Rest

KEY_SIZE = 256  # width and height of a key picture, pixels
KEY_QUALITY = 75  # of AVIF
SEEN_SIZE = 256  # decoded faces are enlarged to this before their points are read
Show = Callable[[Tensor], np.ndarray]  # numbers (batch, 35) -> uint8 RGB (batch, size, size, 3)


def take_key_picture(frames: CodecFrames, numbers: Tensor) -> tuple[bytes, int]:
    """A picture of the frame that looks ahead most, its eyes open if there is such a frame.

    Args:
        frames (`CodecFrames`): The clip.
        numbers (`torch.Tensor` of shape `(frames, 35)`): Of its frames.

    Returns:
        `tuple[bytes, int]`: AVIF, upright, `KEY_SIZE` wide; number of the frame.
    """
    turned = numbers[:, :2].float().abs().amax(1).tolist()
    places = [(frame.quad, frame.blink) for frame in frames]
    seen = [number for number, (quad, _) in enumerate(places) if quad is not None]
    chosen = min(seen, key=lambda number: (places[number][1], turned[number]))
    image = next(frame.image for number, frame in enumerate(frames.reader) if number == chosen)
    picture, file = crop_quad(image, places[chosen][0], KEY_SIZE), io.BytesIO()
    Image.fromarray(picture).save(file, "AVIF", quality=KEY_QUALITY)
    return file.getvalue(), chosen


def read_key_picture(key: bytes, name: str, backend: LandmarkBackend) -> tuple[np.ndarray, np.ndarray]:
    """A key picture, uint8 RGB `(size, size, 3)`, and the points `(478, 3)` of its face.

    Args:
        key (`bytes`): The picture as a file.
        name (`str`): Of the video that it belongs to, for messages.
        backend (`LandmarkBackend`): Finds faces.

    Raises:
        MediaError: If it is damaged.
        NoFaceError: If it shows no face.
    """
    image = load_image(io.BytesIO(key))
    return image, PicturePoints(backend, name)(image[None])[0]


class PointedMotion(CodedMotion):
    """The numbers of a coded video together with the points of the faces that they show.

    Args:
        coded (`CodedVideo`): Whose.
        show (callable): Decodes numbers.
        backend (`LandmarkBackend`): Finds faces.
    """

    has_points = True

    def __init__(self, coded: CodedVideo, show: Show, backend: LandmarkBackend):
        super().__init__(coded)
        self._show, self._backend = show, backend

    def batches(
        self, batch_size: int = BATCH_SIZE, images: bool = False, on_progress: OnProgress | None = None
    ) -> Iterator[MotionBatch]:
        """As those of `CodedMotion`, with points."""
        reader = PicturePoints(self._backend, self.name)
        for batch in super().batches(batch_size, images, on_progress):
            yield replace(batch, points=reader(self._show(batch.codes)))

    def rest_at(self, frame: int) -> Rest:
        """The face that a frame's numbers show, from which movements count.

        Raises:
            NoFaceError: If they show no face.
        """
        numbers = self._coded.frames[frame : frame + 1].float()
        return Rest.at(PicturePoints(self._backend, self.name)(self._show(numbers))[0])


class PicturePoints:
    """Points of faces in square pictures, one after the other; one without a face repeats the one before.

    Args:
        backend (`LandmarkBackend`): Finds faces.
        name (`str`): Of the video, for messages.
    """

    def __init__(self, backend: LandmarkBackend, name: str):
        self._tracker, self._points, self._name = FaceTracker(backend, where=f"'{name}'"), PointsReader(), name
        self._last: np.ndarray | None = None

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """uint8 RGB `(batch, size, size, 3)` to points `(batch, 478, 3)` in the image.

        Raises:
            NoFaceError: If there was no face so far.
        """
        found = []
        for image in images:
            large = image
            if len(image) < SEEN_SIZE:
                large = cv2.resize(image, (SEEN_SIZE, SEEN_SIZE), interpolation=cv2.INTER_CUBIC)
            tracked = self._tracker.update(large)
            points = self._points.read(large, tracked.face) if tracked.found else None
            self._last = self._last if points is None else to_crop(points, whole_quad(len(large)))
            if self._last is None:
                raise NoFaceError(
                    f"The numbers of '{self._name}' show no face that could move its key picture: decode it without."
                )
            found.append(self._last)
        return np.stack(found)
