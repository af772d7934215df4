"""Measure what `vivface.warping` knows of faces on rendered people: the mesh's triangles, and expressions at rest.

    python -m training.tools.fit_warping data/motion --held-out data/motion-held-out --people 280 --out vivface/warping

Reads the points of every frame with the package's own networks. `mesh.safetensors`: a Delaunay triangulation of the
mean face with open mouth and eyes, so that no triangle lies across closed lips or lids. `expression.safetensors`: a
linear estimate of the expression that a shape wears, by ridge regression on its principal components, and how each
expression moves the points; of those expressions that held-out people show to be readable.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from safetensors.numpy import save_file
from scipy.spatial import Delaunay

from training.synthetic.motion import CONTROLS
from training.synthetic.motion_shards import MotionShard
from training.tools.programs import run_program
from vivface.errors import OptionError
from vivface.faces.mesh_backend import MeshBackend
from vivface.warping.mesh import LOWER_LIP, MESH, MOUTH_CORNERS, UPPER_LIP, PosedFace, face_points, mirror

EXPRESSIONS = ("smile_left", "smile_right", "grin", "brow_up_left", "brow_up_right")
COMPONENTS, RIDGE = 120, 200.0  # of shapes; of the regression, square millimetres
ENLARGED = 512  # pixels at which frames are shown to the networks
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
        shapes (`np.ndarray` of shape `(N, 468, 3)`): Millimetres, see `PosedFace`.
        controls (`np.ndarray` of shape `(N, K)`): True expression, see `training.synthetic.motion`.
        pose (`np.ndarray` of shape `(N, 3)`): True yaw, pitch, roll, degrees.
        person (`np.ndarray` of shape `(N,)`): Whose.
    """

    shapes: np.ndarray
    controls: np.ndarray
    pose: np.ndarray
    person: np.ndarray


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
                shape = PosedFace.of(face_points(face.points)).shape[:MESH]
                rows.append((shape, shard.controls[frame], shard.pose[frame], shard.seed))
    return Shapes(*(np.array(column) for column in zip(*rows, strict=True)))


def triangulate(faces: Shapes) -> dict[str, np.ndarray]:
    """Triangles, the layout in which they were made, and the rim; see `vivface.warping.mesh.Triangles`."""
    gap = (faces.shapes[:, LOWER_LIP, 1] - faces.shapes[:, UPPER_LIP, 1]).mean(1)
    blink = faces.controls[:, [CONTROLS.index("blink_left"), CONTROLS.index("blink_right")]].max(1)
    layout = faces.shapes[(gap >= np.percentile(gap, OPEN)) & (blink < 0.1)].mean(0)
    layout = (layout + layout[mirror()] * [-1, 1, 1]) / 2
    open_mouth(layout)
    corners = Delaunay(layout[:, :2]).simplices
    return {
        "corners": corners.astype(np.int16),
        "layout": layout.astype(np.float32),
        "outline": np.array(rim(corners), np.int16),
    }


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

    # How expressions move a face: within each person, beside what the head's pose does to the networks.
    causes = np.concatenate([faces.controls, pose_terms(faces.pose)], 1)
    own, moved = within(causes, faces.person), within(x, faces.person)
    move = np.linalg.solve(own.T @ own + np.eye(own.shape[1]), own.T @ moved)[chosen]

    # Which expression a face wears: over all people.
    axes = np.linalg.svd(x - mean, full_matrices=False)[2][:COMPONENTS]
    z, wanted = (x - mean) @ axes.T, faces.controls[:, chosen]
    read = axes.T @ np.linalg.solve(z.T @ z + RIDGE * np.eye(len(axes)), z.T @ (wanted - wanted.mean(0)))

    found = (held_out.shapes.reshape(len(held_out.shapes), -1) - mean) @ read
    for name, k, column in zip(EXPRESSIONS, chosen, found.T, strict=True):
        print(f"{name}: correlation {np.corrcoef(column, held_out.controls[:, k])[0, 1]:.2f} on held-out people")
    return {"read": read.astype(np.float16), "move": move.astype(np.float16)}


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
    parser.add_argument("--out", required=True, help="folder for mesh.safetensors and expression.safetensors")
    options = parser.parse_args(arguments)
    faces, held_out = read_shapes(options.folder, options.people), read_shapes(options.held_out, options.people)
    print(f"{len(faces.shapes)} faces of {len(np.unique(faces.person))} people")
    save_file(triangulate(faces), Path(options.out) / "mesh.safetensors")
    save_file(fit_expressions(faces, held_out), Path(options.out) / "expression.safetensors")


if __name__ == "__main__":
    run_program(main)
