"""Read the points of faces: everything in one upright crop of the face, its square enlarged by half."""

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
from vivface.faces.networks.attention_mesh import EYES, LIPS

MESH_MARGIN = 1.5  # sides of the crop per side of the points' own square
DEPTH = 0.95  # of the depth that the network says: so rendered faces turn as their flat view does
EYE_CORNERS = ((33, 133), (362, 263))  # points of the mesh: the person's right eye, left eye; left to right
LOWER_LIDS = (145, 374)  # points of the mesh, below the irises


@dataclass(frozen=True)
class FacePoints:
    """Everything that the network says about one face; x, y in pixels of the image, z at the same scale.

    Attributes:
        mesh (`np.ndarray` of shape `(468, 3)`): Surface of the face; z grows away from the camera. The lips are those
            that were read from a crop of their own.
        contours (`np.ndarray` of shape `(2, 71, 3)`): Lids and brow of the person's right and left eye, read from
            crops of their own, at the points `EYES` of the mesh.
        irises (`np.ndarray` of shape `(2, 5, 3)`): Centre and rim of both irises.
        presence (`float`): Logit of a face in the crop; `mesh_backend` knows which values are enough.
    """

    mesh: np.ndarray
    contours: np.ndarray
    irises: np.ndarray
    presence: float


class MeshReader:
    """The attention mesh and its crop.

    Args:
        device (`str`, *optional*, defaults to `"cpu"`): Where the network computes.
        engine (`Engine`, *optional*): Computes it in place of PyTorch.

    Raises:
        BackendError: If weights are missing or damaged.
    """

    def __init__(self, device: str = "cpu", engine: Engine | None = None):
        self.device = torch.device(device)
        self.network = load_network("attention_mesh", self.device, engine)

    def read(self, image: np.ndarray, quad: np.ndarray) -> FacePoints:
        """The points of the face in a square.

        Args:
            image (`np.ndarray` of shape `(H, W, 3)`): uint8 RGB.
            quad (`np.ndarray` of shape `(4, 2)`): Upright square around the face, see `mesh_quad`.
        """
        size = self.network.image_size
        crop = torch.from_numpy(light_up(fast_crop(image, quad, size))).to(self.device)
        pixels = crop[None].permute(0, 3, 1, 2) / 255.0  # (1, 3, size, size), still one pixel after the other in memory
        with torch.inference_mode():
            found = self.network(pixels)
        mesh, presence, lips, contours, irises = (values[0].float().cpu().numpy() for values in found)
        mesh[:, 2] *= DEPTH
        mesh[LIPS, :2] = lips
        contours = np.concatenate([contours, mesh[EYES, 2:]], 2)  # (2, 71, 3)
        irises = np.concatenate([irises, np.repeat(mesh[LOWER_LIDS, None, 2:], irises.shape[1], 1)], 2)  # (2, 5, 3)
        parts = (mesh, *contours, *irises)
        placed = to_image(np.concatenate(parts), quad, size)
        mesh, *eyes = np.split(placed, np.cumsum([len(part) for part in parts[:-1]]))
        return FacePoints(mesh, np.stack(eyes[:2]), np.stack(eyes[2:]), presence.item())


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
