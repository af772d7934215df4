"""A person's head as a linear model: `vertices = rest + controls @ deltas`, then a rigid chain for neck and head.

All meshes of a person (skin, eyes, teeth, hair, clothes ...) share one vertex array, so that one matrix product moves
everything. Axes: y up, z forward, +x = the person's left; unit: decimetre.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from .assets import CHAIN, ETHNICITIES, LANDMARK_VERTICES, NUM_VERTICES, Kit, Proxy
from .identity import Person
from .motion import CONTROLS, GAZE, INDEX, RECIPES, controls_from

CHAIN_SHARE = np.array([0.13, 0.16, 0.18, 0.53])  # how much of the head pose each joint of CHAIN takes
LID_PAIRS = {"left": ((43, 47), (44, 46)), "right": ((37, 41), (38, 40))}  # upper and lower lid landmarks
BOWED = ("jaw_open", "blink_left", "blink_right")  # rotations large enough to need a second-order term
TERMS: tuple[str, ...] = (*RECIPES, "gaze_x+", "gaze_x-", "gaze_y+", "gaze_y-", *(f"{n}~" for n in BOWED))
TERM = {name: i for i, name in enumerate(TERMS)}


@dataclass
class Head:
    """Geometry of one person, ready to move. N render vertices, K terms."""

    rest: np.ndarray  # (N, 6) position and normal
    deltas: np.ndarray  # (K, N * 6)
    uv: np.ndarray  # (N, 2) v downward
    chain: np.ndarray  # (N, 4) weights of CHAIN; the rest belongs to the torso
    parts: dict[str, np.ndarray]  # part -> (T, 3) triangles over render vertices
    joints: np.ndarray  # (4, 3) joint positions of CHAIN
    landmarks: np.ndarray  # (68, 3)
    landmark_deltas: np.ndarray  # (K, 68, 3)
    landmark_chain: np.ndarray  # (68, 4)
    neutral: np.ndarray  # (K,) term weights of the neutral face, already in `rest`

    def weights(self, controls: np.ndarray) -> np.ndarray:
        """Turn controls `(T, len(CONTROLS))` into term weights `(T, K)`; closes the lids exactly at blink = 1."""
        w = np.zeros((len(controls), len(TERMS)), np.float32)
        w[:, : len(RECIPES)] = controls[:, : len(RECIPES)]
        for axis in GAZE:
            w[:, TERM[f"{axis}+"]] = np.maximum(controls[:, INDEX[axis]], 0)
            w[:, TERM[f"{axis}-"]] = np.maximum(-controls[:, INDEX[axis]], 0)
        jaw = w[:, TERM["jaw_open"]]
        w[:, TERM["jaw_open~"]] = 4 * jaw * (1 - jaw)
        for side in ("left", "right"):
            blink, bow = TERM[f"blink_{side}"], TERM[f"blink_{side}~"]
            gap = _lid_gap(self.landmark_deltas, side)  # (K,)
            wanted = w[:, blink].copy()
            w[:, [blink, bow]] = 0
            open_gap = np.maximum(_lid_gap(self.landmarks[None], side) + w @ gap, 0.002)
            start = self.neutral[blink]  # the relaxed lid is already part of the way down
            low, high = np.zeros(len(w)), np.full(len(w), 1.8)
            for _ in range(12):  # bisection on the extra lid rotation that closes the gap
                u = (low + high) / 2
                closed = open_gap + u * gap[blink] + _bow(start, u) * gap[bow] > 0
                low, high = np.where(closed, u, low), np.where(closed, high, u)
            u = wanted * (low + high) / 2
            w[:, blink], w[:, bow] = u, _bow(start, u)
        return w

    def deform(self, controls: np.ndarray) -> np.ndarray:
        """Return positions and normals `(T, N, 6)` float32 before the head pose."""
        moved = self.weights(controls) @ self.deltas
        moved += self.rest.reshape(1, -1)
        return moved.reshape(len(controls), -1, 6)

    def chain_matrices(self, pose: np.ndarray) -> np.ndarray:
        """Return the rigid transforms `(T, 5, 4, 4)` of torso and CHAIN for poses `(T, 3)` in degrees."""
        out = np.tile(np.eye(4, dtype=np.float64), (len(pose), 5, 1, 1))
        for k, (share, joint) in enumerate(zip(CHAIN_SHARE, self.joints, strict=True), start=1):
            yaw, pitch, roll = np.radians(pose * share).T
            local = np.tile(np.eye(4), (len(pose), 1, 1))
            local[:, :3, :3] = _rot(1, -yaw) @ _rot(0, pitch) @ _rot(2, -roll)
            local[:, :3, 3] = joint - local[:, :3, :3] @ joint
            out[:, k] = out[:, k - 1] @ local
        return out.astype(np.float32)

    def landmarks_at(self, controls: np.ndarray, pose: np.ndarray) -> np.ndarray:
        """Return posed landmarks `(T, 68, 3)` in decimetres."""
        x = self.landmarks + np.einsum("tk,kld->tld", self.weights(controls), self.landmark_deltas)
        weights = np.concatenate([1 - self.landmark_chain.sum(1, keepdims=True), self.landmark_chain], 1)
        matrices = np.einsum("lb,tbij->tlij", weights, self.chain_matrices(pose))
        return (matrices[..., :3, :3] @ x[..., None])[..., 0] + matrices[..., :3, 3]

    def mouth_opening(self, controls: np.ndarray) -> np.ndarray:
        """Return the gap between the inner lips `(T,)` in decimetres."""
        pairs = np.array([(61, 67), (62, 66), (63, 65)])
        gap = (self.landmark_deltas[:, pairs[:, 0], 1] - self.landmark_deltas[:, pairs[:, 1], 1]).max(1)
        rest = (self.landmarks[pairs[:, 0], 1] - self.landmarks[pairs[:, 1], 1]).max()
        return np.maximum(rest + self.weights(controls) @ gap, 0)

    def lids_shut(self, controls: np.ndarray) -> np.ndarray:
        """Return how far the left and the right eye are shut `(T, 2)`, 0 as at rest and 1 when the lids meet."""
        weights = self.weights(controls)
        rest = [_lid_gap(self.landmarks[None], side) for side in LID_PAIRS]
        moved = [weights @ _lid_gap(self.landmark_deltas, side) for side in LID_PAIRS]
        shut = -np.stack(moved, 1) / np.maximum(np.concatenate(rest), 0.002)
        return np.clip(shut, 0, 1).astype(np.float32)


def build_head(kit: Kit, person: Person) -> Head:
    """Morph the base, fit the proxies and linearise every control."""
    shape = _morph(kit, person)
    joints = (kit.joints @ shape).astype(np.float64)

    meshes: dict[str, Proxy | None] = {"skin": None, "eyes": kit.proxies["eyes"]}
    meshes |= {"teeth": kit.proxies[person.teeth], "tongue": kit.proxies["tongue"]}
    meshes |= {"brows": kit.proxies[person.brows], "lashes": kit.proxies[person.lashes]}
    meshes["clothes"] = kit.proxies[person.clothes]
    if person.hair:
        meshes["hair"] = kit.proxies[person.hair]

    # Linear map from base vertices to all mesh vertices, and the constant offsets of the proxies.
    body = kit.faces
    hidden = np.zeros(NUM_VERTICES, bool)
    hidden[meshes["clothes"].hidden] = True
    body = body[~hidden[body[:, :, 0]].all(1)]
    skin_ids = np.unique(np.concatenate([body[:, :, 0].ravel(), LANDMARK_VERTICES]))
    rows, offsets, uvs, faces, owner = [], [], [], {}, {}
    start = 0
    for name, proxy in meshes.items():
        if proxy is None:
            renumber = np.zeros(NUM_VERTICES, np.int64)
            renumber[skin_ids] = np.arange(len(skin_ids))
            count = len(skin_ids)
            rows.append(sparse.csr_matrix((np.ones(count), (np.arange(count), skin_ids)), (count, NUM_VERTICES)))
            offsets.append(np.zeros((count, 3)))
            quads, uv = np.stack([renumber[body[:, :, 0]], body[:, :, 1]], -1), kit.uv
        else:
            count = len(proxy.verts)
            index = (np.repeat(np.arange(count), 3), proxy.verts.ravel())
            rows.append(sparse.csr_matrix((proxy.weights.ravel(), index), (count, NUM_VERTICES)))
            a, b = proxy.scale[:, 0].astype(int), proxy.scale[:, 1].astype(int)
            scale = np.abs(shape[a] - shape[b])[range(3), range(3)] / proxy.scale[:, 2]
            offsets.append(proxy.offset * scale * (person.hair_volume if name == "hair" else 1.0))
            quads, uv = proxy.faces, proxy.uv
            if name == "eyes":  # the transparent disc of the texture is the cornea shell: highlights are shaded instead
                centre = uv[quads[:, :, 1]].mean(1)
                quads = quads[np.hypot(centre[:, 0] - 0.93, centre[:, 1] - 0.93) > 0.07]
        faces[name] = np.stack([quads[..., 0] + start, quads[..., 1] + sum(map(len, uvs))], -1)
        uvs.append(uv)
        owner[name] = slice(start, start + count)
        start += count
    mapping = sparse.vstack(rows).tocsr().astype(np.float32)
    offset = np.concatenate(offsets).astype(np.float32)

    # Skinning is evaluated only where something depends on the base vertex.
    used = np.unique(np.concatenate([mapping.indices, skin_ids]))
    mapping = mapping[:, used]
    bone_weights = kit.skin_weights[used]
    rest_shape = shape[used]
    targets = {name: _expression(kit, person, name)[used] for name in _target_names()}
    deltas = _term_deltas(kit, joints, rest_shape, bone_weights, targets)  # (K, used, 3)
    rest_shape = rest_shape + _relax_arms(kit, joints, rest_shape, bone_weights)
    rest = mapping @ rest_shape + offset
    flat = np.ascontiguousarray(deltas.transpose(1, 0, 2).reshape(len(used), -1))
    moved = (mapping @ flat).reshape(-1, len(TERMS), 3).transpose(1, 0, 2)  # (K, V, 3)
    chain_of_bone = _chain_of_bone(kit)
    chain = mapping @ (bone_weights @ chain_of_bone)
    chain = np.clip(np.asarray(chain), 0, None)
    chain /= np.maximum(chain.sum(1, keepdims=True), 1e-6)
    chain = chain[:, 1:]

    # The relaxed face becomes the rest state.
    landmark_rows = np.searchsorted(skin_ids, LANDMARK_VERTICES)
    neutral = np.zeros(len(TERMS), np.float32)
    neutral[: len(RECIPES)] = controls_from(**person.relaxed)[: len(RECIPES)]
    for name in BOWED:
        neutral[TERM[f"{name}~"]] = 4 * neutral[TERM[name]] * (1 - neutral[TERM[name]])
    rest = rest + np.tensordot(neutral, moved, 1)

    # Glasses and hats are made from the fitted head and follow the skull.
    triangles = {name: _triangulate(quads) for name, quads in faces.items()}
    corners = np.concatenate(list(triangles.values()))  # (T, 3, 2)
    all_uv = np.concatenate(uvs)
    normals_of = _normal_operator(corners[:, :, 0], len(rest))
    normal = normals_of(rest)
    normal_deltas = np.stack([normals_of(rest + d) - normal for d in moved])

    pairs = corners.reshape(-1, 2)
    key = pairs[:, 0].astype(np.int64) * len(all_uv) + pairs[:, 1]
    unique, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    split = pairs[first]  # (N, 2)
    parts, position = {}, 0
    for name, t in triangles.items():
        parts[name] = inverse[position * 3 : (position + len(t)) * 3].reshape(-1, 3).astype(np.int32)
        position += len(t)
    packed = np.concatenate([rest, normal], 1)[split[:, 0]].astype(np.float32)
    packed_deltas = np.concatenate([moved, normal_deltas], 2)[:, split[:, 0]].astype(np.float32)
    uv, chain_split = all_uv[split[:, 1]].astype(np.float32), chain[split[:, 0]].astype(np.float32)

    landmarks = rest[owner["skin"]][landmark_rows]
    extra = []
    if person.glasses:
        extra.append(("glasses", *_glasses(person.glasses, rest, owner, landmarks, kit.base[skin_ids])))
    for name, mesh_rest, mesh_triangles in extra:
        parts[name] = (mesh_triangles + len(packed)).astype(np.int32)
        packed = np.concatenate([packed, mesh_rest.astype(np.float32)])
        blank = np.zeros((len(packed_deltas), len(mesh_rest), 6), np.float32)
        packed_deltas = np.concatenate([packed_deltas, blank], 1)
        uv = np.concatenate([uv, np.zeros((len(mesh_rest), 2), np.float32)])
        chain_split = np.concatenate([chain_split, np.tile(np.float32([0, 0, 0, 1]), (len(mesh_rest), 1))])

    if "hair" in parts:  # inside out, so that soft edges blend over what lies below
        centre = landmarks[27] - np.array([0, 0, 1.1])
        distance = np.linalg.norm(packed[parts["hair"], :3].mean(1) - centre, axis=1)
        parts["hair"] = parts["hair"][np.argsort(distance)]

    chain_rows = [kit.bones.index(b) for b in CHAIN]
    head = Head(
        rest=packed, deltas=np.ascontiguousarray(packed_deltas.reshape(len(TERMS), -1)), uv=uv, chain=chain_split,
        parts=parts, joints=joints[chain_rows], landmarks=landmarks.astype(np.float32),
        landmark_deltas=moved[:, owner["skin"]][:, landmark_rows].astype(np.float32),
        landmark_chain=chain[owner["skin"]][landmark_rows].astype(np.float32), neutral=neutral,
    )  # fmt: skip
    return head


# ------------------------------------------------------------------------------------------------------ ingredients


def _morph(kit: Kit, person: Person) -> np.ndarray:
    weights = np.zeros(len(kit.target_names), np.float32)
    for name, value in person.targets.items():
        weights[kit.target_names[name]] += value
    return kit.base + (kit.targets.T @ weights).reshape(-1, 3)


def _target_names() -> list[str]:
    recipes = [*RECIPES.values(), *(r for pair in GAZE.values() for r in pair)]
    return sorted({key.split("@")[0] for r in recipes for key in r if "-" in key})


def _expression(kit: Kit, person: Person, name: str) -> np.ndarray:
    """Return the delta `(19158, 3)` of an expression target, mixed over the person's ethnicity."""
    rows = [kit.target_names[f"expression/units/{e}/{name}"] for e in ETHNICITIES]
    mix = kit.targets[rows].T @ person.ethnicity.astype(np.float32)
    return mix.reshape(-1, 3)


