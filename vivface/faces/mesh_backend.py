"""The default backend: BlazeFace detectors and the attention mesh, whose weights come with the package.

A face is detected once; from then on the mesh says where it is in the next frame, and whether it is still there.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np

from vivface.engines import Engine
from vivface.faces.alignment import check_image, make_quad, quad_angle, quad_center, quad_size
from vivface.faces.detection import TILE, Detection, FaceDetector
from vivface.faces.ibug import ibug_landmarks, raw_landmarks
from vivface.faces.landmarks import Effort, Face, overlap
from vivface.faces.mesh_reader import MESH_MARGIN, FacePoints, MeshReader, mesh_quad, roll_of

CANDIDATE_SCORE = 0.3  # probability at which a detector's find is shown to the mesh network
SMALL_CANDIDATE_SCORE = 0.5  # the same for finds in tiles, which see more that is no face
# Logit of the mesh network that a new face needs. Faces that it reads rightly have 11 to 35, half-hidden ones 16 and
# more; textures and things up to 10, most of them less than 0.
ACCEPT_PRESENCE = 11.0
ACCEPT_SMALL_PRESENCE, SMALL_WIDTH = 16.0, 32.0  # below so many pixels: things have up to 14 there, sharp faces 22
KEEP_PRESENCE = 7.0  # the same for a face that is being followed: squares of random places have up to 6
MAX_ROLL = math.radians(120.0)  # an upside-down face is refused: what the networks see there is seldom right
TILTS = (-45.0, 45.0, -90.0, 90.0)  # degrees by which the image is turned when nothing is found in it
LEAST_TILE = 256  # pixels: images up to twice this size are searched as a whole only

STILL_SHIFT, STILL_ZOOM, STILL_TURN = 0.04, 0.05, math.radians(4.0)  # sides, log, radians: the crop follows slowly
STILL_GAIN = 0.1  # ... by this part of the way a frame
JUMP_SHIFT, JUMP_ZOOM, JUMP_TURN = 0.07, math.log(1.15), math.radians(12.0)  # the mesh is read again in a new crop
MOST_READS = 6  # ... at most so often: the mesh moves only a part of the way to a face at the crop's edge
LOST_SHIFT, LOST_ZOOM = 0.6, math.log(1.5)  # no face moves so far in a frame


class MeshBackend:
    """Detectors and mesh in PyTorch.

    Args:
        device (`str`, *optional*, defaults to `"cpu"`): Where the networks compute; they are so small that a GPU
            hardly helps.
        corrected (`bool`, *optional*, defaults to `True`): Whether landmarks are moved to where the published
            checkpoints expect them; without it nothing of the calibration is used.
        engine (`Engine`, *optional*): Computes the networks in place of PyTorch.

    Raises:
        BackendError: If weights are missing or damaged.
    """

    name = "mesh"

    def __init__(self, device: str = "cpu", corrected: bool = True, engine: Engine | None = None):
        self._detector = FaceDetector(device, engine)
        self._reader = MeshReader(device, engine)
        self._landmarks = ibug_landmarks if corrected else raw_landmarks

    def detect(self, image: np.ndarray, *, effort: Effort = "normal", near: Face | None = None) -> list[Face]:
        """See `LandmarkBackend.detect`."""
        check_image(image)
        if near is not None:
            faces = self._confirm(image, self._search_near(image, near), [])
            if faces:
                return faces
        faces = self._confirm(image, self._detector.whole(image, CANDIDATE_SCORE), [])
        if effort == "low":
            return faces
        for size in tile_sizes(max(image.shape[:2])):
            if faces and effort != "high":
                return faces
            faces = self._confirm(image, self._detector.tiles(image, size, SMALL_CANDIDATE_SCORE), faces)
        for degrees in TILTS if not faces else ():
            faces = self._confirm(image, self._search_tilted(image, degrees), faces)
        return faces

    def refine(self, image: np.ndarray, face: Face) -> Face | None:
        """See `LandmarkBackend.refine`."""
        check_image(image)
        before = quad = face.memory if isinstance(face.memory, np.ndarray) else _quad_of(face)
        for _ in range(MOST_READS):  # once is enough unless the face moved fast
            points = self._reader.read(image, quad)
            target = mesh_quad(points.mesh, roll_of(points.mesh))
            near = _distance(quad, target, JUMP_SHIFT, JUMP_ZOOM, JUMP_TURN) < 1
            if near and points.presence >= ACCEPT_PRESENCE:
                break
            quad = target
        if points.presence < KEEP_PRESENCE or _distance(before, target, LOST_SHIFT, LOST_ZOOM, math.pi) > 1:
            return None
        return self._face(points, _followed(quad, target))

    def _face(self, points: FacePoints, quad: np.ndarray) -> Face:
        """The face of points; `quad` is where it will be looked for in the next frame."""
        box = np.concatenate([points.mesh[:, :2].min(0), points.mesh[:, :2].max(0)])
        score = 1 / (1 + math.exp(-max(min(points.presence, 50.0), -50.0)))
        return Face(box, self._landmarks(points), score, memory=quad, points=points)

    def _confirm(self, image: np.ndarray, candidates: list[Detection], known: list[Face]) -> list[Face]:
        """`known` and those candidates that are new and that the mesh network takes for a face; the largest first."""
        faces = list(known)
        for candidate in candidates:
            low, high = candidate.box.reshape(2, 2)
            quad = make_quad((low + high) / 2, MESH_MARGIN * max(*(high - low), 1.0) / 2, candidate.angle)
            for _ in range(3):
                points = self._reader.read(image, quad)
                quad = mesh_quad(points.mesh, roll_of(points.mesh))
                if points.presence < KEEP_PRESENCE:
                    break
            least = ACCEPT_SMALL_PRESENCE if quad_size(quad) < MESH_MARGIN * SMALL_WIDTH else ACCEPT_PRESENCE
            if points.presence < least or abs(quad_angle(quad)) > MAX_ROLL or not _is_inside(quad, image):
                continue
            found = self._face(points, quad)
            if not any(overlap(found.box, face.box) > 0.3 for face in faces):
                faces.append(found)
        return sorted(faces, key=lambda face: -face.width)

    def _search_near(self, image: np.ndarray, face: Face) -> list[Detection]:
        """Candidates in a square of four box widths around a face."""
        low = np.maximum(face.center - 2 * face.width, 0).astype(int)
        high = np.minimum(face.center + 2 * face.width + 1, image.shape[1::-1]).astype(int)
        if (high - low < 16).any():
            return []
        part = image[low[1] : high[1], low[0] : high[0]]
        found = self._detector.whole(part, CANDIDATE_SCORE)
        return [_mapped(candidate, lambda points: points + low) for candidate in found]

    def _search_tilted(self, image: np.ndarray, degrees: float) -> list[Detection]:
        """Candidates in the image turned about its centre."""
        height, width = image.shape[:2]
        longest = max(height, width)
        scale = min(1.0, 384 / longest)
        side = max(round(longest * scale), 1)
        turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, scale)
        turn[:, 2] += (side - 1) / 2 - np.array([(width - 1) / 2, (height - 1) / 2])
        back = cv2.invertAffineTransform(turn)
        turned = cv2.warpAffine(image, turn, (side, side), flags=cv2.INTER_AREA)
        found = self._detector.whole(turned, CANDIDATE_SCORE)
        return [_mapped(candidate, lambda points: points @ back[:, :2].T + back[:, 2]) for candidate in found]


def tile_sizes(longest: int) -> list[int]:
    """Sizes of the tiles in which smaller faces are looked for, the largest first."""
    if longest <= 2 * LEAST_TILE:
        return []
    if longest <= 1.5 * TILE:
        return [longest // 2]
    sizes = [TILE]
    while sizes[0] * 2 < longest:
        sizes.insert(0, sizes[0] * 2)
    return sizes


def _mapped(candidate: Detection, to_image: Callable[[np.ndarray], np.ndarray]) -> Detection:
    """A detection moved by a similarity; its box stays upright and of the size that it had."""
    low, high = candidate.box.reshape(2, 2)
    ends = to_image(np.stack([(low + high) / 2, [(low[0] + high[0]) / 2, low[1]]]))
    half = np.full(2, max(math.hypot(*(ends[1] - ends[0])), 1.0))
    return Detection(np.concatenate([ends[0] - half, ends[0] + half]), to_image(candidate.points), candidate.score)


def _quad_of(face: Face) -> np.ndarray:
    """Where to look for a face that another backend found."""
    low, high = face.landmarks.min(0), face.landmarks.max(0)
    eyes, mouth = face.landmarks[36:48].mean(0), face.landmarks[48:68].mean(0)
    down = mouth - eyes
    half = MESH_MARGIN * max(*(high - low), 1.0) / 2 * 1.15  # the mesh reaches up to the hair, the landmarks do not
    return make_quad((low + high) / 2 - 0.1 * down, half, math.atan2(-down[0], down[1]))


def _is_inside(quad: np.ndarray, image: np.ndarray) -> bool:
    """Whether the centre of a square lies in the image."""
    center = quad_center(quad)
    return bool((center >= 0).all() and (center < image.shape[1::-1]).all())


def _change(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, float, float]:
    """From square `a` to `b`: shift in pixels, log of the zoom, turn in radians."""
    turn = math.remainder(quad_angle(b) - quad_angle(a), 2 * math.pi)
    return quad_center(b) - quad_center(a), math.log(quad_size(b) / quad_size(a)), turn


def _distance(a: np.ndarray, b: np.ndarray, shift: float, zoom: float, turn: float) -> float:
    """How far two squares differ, in units of `shift` sides, of `zoom` (log of a factor) or of `turn` radians."""
    moved, zoomed, turned = _change(a, b)
    return max(math.hypot(*moved) / quad_size(a) / shift, abs(zoomed) / zoom, abs(turned) / turn)


def _followed(quad: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The crop of the next frame: it lags behind small movements, so that a still face is read in a still crop."""
    gain = min(max(_distance(quad, target, STILL_SHIFT, STILL_ZOOM, STILL_TURN), STILL_GAIN), 1.0)
    shift, zoom, turn = _change(quad, target)
    half = quad_size(quad) / 2 * math.exp(gain * zoom)
    return make_quad(quad_center(quad) + gain * shift, half, quad_angle(quad) + gain * turn)
