"""Landmarks with the package face-alignment: a neural detector and a heat-map network (FAN).

Bulat and Tzimiropoulos, How far are we from solving the 2D & 3D Face Alignment problem?, ICCV 2017. Its weights are
downloaded to torch's hub folder at first use.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from vivface.errors import BackendError, OptionError, first_line
from vivface.faces.alignment import check_image
from vivface.faces.landmarks import Effort, Face

LANDMARK_WEIGHTS = "2DFAN4-11f355bf06.pth.tar"
DETECTOR_WEIGHTS = {
    "sfd": ("s3fd-619a316812.pth",),
    "blazeface": ("blazeface.pth", "anchors.npy"),
    "yunet": ("face_detection_yunet_2023mar.onnx",),
    "retinaface": ("retinaface_mobilenet0.25.pth",),
    "scrfd": ("scrfd_2.5g_bnkps.onnx",),
}
DETECTORS = tuple(DETECTOR_WEIGHTS)
KEEP_SCORE = 0.5  # mean height of the heat maps (0 to 2: picture plus mirror image) below which a face counts as lost


def missing_weights(detector: str) -> list[Path]:
    """The files that `detector` and the landmark network need and that are not on this machine yet."""
    files = [_folder() / name for name in (LANDMARK_WEIGHTS, *DETECTOR_WEIGHTS[detector])]
    return [path for path in files if not path.is_file()]


def is_ready(detector: str) -> bool:
    """Whether the backend works without a download."""
    return importlib.util.find_spec("face_alignment") is not None and not missing_weights(detector)


class FaceAlignmentBackend:
    """Detector and landmarks of face-alignment.

    Args:
        detector (`str`, *optional*, defaults to `"sfd"`): One of `DETECTORS`.
        device (`str`, *optional*, defaults to `"cpu"`): Where to compute.

    Raises:
        OptionError: If there is no such detector.
        BackendError: If the package is not installed, or weights are neither on this machine nor to be downloaded.
    """

    def __init__(self, detector: str = "sfd", device: str = "cpu"):
        if detector not in DETECTORS:
            raise OptionError(f"face-alignment has no detector {detector!r}: choose one of {', '.join(DETECTORS)}.")
        try:
            import face_alignment
        except ImportError as error:
            raise BackendError(
                "The face-alignment backend needs the package face-alignment: install it with pip, or use mesh."
            ) from error
        self.name = f"face-alignment:{detector}"
        missing = missing_weights(detector)
        try:
            self._network = face_alignment.FaceAlignment(
                face_alignment.LandmarksType.TWO_D, device=device, face_detector=detector, compile=False
            )
        except ImportError as error:
            raise BackendError(f"The detector {detector} of face-alignment cannot start: {error}.") from error
        except Exception as error:  # the network's, the file system's and torch's errors have no common base
            if not missing:
                raise BackendError(
                    f"The weights of {self.name} in {_folder()} cannot be read ({first_line(error)}): "
                    "delete them to download them again, or use mesh."
                ) from error
            names = ", ".join(path.name for path in missing)
            raise BackendError(
                f"The backend {self.name} needs {names} in {missing[0].parent}, which could not be downloaded "
                f"({first_line(error)}): put them there, connect to the network, or use mesh."
            ) from error

    def detect(self, image: np.ndarray, *, effort: Effort = "normal", near: Face | None = None) -> list[Face]:
        """See `LandmarkBackend.detect`; its detectors look for all sizes at once, `effort` and `near` are not used."""
        found = self._network.face_detector.detect_from_image(check_image(image).copy())
        found = [np.asarray(row, np.float64) for row in found]
        if not found:
            return []
        landmarks, _ = self._landmarks(image, [row[:4] for row in found])
        faces = [Face(row[:4], points, float(row[4])) for row, points in zip(found, landmarks, strict=True)]
        return sorted(faces, key=lambda face: -face.width)

    def refine(self, image: np.ndarray, face: Face) -> Face | None:
        """See `LandmarkBackend.refine`."""
        (landmarks,), (score,) = self._landmarks(check_image(image), [face.box])
        if score < KEEP_SCORE:
            return None
        # The box moves and grows as the landmarks do.
        before, after = face.landmarks, landmarks
        growth = np.linalg.norm(after - after.mean(0)) / max(np.linalg.norm(before - before.mean(0)), 1e-9)
        moved = np.hypot(*(after.mean(0) - before.mean(0)))
        if not 1 / 1.4 < growth < 1.4 or moved > 0.7 * face.width:
            return None
        half = (face.box[2:] - face.box[:2]) / 2 * growth
        center = after.mean(0) + (face.center - before.mean(0)) * growth
        return Face(np.concatenate([center - half, center + half]), landmarks, face.score)

    def _landmarks(self, image: np.ndarray, boxes: list[np.ndarray]) -> tuple[list[np.ndarray], list[float]]:
        """Landmarks `(68, 2)` and mean heat-map height of each box."""
        points, scores, _ = self._network.get_landmarks_from_image(
            image, detected_faces=boxes, return_landmark_score=True
        )
        return [np.asarray(p, np.float64) for p in points], [float(np.mean(s)) for s in scores]


def _folder() -> Path:
    import torch  # here, so that the list of backends does without it

    return Path(torch.hub.get_dir(), "checkpoints")