def _rot(axis: int, angle: np.ndarray) -> np.ndarray:
    """Rotation matrices `(..., 3, 3)` about one axis, angle in radians, column vectors."""
    c, s = np.cos(angle), np.sin(angle)
    out = np.zeros((*np.shape(angle), 3, 3))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    out[..., axis, axis] = 1
    out[..., i, i], out[..., j, j], out[..., i, j], out[..., j, i] = c, c, -s, s
    return out


def _bone_transforms(kit: Kit, joints: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Accumulate joint rotations `(U, bones, 3)` in degrees to affine maps `(U, bones, 3, 4)`."""
    r = np.radians(angles)
    local = _rot(0, r[..., 0]) @ _rot(1, r[..., 1]) @ _rot(2, r[..., 2])
    shift = joints - (local @ joints[..., None])[..., 0]
    out = np.zeros((*angles.shape[:2], 3, 4))
    for b, parent in enumerate(kit.parents):
        if parent < 0:
            out[:, b, :, :3], out[:, b, :, 3] = local[:, b], shift[:, b]
        else:
            up = out[:, parent]
            out[:, b, :, :3] = up[..., :3] @ local[:, b]
            out[:, b, :, 3] = (up[..., :3] @ shift[:, b, :, None])[..., 0] + up[..., 3]
    return out


def _skin_deltas(kit: Kit, joints, vertices, bone_weights, angles) -> np.ndarray:
    """Skin `vertices` with every set of angles `(U, bones, 3)` and return what moved `(U, V, 3)`."""
    maps = _bone_transforms(kit, joints, angles)
    maps[..., :3] -= np.eye(3)
    flat = maps.transpose(1, 0, 2, 3).reshape(len(kit.bones), -1).astype(np.float32)
    mixed = np.asarray(bone_weights @ flat).reshape(len(vertices), len(angles), 3, 4)
    out = np.einsum("vuij,vj->uvi", mixed[..., :3], vertices.astype(np.float32), optimize=True)
    return out + mixed[..., 3].transpose(1, 0, 2)


def _term_deltas(kit: Kit, joints, vertices, bone_weights, targets: dict[str, np.ndarray]) -> np.ndarray:
    recipes = dict(RECIPES)
    for axis, (plus, minus) in GAZE.items():
        recipes |= {f"{axis}+": plus, f"{axis}-": minus}
    names = sorted({key for r in recipes.values() for key in r if "-" not in key})
    rows = [kit.units[n] for n in names]
    deltas = dict(zip(names, _skin_deltas(kit, joints, vertices, bone_weights, kit.unit_angles[rows]), strict=True))
    left = np.clip(0.5 + vertices[:, :1] / 0.24, 0, 1)
    for key, delta in targets.items():
        deltas |= {key: delta, f"{key}@l": delta * left, f"{key}@r": delta * (1 - left)}
    out = np.zeros((len(TERMS), len(vertices), 3), np.float32)
    for name, recipe in recipes.items():
        for key, weight in recipe.items():
            out[TERM[name]] += weight * deltas[key]
    units = ["JawDrop", "LeftUpperLidClosed", "RightUpperLidClosed"]
    angles = kit.unit_angles[[kit.units[n] for n in units]] * 0.5
    for name, unit, half in zip(BOWED, units, _skin_deltas(kit, joints, vertices, bone_weights, angles), strict=True):
        out[TERM[f"{name}~"]] = half - 0.5 * deltas[unit]
    return out


def _relax_arms(kit: Kit, joints, vertices, bone_weights) -> np.ndarray:
    angles = np.zeros((1, len(kit.bones), 3))
    for side, sign in (("L", -1), ("R", 1)):
        angles[0, kit.bones.index(f"upperarm01.{side}"), 2] = 30 * sign
        angles[0, kit.bones.index(f"clavicle.{side}"), 2] = 6 * sign
    return _skin_deltas(kit, joints, vertices, bone_weights, angles)[0]


def _chain_of_bone(kit: Kit) -> np.ndarray:
    """Return `(bones, 5)`: the torso or the link of CHAIN that carries each bone."""
    out = np.zeros((len(kit.bones), 5), np.float32)
    for b in range(len(kit.bones)):
        link = b
        while link >= 0 and kit.bones[link] not in CHAIN:
            link = kit.parents[link]
        out[b, 0 if link < 0 else 1 + CHAIN.index(kit.bones[link])] = 1
    return out


def _triangulate(quads: np.ndarray) -> np.ndarray:
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return triangles[triangles[:, 1, 0] != triangles[:, 2, 0]]


def _normal_operator(triangles: np.ndarray, count: int):
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


def _bow(start: float, u: np.ndarray) -> np.ndarray:
    """Second-order weight of moving on from `start` by `u`: 4x(1-x) at the end minus the part already in the rest."""
    return 4 * (start + u) * (1 - start - u) - 4 * start * (1 - start)


def _lid_gap(landmarks: np.ndarray, side: str) -> np.ndarray:
    """Mean vertical distance `(...,)` between the lids of landmarks (or of their deltas) `(..., 68, 3)`."""
    (a, b), (c, d) = LID_PAIRS[side]
    return (landmarks[..., a, 1] - landmarks[..., b, 1] + landmarks[..., c, 1] - landmarks[..., d, 1]) / 2


def _glasses(
    style: dict, rest: np.ndarray, owner: dict, landmarks: np.ndarray, skin_base: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Two rims, a bridge and two temples as tubes: vertices with normals `(V, 6)` and triangles `(T, 3)`."""
    skin = rest[owner["skin"]]
    brows_lashes = np.concatenate([rest[owner["brows"]], rest[owner["lashes"]]])
    eyes = np.stack([landmarks[36:42].mean(0), landmarks[42:48].mean(0)])
    apart = abs(eyes[1, 0] - eyes[0, 0])
    half_w = 0.43 * apart * style["width"]
    half_h = half_w * style["height"]
    centre_y = eyes[:, 1].mean() - 0.25 * half_h
    near = skin[(abs(abs(skin[:, 0]) - apart / 2) < half_w) & (abs(skin[:, 1] - centre_y) < half_h)]
    side = near[abs(near[:, 0]) > 0.3 * apart]
    front = max(np.percentile(side[:, 2], 98), brows_lashes[:, 2].max() - 0.03) + 0.05
    r = style["thickness"] / 2

    tubes = []
    t = np.linspace(0, 2 * np.pi, 41)
    power = 2 / style["square"]
    c, s = np.sign(np.cos(t)) * abs(np.cos(t)) ** power, np.sign(np.sin(t)) * abs(np.sin(t)) ** power
    for sign in (-1, 1):
        x = sign * apart / 2 + half_w * c
        tubes.append(np.stack([x, centre_y + half_h * s, front - 0.12 * (abs(x) / apart) ** 2], 1))
    inner = apart / 2 - half_w
    t = np.linspace(-1, 1, 9)
    bridge = np.stack([t * inner, centre_y + half_h * (0.35 + 0.12 * (1 - t**2)), front + 0.02 * (1 - t**2)], 1)
    tubes.append(bridge)
    ear = (abs(skin_base[:, 0]) > 0.66) & (abs(skin_base[:, 1] - 7.35) < 0.14) & (abs(skin_base[:, 2] - 0.25) < 0.2)
    for sign in (-1, 1):
        top = skin[ear & (skin_base[:, 0] * sign > 0)]
        reach = (top[:, 0] * sign).max()
        corner = front - 0.12 * (0.5 + half_w / apart) ** 2
        start = np.array([sign * (apart / 2 + half_w), centre_y + half_h * 0.35, corner])
        hinge = np.array([sign * max(apart / 2 + half_w + 0.02, 0.93 * reach), start[1] + 0.02, start[2] - 0.15])
        end = np.array([sign * reach * 0.97, eyes[:, 1].mean() + 0.1, top[:, 2].mean()])
        tubes.append(np.stack([start, hinge, hinge * 0.5 + end * 0.5, end]))
    vertices, triangles, n = [], [], 0
    for line in tubes:
        direction = np.gradient(line, axis=0)
        direction /= np.linalg.norm(direction, axis=1, keepdims=True) + 1e-9
        up = np.where(abs(direction[:, 2:]) > 0.8, [[0.0, 1, 0]], [[0.0, 0, 1]])
        a = np.cross(direction, up)
        a /= np.linalg.norm(a, axis=1, keepdims=True)
        b = np.cross(direction, a)
        angle = np.arange(6) * np.pi / 3
        ring = np.cos(angle)[None, :, None] * a[:, None] + np.sin(angle)[None, :, None] * b[:, None]
        vertices.append(np.concatenate([line[:, None] + r * ring, ring], -1).reshape(-1, 6))
        i = np.arange(len(line) - 1)[:, None] * 6 + np.arange(6)
        j = np.arange(len(line) - 1)[:, None] * 6 + (np.arange(6) + 1) % 6
        quads = np.stack([i, j, j + 6, i + 6], -1).reshape(-1, 4)
        triangles.append(np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]) + n)
        n += len(line) * 6
    return np.concatenate(vertices), np.concatenate(triangles)


def frame_of_face(landmarks: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the centre `(3,)` and half extent (dm) of an FFHQ-like crop around neutral landmarks `(68, 3)`."""
    eyes = np.stack([landmarks[36:42].mean(0), landmarks[42:48].mean(0)])
    middle = eyes.mean(0)
    down = (landmarks[48] + landmarks[54]) / 2 - middle
    half = max(2.0 * np.linalg.norm(eyes[1] - eyes[0]), 1.8 * np.linalg.norm(down))
    return middle + 0.1 * down, float(half)


assert len(CONTROLS) == len(RECIPES) + len(GAZE)
