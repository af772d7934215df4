"""A person's head as a linear model: `vertices = rest + controls @ deltas`, then a rigid chain for neck and head.

All meshes of a person (skin, eyes, teeth, hair, clothes ...) share one vertex array, so that one matrix product moves
everything. Axes: y up, z forward, +x = the person's left; unit: decimetre.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.synthetic.motion import GAZE, INDEX, RECIPES

CHAIN_SHARE = np.array([0.13, 0.16, 0.18, 0.53])  # of the head pose, for each joint of CHAIN
LID_PAIRS = {"left": ((43, 47), (44, 46)), "right": ((37, 41), (38, 40))}  # upper and lower lid landmarks
BOWED = ("jaw_open", "blink_left", "blink_right")  # rotations large enough to need a second-order term
TERMS: tuple[str, ...] = (*RECIPES, "gaze_x+", "gaze_x-", "gaze_y+", "gaze_y-", *(f"{n}~" for n in BOWED))
TERM = {name: i for i, name in enumerate(TERMS)}


@dataclass
class Head:
    """Geometry of one person, ready to move: N render vertices, K terms.

    Attributes:
        rest (`np.ndarray` of shape `(N, 6)`): Position (dm) and normal of each vertex of the relaxed face.
        deltas (`np.ndarray` of shape `(K, N * 6)`): What each term adds at weight 1.
        uv (`np.ndarray` of shape `(N, 2)`): Texture coordinates, v downward.
        chain (`np.ndarray` of shape `(N, 4)`): Weights of the joints of CHAIN; the rest belongs to the torso.
        parts (`dict[str, np.ndarray]`): Name of a mesh -> triangles `(T, 3)` over the vertices.
        joints (`np.ndarray` of shape `(4, 3)`): Positions of the joints of CHAIN, dm.
        landmarks (`np.ndarray` of shape `(68, 3)`): Of the relaxed face, dm.
        landmark_deltas (`np.ndarray` of shape `(K, 68, 3)`): What each term adds to them.
        landmark_chain (`np.ndarray` of shape `(68, 4)`): As `chain`.
        neutral (`np.ndarray` of shape `(K,)`): Weights of the terms that `rest` already contains.
    """

    rest: np.ndarray
    deltas: np.ndarray
    uv: np.ndarray
    chain: np.ndarray
    parts: dict[str, np.ndarray]
    joints: np.ndarray
    landmarks: np.ndarray
    landmark_deltas: np.ndarray
    landmark_chain: np.ndarray
    neutral: np.ndarray

    def weights(self, controls: np.ndarray) -> np.ndarray:
        """Turn controls into weights of the terms; a blink of 1 closes the lids exactly.

        Args:
            controls (`np.ndarray` of shape `(T, len(CONTROLS))`): See `motion.py`.

        Returns:
            `np.ndarray` of shape `(T, K)`, float32.
        """
        w = np.zeros((len(controls), len(TERMS)), np.float32)
        w[:, : len(RECIPES)] = controls[:, : len(RECIPES)]
        for axis in GAZE:
            w[:, TERM[f"{axis}+"]] = np.maximum(controls[:, INDEX[axis]], 0)
            w[:, TERM[f"{axis}-"]] = np.maximum(-controls[:, INDEX[axis]], 0)
        jaw = w[:, TERM["jaw_open"]]
        w[:, TERM["jaw_open~"]] = 4 * jaw * (1 - jaw)
        for side in ("left", "right"):
            self._close_lids(w, side)
        return w

    def _close_lids(self, w: np.ndarray, side: str) -> None:
        """Replace the blink of one eye in the weights `w` `(T, K)` by the lid rotation that this person needs."""
        blink, bow = TERM[f"blink_{side}"], TERM[f"blink_{side}~"]
        gap = _lid_gap(self.landmark_deltas, side)  # (K,)
        amount = w[:, blink].copy()
        w[:, [blink, bow]] = 0
        open_gap = np.maximum(_lid_gap(self.landmarks[None], side) + w @ gap, 0.002)
        start = self.neutral[blink]  # the relaxed lid is already part of the way down
        low, high = np.zeros(len(w)), np.full(len(w), 1.8)
        for _ in range(12):  # bisection on the extra lid rotation that closes the gap
            u = (low + high) / 2
            is_open = open_gap + u * gap[blink] + _bow(start, u) * gap[bow] > 0
            low, high = np.where(is_open, u, low), np.where(is_open, high, u)
        u = amount * (low + high) / 2
        w[:, blink], w[:, bow] = u, _bow(start, u)

    def deform(self, controls: np.ndarray) -> np.ndarray:
        """Move the face, before the head pose.

        Args:
            controls (`np.ndarray` of shape `(T, len(CONTROLS))`): See `motion.py`.

        Returns:
            `np.ndarray` of shape `(T, N, 6)`, float32: positions (dm) and normals.
        """
        moved = self.weights(controls) @ self.deltas
        moved += self.rest.reshape(1, -1)
        return moved.reshape(len(controls), -1, 6)

    def chain_matrices(self, pose: np.ndarray) -> np.ndarray:
        """Rigid transforms of the torso and the joints of CHAIN.

        Args:
            pose (`np.ndarray` of shape `(T, 3)`): Yaw, pitch, roll in degrees.

        Returns:
            `np.ndarray` of shape `(T, 5, 4, 4)`, float32.
        """
        out = np.tile(np.eye(4, dtype=np.float64), (len(pose), 5, 1, 1))
        for k, (share, joint) in enumerate(zip(CHAIN_SHARE, self.joints, strict=True), start=1):
            yaw, pitch, roll = np.radians(pose * share).T
            local = np.tile(np.eye(4), (len(pose), 1, 1))
            local[:, :3, :3] = rotation(1, -yaw) @ rotation(0, pitch) @ rotation(2, -roll)
            local[:, :3, 3] = joint - local[:, :3, :3] @ joint
            out[:, k] = out[:, k - 1] @ local
        return out.astype(np.float32)

    def pose_vertices(self, vertices: np.ndarray, matrices: np.ndarray) -> np.ndarray:
        """Apply the head pose to one frame, as the vertex shader does.

        Args:
            vertices (`np.ndarray` of shape `(N, 6)`): One frame of `deform`.
            matrices (`np.ndarray` of shape `(5, 4, 4)`): One frame of `chain_matrices`.

        Returns:
            `np.ndarray` of shape `(N, 3)`, float32: positions, dm.
        """
        position = np.ascontiguousarray(vertices[:, :3])
        weights = np.concatenate([1 - self.chain.sum(1, keepdims=True), self.chain], 1)  # (N, 5)
        out = np.zeros_like(position)
        for weight, matrix in zip(weights.T, matrices, strict=True):
            out += weight[:, None] * (position @ matrix[:3, :3].T + matrix[:3, 3])
        return out

    def landmarks_at(self, controls: np.ndarray, pose: np.ndarray) -> np.ndarray:
        """Landmarks of frames.

        Args:
            controls (`np.ndarray` of shape `(T, len(CONTROLS))`): See `motion.py`.
            pose (`np.ndarray` of shape `(T, 3)`): Yaw, pitch, roll in degrees.

        Returns:
            `np.ndarray` of shape `(T, 68, 3)`: in decimetres.
        """
        x = self.landmarks + np.einsum("tk,kld->tld", self.weights(controls), self.landmark_deltas)
        weights = np.concatenate([1 - self.landmark_chain.sum(1, keepdims=True), self.landmark_chain], 1)
        matrices = np.einsum("lb,tbij->tlij", weights, self.chain_matrices(pose))
        return (matrices[..., :3, :3] @ x[..., None])[..., 0] + matrices[..., :3, 3]

    def mouth_opening(self, controls: np.ndarray) -> np.ndarray:
        """Gap between the inner lips `(T,)` in decimetres, for controls `(T, len(CONTROLS))`."""
        pairs = np.array([(61, 67), (62, 66), (63, 65)])
        gap = (self.landmark_deltas[:, pairs[:, 0], 1] - self.landmark_deltas[:, pairs[:, 1], 1]).max(1)
        rest = (self.landmarks[pairs[:, 0], 1] - self.landmarks[pairs[:, 1], 1]).max()
        return np.maximum(rest + self.weights(controls) @ gap, 0)

    def lids_shut(self, controls: np.ndarray) -> np.ndarray:
        """How far the left and the right eye are shut `(T, 2)`: 0 as at rest, 1 when the lids meet."""
        weights = self.weights(controls)
        rest = [_lid_gap(self.landmarks[None], side) for side in LID_PAIRS]
        moved = [weights @ _lid_gap(self.landmark_deltas, side) for side in LID_PAIRS]
        shut = -np.stack(moved, 1) / np.maximum(np.concatenate(rest), 0.002)
        return np.clip(shut, 0, 1).astype(np.float32)


def frame_of_face(landmarks: np.ndarray) -> tuple[np.ndarray, float]:
    """Where an FFHQ-like crop of the neutral face lies.

    Args:
        landmarks (`np.ndarray` of shape `(68, 3)`): Of the neutral face, dm.

    Returns:
        Centre `(3,)` and half extent, dm.
    """
    eyes = np.stack([landmarks[36:42].mean(0), landmarks[42:48].mean(0)])
    middle = eyes.mean(0)
    down = (landmarks[48] + landmarks[54]) / 2 - middle
    half = max(2.0 * np.linalg.norm(eyes[1] - eyes[0]), 1.8 * np.linalg.norm(down))
    return middle + 0.1 * down, float(half)


def rotation(axis: int, angle: np.ndarray) -> np.ndarray:
    """Rotation matrices `(..., 3, 3)` about one axis, angle in radians, for column vectors."""
    c, s = np.cos(angle), np.sin(angle)
    out = np.zeros((*np.shape(angle), 3, 3))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    out[..., axis, axis] = 1
    out[..., i, i], out[..., j, j], out[..., i, j], out[..., j, i] = c, c, -s, s
    return out


def _bow(start: float, u: np.ndarray) -> np.ndarray:
    """Second-order weight of moving on from `start` by `u`: 4x(1-x) at the end minus the share already in the rest."""
    return 4 * (start + u) * (1 - start - u) - 4 * start * (1 - start)


def _lid_gap(landmarks: np.ndarray, side: str) -> np.ndarray:
    """Mean vertical distance `(...,)` between the lids of landmarks (or of their deltas) `(..., 68, 3)`."""
    (a, b), (c, d) = LID_PAIRS[side]
    return (landmarks[..., a, 1] - landmarks[..., b, 1] + landmarks[..., c, 1] - landmarks[..., d, 1]) / 2
