"""A face as points of a mesh: in an image, in a crop, and without its pose.

Points `(478, 3)` are the 468 of the face mesh, lips and surroundings of the eyes as they were read from crops of their
own, then centre and rim of the right and of the left iris. Crops are measured from 0 to 1, x right, y down, z away
from the camera at the same scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from safetensors.numpy import load

from vivface.faces.ibug import MESH_POINTS
from vivface.faces.landmarks import Face
from vivface.faces.mesh_backend import MeshBackend
from vivface.faces.mesh_reader import FacePoints
from vivface.faces.networks.attention_mesh import EYES
from vivface.faces.pose import HeadPose, head_pose

MESH = 468
IRISES = (slice(468, 473), slice(473, 478))  # the person's right and left
POINTS = 478

# fmt: off
UPPER_LIP = np.array([191, 80, 81, 82, 13, 312, 311, 310, 415])  # inner rim, from the person's right
LOWER_LIP = np.array([95, 88, 178, 87, 14, 317, 402, 318, 324])
MOUTH_CORNERS = np.array([78, 308])  # inner
UPPER_LID = np.array([246, 161, 160, 159, 158, 157, 173])  # right eye, outside in
LOWER_LID = np.array([7, 163, 144, 145, 153, 154, 155])
LID_CORNERS = np.array([33, 133])
# fmt: on


@cache
def mirror() -> np.ndarray:
    """The point of the mesh on the other side of the face, for each `(468,)`."""
    return triangles().mirror


def step(x: np.ndarray | float, low: float, high: float) -> np.ndarray:
    """From 0 at `low` to 1 at `high`, smooth."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


@cache
def lip_loop() -> np.ndarray:
    """Points of the inner rim of the lips, in order `(20,)`."""
    return np.concatenate([MOUTH_CORNERS[:1], UPPER_LIP, MOUTH_CORNERS[1:], LOWER_LIP[::-1]])


@cache
def eye_loops() -> tuple[np.ndarray, np.ndarray]:
    """Points of the rims of the right and of the left eye, in order: corner, lower lid, corner, upper lid `(16,)`."""
    right = np.concatenate([LID_CORNERS[:1], LOWER_LID, LID_CORNERS[1:], UPPER_LID[::-1]])
    return right, mirror()[right]


@dataclass(frozen=True)
class Triangles:
    """The mesh as a surface.

    Attributes:
        corners (`np.ndarray` of shape `(T, 3)`): Points of each triangle, of the first 468.
        layout (`np.ndarray` of shape `(468, 3)`): A face with open mouth and eyes, millimetres, as it looks into the
            camera.
        outline (`np.ndarray` of shape `(N,)`): Points along the rim, in order.
        mirror (`np.ndarray` of shape `(468,)`): For each point, the one on the other side of the face.
    """

    corners: np.ndarray
    layout: np.ndarray
    outline: np.ndarray
    mirror: np.ndarray


@cache
def triangles() -> Triangles:
    """The surface that `training/tools/fit_warping.py` made; read once."""
    arrays = load((files("vivface.warping") / "mesh.safetensors").read_bytes())
    corners, outline, mirror = (arrays[name].astype(np.int64) for name in ("corners", "outline", "mirror"))
    return Triangles(corners, arrays["layout"], outline, mirror)


@cache
def neighbours() -> np.ndarray:
    """`(468, 468)`: the mean of the points around each point, not across mouth and eyes."""
    corners = triangles().corners
    inside = np.any([np.isin(corners, loop).all(1) for loop in (lip_loop(), *eye_loops())], 0)
    near = np.zeros((MESH, MESH))
    for a, b in ((0, 1), (1, 2), (2, 0)):
        first, second = corners[~inside, a], corners[~inside, b]
        near[first, second] = near[second, first] = 1
    return near / np.maximum(near.sum(1, keepdims=True), 1)


@cache
def nearness() -> np.ndarray:
    """`(468, 468)`: weights of the points around each point, by the inverse of their distance, of sum 1."""
    near, layout = (neighbours() > 0).astype(np.float64), triangles().layout
    first, second = np.nonzero(near)
    near[first, second] = 1 / np.linalg.norm(layout[first] - layout[second], axis=1)
    return near / np.maximum(near.sum(1, keepdims=True), 1e-9)


def from_others(near: np.ndarray, free: np.ndarray) -> np.ndarray:
    """How free points move if each moves as those around it do on average, by the movements of all others.

    Args:
        near (`np.ndarray` of shape `(468, 468)`): Weights of the points around each, see `neighbours`, `nearness`.
        free (`np.ndarray` of shape `(N,)`): Numbers of the free points.

    Returns:
        `np.ndarray` of shape `(N, 468)`.
    """
    around = near[free]
    around[:, free] = 0
    return np.linalg.solve(np.eye(len(free)) - near[np.ix_(free, free)], around)


