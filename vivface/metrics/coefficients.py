"""3DMM coefficients by the papers' networks: Deep3DFaceRecon (ViVFace's AED and APD) and DECA (HyperReenact's).

Both are a ResNet-50 with linear heads. Neither's weights may be passed on; none come with this package.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vivface.errors import BackendError
from vivface.faces.alignment import crop_quad, make_quad
from vivface.faces.crops import face_quad
from vivface.media.tensors import to_tensor
from vivface.metrics.average import needs
from vivface.models.pose_encoder import PoseEncoder

DEEP3D, SHAPE, DECA = "deep3dfacerecon.pth", "similarity_Lm3D_all.mat", "deca_model.tar"
SIZE, TARGET = 224, 102.0  # pixels of the crop; scale of the mean face in it, as Deep3DFaceRecon crops
FIVE = ((36, 39), (42, 45), (30,), (48,), (54,))  # eyes as the middle of their corners


@dataclass
class Coefficients:
    """Expression and pose of one face: `(1, 64 or 50)` and `(1, 3)` in radians."""

    expression: Tensor
    pose: Tensor


class Deep3D(nn.Module):
    """Deep3DFaceRecon (Deng et al., CVPRW 2019), the PyTorch version's `epoch_20.pth`, saved as `deep3dfacerecon.pth`.

    Args:
        folder (`Path`): Holds the weights, and `similarity_Lm3D_all.mat` of the same authors.

    Raises:
        BackendError: If a file is missing or is another one.
    """

    name = "Deep3DFaceRecon"

    def __init__(self, folder: Path):
        super().__init__()
        entries = _entries(folder / DEEP3D, "net_recon")
        self.backbone = _backbone(entries, "backbone.", DEEP3D)
        self.expression, self.angles = nn.Conv2d(2048, 64, 1), nn.Conv2d(2048, 3, 1)
        for layer, number in ((self.expression, 1), (self.angles, 3)):  # after 80 of identity and 80 of texture
            _fill(layer, entries, f"final_layers.{number}.", DEEP3D)
        self._mean_face = _mean_face(folder / SHAPE)

    @torch.no_grad()
    def forward(self, image: np.ndarray, landmarks: np.ndarray) -> Coefficients:
        """Coefficients of the face with these landmarks `(68, 2)` in an image `(height, width, 3)`, uint8 RGB."""
        quad = deep3d_quad(landmarks, self._mean_face)
        crop = to_tensor([crop_quad(image, quad, SIZE)], self.angles.weight.device)
        features = self.backbone(crop).mean(dim=(2, 3), keepdim=True)
        return Coefficients(self.expression(features).flatten(1), self.angles(features).flatten(1))


class Deca(nn.Module):
    """DECA's coarse encoder (Feng et al., SIGGRAPH 2021), of `deca_model.tar`.

    Args:
        folder (`Path`): Holds the weights.

    Raises:
        BackendError: If the file is missing or is another one.
    """

    name = "DECA"

    def __init__(self, folder: Path):
        super().__init__()
        entries = _entries(folder / DECA, "E_flame")
        self.backbone = _backbone(entries, "encoder.", DECA)
        self.layers = nn.Sequential(nn.Linear(2048, 1024), nn.ReLU(), nn.Linear(1024, 236))
        _fill(self.layers, entries, "layers.", DECA)

    @torch.no_grad()
    def forward(self, image: np.ndarray, landmarks: np.ndarray) -> Coefficients:
        """Coefficients of the face with these landmarks `(68, 2)` in an image `(height, width, 3)`, uint8 RGB."""
        crop = crop_quad(image, face_quad(landmarks, "deca"), SIZE)
        features = self.backbone(to_tensor([crop], self.layers[0].weight.device)).mean(dim=(2, 3))
        codes = self.layers(features)
        return Coefficients(codes[:, 150:200], codes[:, 200:203])  # after 100 of shape and 50 of texture


def deep3d_quad(landmarks: np.ndarray, mean_face: np.ndarray) -> np.ndarray:
    """The square that Deep3DFaceRecon sees: the mean face, laid onto five landmarks by a scaled orthographic camera.

    Args:
        landmarks (`np.ndarray` of shape `(68, 2)`): iBUG landmarks in pixels.
        mean_face (`np.ndarray` of shape `(5, 3)`): Eyes, nose, corners of the mouth; y up.

    Returns:
        `np.ndarray` of shape `(4, 2)`: Corners in pixels.
    """
    points = five_points(landmarks) * [1, -1]
    known = np.column_stack([mean_face, np.ones(5)])
    rows = np.linalg.lstsq(known, points, rcond=None)[0].T  # (2, 4): x, then y
    scale = (np.linalg.norm(rows[0, :3]) + np.linalg.norm(rows[1, :3])) / 2
    return make_quad(rows[:, 3] * [1, -1], SIZE / 2 * scale / TARGET)


def five_points(landmarks: np.ndarray) -> np.ndarray:
    """Eyes, nose and corners of the mouth `(5, 2 or 3)` of 68 points, as Deep3DFaceRecon takes them."""
    return np.stack([np.asarray(landmarks, np.float64)[list(points)].mean(0) for points in FIVE])


def _mean_face(file: Path) -> np.ndarray:
    if not file.is_file():
        raise BackendError(f"Deep3DFaceRecon needs its mean face, expected at '{file}': copy it there.")
    try:
        return five_points(needs("scipy.io").loadmat(str(file))["lm"])
    except (OSError, ValueError, KeyError, IndexError, NotImplementedError) as error:
        raise BackendError(f"'{file}' is not Deep3DFaceRecon's mean face: copy it again.") from error


def _entries(file: Path, part: str) -> dict[str, Tensor]:
    """Entries of a part of a published file; nothing that the file contains is run."""
    if not file.is_file():
        raise BackendError(f"These coefficients need the published weights, expected at '{file}': copy them there.")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
        entries = content[part]
        return {name.removeprefix("module."): value for name, value in entries.items()}
    except Exception as error:  # torch's reader raises errors of many kinds
        raise BackendError(f"'{file}' holds no '{part}' that can be read: copy the published file again.") from error


def _backbone(entries: dict[str, Tensor], prefix: str, file: str) -> PoseEncoder:
    backbone = PoseEncoder()
    _fill(backbone, entries, prefix, file)
    return backbone.eval().requires_grad_(False)


def _fill(layer: nn.Module, entries: dict[str, Tensor], prefix: str, file: str) -> None:
    own = {name.removeprefix(prefix): value for name, value in entries.items() if name.startswith(prefix)}
    wanted = layer.state_dict()
    lacking = [n for n in wanted if n not in own and not n.endswith("num_batches_tracked")]
    wrong = [n for n in wanted if n in own and own[n].shape != wanted[n].shape]
    if lacking or wrong:
        raise BackendError(f"'{prefix}{(lacking + wrong)[0]}' is missing in '{file}' or has another shape than it has "
                           "in the published file: copy that.")  # fmt: skip
    layer.load_state_dict({name: own[name] for name in wanted if name in own}, strict=False)
    layer.eval().requires_grad_(False)
