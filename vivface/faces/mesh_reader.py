"""Read the points of faces: the mesh in an upright crop of the face, then both eyes in crops of their own.

Crops follow MediaPipe's published graphs: the face's square enlarged by half for the mesh, 2.3 widths of the eye for
the eye network, which sees the person's left eye mirrored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from vivface.engines import Engine
from vivface.faces.alignment import crop_quad, crop_to_image_matrix, make_quad, quad_size
from vivface.faces.detection import light_up
from vivface.faces.networks import load_network
from vivface.faces.networks.eye_network import CONTOUR_POINTS, IRIS_POINTS

MESH_MARGIN = 1.5  # sides of the crop per side of the points' own square
EYE_MARGIN = 2.3  # sides of the crop per distance of the eye's corners
EYE_CORNERS = ((33, 133), (362, 263))  # points of the mesh: the person's right eye, left eye; left to right


@dataclass(frozen=True)
class FacePoints:
    """Everything that the networks say about one face; x, y in pixels of the image, z at the same scale.

    Attributes:
        mesh (`np.ndarray` of shape `(468, 3)`): Surface of the face; z grows away from the camera.
        contours (`np.ndarray` of shape `(2, 71, 3)`): Lids and brow of the person's right and left eye.
        irises (`np.ndarray` of shape `(2, 5, 3)`): Centre and rim of both irises.
        presence (`float`): Logit of a face in the crop: above 0 where the mesh network sees one.
    """

    mesh: np.ndarray
    contours: np.ndarray
    irises: np.ndarray
    presence: float


class MeshReader:
    """Mesh and eye network with their crops.

    Args:
        device (`str`, *optional*, defaults to `"cpu"`): Where the networks compute.
        engine (`Engine`, *optional*): Computes them in place of PyTorch.

    Raises:
        BackendError: If weights are missing or damaged.
    """

    def __init__(self, device: str = "cpu", engine: Engine | None = None):
        self.device = torch.device(device)
        self.mesh_network = load_network("face_mesh", self.device, engine)
        self.eye_network = load_network("eye_network", self.device, engine)

    def mesh(self, image: np.ndarray, quad: np.ndarray) -> tuple[np.ndarray, float]:
        """Mesh of the face in a square.

        Args:
            image (`np.ndarray` of shape `(H, W, 3)`): uint8 RGB.
            quad (`np.ndarray` of shape `(4, 2)`): Upright square around the face, see `mesh_quad`.

        Returns:
            `tuple[np.ndarray, float]`: Points of shape `(468, 3)` in the image; and the logit of a face.
        """
        size = self.mesh_network.image_size
        crop = light_up(fast_crop(image, quad, size))
        with torch.inference_mode():
            points, presence = self.mesh_network(self._tensor([crop]))
        return to_image(points[0].float().cpu().numpy(), quad, size), float(presence)

    def eyes(self, image: np.ndarray, mesh: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Contours `(2, 71, 3)` and irises `(2, 5, 3)` of both eyes of a mesh `(468, 3)`, in the image."""
        size = self.eye_network.image_size
        quads = [eye_quad(mesh, side) for side in (0, 1)]
        crops = [light_up(fast_crop(image, quad, size)) for quad in quads]
        crops[1] = crops[1][:, ::-1]
        with torch.inference_mode():
            contours, irises = self.eye_network(self._tensor(crops))
        points = torch.cat([contours, irises], dim=1).float().cpu().numpy()
        points[1, :, 0] = size - points[1, :, 0]
        points = np.stack([to_image(points[side], quads[side], size) for side in (0, 1)])
        return points[:, :CONTOUR_POINTS], points[:, CONTOUR_POINTS : CONTOUR_POINTS + IRIS_POINTS]

    def _tensor(self, crops: list[np.ndarray]) -> torch.Tensor:
        pixels = torch.from_numpy(np.stack(crops)).to(self.device)
        return pixels.permute(0, 3, 1, 2) / 255.0  # (faces, 3, size, size), still one pixel after the other in memory


def mesh_quad(points: np.ndarray, angle: float) -> np.ndarray:
    """The square in which the mesh network wants a face.

    Args:
        points (`np.ndarray` of shape `(points, 2)`): That span the face: corners of its box, or its mesh.
        angle (`float`): Its roll in radians, clockwise in the image.

    Returns:
        `np.ndarray` of shape `(4, 2)`, float64: the quad.
    """
    cosine, sine = math.cos(angle), math.sin(angle)
    turn = np.array([[cosine, -sine], [sine, cosine]])
    upright = points[:, :2] @ turn
    low, high = upright.min(0), upright.max(0)
    return make_quad(turn @ ((low + high) / 2), MESH_MARGIN * (high - low).max() / 2, angle)


def roll_of(mesh: np.ndarray) -> float:
    """Roll of a mesh in radians, clockwise in the image, from the outer corners of its eyes and its mouth."""
    eyes = mesh[263, :2] - mesh[33, :2]
    down = mesh[[61, 291], :2].mean(0) - mesh[[33, 263], :2].mean(0)
    across = eyes + np.array([down[1], -down[0]])  # the eyes' line shrinks in profile, the other does not
    return math.atan2(across[1], across[0])


def eye_quad(mesh: np.ndarray, side: int) -> np.ndarray:
    """The square in which the eye network wants the person's right (0) or left (1) eye."""
    left, right = (mesh[corner, :2] for corner in EYE_CORNERS[side])
    across = right - left
    half = max(EYE_MARGIN * math.hypot(*across) / 2, 1.0)
    return make_quad((left + right) / 2, half, math.atan2(across[1], across[0]))


def fast_crop(image: np.ndarray, quad: np.ndarray, size: int) -> np.ndarray:
    """A quad as a crop of `size` pixels a side, without antialiasing below a reduction of two."""
    if quad_size(quad) > 2 * size:
        return crop_quad(image, quad, size)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    matrix = crop_to_image_matrix(quad, size)
    return cv2.warpAffine(image, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def to_image(points: np.ndarray, quad: np.ndarray, size: int) -> np.ndarray:
    """Points `(points, 3)` of a crop of `size` pixels (pixel (0, 0) covers [0, 1)) in the image, z scaled with them."""
    matrix = crop_to_image_matrix(quad, size)
    flat = (points[:, :2].astype(np.float64) - 0.5) @ matrix[:, :2].T + matrix[:, 2]
    return np.column_stack([flat, points[:, 2].astype(np.float64) * quad_size(quad) / size])
