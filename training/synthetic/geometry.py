"""Build a person's `Head`: morph the base mesh, fit hair, clothes and the rest to it, and linearise every control."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from training.synthetic.glasses import fit_glasses
from training.synthetic.head import BOWED, TERM, TERMS, Head
from training.synthetic.kit import CHAIN, LANDMARK_VERTICES, NUM_VERTICES, Kit, Proxy
from training.synthetic.motion import RECIPES, controls_from
from training.synthetic.person import SyntheticPerson
from training.synthetic.skeleton import chain_of_bones, relax_arms, term_deltas


@dataclass
class Meshes:
    """All meshes of a person in one vertex array of V entries: `vertices = mapping @ base + offset`."""

    mapping: sparse.csr_matrix  # (V, 19158)
    offset: np.ndarray  # (V, 3)
    uv: np.ndarray  # (U, 2)
    triangles: dict[str, np.ndarray]  # (T, 3, 2) vertex and uv ids, by mesh
    rows: dict[str, slice]  # vertices, by mesh
    skin: np.ndarray  # base vertices that the skin uses


@dataclass
class Movement:
    """How the joined meshes move: V vertices, K terms."""

    rest: np.ndarray  # (V, 3) relaxed face
    deltas: np.ndarray  # (K, V, 3)
    chain: np.ndarray  # (V, 4)
    neutral: np.ndarray  # (K,) weights that the relaxed face already contains


def build_head(kit: Kit, person: SyntheticPerson) -> Head:
    """Make the moving head of a person.

    Args:
        kit (`Kit`): The parsed assets.
        person (`SyntheticPerson`): Who it is.

    Returns:
        `Head`: The same every time.
    """
    shape = _morph(kit, person)
    joints = (kit.joints @ shape).astype(np.float64)
    meshes = _join_meshes(kit, person, shape)
    movement = _linearise(kit, person, shape, joints, meshes)

    skin = meshes.rows["skin"]
    points = np.searchsorted(meshes.skin, LANDMARK_VERTICES)
    landmarks = movement.rest[skin][points]
    rest, deltas, uv, chain, parts = _split_at_seams(meshes, movement)
    if person.glasses:
        in_front = np.concatenate([movement.rest[meshes.rows[name]] for name in ("brows", "lashes")])
        frame = fit_glasses(person.glasses, movement.rest[skin], kit.base[meshes.skin], in_front, landmarks)
        rest, deltas, uv, chain = _add_rigid("glasses", *frame, rest, deltas, uv, chain, parts)
    if "hair" in parts:  # from the inside out, so that soft edges blend over what lies below
        centre = landmarks[27] - np.array([0, 0, 1.1])
        distance = np.linalg.norm(rest[parts["hair"], :3].mean(1) - centre, axis=1)
        parts["hair"] = parts["hair"][np.argsort(distance)]
    return Head(
        rest=rest, deltas=np.ascontiguousarray(deltas.reshape(len(TERMS), -1)), uv=uv, chain=chain, parts=parts,
        joints=joints[[kit.bones.index(b) for b in CHAIN]], landmarks=landmarks.astype(np.float32),
        landmark_deltas=movement.deltas[:, skin][:, points].astype(np.float32),
        landmark_chain=movement.chain[skin][points].astype(np.float32), neutral=movement.neutral,
    )  # fmt: skip


def _morph(kit: Kit, person: SyntheticPerson) -> np.ndarray:
    """The base mesh `(19158, 3)` in the person's shape."""
    weights = np.zeros(len(kit.target_names), np.float32)
    for name, value in person.targets.items():
        weights[kit.target_names[name]] += value
    return kit.base + (kit.targets.T @ weights).reshape(-1, 3)


