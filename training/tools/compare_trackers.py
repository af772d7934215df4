"""Compare face backends on renders with known truth and on clips; print the tables of docs/faces.md.

    python -m training.synthetic.render --assets DIR --out data/held_out --groups 25 --group-size 1 --frames 20 \
        --size 320 --supersample 2 --seed 930000
    OMP_NUM_THREADS=1 python -m training.tools.compare_trackers --renders data/held_out --media clip1.mp4 ...

Of the clips only the second half is used, which the calibration has not seen. dlib is what the others are measured
against where there is no truth. "attention mesh" is the default backend; "its mesh's lids" is the same with the lids
of the mesh, before the network has looked at the eyes again. `FaceStateNetwork` reads the FFHQ square that the default
cuts.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from training.evaluation.face_measures import (
    brows,
    eyes_apart,
    landmark_error,
    lids,
    mouth,
    turn_between,
    turned_image,
)
from training.tools.calibrate_faces import read_media, read_renders
from training.tools.programs import run_program
from vivface.faces import ffhq_quad, quad_size
from vivface.faces.alignment import crop_quad, crop_to_image_matrix, quad_angle
from vivface.faces.dlib_backend import DlibBackend
from vivface.faces.ibug import EYE_POINTS, EYES, MESH_POINTS
from vivface.faces.landmarks import Face
from vivface.faces.mesh_backend import MeshBackend
from vivface.faces.pose import angles_of
from vivface.faces.state import read_state
from vivface.media.tensors import to_tensor
from vivface.models import FaceStateNetwork

TRACKERS = ("dlib", "its mesh's lids", "attention mesh", "FaceStateNetwork")
# Points on the nose, eye corners: rigid points for the pose of 68 landmarks, in the order of iBUG.
RIGID_68 = (27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 39, 42, 45)
# Measures of the tables -> what they are compared with
MEASURES = ("lids", "mouth", "brows", "gaze yaw", "gaze pitch")


def variants(face: Face) -> dict[str, np.ndarray]:
    """Landmarks of a face of the mesh backend with both kinds of lids."""
    plain = face.landmarks.copy()
    for side, eye in enumerate(EYES):
        own = face.points.mesh[MESH_POINTS[eye], :2]
        shift = (face.landmarks[eye] - face.points.contours[side][EYE_POINTS[side], :2]).mean(0)
        plain[eye] = own + shift
    return {"its mesh's lids": plain, "attention mesh": face.landmarks}


def quad_difference(landmarks: np.ndarray, reference: np.ndarray) -> float:
    """Mean distance of the corners of two faces' squares, in percent of the side."""
    quad, expected = ffhq_quad(landmarks), ffhq_quad(reference)
    return float(100 * np.linalg.norm(quad - expected, axis=1).mean() / quad_size(expected))