@cache
def to_outline() -> np.ndarray:
    """Distance of each point of the mesh to each point of the outline of the face `(468, N)`, millimetres."""
    layout, outline = triangles().layout, triangles().outline
    return np.linalg.norm(layout[:, None, :2] - layout[None, outline, :2], axis=2)


@cache
def from_outline() -> np.ndarray:
    """Distance of each point of the mesh to the outline of the face `(468,)`, millimetres."""
    return to_outline().min(1)


def face_points(points: FacePoints) -> np.ndarray:
    """Points `(478, 3)` of a face, in pixels of the image."""
    mesh = points.mesh.copy()
    mesh[EYES] = points.contours
    return np.concatenate([mesh, *points.irises])


class PointsReader:
    """The points of faces that any backend found: those that come with a face, or read by the mesh network."""

    def __init__(self) -> None:
        self._backend: MeshBackend | None = None

    def read(self, image: np.ndarray, face: Face) -> np.ndarray | None:
        """Points of a face.

        Args:
            image (`np.ndarray` of shape `(H, W, 3)`): uint8 RGB.
            face (`Face`): Where the face is.

        Returns:
            `np.ndarray` of shape `(478, 3)`: in pixels of the image; None if the mesh network sees no face there.
        """
        if face.points is None:
            self._backend = self._backend or MeshBackend()
            face = self._backend.refine(image, face)
        return None if face is None else face_points(face.points)


@dataclass(frozen=True)
class PosedFace:
    """A face's shape, without its pose, and where the head is.

    Attributes:
        shape (`np.ndarray` of shape `(478, 3)`): In millimetres of the mean face, as the face looks into the camera.
        pose (`HeadPose`): From there to the crop.
    """

    shape: np.ndarray
    pose: HeadPose

    @classmethod
    def of(cls, points: np.ndarray) -> PosedFace:
        """The face of points `(478, 3)`."""
        pose = head_pose(points[:MESH])
        return cls((points - pose.center) @ pose.turn / pose.scale, pose)


def place(shape: np.ndarray, pose: HeadPose) -> np.ndarray:
    """Points `(..., 3)` in the crop of a shape in millimetres."""
    return pose.center + pose.scale * shape @ pose.turn.T


def shrunk(points: np.ndarray, reach: float) -> np.ndarray:
    """Points `(..., 3)` of a crop as they lie in the square `reach` times as wide about the same centre."""
    middle = np.array([0.5, 0.5, 0.0])
    return (points - middle) / reach + middle


def box_around(points: np.ndarray, size: int, margin: float = 0.0) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom in pixels of a frame around points `(N, >= 2)` of the crop, or None outside it.

    Args:
        points (`np.ndarray` of shape `(N, >= 2)`): From 0 to 1.
        size (`int`): Width and height of the frame in pixels.
        margin (`float`, *optional*, defaults to 0.0): Crops around them that belong to the box, too.
    """
    low = np.floor((points[:, :2].min(0) - margin) * size).astype(int).clip(0, size)
    high = np.ceil((points[:, :2].max(0) + margin) * size).astype(int).clip(0, size)
    return None if (high - low < 1).any() else (int(low[0]), int(low[1]), int(high[0]), int(high[1]))


def in_plane(
    box: tuple[int, int, int, int], size: int, origin: np.ndarray, pose: HeadPose
) -> tuple[np.ndarray, np.ndarray]:
    """Where pixels meet the plane of the face that goes through a place.

    Args:
        box (`tuple[int, int, int, int]`): The pixels: left, top, right, bottom.
        size (`int`): Width and height of the frame in pixels.
        origin (`np.ndarray` of shape `(>= 2,)`): The place in the crop, from 0 to 1.
        pose (`HeadPose`): Of the face.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: To the right of the place and below it, `(height, width)` each, millimetres.
    """
    left, top, right, bottom = box
    u = (np.arange(left, right, dtype=np.float32) + 0.5) / size - origin[0]
    v = (np.arange(top, bottom, dtype=np.float32) + 0.5) / size - origin[1]
    flat = np.linalg.inv(pose.turn[:2, :2]) / pose.scale
    return flat[0, 0] * u[None] + flat[0, 1] * v[:, None], flat[1, 0] * u[None] + flat[1, 1] * v[:, None]


def with_pose_of(points: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The face of points `(478, 3)` where the head of other points is."""
    return place(PosedFace.of(points).shape, PosedFace.of(other).pose)


def landmarks_of(points: np.ndarray) -> np.ndarray:
    """68 landmarks `(68, 2)` of points `(478, 3)`, as the mesh sees them."""
    return points[MESH_POINTS, :2]