def _join_meshes(kit: Kit, person: SyntheticPerson, shape: np.ndarray) -> Meshes:
    """Put skin, eyes, teeth, tongue, brows, lashes, clothes and hair into one vertex array."""
    proxies = {"eyes": "eyes", "teeth": person.teeth, "tongue": "tongue", "brows": person.brows}
    proxies |= {"lashes": person.lashes, "clothes": person.clothes}
    if person.hair:
        proxies["hair"] = person.hair
    hidden = np.zeros(NUM_VERTICES, bool)
    hidden[kit.proxies[person.clothes].hidden] = True
    body = kit.faces[~hidden[kit.faces[:, :, 0]].all(1)]
    skin = np.unique(np.concatenate([body[:, :, 0].ravel(), LANDMARK_VERTICES]))
    renumber = np.zeros(NUM_VERTICES, np.int64)
    renumber[skin] = np.arange(len(skin))

    ones = np.ones(len(skin))
    mappings = [sparse.csr_matrix((ones, (np.arange(len(skin)), skin)), (len(skin), NUM_VERTICES))]
    offsets, uvs, rows = [np.zeros((len(skin), 3))], [kit.uv], {"skin": slice(0, len(skin))}
    triangles = {"skin": _triangulate(np.stack([renumber[body[:, :, 0]], body[:, :, 1]], -1))}
    vertex, coordinate = len(skin), len(kit.uv)
    for name, style in proxies.items():
        proxy = kit.proxies[style]
        mapping, offset = _fit_proxy(proxy, shape)
        mappings.append(mapping)
        offsets.append(offset * (person.hair_volume if name == "hair" else 1.0))
        quads = _without_cornea(proxy) if name == "eyes" else proxy.faces
        triangles[name] = _triangulate(np.stack([quads[..., 0] + vertex, quads[..., 1] + coordinate], -1))
        uvs.append(proxy.uv)
        rows[name] = slice(vertex, vertex + len(proxy.verts))
        vertex, coordinate = vertex + len(proxy.verts), coordinate + len(proxy.uv)
    mapping = sparse.vstack(mappings).tocsr().astype(np.float32)
    offset = np.concatenate(offsets).astype(np.float32)
    return Meshes(mapping, offset, np.concatenate(uvs), triangles, rows, skin)


def _fit_proxy(proxy: Proxy, shape: np.ndarray) -> tuple[sparse.csr_matrix, np.ndarray]:
    """The linear map `(P, 19158)` from base vertices to those of a proxy, and the constant offsets `(P, 3)`."""
    count = len(proxy.verts)
    index = (np.repeat(np.arange(count), 3), proxy.verts.ravel())
    mapping = sparse.csr_matrix((proxy.weights.ravel(), index), (count, NUM_VERTICES))
    a, b = proxy.scale[:, 0].astype(int), proxy.scale[:, 1].astype(int)
    scale = np.abs(shape[a] - shape[b])[range(3), range(3)] / proxy.scale[:, 2]
    return mapping, proxy.offset * scale


def _without_cornea(eyes: Proxy) -> np.ndarray:
    """Faces of the eyeballs: highlights are shaded, so the shell on the transparent disc of the texture goes."""
    centre = eyes.uv[eyes.faces[:, :, 1]].mean(1)
    return eyes.faces[np.hypot(centre[:, 0] - 0.93, centre[:, 1] - 0.93) > 0.07]


def _triangulate(quads: np.ndarray) -> np.ndarray:
    """Triangles `(T, 3, 2)` of quads `(F, 4, 2)` whose last corner may be doubled."""
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return triangles[triangles[:, 1, 0] != triangles[:, 2, 0]]


