"""Compare face backends on renders with known truth and on clips; print the tables of docs/faces.md.

    python -m training.synthetic.render --assets DIR --out data/held_out --groups 25 --group-size 1 --frames 20 \
        --size 320 --supersample 2 --seed 930000
    OMP_NUM_THREADS=1 python -m training.tools.compare_trackers --renders data/held_out --media clip1.mp4 ...

Of the clips only the second half is used, which the calibration has not seen. dlib is what the others are measured
against where there is no truth. "mesh" takes the lids from the face mesh, "mesh + eyes" from the eye network as the
backend does.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from training.tools.calibrate_faces import read_media, read_renders
from training.tools.programs import run_program
from vivface.faces import ffhq_quad, quad_size
from vivface.faces.dlib_backend import DlibBackend
from vivface.faces.ibug import EYE_POINTS, EYES, MESH_POINTS
from vivface.faces.landmarks import Face
from vivface.faces.mesh_backend import MeshBackend
from vivface.faces.pose import angles_of, turn_of
from vivface.faces.state import read_state

LEFT, RIGHT = slice(42, 48), slice(36, 42)
TRACKERS = ("dlib", "mesh", "mesh + eyes")
# Points on the nose, eye corners: rigid points for the pose of 68 landmarks, in the order of iBUG.
RIGID_68 = (27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 39, 42, 45)
# Measures of the tables -> what they are compared with
MEASURES = ("lids", "mouth", "brows", "gaze yaw", "gaze pitch")


def lids(landmarks: np.ndarray) -> float:
    """Mean opening of both eyes: gap of the lids per width of the eye."""
    openings = []
    for eye in (landmarks[RIGHT], landmarks[LEFT]):
        gap = np.linalg.norm(eye[1] - eye[5]) + np.linalg.norm(eye[2] - eye[4])
        openings.append(gap / 2 / np.linalg.norm(eye[0] - eye[3]))
    return float(np.mean(openings))


def mouth(landmarks: np.ndarray) -> float:
    """Mean gap of the inner lips per distance of the eyes."""
    gaps = [np.linalg.norm(landmarks[a] - landmarks[b]) for a, b in ((61, 67), (62, 66), (63, 65))]
    return float(np.mean(gaps) / _eyes_apart(landmarks))


def brows(landmarks: np.ndarray) -> float:
    """Mean height of the brows over the corners of the eyes per distance of the eyes, upright."""
    across = landmarks[45] - landmarks[36]
    down = np.array([-across[1], across[0]]) / np.linalg.norm(across)
    corners = landmarks[[36, 39, 42, 45]].mean(0)
    return float((corners - landmarks[17:27].mean(0)) @ down / _eyes_apart(landmarks))


def _eyes_apart(landmarks: np.ndarray) -> float:
    return float(np.linalg.norm(landmarks[RIGHT].mean(0) - landmarks[LEFT].mean(0)))


def variants(face: Face) -> dict[str, np.ndarray]:
    """Landmarks of a face of the mesh backend with both kinds of lids."""
    plain = face.landmarks.copy()
    for side, eye in enumerate(EYES):
        own = face.points.mesh[MESH_POINTS[eye], :2]
        shift = (face.landmarks[eye] - face.points.contours[side][EYE_POINTS[side], :2]).mean(0)
        plain[eye] = own + shift
    return {"mesh": plain, "mesh + eyes": face.landmarks}


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


def on_renders(folder: Path) -> None:
    """Errors against the truth."""
    backends = {"dlib": DlibBackend(), "mesh": MeshBackend()}
    records: dict[str, dict[str, list]] = {name: defaultdict(list) for name in TRACKERS}
    lost, milliseconds, count, differences = defaultdict(int), defaultdict(list), 0, []
    shape = _rigid_shape()
    for image, truth in read_renders(folder):
        count += 1
        points = truth["landmarks"] - 0.5  # the truth counts from the corner of the first pixel
        found: dict[str, np.ndarray] = {}
        for name, backend in backends.items():
            start = time.perf_counter()
            faces = backend.detect(image)
            milliseconds[name].append(1e3 * (time.perf_counter() - start))
            if not faces:
                lost[name] += 1
            elif name == "dlib":
                found["dlib"] = faces[0].landmarks
            else:
                found |= variants(faces[0])
                state = read_state(faces[0].points)
        wanted_pose = truth["pose"].astype(float)
        for name, landmarks in found.items():
            record = records[name]
            apart = _eyes_apart(points)
            record["landmarks"].append(100 * np.linalg.norm(landmarks - points, axis=1)[17:].mean() / apart)
            record["person"].append(truth["person"])
            for measure, function in (("lids", lids), ("mouth", mouth), ("brows", brows)):
                record[measure].append((function(landmarks), function(points)))
            pose = (
                pose_of_landmarks(landmarks, shape)
                if name == "dlib"
                else np.array([state.yaw, state.pitch, state.roll])
            )
            record["pose"].append(_turn_between(pose, wanted_pose))
            record["angles"].append(np.abs(pose - wanted_pose))
            if name == "mesh + eyes":
                record["gaze yaw"].append((state.gaze_yaw, 20 * truth["gaze_x"]))
                record["gaze pitch"].append((state.gaze_pitch, 20 * truth["gaze_y"]))
        if len(found) == 3:
            differences.append(quad_difference(found["mesh + eyes"], found["dlib"]))
    print(f"\n{count} frames of renders\n")
    print("| | dlib | mesh | mesh + eyes |\n|---|---|---|---|")
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
    row("faces missed", [lost["dlib"], lost["mesh"], lost["mesh"]], 0)
    row("one image, milliseconds (median)", [np.median(milliseconds[n]) for n in ("dlib", "mesh", "mesh")])
    print(f"\nFFHQ square, mesh + eyes against dlib: {np.mean(differences):.2f} % of its side (median "
          f"{np.median(differences):.2f}, 95th percentile {np.percentile(differences, 95):.2f})")  # fmt: skip


def _rigid_shape() -> np.ndarray:
    from vivface.faces.pose import calibration

    return calibration()["canonical"][MESH_POINTS[list(RIGID_68)]].astype(np.float64)


def _turn_between(a: np.ndarray, b: np.ndarray) -> float:
    """Angle in degrees between two head poses in degrees."""
    between = turn_of(np.radians(a)).T @ turn_of(np.radians(b))
    return float(np.degrees(np.arccos(np.clip((np.trace(between) - 1) / 2, -1, 1))))


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


def on_media(paths: list[Path], still_frames: int) -> None:
    """How the trackers agree, tremble and lose faces; and speed."""
    columns = (
        "clip, second half", "square, % of its side", "lids: range dlib / mesh / mesh + eyes",
        "lids: range per tremble",
        "gaze: range per tremble", "frames lost dlib / mesh", "ms a frame dlib / mesh",
    )  # fmt: skip
    print("\n| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for path in paths:
        frames = [image for image, _, _ in read_media([path], second_half=True)]
        if not frames:
            continue
        results = {"dlib": follow(DlibBackend(), frames), "mesh": follow(MeshBackend(), frames)}
        (dlib, dlib_ms), (mesh, mesh_ms) = results["dlib"], results["mesh"]
        both = [(a, b) for a, b in zip(dlib, mesh, strict=True) if a and b]
        difference = np.mean([quad_difference(b.landmarks, a.landmarks) for a, b in both])
        seen = {"dlib": [lids(a.landmarks) for a, _ in both]}
        for name in ("mesh", "mesh + eyes"):
            seen[name] = [lids(variants(b)[name]) for _, b in both]
        gaze = [read_state(b.points).gaze_yaw for _, b in both]
        spans = " / ".join(f"{min(seen[n]):.2f}-{max(seen[n]):.2f}" for n in TRACKERS)
        steady = " / ".join(f"{range_per_tremble(seen[n]):.1f}" for n in TRACKERS)
        print(f"| {path.name} | {difference:.2f} | {spans} | {steady} | {range_per_tremble(gaze):.1f} | "
              f"{dlib.count(None)} / {mesh.count(None)} | {dlib_ms:.1f} / {mesh_ms:.1f} |")  # fmt: skip
    print("\n| a still image with noise of 3 levels | landmarks tremble, % of the eyes' distance: dlib / mesh + eyes | "
          "lids tremble dlib / mesh + eyes | square trembles, % of its side |\n|---|---|---|---|")  # fmt: skip
    rng = np.random.default_rng(0)
    for path in paths:
        frames = [image for image, _, _ in read_media([path], second_half=True)] or [
            image for image, _, _ in read_media([path], second_half=False)
        ]
        noisy = [
            np.clip(frames[0] + rng.normal(0, 3, frames[0].shape), 0, 255).astype(np.uint8) for _ in range(still_frames)
        ]
        cells = [_tremble(follow(backend, noisy)[0]) for backend in (DlibBackend(), MeshBackend())]
        print(f"| {path.name} | {cells[0][0]:.2f} / {cells[1][0]:.2f} | {cells[0][1]:.4f} / {cells[1][1]:.4f} | "
              f"{cells[0][2]:.2f} / {cells[1][2]:.2f} |")  # fmt: skip


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


def _tremble(faces: list[Face | None]) -> tuple[float, float, float]:
    """Standard deviation of landmarks, lids and square of a still face, over its frames after the first three."""
    landmarks = np.stack([face.landmarks for face in faces[3:] if face])
    quads = np.stack([ffhq_quad(points) for points in landmarks])
    points = 100 * np.linalg.norm(landmarks.std(0), axis=1).mean() / _eyes_apart(landmarks[0])
    square = 100 * np.linalg.norm(quads.std(0), axis=1).mean() / quad_size(quads[0])
    return points, float(np.std([lids(each) for each in landmarks])), square


def row(name: str, values: list[float], digits: int = 2) -> None:
    """Print a row of a table; what is not there is a dash."""
    print(f"| {name} | " + " | ".join("-" if np.isnan(v) else f"{v:.{digits}f}" for v in values) + " |")


def main(arguments: list[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--renders", type=Path, help="folder of shards of people that the calibration has not seen")
    parser.add_argument("--media", type=Path, nargs="*", default=[], help="clips and images of real faces")
    parser.add_argument("--still-frames", type=int, default=30)
    options = parser.parse_args(arguments)
    if options.renders:
        on_renders(options.renders)
    if options.media:
        on_media(options.media, options.still_frames)


if __name__ == "__main__":
    run_program(main)
