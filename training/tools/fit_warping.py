"""Measure what `vivface.warping` knows of faces on rendered people: triangles, expressions at rest, movements.

    python -m training.tools.fit_warping data/motion --held-out data/motion-held-out --people 280 --out vivface/warping

Reads the points of every frame with the package's own networks. `mesh.safetensors`: a Delaunay triangulation of the
mean face with open mouth and eyes, so that no triangle lies across closed lips or lids. `expression.safetensors`: a
linear estimate of the expression that a shape wears, by ridge regression on its principal components, and how each
expression moves the points; of those expressions that held-out people show to be readable. `controls.safetensors`: how
the movements of the mouth move the points, for the sliders of `vivface.warping.controls`. `components.safetensors`:
principal components of movements, for `vivface.warping.components`. Where the irises of faces lie
that look ahead is printed, for `vivface.warping.gaze`, and how far jaws go down, for `vivface.warping.jaw`.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from safetensors.numpy import save_file
from scipy.optimize import linear_sum_assignment
from scipy.spatial import Delaunay

from training.synthetic.motion import CONTROLS
from training.synthetic.motion_shards import MotionShard
from training.tools.programs import run_program
from vivface.errors import OptionError
from vivface.faces.mesh_backend import MeshBackend
from vivface.faces.pose import OUTER_CORNERS, calibration
from vivface.warping.gaze import iris_places
from vivface.warping.jaw import CHIN
from vivface.warping.mesh import (
    LOWER_LIP,
    MESH,
    MOUTH_CORNERS,
    UPPER_LIP,
    PosedFace,
    face_points,
    mirror,
    neighbours,
)
from vivface.warping.regions import part_weights

EXPRESSIONS = ("smile_left", "smile_right", "grin", "brow_up_left", "brow_up_right")
MOUTH = {  # controls of the package: the sum of controls of the renderer
    "smile": ("smile_left", "smile_right"),
    "frown": ("frown",),
    "grin": ("grin",),
    "mouth_open": ("jaw_open",),
    "pucker": ("pucker",),
    "funnel": ("funnel",),
    "stretch": ("stretch",),
}
SURE = 2.0  # variances of the regression's error by which a movement is made smaller
SMOOTHINGS = 2  # times that the movements of neighbouring points are blended
COMPONENTS, RIDGE = 120, 200.0  # of shapes; of the regression, square millimetres
COMPONENTS_KEPT = 28  # of the movements of faces, see `vivface.warping.components`
ENLARGED = 512  # pixels at which frames are shown to the networks
OUTWARDS = 0.12  # of the way from the middle of the face that the rim lies farther out in the layout
OVAL = [  # points along the face's rim
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
]  # fmt: skip
LIP_STEP = 1.0  # millimetres at least between the rims of a lip in the layout
UPPER_RIM, LOWER_RIM = (  # points of the lips next to the inner rim
    [183, 42, 41, 38, 12, 268, 271, 272, 407],
    [96, 89, 179, 86, 15, 316, 403, 319, 325],
)
OPEN = 85  # percentile of the lips' gap from which on a mouth counts as open


@dataclass
class Shapes:
    """Faces that were read from renders.

    Attributes:
        points (`np.ndarray` of shape `(N, 478, 3)`): Millimetres, see `PosedFace`.
        controls (`np.ndarray` of shape `(N, K)`): True expression, see `training.synthetic.motion`.
        pose (`np.ndarray` of shape `(N, 3)`): True yaw, pitch, roll, degrees.
        person (`np.ndarray` of shape `(N,)`): Whose.
        irises (`np.ndarray` of shape `(N, 2, 2)`): Right and left, see `iris_places`.
        landmarks (`np.ndarray` of shape `(N, 68, 2)`): True ones, pixels of the render.
    """

    points: np.ndarray
    controls: np.ndarray
    pose: np.ndarray
    person: np.ndarray
    irises: np.ndarray
    landmarks: np.ndarray

    @property
    def shapes(self) -> np.ndarray:
        """The points without the irises, `(N, 468, 3)`."""
        return self.points[:, :MESH]


def read_shapes(folder: str, people: int) -> Shapes:
    """Read the faces of some people of a folder of motion shards.

    Raises:
        OptionError: If there are none.
    """
    paths = sorted(Path(folder).glob("g*_p*.npz"))
    if not paths:
        raise OptionError(f"'{folder}' holds no shards g*_p*.npz: render them with render_motion.")
    backend = MeshBackend()
    rows: list[tuple] = []
    for path in paths[:: max(len(paths) // people, 1)]:
        shard = MotionShard.load(path)
        for frame in range(shard.frames):
            image = cv2.resize(shard.image(frame, light=0), (ENLARGED, ENLARGED), interpolation=cv2.INTER_CUBIC)
            for face in backend.detect(image, effort="low")[:1]:
                shape = PosedFace.of(face_points(face.points)).shape
                truth = shard.controls[frame], shard.pose[frame], shard.seed
                rows.append((shape, *truth, iris_places(shape), shard.landmarks[frame]))
    return Shapes(*(np.array(column) for column in zip(*rows, strict=True)))


def triangulate(faces: Shapes) -> dict[str, np.ndarray]:
    """Triangles, the layout in which they were made, the rim, and mirrored points; see `vivface.warping.mesh`."""
    mirror = mirrored_points()
    gap = (faces.shapes[:, LOWER_LIP, 1] - faces.shapes[:, UPPER_LIP, 1]).mean(1)
    blink = faces.controls[:, [CONTROLS.index("blink_left"), CONTROLS.index("blink_right")]].max(1)
    layout = faces.shapes[(gap >= np.percentile(gap, OPEN)) & (blink < 0.1)].mean(0)
    layout = (layout + layout[mirror] * [-1, 1, 1]) / 2
    open_mouth(layout)
    layout[OVAL, :2] += OUTWARDS * (layout[OVAL, :2] - layout[[1, 168], :2].mean(0))  # the rim, seen from the front
    corners = Delaunay(layout[:, :2]).simplices
    return {
        "corners": corners.astype(np.int16),
        "layout": layout.astype(np.float32),
        "outline": np.array(rim(corners), np.int16),
        "mirror": mirror.astype(np.int16),
    }


def mirrored_points() -> np.ndarray:
    """The point on the other side of the face for each `(468,)`: pairs that lie closest in the mean face, mirrored."""
    mean = calibration()["canonical"]
    apart = np.linalg.norm((mean * [-1, 1, 1])[:, None] - mean, axis=2)
    return linear_sum_assignment(apart + apart.T)[1]


def open_mouth(layout: np.ndarray) -> None:
    """Put the inner rim of the lips inside their other rims, and the corners beside both: networks see them across."""
    layout[UPPER_LIP, 1] = np.maximum(layout[UPPER_LIP, 1], layout[UPPER_RIM, 1] + LIP_STEP)
    layout[LOWER_LIP, 1] = np.minimum(layout[LOWER_LIP, 1], layout[LOWER_RIM, 1] - LIP_STEP)
    layout[LOWER_LIP, 1] = np.maximum(layout[LOWER_LIP, 1], layout[UPPER_LIP, 1] + LIP_STEP)
    between = (layout[UPPER_LIP[[0, -1]]] + layout[LOWER_LIP[[0, -1]]]) / 2
    layout[MOUTH_CORNERS] = between + [[-LIP_STEP, 0, 0], [LIP_STEP, 0, 0]]


def rim(corners: np.ndarray) -> list[int]:
    """Points along the edges that only one triangle has, in order."""
    edges = Counter(tuple(sorted(edge)) for a, b, c in corners.tolist() for edge in ((a, b), (b, c), (c, a)))
    neighbours: dict[int, list[int]] = {}
    for (a, b), count in edges.items():
        if count == 1:
            neighbours.setdefault(a, []).append(b)
            neighbours.setdefault(b, []).append(a)
    loop = [min(neighbours)]
    loop.append(neighbours[loop[0]][0])
    while (following := next(p for p in neighbours[loop[-1]] if p != loop[-2])) != loop[0]:
        loop.append(following)
    return loop


def fit_expressions(faces: Shapes, held_out: Shapes) -> dict[str, np.ndarray]:
    """`read` `(1404, E)` and `move` `(E, 1404)`: a shape's difference @ read @ move is the expression's share of it."""
    chosen = [CONTROLS.index(name) for name in EXPRESSIONS]
    x, mean = faces.shapes.reshape(len(faces.shapes), -1), faces.shapes.reshape(len(faces.shapes), -1).mean(0)

    # How expressions move a face.
    move = movements(faces)[0][chosen]

    # Which expression a face wears: over all people.
    axes = np.linalg.svd(x - mean, full_matrices=False)[2][:COMPONENTS]
    z, wanted = (x - mean) @ axes.T, faces.controls[:, chosen]
    read = axes.T @ np.linalg.solve(z.T @ z + RIDGE * np.eye(len(axes)), z.T @ (wanted - wanted.mean(0)))

    found = (held_out.shapes.reshape(len(held_out.shapes), -1) - mean) @ read
    for name, k, column in zip(EXPRESSIONS, chosen, found.T, strict=True):
        print(f"{name}: correlation {np.corrcoef(column, held_out.controls[:, k])[0, 1]:.2f} on held-out people")
    return {"read": read.astype(np.float16), "move": move.astype(np.float16)}


def movements(faces: Shapes) -> tuple[np.ndarray, np.ndarray]:
    """How a unit of each control moves the points, within each person, beside the effect of the pose on the networks.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: `(K, 1404)`, millimetres, and the standard errors of the regression.
    """
    causes = np.concatenate([faces.controls, pose_terms(faces.pose)], 1)
    own = within(causes, faces.person)
    moved = within(faces.shapes.reshape(len(faces.shapes), -1), faces.person)
    inverse = np.linalg.inv(own.T @ own + np.eye(own.shape[1]))
    move = inverse @ (own.T @ moved)
    errors = np.sqrt(np.diag(inverse))[:, None] * (moved - own @ move).std(0)
    count = faces.controls.shape[1]
    return move[:count], errors[:count]


def fit_components(faces: Shapes) -> dict[str, np.ndarray]:
    """`components` `(28, 478, 3)`: how faces move within a person, one standard deviation of each, millimetres."""
    moved = within(faces.points.reshape(len(faces.points), -1), faces.person)
    spread, axes = np.linalg.svd(moved, full_matrices=False)[1:]
    vectors = spread[:COMPONENTS_KEPT, None] * axes[:COMPONENTS_KEPT] / np.sqrt(len(moved))
    return {"components": vectors.reshape(COMPONENTS_KEPT, -1, 3).astype(np.float16)}


def fit_controls(faces: Shapes) -> dict[str, np.ndarray]:
    """How the movements `MOUTH` move the points below the eyes, alike on both sides: each `(468, 3)`, millimetres."""
    move, errors = (values.reshape(-1, MESH, 3) for values in movements(faces))
    out = {}
    for name, controls in MOUTH.items():
        rows = [CONTROLS.index(control) for control in controls]
        total, error = move[rows].sum(0), np.sqrt((errors[rows] ** 2).sum(0))
        total = (total + total[mirror()] * [-1, 1, 1]) / 2
        noise = (error**2).sum(1) / 2
        total *= np.clip(1 - SURE * noise / np.maximum((total**2).sum(1), 1e-9), 0, 1)[:, None]
        for _ in range(SMOOTHINGS):
            total = (total + neighbours() @ total) / 2
        out[name] = (part_weights()[:MESH, :1] * total).astype(np.float16)
    return out


def jaw_drops(faces: Shapes) -> dict[str, float | list[float]]:
    """How far jaws go down, in truth and as the mesh has it; within each person, beside the effect of the pose.

    Returns:
        `dict`: `seen`, what part of the way of the chin the mesh shows; `per_gap`, how far the chin goes for each
        millimetre by which the lips part; `line`, how far landmarks 0 to 8 go, as the chin does.
    """
    yaw = np.radians(faces.pose[:, 0])
    eyes = faces.landmarks[:, [36, 45]].astype(np.float64)
    across = eyes[:, 1] - eyes[:, 0]
    width = np.linalg.norm(across, axis=1, keepdims=True)
    down = np.stack([-across[:, 1], across[:, 0]], 1) / width
    moved = ((faces.landmarks - eyes.mean(1)[:, None]) * down[:, None]).sum(2) / (width / np.cos(yaw)[:, None])
    corners = faces.shapes[:, OUTER_CORNERS]
    true = moved * np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1).mean()  # (N, 68), millimetres
    seen = faces.shapes[:, CHIN[-1], 1]
    opened = faces.controls[:, CONTROLS.index("jaw_open")]
    of_jaw = slopes(np.concatenate([true[:, :9], seen[:, None]], 1), opened, faces)
    per_gap = slopes(true[:, 8:9], true[:, 66] - true[:, 62], faces)[0]
    return {"seen": of_jaw[9] / of_jaw[8], "per_gap": per_gap, "line": (of_jaw[:9] / of_jaw[8]).tolist()}


def slopes(values: np.ndarray, cause: np.ndarray, faces: Shapes) -> np.ndarray:
    """What a unit of a cause `(N,)` does to values `(N, C)`: `(C,)`, within each person and beside the pose."""
    causes = within(np.concatenate([cause[:, None], pose_terms(faces.pose)], 1), faces.person)
    return np.linalg.lstsq(causes, within(values, faces.person), rcond=None)[0][0]


def irises_ahead(faces: Shapes) -> np.ndarray:
    """Where irises lie when a face looks straight ahead `(2, 2)`, right and left, millimetres: medians of open eyes."""
    gaze = faces.controls[:, [CONTROLS.index("gaze_x"), CONTROLS.index("gaze_y")]]
    ahead = (np.abs(gaze) < 0.3).all(1) & (np.abs(faces.pose) < 10).all(1)
    return np.array(
        [
            np.median(faces.irises[ahead & (faces.controls[:, CONTROLS.index(f"blink_{name}")] < 0.15), side], 0)
            for side, name in enumerate(("right", "left"))
        ]
    )


def pose_terms(pose: np.ndarray) -> np.ndarray:
    """What the networks' errors depend on: `(N, 9)` of yaw, pitch, roll `(N, 3)` in degrees."""
    yaw, pitch, roll = (pose / 30).T
    terms = [yaw, pitch, roll, yaw * yaw, pitch * pitch, roll * roll, yaw * pitch, yaw * roll, pitch * roll]
    return np.stack(terms, 1)


