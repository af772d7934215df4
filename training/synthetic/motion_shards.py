"""Shards of people with correspondence: written by `render_motion.py`, read by training (which needs no OpenGL).

One `.npz` a person. Instead of the flow between chosen pairs it holds the surface maps, from which the flow between any
two of the T frames follows: smaller than four source frames' flows at half resolution, and exact.

    jpeg_bytes, jpeg_offsets          2 T JPEG files: all frames in one light, then all in another, with backgrounds
    landmarks, neutral_landmarks      (T, 68, 2), (68, 2) pixels
    controls, control_names, pose     (T, K), (K,), (T, 3): expression and pose, see `motion.py`
    triangle                          (T, H, W) uint16: number of the triangle + 1, 0 for the background
    place                             (T, H, W, 2) uint8: barycentric coordinates, in 255ths
    corners, part                     (M, 3) uint16 and (M,) uint8, see `SurfaceMaps`
    points                            (T, N, 3) int16: x, y in 32nds of a pixel, depth in 2000ths of a decimetre
    person_seed, group, size
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from training.synthetic.correspondence import SurfaceMaps
from vivface.errors import OptionError

POINT_UNITS = np.float32([32, 32, 2000])  # of a pixel, of a pixel, of a decimetre


def pack_surfaces(maps: SurfaceMaps) -> dict[str, np.ndarray]:
    """Surface maps as small integers, without the triangles and vertices that no frame shows."""
    used = np.unique(maps.triangle[maps.triangle >= 0])
    number = np.zeros(len(maps.corners) + 1, np.uint16)  # the last entry: -1, the background
    number[used] = np.arange(1, len(used) + 1)
    vertices, corners = np.unique(maps.corners[used], return_inverse=True)
    points = np.clip(np.round(maps.points[:, vertices] * POINT_UNITS), -32768, 32767)
    return {
        "triangle": number[maps.triangle],
        "place": np.round(np.clip(maps.place, 0, 1) * 255).astype(np.uint8),
        "corners": corners.reshape(-1, 3).astype(np.uint16),
        "part": maps.part[used],
        "points": points.astype(np.int16),
    }


def unpack_surfaces(arrays: dict[str, np.ndarray]) -> SurfaceMaps:
    """The surface maps of `pack_surfaces`."""
    return SurfaceMaps(
        triangle=(arrays["triangle"].astype(np.int32) - 1).astype(np.int16),  # fewer than 32768 are visible
        place=arrays["place"],
        corners=arrays["corners"].astype(np.int32),
        part=arrays["part"],
        points=arrays["points"].astype(np.float32) / POINT_UNITS,
    )


@dataclass
class MotionShard:
    """One person of a shard.

    Attributes:
        seed (`int`): Of the person.
        group (`int`): People of a group perform the same motions, frame by frame.
        size (`int`): Height and width of the images, pixels.
        landmarks (`np.ndarray` of shape `(T, 68, 2)`): Pixels; pixel (0, 0) covers [0, 1) x [0, 1).
        neutral_landmarks (`np.ndarray` of shape `(68, 2)`): Of the neutral frontal head.
        controls (`np.ndarray` of shape `(T, K)`): Expression, see `motion.py`.
        pose (`np.ndarray` of shape `(T, 3)`): Yaw, pitch, roll in degrees.
        maps (`SurfaceMaps`): Correspondence.
        jpegs (`list[np.ndarray]`): 2 T files.
    """

    seed: int
    group: int
    size: int
    landmarks: np.ndarray
    neutral_landmarks: np.ndarray
    controls: np.ndarray
    pose: np.ndarray
    maps: SurfaceMaps
    jpegs: list[np.ndarray]

    @classmethod
    def load(cls, path: Path) -> MotionShard:
        """Read a file.

        Args:
            path (`Path`): Written by `render_motion.py`.

        Returns:
            `MotionShard`: the person.

        Raises:
            OptionError: If the file is another kind of shard.
        """
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        if "triangle" not in arrays:
            raise OptionError(f"{path} holds no surface maps: render it with training.synthetic.render_motion.")
        data, offsets = arrays["jpeg_bytes"], arrays["jpeg_offsets"]
        return cls(
            seed=int(arrays["person_seed"]), group=int(arrays["group"]), size=int(arrays["size"]),
            landmarks=arrays["landmarks"], neutral_landmarks=arrays["neutral_landmarks"], controls=arrays["controls"],
            pose=arrays["pose"], maps=unpack_surfaces(arrays),
            jpegs=[data[a:b] for a, b in zip(offsets[:-1], offsets[1:], strict=True)],
        )  # fmt: skip

    @property
    def nbytes(self) -> int:
        """Memory that the arrays take."""
        maps = self.maps
        arrays = [maps.triangle, maps.place, maps.corners, maps.part, maps.points, *self.jpegs]
        return sum(array.nbytes for array in arrays)

    @property
    def frames(self) -> int:
        """Number of frames T."""
        return len(self.pose)

    def image(self, frame: int, light: int = 0) -> np.ndarray:
        """A frame in one of the two lights `(size, size, 3)`, uint8 RGB."""
        coded = self.jpegs[light * self.frames + frame]
        return cv2.cvtColor(cv2.imdecode(coded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
