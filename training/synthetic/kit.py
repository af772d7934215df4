"""The `Kit`: what all people are made from, as flat arrays. `assets.py` loads it.

Axes: right-handed, y up, z forward, +x = the person's left. Unit: decimetre. Texture rows run downward.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy import sparse

CUT_HEIGHT = 4.4  # dm; everything below is never in the image
NUM_VERTICES = 19158

# 68 landmarks in iBUG order, as vertex ids of base.obj.
LANDMARK_VERTICES = np.array(
    "867 5235 270 736 5240 915 5295 5293 5225 11899 11901 7617 11849 7456 7039 11844 7572 "
    "211 179 170 174 166 6943 6950 6946 6955 6986 133 131 201 297 358 314 343 7077 7119 "
    "6781 6757 6763 6769 6772 6776 13365 13359 13353 13377 13372 13368 "
    "422 447 460 466 7219 7207 7182 7233 7245 496 490 478 431 470 474 7226 7191 7236 493 481".split(),
    dtype=np.int64,
)

HAIR_STYLES = ("short01", "short02", "short03", "short04", "bob02", "braid01", "long01", "ponytail01", "afro01")
CLOTHES = (
    "male_casualsuit04", "male_casualsuit06", "male_elegantsuit01",
    "female_casualsuit01", "female_elegantsuit01", "female_sportsuit01",
)  # fmt: skip
BROW_STYLES = tuple(f"eyebrow{i:03d}" for i in range(1, 13))
LASH_STYLES = tuple(f"eyelashes{i:02d}" for i in range(1, 5))
TEETH_STYLES = ("teeth_base", "teeth_shape01", "teeth_shape03")
EYE_COLOURS = ("brown", "brownlight", "blue", "lightblue", "deepblue", "bluegreen", "green", "grey", "ice")
ETHNICITIES = ("caucasian", "asian", "african")
SKINS = (
    "middleage_darkskinned_female_diffuse", "middleage_darkskinned_male_diffuse",
    "middleage_lightskinned_female_diffuse2", "middleage_lightskinned_male_diffuse",
    "middleage_lightskinned_male_diffuse2", "old_darkskinned_female_diffuse", "old_darkskinned_male_diffuse",
    "young_darkskinned_male_diffuse", "young_lightskinned_female_diffuse2", "young_lightskinned_female_diffuse3",
    "young_lightskinned_male_diffuse", "young_lightskinned_male_diffuse2", "young_lightskinned_male_diffuse3",
)  # fmt: skip
TARGETS = (
    "macrodetails", "head", "forehead", "eyebrows", "neck", "eyes", "nose", "mouth", "ears", "chin", "cheek", "asym",
    "expression/units/caucasian", "expression/units/asian", "expression/units/african",
)  # fmt: skip
CHAIN = ("neck01", "neck02", "neck03", "head")

# Skin atlas: islands of the full-body UV map that a portrait shows, packed into a 1 : 2 image.
# (u0, v0, u1, v1) of the source with v downward -> (x, y) corner and scale in units of the atlas width 1024.
ATLAS_WIDTH, ATLAS_HEIGHT = 1024, 2048
ATLAS_ISLANDS = (
    ((0.625, 0.165, 1.000, 1.000), (4, 4), 1.0),  # head and inside of the mouth
    ((0.105, 0.005, 0.660, 0.345), (4, 1722), 0.46),  # neck and shoulders
    ((0.000, 0.350, 0.165, 0.470), (800, 4), 0.46),  # eye sockets
)


@dataclass
class Proxy:
    """A mesh fitted to the base: `position = sum(weights * base[verts]) + offset * scale` (P vertices, F quads)."""

    verts: np.ndarray  # (P, 3) base vertex ids
    weights: np.ndarray  # (P, 3)
    offset: np.ndarray  # (P, 3) dm
    scale: np.ndarray  # (3, 3): base vertex a, base vertex b, divisor, one row per axis
    uv: np.ndarray  # (U, 2) v downward
    faces: np.ndarray  # (F, 4, 2) vertex and uv ids; triangles repeat their last corner
    hidden: np.ndarray  # base vertices covered by this proxy


@dataclass
class Kit:
    """The parsed assets. Arrays load lazily from the cache, so a worker starts in well under a second."""

    base: np.ndarray  # (19158, 3)
    faces: np.ndarray  # (F, 4, 2) body faces above CUT_HEIGHT: vertex and atlas uv ids
    uv: np.ndarray  # (U, 2) in the skin atlas, v downward
    target_names: dict[str, int]
    targets: sparse.csr_matrix  # (targets, 3 * 19158)
    modifiers: list[tuple[str, str, str | None, str | None]]  # group, target, min, max
    bones: list[str]
    parents: np.ndarray  # (bones,), -1 for the root
    joints: sparse.csr_matrix  # (bones, 19158): head joint = joints @ vertices
    skin_weights: sparse.csr_matrix  # (19158, bones)
    units: dict[str, int]
    unit_angles: np.ndarray  # (units, bones, 3) degrees about global x, y, z
    positions: np.ndarray  # (1024, 512, 3) base position at each texel of the half-size atlas
    coverage: np.ndarray  # (1024, 512) bool
    archive: Path
    proxies: dict[str, Proxy] = field(default_factory=dict)
    masks: dict[str, np.ndarray] = field(default_factory=dict)  # of the skin, filled by `paint.skin_masks`
    _textures: OrderedDict = field(default_factory=OrderedDict)

    def texture(self, name: str) -> np.ndarray:
        """Return the texture `name` (uint8), keeping the last few in memory."""
        if name not in self._textures:
            with np.load(self.archive) as arrays:
                self._textures[name] = arrays[f"texture/{name}"]
            while len(self._textures) > 24:
                self._textures.popitem(last=False)
        self._textures.move_to_end(name)
        return self._textures[name]