def within(values: np.ndarray, person: np.ndarray) -> np.ndarray:
    """Values `(N, C)` without each person's mean."""
    out = values.astype(np.float64).copy()
    for one in np.unique(person):
        out[person == one] -= out[person == one].mean(0)
    return out


def main(arguments: list[str] | None = None) -> None:
    """The command line; see the head of this file.

    Raises:
        OptionError: If a folder holds no shards.
    """
    parser = argparse.ArgumentParser(prog="python -m training.tools.fit_warping", description=__doc__.split("\n")[0])
    parser.add_argument("folder", help="motion shards to fit on")
    parser.add_argument("--held-out", required=True, help="motion shards of other people")
    parser.add_argument("--people", type=int, default=280, help="how many of them, at most")
    parser.add_argument("--out", required=True, help="folder for the files")
    options = parser.parse_args(arguments)
    faces, held_out = read_shapes(options.folder, options.people), read_shapes(options.held_out, options.people)
    print(f"{len(faces.shapes)} faces of {len(np.unique(faces.person))} people")
    save_file(triangulate(faces), Path(options.out) / "mesh.safetensors")
    save_file(fit_expressions(faces, held_out), Path(options.out) / "expression.safetensors")
    save_file(fit_controls(faces), Path(options.out) / "controls.safetensors")
    save_file(fit_components(faces), Path(options.out) / "components.safetensors")
    print("irises ahead, right and left:", irises_ahead(faces).round(2).tolist())
    print("jaws:", {name: np.round(value, 2).tolist() for name, value in jaw_drops(faces).items()})


if __name__ == "__main__":
    run_program(main)