def _linearise(kit: Kit, person: SyntheticPerson, shape: np.ndarray, joints: np.ndarray, meshes: Meshes) -> Movement:
    """Evaluate every control where something depends on the base vertex, and make the relaxed face the rest state."""
    used = np.unique(np.concatenate([meshes.mapping.indices, meshes.skin]))
    mapping, weights, vertices = meshes.mapping[:, used], kit.skin_weights[used], shape[used]
    deltas = term_deltas(kit, person, used, joints, vertices, weights)  # (K, used, 3)
    flat = np.ascontiguousarray(deltas.transpose(1, 0, 2).reshape(len(used), -1))
    moved = (mapping @ flat).reshape(-1, len(TERMS), 3).transpose(1, 0, 2)  # (K, V, 3)
    rest = mapping @ (vertices + relax_arms(kit, joints, vertices, weights)) + meshes.offset
    chain = np.clip(np.asarray(mapping @ (weights @ chain_of_bones(kit))), 0, None)
    chain /= np.maximum(chain.sum(1, keepdims=True), 1e-6)

    neutral = np.zeros(len(TERMS), np.float32)
    neutral[: len(RECIPES)] = controls_from(**person.relaxed)[: len(RECIPES)]
    for name in BOWED:
        neutral[TERM[f"{name}~"]] = 4 * neutral[TERM[name]] * (1 - neutral[TERM[name]])
    return Movement(rest + np.tensordot(neutral, moved, 1), moved, chain[:, 1:], neutral)


def _split_at_seams(meshes: Meshes, movement: Movement) -> tuple:
    """Give each pair of vertex and texture coordinate a render vertex, with normals.

    Returns:
        `rest` `(N, 6)`, `deltas` `(K, N, 6)`, `uv` `(N, 2)`, `chain` `(N, 4)` and the triangles by mesh, as in `Head`.
    """
    corners = np.concatenate(list(meshes.triangles.values()))  # (T, 3, 2)
    normals_of = _normal_operator(corners[:, :, 0], len(movement.rest))
    normal = normals_of(movement.rest)
    normal_deltas = np.stack([normals_of(movement.rest + d) - normal for d in movement.deltas])

    pairs = corners.reshape(-1, 2)
    key = pairs[:, 0].astype(np.int64) * len(meshes.uv) + pairs[:, 1]
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    split = pairs[first]  # (N, 2)
    parts, position = {}, 0
    for name, t in meshes.triangles.items():
        parts[name] = inverse[position * 3 : (position + len(t)) * 3].reshape(-1, 3).astype(np.int32)
        position += len(t)
    rest = np.concatenate([movement.rest, normal], 1)[split[:, 0]].astype(np.float32)
    deltas = np.concatenate([movement.deltas, normal_deltas], 2)[:, split[:, 0]].astype(np.float32)
    uv, chain = meshes.uv[split[:, 1]].astype(np.float32), movement.chain[split[:, 0]].astype(np.float32)
    return rest, deltas, uv, chain, parts


def _add_rigid(name: str, vertices, triangles, rest, deltas, uv, chain, parts: dict) -> tuple:
    """Add a mesh that follows the skull: vertices with normals `(V, 6)`, triangles `(T, 3)`; the rest as in `Head`."""
    parts[name] = (triangles + len(rest)).astype(np.int32)
    count = len(vertices)
    return (
        np.concatenate([rest, vertices.astype(np.float32)]),
        np.concatenate([deltas, np.zeros((len(deltas), count, 6), np.float32)], 1),
        np.concatenate([uv, np.zeros((count, 2), np.float32)]),
        np.concatenate([chain, np.tile(np.float32([0, 0, 0, 1]), (count, 1))]),
    )


def _normal_operator(triangles: np.ndarray, count: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from vertices `(count, 3)` to unit normals, weighted by area."""
    index = (triangles.ravel(), np.repeat(np.arange(len(triangles)), 3))
    gather = sparse.csr_matrix((np.ones(triangles.size, np.float32), index), (count, len(triangles)))
    i, j, k = triangles.T

    def normals(x: np.ndarray) -> np.ndarray:
        a, b = x[j] - x[i], x[k] - x[i]
        face = np.empty_like(a, dtype=np.float32)
        face[:, 0] = a[:, 1] * b[:, 2] - a[:, 2] * b[:, 1]
        face[:, 1] = a[:, 2] * b[:, 0] - a[:, 0] * b[:, 2]
        face[:, 2] = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
        n = gather @ face
        return n / np.maximum(np.sqrt((n * n).sum(1, keepdims=True)), 1e-12)

    return normals
