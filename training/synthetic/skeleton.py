"""Bones: joint rotations become linear deltas of the base mesh, and every control becomes one delta of it."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from training.synthetic.head import BOWED, TERM, TERMS, rotation
from training.synthetic.kit import CHAIN, ETHNICITIES, Kit
from training.synthetic.motion import GAZE, RECIPES
from training.synthetic.person import SyntheticPerson


def term_deltas(
    kit: Kit, person: SyntheticPerson, used: np.ndarray, joints: np.ndarray, vertices: np.ndarray, weights
) -> np.ndarray:
    """What every term adds to the base mesh.

    Args:
        kit (`Kit`): The parsed assets.
        person (`SyntheticPerson`): Whose ethnicity mixes the sculpted expressions.
        used (`np.ndarray` of shape `(V,)`): Base vertices that are needed.
        joints (`np.ndarray` of shape `(bones, 3)`): Joint positions, dm.
        vertices (`np.ndarray` of shape `(V, 3)`): The person's shape at `used`, dm.
        weights (`scipy.sparse.csr_matrix` of shape `(V, bones)`): Skin weights at `used`.

    Returns:
        `np.ndarray` of shape `(len(TERMS), V, 3)`, float32: dm at weight 1.
    """
    recipes = dict(RECIPES)
    for axis, (plus, minus) in GAZE.items():
        recipes |= {f"{axis}+": plus, f"{axis}-": minus}
    targets = sorted({key.split("@")[0] for r in recipes.values() for key in r if "-" in key})
    names = sorted({key for r in recipes.values() for key in r if "-" not in key})
    rows = [kit.units[n] for n in names]
    deltas = dict(zip(names, _skin_deltas(kit, joints, vertices, weights, kit.unit_angles[rows]), strict=True))
    left = np.clip(0.5 + vertices[:, :1] / 0.24, 0, 1)
    for key in targets:
        delta = _expression(kit, person, key)[used]
        deltas |= {key: delta, f"{key}@l": delta * left, f"{key}@r": delta * (1 - left)}
    out = np.zeros((len(TERMS), len(vertices), 3), np.float32)
    for name, recipe in recipes.items():
        for key, weight in recipe.items():
            out[TERM[name]] += weight * deltas[key]
    units = ["JawDrop", "LeftUpperLidClosed", "RightUpperLidClosed"]
    angles = kit.unit_angles[[kit.units[n] for n in units]] * 0.5
    for name, unit, half in zip(BOWED, units, _skin_deltas(kit, joints, vertices, weights, angles), strict=True):
        out[TERM[f"{name}~"]] = half - 0.5 * deltas[unit]
    return out


def relax_arms(kit: Kit, joints: np.ndarray, vertices: np.ndarray, weights: sparse.csr_matrix) -> np.ndarray:
    """What lowers the arms of the base mesh `(V, 3)`, dm; arguments as in `term_deltas`."""
    angles = np.zeros((1, len(kit.bones), 3))
    for side, sign in (("L", -1), ("R", 1)):
        angles[0, kit.bones.index(f"upperarm01.{side}"), 2] = 30 * sign
        angles[0, kit.bones.index(f"clavicle.{side}"), 2] = 6 * sign
    return _skin_deltas(kit, joints, vertices, weights, angles)[0]


def chain_of_bones(kit: Kit) -> np.ndarray:
    """Which link carries each bone: `(bones, 5)` float32, the torso or one of CHAIN."""
    out = np.zeros((len(kit.bones), 5), np.float32)
    for b in range(len(kit.bones)):
        link = b
        while link >= 0 and kit.bones[link] not in CHAIN:
            link = kit.parents[link]
        out[b, 0 if link < 0 else 1 + CHAIN.index(kit.bones[link])] = 1
    return out


def _expression(kit: Kit, person: SyntheticPerson, name: str) -> np.ndarray:
    """Delta `(19158, 3)` of an expression target, mixed over the person's ethnicity."""
    rows = [kit.target_names[f"expression/units/{e}/{name}"] for e in ETHNICITIES]
    mix = kit.targets[rows].T @ person.ethnicity.astype(np.float32)
    return mix.reshape(-1, 3)


def _bone_transforms(kit: Kit, joints: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Accumulate joint rotations `(U, bones, 3)` in degrees to affine maps `(U, bones, 3, 4)`."""
    r = np.radians(angles)
    local = rotation(0, r[..., 0]) @ rotation(1, r[..., 1]) @ rotation(2, r[..., 2])
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
