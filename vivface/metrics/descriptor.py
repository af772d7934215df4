"""Identity by dlib's face descriptor, as `face_recognition` compares faces (Video2StyleGAN's ID).

Not the papers' CSIM: another network and another measure, so it has a name of its own in every table.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vivface.errors import BackendError
from vivface.metrics.average import Average

WEIGHTS = "dlib_face_recognition_resnet_model_v1.dat"


class DlibDescriptor:
    """128 numbers of a face; two pictures of one person are usually nearer than 0.6.

    Raises:
        BackendError: If dlib or its weights are not installed.
    """

    name = "dlib"

    def __init__(self):
        try:
            import dlib
        except ImportError as error:
            raise BackendError("The descriptor needs dlib: pip install 'vivface[faces]'.") from error
        package = importlib.util.find_spec("face_recognition_models")  # not imported: it needs pkg_resources
        if package is None:
            raise BackendError("The descriptor needs the weights of face_recognition_models: pip install it.")
        self._dlib = dlib
        self._network = dlib.face_recognition_model_v1(
            str(Path(package.submodule_search_locations[0], "models", WEIGHTS))
        )

    def __call__(self, image: np.ndarray, landmarks: np.ndarray) -> Tensor:
        """Describe the face of an image.

        Args:
            image (`np.ndarray` of shape `(H, W, 3)`): uint8 RGB.
            landmarks (`np.ndarray` of shape `(68, 2)`): Pixels.

        Returns:
            `torch.Tensor` of shape `(1, 128)`: float32.
        """
        dlib = self._dlib
        corners = [int(value) for value in (*landmarks.min(0), *landmarks.max(0))]
        points = dlib.points([dlib.point(int(round(x)), int(round(y))) for x, y in landmarks.tolist()])
        face = dlib.full_object_detection(dlib.rectangle(*corners), points)
        numbers = self._network.compute_face_descriptor(np.ascontiguousarray(image), face)
        return torch.tensor(numbers, dtype=torch.float32)[None]


class DescriptorDistance(Average):
    """Streaming L2 distance of descriptors."""

    def update(self, descriptor: Tensor, target: Tensor) -> Tensor:
        """Take descriptors `(batch, dim)` and that of the source `(1, dim)` in; returns their distances `(batch,)`."""
        return self.add((descriptor.double() - target.double()).norm(dim=1))
