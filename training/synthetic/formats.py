"""Readers of the MakeHuman file formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import sparse

from training.synthetic.kit import CUT_HEIGHT, NUM_VERTICES, Proxy


def read_obj(path: Path, group: str | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices `(V, 3)`, uv `(U, 2)` with v upward and quads `(F, 4, 2)`; keep only `group` if given."""
    vertices, uv, faces, current = [], [], [], None
    for line in path.read_text().splitlines():
        parts = line.split()
        if not parts:
            continue
        if parts[0] == "v":
            vertices.append(parts[1:4])
        elif parts[0] == "vt":
            uv.append(parts[1:3])
        elif parts[0] == "g":
            current = parts[1]
        elif parts[0] == "f" and (group is None or current == group):
            corners = [[int(i) - 1 for i in p.split("/")[:2]] for p in parts[1:]]
            faces.append(corners + [corners[-1]] * (4 - len(corners)))
    return np.array(vertices, np.float32), np.array(uv, np.float32), np.array(faces, np.int32)


def read_target(path: Path) -> sparse.csr_matrix:
    """A morph target as one row `(1, 3 * NUM_VERTICES)`; an empty file is a target that has no effect."""
    lines = [t.split() for t in path.read_text().splitlines() if t and t[0] not in "#\n"]
    lines = [t for t in lines if len(t) == 4]
    if not lines:
        return sparse.csr_matrix((1, 3 * NUM_VERTICES), dtype=np.float32)
    table = np.array(lines, np.float64)
    columns = (table[:, :1].astype(np.int64) * 3 + np.arange(3)).ravel()
    row = sparse.coo_matrix(
        (table[:, 1:].ravel().astype(np.float32), (np.zeros_like(columns), columns)), shape=(1, 3 * NUM_VERTICES)
    ).tocsr()
    row.eliminate_zeros()
    return row


def parents_first(bones: dict) -> list[str]:
    """Names of bones, each after its parent."""
    order: list[str] = []
    while len(order) < len(bones):
        order += [b for b, v in bones.items() if b not in order and (not v["parent"] or v["parent"] in order)]
    return order


def read_pose_units(path: Path, index: dict[str, int]) -> np.ndarray:
    """Angles `(frames, bones, 3)` in degrees. Channels are X, Y, Z per joint, the root has three positions before."""
    joints, lines = [], path.read_text().splitlines()
    for number, line in enumerate(lines):
        parts = line.split()
        if parts and parts[0] in ("ROOT", "JOINT"):
            joints.append(parts[1])
        if line.startswith("Frame Time"):
            frames = np.array([t.split() for t in lines[number + 1 :] if t.strip()], np.float32)
            break
    angles = np.zeros((len(frames), len(index), 3), np.float32)
    for j, name in enumerate(joints):
        if name in index:
            angles[:, index[name]] = frames[:, 3 + 3 * j : 6 + 3 * j]
    return angles


def read_proxy(path: Path, base: np.ndarray) -> Proxy:
    """Read a fitted mesh and drop what a portrait never shows.

    Args:
        path (`Path`): The `.mhclo` file; its `.obj` lies beside it.
        base (`np.ndarray` of shape `(19158, 3)`): Vertices of the base mesh, dm.

    Returns:
        `Proxy`: the mesh above `CUT_HEIGHT`.
    """
    header, table, hidden = _read_mhclo(path)
    _, uv, faces = read_obj(path.with_name(header["obj_file"][0]))
    verts = table[:, :3].astype(np.int32)
    height = (base[verts] * table[:, 3:6, None]).sum(1)[:, 1]
    faces = faces[(height[faces[:, :, 0]] > CUT_HEIGHT).all(1)]
    used = np.unique(faces[:, :, 0])
    renumber = np.zeros(len(table), np.int32)
    renumber[used] = np.arange(len(used))
    faces = np.stack([renumber[faces[:, :, 0]], faces[:, :, 1]], -1)
    scale = np.array([header[f"{axis}_scale"] for axis in "xyz"], np.float32)
    uv = uv * np.float32([1, -1]) + np.float32([0, 1])
    return Proxy(verts[used], table[used, 3:6], table[used, 6:9], scale, uv, faces.astype(np.int32), hidden)


def _read_mhclo(path: Path) -> tuple[dict[str, list[str]], np.ndarray, np.ndarray]:
    """Header, vertex lines `(P, 9)` and hidden base vertices of a `.mhclo` file."""
    header: dict[str, list[str]] = {}
    rows, hidden, mode = [], [], "header"
    for line in path.read_text(encoding="utf8").splitlines():
        parts = line.split()
        if not parts or parts[0].startswith("#"):
            continue
        if parts[0] == "verts":
            mode = "verts"
        elif parts[0] == "delete_verts":
            mode = "delete"
        elif parts[0][0].isalpha():
            header[parts[0]] = parts[1:]
            mode = "header" if mode == "delete" else mode
        elif mode == "verts":
            rows.append([float(x) for x in parts] if len(parts) > 1 else [float(parts[0])] * 3 + [1, 0, 0, 0, 0, 0])
        elif mode == "delete":
            tokens = line.replace("-", " - ").split()
            for i, token in enumerate(tokens):
                if token == "-":
                    hidden += range(int(tokens[i - 1]), int(tokens[i + 1]) + 1)
                else:
                    hidden.append(int(token))
    return header, np.array(rows, np.float32), np.unique(hidden).astype(int)
