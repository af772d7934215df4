"""From a picture to the face that will be animated, and the photo that results are pasted into."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vivface.faces.alignment import align_quad, crop_quad, ffhq_quad
from vivface.faces.crops import face_quad
from vivface.faces.landmarks import LandmarkBackend, choose_face
from vivface.faces.voxceleb import align_voxceleb
from vivface.warping.mesh import PointsReader

FAINT_FACE = 0.25  # a face smaller than this share of what the networks see is worth a warning


@dataclass
class PortraitPhoto:
    """What a photograph that moves needs of a portrait; an `IdentityCode` has these attributes, too.

    Attributes:
        photo (`numpy.ndarray` of shape `(height, width, 3)`): uint8 RGB.
        quad (`numpy.ndarray` of shape `(4, 2)`): Corners of the face's crop in `photo`, pixels, counter-clockwise from
            the top left.
        points (`numpy.ndarray` of shape `(478, 3)`, *optional*): Of the face in the crop, see `vivface.warping.mesh`.
        warnings (list of `str`): What a user should know about this portrait.
        file (`pathlib.Path`, *optional*): The file that it was read from, an ingredient of results.
    """

    photo: np.ndarray
    quad: np.ndarray
    points: np.ndarray | None
    warnings: list[str] = field(default_factory=list)
    file: Path | None = None


@dataclass
class Portrait:
    """A picture and the chosen face in it.

    Attributes:
        image (`numpy.ndarray` of shape `(height, width, 3)`): uint8 RGB, as it was given.
        landmarks (`numpy.ndarray` of shape `(68, 2)`): of the chosen face, in pixels of `image`.
        warnings (list of `str`): what a user should know.
        points (`numpy.ndarray` of shape `(478, 3)`, *optional*): of the face, in pixels, see `vivface.warping.mesh`;
            None if the mesh network does not see it.
    """

    image: np.ndarray
    landmarks: np.ndarray
    warnings: list[str]
    points: np.ndarray | None = None

    @classmethod
    def find(
        cls, image: np.ndarray, backend: LandmarkBackend, face: int | None, name: str, image_size: int
    ) -> "Portrait":
        """Find the faces of a picture and choose one.

        Args:
            image (`numpy.ndarray` of shape `(height, width, 3)`): uint8 RGB.
            backend (`LandmarkBackend`): finds faces and their landmarks.
            face (`int`, *optional*): which one, 0 the largest; None takes the largest and says so if there are more.
            name (`str`): of the picture, for messages.
            image_size (`int`): side in pixels of what the networks see.

        Raises:
            NoFaceError: If there is no face, or not the asked one.
        """
        found = backend.detect(image, effort="normal" if face is None else "high")
        chosen = choose_face(found, face, where=name)
        landmarks = chosen.landmarks
        warnings = []
        if face is None and len(found) > 1:
            warnings.append(
                f"{len(found)} faces in {name}: the largest was taken; choose another with face (0 to "
                f"{len(found) - 1}, largest first)."
            )
        extent = float(np.ptp(landmarks, axis=0).max())
        if extent < FAINT_FACE * image_size:
            warnings.append(f"The face in {name} is only {extent:.0f} pixels high: the result will be blurred.")
        return cls(image, landmarks, warnings, PointsReader().read(image, chosen))

    @property
    def quad(self) -> np.ndarray:
        """Corners `(4, 2)` of FFHQ's square around the face, in pixels of `image`."""
        return ffhq_quad(self.landmarks)

    def crop(self, mode: str, size: int) -> np.ndarray:
        """The face as a checkpoint of crop `mode` wants it: uint8 RGB `(size, size, 3)`."""
        if mode == "voxceleb":
            return align_voxceleb(self.image, self.landmarks, size)
        return cut_face(self.image, face_quad(self.landmarks, mode), mode, size)


def cut_face(image: np.ndarray, quad: np.ndarray, mode: str, size: int) -> np.ndarray:
    """A square of an image as a checkpoint of crop `mode` wants it: uint8 RGB `(size, size, 3)`."""
    return align_quad(image, quad, size) if mode == "ffhq" else crop_quad(image, quad, size)


def source_name(source: object) -> str:
    """What to call a source in messages."""
    return f"'{Path(source).name}'" if isinstance(source, str | Path) else "the source image"
