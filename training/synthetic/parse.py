"""Parse the MakeHuman assets into flat arrays.

Everything that depends on no particular person is computed here: meshes cut to head and shoulders, morph targets as
one sparse matrix, pose units, skin weights, proxies, and textures reduced to what the painter and the shaders read.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scipy import sparse

from training.synthetic.formats import parents_first, read_obj, read_pose_units, read_proxy, read_target
from training.synthetic.kit import (
    BROW_STYLES,
    CLOTHES,
    CUT_HEIGHT,
    HAIR_STYLES,
    LASH_STYLES,
    NUM_VERTICES,
    TARGETS,
    TEETH_STYLES,
    Proxy,
)
from training.synthetic.textures import missing, parse_textures, position_map, to_atlas


def parse_assets(folder: Path) -> dict[str, np.ndarray]:
    """Read every asset.

    Args:
        folder (`Path`): The MakeHuman assets.

    Returns:
        `dict[str, np.ndarray]`: the arrays of the cache; `text` holds names as JSON.

    Raises:
        FileNotFoundError: If a file is missing.
    """
    vertices, uv, faces = read_obj(folder / "3dobjs" / "base.obj", group="body")
    faces = faces[(vertices[faces[:, :, 0], 1] > CUT_HEIGHT).all(1)]
    uv = to_atlas(uv)
    arrays: dict[str, np.ndarray] = {"base": vertices, "uv": uv, "faces": faces}
    text: dict = {}
    _parse_targets(folder, arrays, text)
    _parse_skeleton(folder, arrays, text)
    proxies = _parse_proxies(folder, vertices, arrays)
    text["proxies"] = list(proxies)
    positions, coverage = position_map(vertices, uv, faces)
    arrays.update(positions=positions.astype(np.float16), coverage=coverage)
    arrays.update(parse_textures(folder, proxies, positions, coverage))
    arrays["text"] = np.frombuffer(json.dumps(text).encode(), np.uint8)
    return arrays


def _parse_targets(folder: Path, arrays: dict, text: dict) -> None:
    """Morph targets, and which of them are opposites."""
    names, rows = {}, []
    for name in TARGETS:
        if next((folder / "targets" / name).rglob("*.target"), None) is None:
            raise missing(folder / "targets" / name)
    for path in sorted((folder / "targets").rglob("*.target")):
        names[str(path.relative_to(folder / "targets").with_suffix(""))] = len(rows)
        rows.append(read_target(path))
    text["targets"] = names
    arrays.update(_flat("targets", sparse.vstack(rows)))
    modifiers = json.loads((folder / "modifiers" / "modeling_modifiers.json").read_text())
    text["modifiers"] = [
        (g["group"], m["target"], m.get("min"), m.get("max"))
        for g in modifiers
        for m in g["modifiers"]
        if "target" in m
    ]


def _parse_skeleton(folder: Path, arrays: dict, text: dict) -> None:
    """Bones, their joints, skin weights and pose units."""
    rig = json.loads((folder / "rigs" / "default.mhskel").read_text())
    bones = parents_first(rig["bones"])
    index = {b: i for i, b in enumerate(bones)}
    text["bones"] = bones
    arrays["parents"] = np.array([index.get(rig["bones"][b]["parent"], -1) for b in bones])
    joints = sparse.lil_matrix((len(bones), NUM_VERTICES), dtype=np.float32)
    for b in bones:
        ids = rig["joints"][rig["bones"][b]["head"]]
        for i in ids:
            joints[index[b], i] += 1 / len(ids)
    arrays.update(_flat("joints", joints))
    weights = sparse.lil_matrix((NUM_VERTICES, len(bones)), dtype=np.float32)
    for b, pairs in json.loads((folder / "rigs" / "default_weights.mhw").read_text())["weights"].items():
        for i, w in pairs:
            weights[i, index[b]] += w
    total = np.asarray(weights.sum(1)).ravel()
    for i in np.flatnonzero(total == 0):
        weights[i, index["root"]] = 1
    total[total == 0] = 1
    arrays.update(_flat("skin_weights", sparse.diags(1 / total) @ weights.tocsr()))

    units = json.loads((folder / "poseunits" / "face-poseunits.json").read_text())["framemapping"]
    text["units"] = {name: i for i, name in enumerate(units)}
    arrays["unit_angles"] = read_pose_units(folder / "poseunits" / "face-poseunits.bvh", index)


def _parse_proxies(folder: Path, vertices: np.ndarray, arrays: dict) -> dict[str, Proxy]:
    """Meshes that are fitted to the base, by style."""
    paths = {"eyes": folder / "eyes/high-poly/high-poly.mhclo", "tongue": folder / "tongue/tongue01/tongue01.mhclo"}
    for kind, styles in (
        ("hair", HAIR_STYLES), ("clothes", CLOTHES), ("eyebrows", BROW_STYLES), ("eyelashes", LASH_STYLES),
        ("teeth", TEETH_STYLES),
    ):  # fmt: skip
        paths.update({s: folder / kind / s / f"{s}.mhclo" for s in styles})
    proxies = {name: read_proxy(path, vertices) for name, path in paths.items()}
    for name, proxy in proxies.items():
        arrays.update({f"proxy/{name}/{key}": getattr(proxy, key) for key in Proxy.__dataclass_fields__})
    return proxies


def _flat(name: str, matrix: sparse.spmatrix) -> dict[str, np.ndarray]:
    """A sparse matrix as arrays."""
    matrix = sparse.csr_matrix(matrix)
    arrays = {f"{name}/{key}": getattr(matrix, key) for key in ("data", "indices", "indptr")}
    return arrays | {f"{name}/shape": np.array(matrix.shape)}