def pose_of_landmarks(landmarks: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Yaw, pitch, roll `(3,)` in degrees: the turn of `shape` `(13, 3)` whose orthographic view fits best."""
    source = shape - shape.mean(0)
    target = landmarks[list(RIGID_68)] - landmarks[list(RIGID_68)].mean(0)
    rows = np.linalg.lstsq(source, target, rcond=None)[0].T  # (2, 3)
    u, _, vt = np.linalg.svd(rows, full_matrices=False)
    rows = u @ vt
    return np.degrees(angles_of(np.vstack([rows, np.cross(rows[0], rows[1])])))


@dataclass
class Reading:
    """What a tracker says of a face.

    Attributes:
        landmarks (`np.ndarray` of shape `(68, 2)`): Pixels.
        pose (`np.ndarray` of shape `(3,)`): Yaw, pitch, roll of the head in degrees.
        gaze (`np.ndarray` of shape `(2,)`, *optional*): Yaw and pitch of the eyes against the head in degrees.
    """

    landmarks: np.ndarray
    pose: np.ndarray
    gaze: np.ndarray | None = None


def readings(image: np.ndarray, face: Face, network: FaceStateNetwork) -> dict[str, Reading]:
    """What all trackers but dlib say of a face of the mesh backend, by their names."""
    state = read_state(face.points)
    pose, gaze = np.array([state.yaw, state.pitch, state.roll]), np.array([state.gaze_yaw, state.gaze_pitch])
    found = {name: Reading(landmarks, pose) for name, landmarks in variants(face).items()}
    found["attention mesh"].gaze = gaze
    return found | {"FaceStateNetwork": read_crop(image, ffhq_quad(face.landmarks), network)}


@torch.no_grad()
def read_crop(image: np.ndarray, quad: np.ndarray, network: FaceStateNetwork) -> Reading:
    """What the network says of a crop `(4, 2)`, in pixels and axes of the image."""
    size = network.config.image_size
    output = network(to_tensor([crop_quad(image, quad, size)]))
    places = output.landmarks[0].numpy().astype(np.float64) * size - 0.5
    matrix = crop_to_image_matrix(quad, size)
    pose = turned_image(output.pose[0].numpy(), -quad_angle(quad))
    return Reading(places @ matrix[:, :2].T + matrix[:, 2], pose, output.gaze[0].numpy())


def on_renders(folder: Path, network: FaceStateNetwork) -> None:
    """Errors against the truth."""
    backends = {"dlib": DlibBackend(), "mesh": MeshBackend()}
    records: dict[str, dict[str, list]] = {name: defaultdict(list) for name in TRACKERS}
    lost, milliseconds, count, differences = defaultdict(int), defaultdict(list), 0, []
    shape = _rigid_shape()
    for image, truth in read_renders(folder):
        count += 1
        points = truth["landmarks"] - 0.5  # the truth counts from the corner of the first pixel
        found: dict[str, Reading] = {}
        for name, backend in backends.items():
            start = time.perf_counter()
            faces = backend.detect(image)
            milliseconds[name].append(1e3 * (time.perf_counter() - start))
            if not faces:
                lost[name] += 1
            elif name == "dlib":
                found["dlib"] = Reading(faces[0].landmarks, pose_of_landmarks(faces[0].landmarks, shape))
            else:
                found |= readings(image, faces[0], network)
        for name, reading in found.items():
            record = records[name]
            record["landmarks"].append(landmark_error(reading.landmarks, points))
            record["person"].append(truth["person"])
            for measure, function in (("lids", lids), ("mouth", mouth), ("brows", brows)):
                record[measure].append((function(reading.landmarks), function(points)))
            record["pose"].append(turn_between(reading.pose, truth["pose"].astype(float)))
            record["angles"].append(np.abs(reading.pose - truth["pose"]))
            if reading.gaze is not None:
                record["gaze yaw"].append((reading.gaze[0], 20 * truth["gaze_x"]))
                record["gaze pitch"].append((reading.gaze[1], 20 * truth["gaze_y"]))
        if "dlib" in found and "attention mesh" in found:
            differences.append(quad_difference(found["attention mesh"].landmarks, found["dlib"].landmarks))
    print(f"\n{count} frames of renders\n")
    print("| | " + " | ".join(TRACKERS) + " |\n" + "|---" * (len(TRACKERS) + 1) + "|")
    row("landmarks 17-67, mean error in % of the eyes' distance", [np.mean(records[n]["landmarks"]) for n in TRACKERS])
    for measure in MEASURES:
        row(f"{measure}: correlation over all frames", [_correlation(records[n], measure, False) for n in TRACKERS], 3)
        row(f"{measure}: correlation within a person", [_correlation(records[n], measure, True) for n in TRACKERS], 3)
    for measure in ("lids", "mouth", "brows"):
        row(f"{measure}: movement shown, of the true movement", [_slope(records[n], measure) for n in TRACKERS])
    for measure in ("gaze yaw", "gaze pitch"):
        row(f"{measure}: mean error, degrees", [_mean_error(records[n], measure) for n in TRACKERS])
    row("head pose: mean error of the turn, degrees", [np.mean(records[n]["pose"]) for n in TRACKERS])
    for index, name in enumerate(("yaw", "pitch", "roll")):
        row(f"head {name}: mean error, degrees", [np.mean(records[n]["angles"], axis=0)[index] for n in TRACKERS])
    row("faces missed", [lost["dlib"], *[lost["mesh"]] * 3], 0)
    row("one image, milliseconds (median)", [np.median(milliseconds[n]) for n in ("dlib", "mesh", "mesh")] + [np.nan])
    print(f"\nFFHQ square, attention mesh against dlib: {np.mean(differences):.2f} % of its side (median "
          f"{np.median(differences):.2f}, 95th percentile {np.percentile(differences, 95):.2f})")  # fmt: skip


def _rigid_shape() -> np.ndarray:
    from vivface.faces.pose import calibration

    return calibration()["canonical"][MESH_POINTS[list(RIGID_68)]].astype(np.float64)


def _correlation(record: dict[str, list], measure: str, within: bool) -> float:
    if not record[measure]:
        return float("nan")
    pairs = np.array(record[measure], float)
    if within:
        people = np.array(record["person"])
        for person in set(people):
            pairs[people == person] -= pairs[people == person].mean(0)
    return float(np.corrcoef(pairs.T)[0, 1])


def _slope(record: dict[str, list], measure: str) -> float:
    pairs = np.array(record[measure], float)
    people = np.array(record["person"])
    for person in set(people):
        pairs[people == person] -= pairs[people == person].mean(0)
    return float((pairs[:, 0] * pairs[:, 1]).sum() / (pairs[:, 1] ** 2).sum())


def _mean_error(record: dict[str, list], measure: str) -> float:
    if not record[measure]:
        return float("nan")
    pairs = np.array(record[measure], float)
    return float(np.abs(pairs[:, 0] - pairs[:, 1]).mean())


def on_media(paths: list[Path], still_frames: int, network: FaceStateNetwork) -> None:
    """How the trackers agree, tremble and lose faces; and speed."""
    columns = (
        "clip, second half", "square, % of its side", "lids: range " + " / ".join(TRACKERS), "lids: range per tremble",
        "gaze: range per tremble attention mesh / FaceStateNetwork", "frames lost dlib / attention mesh",
        "ms a frame dlib / attention mesh",
    )  # fmt: skip
    print("\n| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for path in paths:
        frames = [image for image, _, _ in read_media([path], second_half=True)]
        if not frames:
            continue
        results = {"dlib": follow(DlibBackend(), frames), "mesh": follow(MeshBackend(), frames)}
        (dlib, dlib_ms), (mesh, mesh_ms) = results["dlib"], results["mesh"]
        both = [each for each in zip(dlib, mesh, frames, strict=True) if each[0] and each[1]]
        difference = np.mean([quad_difference(b.landmarks, a.landmarks) for a, b, _ in both])
        said = [{"dlib": Reading(a.landmarks, np.zeros(3))} | readings(image, b, network) for a, b, image in both]
        seen = {name: [lids(each[name].landmarks) for each in said] for name in TRACKERS}
        spans = " / ".join(f"{min(seen[n]):.2f}-{max(seen[n]):.2f}" for n in TRACKERS)
        steady = " / ".join(f"{range_per_tremble(seen[n]):.1f}" for n in TRACKERS)
        gaze = " / ".join(f"{range_per_tremble([each[n].gaze[0] for each in said]):.1f}" for n in TRACKERS[2:])
        print(f"| {path.name} | {difference:.2f} | {spans} | {steady} | {gaze} | "
              f"{dlib.count(None)} / {mesh.count(None)} | {dlib_ms:.1f} / {mesh_ms:.1f} |")  # fmt: skip
    names = "dlib / attention mesh / FaceStateNetwork"
    print(
        f"\n| a still image with noise of 3 levels | landmarks tremble, % of the eyes' distance: {names} | "
        f"lids tremble: {names} | square trembles, % of its side: dlib / attention mesh |\n" + "|---" * 4 + "|"
    )
    rng = np.random.default_rng(0)
    for path in paths:
        frames = [image for image, _, _ in read_media([path], second_half=True)] or [
            image for image, _, _ in read_media([path], second_half=False)
        ]
        noisy = [
            np.clip(frames[0] + rng.normal(0, 3, frames[0].shape), 0, 255).astype(np.uint8) for _ in range(still_frames)
        ]
        dlib, mesh = ([f.landmarks for f in follow(b, noisy)[0][3:] if f] for b in (DlibBackend(), MeshBackend()))
        # the network in one crop: how the square trembles is told by the last column
        quad = ffhq_quad(mesh[0])
        own = [read_crop(image, quad, network).landmarks for image in noisy[3:]]
        points, openings = zip(*(_tremble(each) for each in (dlib, mesh, own)), strict=True)
        squares = [_square_trembles(each) for each in (dlib, mesh)]
        cells = (_joined(points, 2), _joined(openings, 4), _joined(squares, 2))
        print(f"| {path.name} | " + " | ".join(cells) + " |")


def follow(backend: DlibBackend | MeshBackend, frames: list[np.ndarray]) -> tuple[list[Face | None], float]:
    """The face in every frame (None where it is lost), and the median milliseconds of a tracked frame."""
    faces: list[Face | None] = []
    spent = []
    for image in frames:
        start = time.perf_counter()
        face = backend.refine(image, faces[-1]) if faces and faces[-1] else None
        if face is not None:
            spent.append(1e3 * (time.perf_counter() - start))
        else:
            face = next(iter(backend.detect(image)), None)
        faces.append(face)
    return faces, float(np.median(spent or [np.nan]))


def range_per_tremble(values: list[float]) -> float:
    """Range over the median of the second differences: higher is cleaner."""
    return float(np.ptp(values) / max(np.median(np.abs(np.diff(values, 2))), 1e-9))


def _tremble(faces: list[np.ndarray]) -> tuple[float, float]:
    """Standard deviation of the landmarks (% of the eyes' distance) and of the lids of a still face."""
    landmarks = np.stack(faces)
    points = 100 * np.linalg.norm(landmarks.std(0), axis=1).mean() / eyes_apart(landmarks[0])
    return float(points), float(np.std([lids(each) for each in landmarks]))


def _square_trembles(faces: list[np.ndarray]) -> float:
    """Standard deviation of the corners of the squares of a still face, % of their side."""
    quads = np.stack([ffhq_quad(points) for points in faces])
    return float(100 * np.linalg.norm(quads.std(0), axis=1).mean() / quad_size(quads[0]))


def _joined(values: list[float] | tuple[float, ...], digits: int) -> str:
    return " / ".join(f"{value:.{digits}f}" for value in values)


def row(name: str, values: list[float], digits: int = 2) -> None:
    """Print a row of a table; what is not there is a dash."""
    print(f"| {name} | " + " | ".join("-" if np.isnan(v) else f"{v:.{digits}f}" for v in values) + " |")


def main(arguments: list[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--renders", type=Path, help="folder of shards of people that the calibration has not seen")
    parser.add_argument("--media", type=Path, nargs="*", default=[], help="clips and images of real faces")
    parser.add_argument("--still-frames", type=int, default=30)
    parser.add_argument("--network", type=Path, help="folder of a FaceStateNetwork; default: the bundled one")
    options = parser.parse_args(arguments)
    network = FaceStateNetwork.from_pretrained(options.network)
    if options.renders:
        on_renders(options.renders, network)
    if options.media:
        on_media(options.media, options.still_frames, network)


if __name__ == "__main__":
    run_program(main)
