"""Drawn synthetic people: shards with the fields of rendered ones, made in milliseconds."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from training.arguments import AugmentOptions, DataOptions
from vivface.models.face_state import CONTROLS as FACE_CONTROLS

CONTROLS = ("jaw_open", "blink")
STILL = AugmentOptions(
    appearance=0.0,
    degradation=0.0,
    source_jitter=0.0,
    driving_center=0.0,
    driving_scale=0.0,
    driving_rotation=0.0,
    stretch=0.0,
)


def options_of(folder, **changes) -> DataOptions:
    """Small batches of the files in a folder."""
    return DataOptions(**{"folders": [str(folder)], "size": 64, "identities": 3, "motions": 2, "batch": 5, **changes})


# A frontal face in units of half the distance between the outer corners of the eyes, centred between the eyes.
_JAW = np.stack([-1.5 * np.cos(np.linspace(0, np.pi, 17)), 0.1 + 2.2 * np.sin(np.linspace(0, np.pi, 17))], 1)
_BROWS = np.stack([np.r_[np.linspace(-1.2, -0.3, 5), np.linspace(0.3, 1.2, 5)], np.full(10, -0.5)], 1)
_NOSE = np.r_[
    np.stack([np.zeros(4), np.linspace(0, 0.8, 4)], 1), np.stack([np.linspace(-0.3, 0.3, 5), np.full(5, 0.95)], 1)
]
_EYE = np.array([[-0.35, 0], [-0.12, -0.15], [0.12, -0.15], [0.35, 0], [0.12, 0.15], [-0.12, 0.15]])


def _ring(count: int, width: float, height: float) -> np.ndarray:
    angle = np.pi + np.arange(count) * 2 * np.pi / count
    return np.stack([width * np.cos(angle), 1.5 + height * np.sin(angle)], 1)


def landmarks_of(jaw: float, blink: float, yaw: float, size: int) -> np.ndarray:
    """Landmarks (68, 2) in pixels of a face with the given expression."""
    eye = _EYE * (1.0, 1.0 - 0.9 * blink)
    mouth = np.r_[_ring(12, 0.6, 0.2 + 0.4 * jaw), _ring(8, 0.45, 0.1 + 0.35 * jaw)]
    face = np.r_[_JAW, _BROWS, _NOSE, eye - (0.65, 0), eye + (0.65, 0), mouth]
    face = face + np.array([[0.4 * yaw, 0.0]])
    return (face * size / 9.0 + (size / 2, size * 0.42)).astype(np.float32)


def draw(landmarks: np.ndarray, size: int, rng_seed: int) -> np.ndarray:
    """uint8 (size, size, 3) RGB: a flat face on a flat background, coloured by the seed."""
    rng = np.random.default_rng(rng_seed)
    back, skin, iris, lips = (tuple(int(v) for v in rng.integers(lo, hi, 3)) for lo, hi in _COLOURS)
    image = np.full((size, size, 3), back, np.uint8)
    points = np.rint(landmarks).astype(np.int32)
    cv2.fillConvexPoly(image, cv2.convexHull(points[:27]), skin)
    for part in (points[36:42], points[42:48]):
        cv2.fillConvexPoly(image, part, iris)
    cv2.fillConvexPoly(image, cv2.convexHull(points[48:60]), lips)
    return image


_COLOURS = ((0, 255), (120, 230), (0, 120), (60, 255))


def write_person(path: Path, group: int, seed: int, frames: int = 6, size: int = 96) -> Path:
    """A shard of one person; people of one `group` get the same motions."""
    motion = np.random.default_rng(group)
    controls = motion.random((frames, 2)).astype(np.float32)
    pose = np.zeros((frames, 3), np.float32)
    pose[:, 0] = motion.uniform(-1, 1, frames)
    landmarks = np.stack([landmarks_of(*c, y, size) for c, y in zip(controls, pose[:, 0], strict=True)])
    packed = [
        cv2.imencode(".jpg", cv2.cvtColor(draw(points, size, seed), cv2.COLOR_RGB2BGR))[1].ravel()
        for points in landmarks
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        jpeg_bytes=np.concatenate(packed),
        jpeg_offsets=np.cumsum([0] + [len(p) for p in packed]),
        landmarks=landmarks,
        neutral_landmarks=landmarks_of(0.0, 0.0, 0.0, size),
        controls=controls,
        control_names=np.array(CONTROLS),
        pose=pose,
        person_seed=seed,
        group=group,
        size=size,
    )
    return path


def write_people(folder: Path, groups: int = 2, people: int = 3, frames: int = 6, size: int = 96) -> Path:
    """`groups` x `people` shards in a folder."""
    for group in range(groups):
        for k in range(people):
            seed = group * 100 + k
            write_person(folder / f"person-{seed:06d}.npz", group, seed, frames, size)
    return folder


def write_controlled_people(folder: Path) -> Path:
    """Four drawn people with all controls: how far mouth and lids are open is true, the others are 0."""
    write_people(folder, groups=2, people=2, frames=6, size=128)
    for path in folder.glob("*.npz"):
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        jaw, blink = arrays["controls"].T
        controls = np.zeros((len(jaw), len(FACE_CONTROLS)), np.float32)
        controls[:, FACE_CONTROLS.index("jaw_open")] = jaw
        controls[:, [FACE_CONTROLS.index("blink_left"), FACE_CONTROLS.index("blink_right")]] = blink[:, None]
        np.savez(path, **arrays | {"controls": controls, "control_names": np.array(FACE_CONTROLS)})
    return folder
