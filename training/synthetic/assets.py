"""Parse the CC0 MakeHuman assets once and keep them as one flat `Kit`.

Everything that depends on no particular person is computed here: meshes cut to head and shoulders, morph targets as
one sparse matrix, pose units, skin weights, proxies, and textures reduced to what the painter and the shaders read.
Axes: right-handed, y up, z forward, +x = the person's left. Unit: decimetre. Texture rows run downward.
"""

from __future__ import annotations

import errno
import json
import os
import zipfile
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from scipy import ndimage, sparse

from vivface.errors import OptionError

KIT_VERSION = 7
CUT_HEIGHT = 4.4  # dm; everything below is never in the picture
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

# Skin atlas: islands of the full-body UV map that a portrait shows, packed into a 1 : 2 picture.
# (u0, v0, u1, v1) of the source with v downward -> (x, y) corner and scale in units of the atlas width 1024.
ATLAS_WIDTH, ATLAS_HEIGHT = 1024, 2048
ATLAS_ISLANDS = (
    ((0.625, 0.165, 1.000, 1.000), (4, 4), 1.0),  # head and inside of the mouth
    ((0.105, 0.005, 0.660, 0.345), (4, 1722), 0.46),  # neck and shoulders
    ((0.000, 0.350, 0.165, 0.470), (800, 4), 0.46),  # eye sockets
)


_HOW = "see training/synthetic/README.md for where the assets come from"


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


def assets_folder(path: str | os.PathLike | None = None) -> Path:
    """Return the assets folder: the argument, else the environment variable `VIVFACE_ASSETS`.

    Raises:
        OptionError: If neither names a folder of MakeHuman assets.
    """
    path = path or os.environ.get("VIVFACE_ASSETS")
    if not path:
        raise OptionError(f"No folder of MakeHuman assets is given: pass one or set VIVFACE_ASSETS, {_HOW}.")
    if not (Path(path) / "3dobjs" / "base.obj").exists():
        raise OptionError(f"The assets folder {str(path)!r} does not hold 3dobjs/base.obj: give another, {_HOW}.")
    return Path(path)


def load_kit(assets: str | os.PathLike | None = None, cache: str | os.PathLike | None = None) -> Kit:
    """Load the kit from its cache, parsing the assets first if there is none (half a minute, once).

    Raises:
        OptionError: If the assets are needed and a file of them is missing.
    """
    cache = Path(cache or os.environ.get("VIVFACE_CACHE") or Path.home() / ".cache" / "vivface")
    archive = cache / f"heads-v{KIT_VERSION}.npz"
    if not archive.exists():
        folder = assets_folder(assets)
        try:
            arrays = _parse(folder)
        except FileNotFoundError as error:
            missing = os.path.relpath(error.filename, folder)
            raise OptionError(f"The assets folder {str(folder)!r} does not hold {missing}: add it, {_HOW}.") from error
        cache.mkdir(parents=True, exist_ok=True)
        temporary = archive.with_name(f".{archive.stem}-{os.getpid()}.npz")
        np.savez(temporary, **arrays)
        os.replace(temporary, archive)
    return _restore(archive)


def _restore(archive: Path) -> Kit:
    with zipfile.ZipFile(archive) as z:
        names = [n[:-4] for n in z.namelist() if not n.startswith("texture/")]
    with np.load(archive) as arrays:
        a = {name: arrays[name] for name in names}
    text = json.loads(bytes(a["text"]).decode())

    def csr(name: str) -> sparse.csr_matrix:
        return sparse.csr_matrix(
            (a[f"{name}/data"], a[f"{name}/indices"], a[f"{name}/indptr"]), shape=tuple(a[f"{name}/shape"])
        )

    proxies = {
        name: Proxy(**{key: a[f"proxy/{name}/{key}"] for key in Proxy.__dataclass_fields__}) for name in text["proxies"]
    }
    return Kit(
        base=a["base"], faces=a["faces"], uv=a["uv"], target_names=text["targets"], targets=csr("targets"),
        modifiers=[tuple(m) for m in text["modifiers"]], bones=text["bones"], parents=a["parents"],
        joints=csr("joints"), skin_weights=csr("skin_weights"), units=text["units"], unit_angles=a["unit_angles"],
        positions=a["positions"].astype(np.float32), coverage=a["coverage"], archive=archive, proxies=proxies,
    )  # fmt: skip


def _parse(folder: Path) -> dict[str, np.ndarray]:
    """Read every asset and return the flat arrays of the cache."""
    arrays: dict[str, np.ndarray] = {}
    text: dict = {}

    def put_csr(name: str, m: sparse.csr_matrix) -> None:
        m = sparse.csr_matrix(m)
        for key in ("data", "indices", "indptr"):
            arrays[f"{name}/{key}"] = getattr(m, key)
        arrays[f"{name}/shape"] = np.array(m.shape)

    vertices, uv, faces = _read_obj(folder / "3dobjs" / "base.obj", group="body")
    faces = faces[(vertices[faces[:, :, 0], 1] > CUT_HEIGHT).all(1)]
    uv = _to_atlas(uv)
    arrays.update(base=vertices, uv=uv, faces=faces)

    names, rows = {}, []
    for name in TARGETS:
        if next((folder / "targets" / name).rglob("*.target"), None) is None:
            raise _missing(folder / "targets" / name)
    for path in sorted((folder / "targets").rglob("*.target")):
        names[str(path.relative_to(folder / "targets").with_suffix(""))] = len(rows)
        rows.append(_read_target(path))
    text["targets"] = names
    put_csr("targets", sparse.vstack(rows))
    modifiers = json.loads((folder / "modifiers" / "modeling_modifiers.json").read_text())
    text["modifiers"] = [
        (g["group"], m["target"], m.get("min"), m.get("max"))
        for g in modifiers
        for m in g["modifiers"]
        if "target" in m
    ]

    rig = json.loads((folder / "rigs" / "default.mhskel").read_text())
    bones = _parents_first(rig["bones"])
    index = {b: i for i, b in enumerate(bones)}
    text["bones"] = bones
    arrays["parents"] = np.array([index.get(rig["bones"][b]["parent"], -1) for b in bones])
    joints = sparse.lil_matrix((len(bones), NUM_VERTICES), dtype=np.float32)
    for b in bones:
        ids = rig["joints"][rig["bones"][b]["head"]]
        for i in ids:
            joints[index[b], i] += 1 / len(ids)
    put_csr("joints", joints)
    weights = sparse.lil_matrix((NUM_VERTICES, len(bones)), dtype=np.float32)
    for b, pairs in json.loads((folder / "rigs" / "default_weights.mhw").read_text())["weights"].items():
        for i, w in pairs:
            weights[i, index[b]] += w
    total = np.asarray(weights.sum(1)).ravel()
    for i in np.flatnonzero(total == 0):
        weights[i, index["root"]] = 1
    total[total == 0] = 1
    put_csr("skin_weights", sparse.diags(1 / total) @ weights.tocsr())

    unit_names = json.loads((folder / "poseunits" / "face-poseunits.json").read_text())["framemapping"]
    text["units"] = {name: i for i, name in enumerate(unit_names)}
    arrays["unit_angles"] = _read_pose_units(folder / "poseunits" / "face-poseunits.bvh", index)

    proxies = {"eyes": folder / "eyes/high-poly/high-poly.mhclo", "tongue": folder / "tongue/tongue01/tongue01.mhclo"}
    for kind, styles in (
        ("hair", HAIR_STYLES), ("clothes", CLOTHES), ("eyebrows", BROW_STYLES), ("eyelashes", LASH_STYLES),
        ("teeth", TEETH_STYLES),
    ):  # fmt: skip
        proxies.update({s: folder / kind / s / f"{s}.mhclo" for s in styles})
    text["proxies"] = list(proxies)
    parsed = {}
    for name, path in proxies.items():
        parsed[name] = proxy = _read_proxy(path, vertices)
        for key in Proxy.__dataclass_fields__:
            arrays[f"proxy/{name}/{key}"] = getattr(proxy, key)

    positions, coverage = _position_map(vertices, uv, faces)
    arrays.update(positions=positions.astype(np.float16), coverage=coverage)
    _parse_textures(folder, arrays, parsed, positions, coverage)
    arrays["text"] = np.frombuffer(json.dumps(text).encode(), np.uint8)
    return arrays


def _missing(path: Path) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))


# ---------------------------------------------------------------------------------------------------- file formats


def _read_obj(path: Path, group: str | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return vertices `(V, 3)`, uv `(U, 2)` with v upward and quads `(F, 4, 2)`; keep only `group` if given."""
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


def _read_target(path: Path) -> sparse.csr_matrix:
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


def _parents_first(bones: dict) -> list[str]:
    order: list[str] = []
    while len(order) < len(bones):
        order += [b for b, v in bones.items() if b not in order and (not v["parent"] or v["parent"] in order)]
    return order


def _read_pose_units(path: Path, index: dict[str, int]) -> np.ndarray:
    """Return `(frames, bones, 3)` degrees. Channels are X, Y, Z per joint, the root has three positions before."""
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


def _read_proxy(path: Path, base: np.ndarray) -> Proxy:
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
    table = np.array(rows, np.float32)
    _, uv, faces = _read_obj(path.with_name(header["obj_file"][0]))
    verts = table[:, :3].astype(np.int32)
    height = (base[verts] * table[:, 3:6, None]).sum(1)[:, 1]
    faces = faces[(height[faces[:, :, 0]] > CUT_HEIGHT).all(1)]
    used = np.unique(faces[:, :, 0])
    renumber = np.zeros(len(table), np.int32)
    renumber[used] = np.arange(len(used))
    faces = np.stack([renumber[faces[:, :, 0]], faces[:, :, 1]], -1)
    scale = np.array([header[f"{axis}_scale"] for axis in "xyz"], np.float32)
    uv = uv * np.float32([1, -1]) + np.float32([0, 1])
    hidden = np.unique(hidden).astype(int)
    return Proxy(verts[used], table[used, 3:6], table[used, 6:9], scale, uv, faces.astype(np.int32), hidden)


# -------------------------------------------------------------------------------------------------------- textures


def _to_atlas(uv: np.ndarray) -> np.ndarray:
    """Map full-body uv (v upward) to the skin atlas (v downward)."""
    u, v = uv[:, 0], 1 - uv[:, 1]
    out = np.zeros_like(uv)
    for (u0, v0, u1, v1), (x, y), scale in ATLAS_ISLANDS:
        inside = (u >= u0) & (u <= u1) & (v >= v0) & (v <= v1)
        out[inside, 0] = (x + (u[inside] - u0) * 2048 * scale) / ATLAS_WIDTH
        out[inside, 1] = (y + (v[inside] - v0) * 2048 * scale) / ATLAS_HEIGHT
    return out


def _atlas_picture(picture: np.ndarray) -> np.ndarray:
    """Cut the islands out of a 2048 x 2048 full-body skin."""
    out = np.empty((ATLAS_HEIGHT, ATLAS_WIDTH, 3), np.uint8)
    out[:] = np.median(picture.reshape(-1, 3), axis=0)
    for (u0, v0, u1, v1), (x, y), scale in ATLAS_ISLANDS:
        part = picture[round(v0 * 2048) : round(v1 * 2048), round(u0 * 2048) : round(u1 * 2048)]
        part = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        h, w = min(part.shape[0], ATLAS_HEIGHT - y), min(part.shape[1], ATLAS_WIDTH - x)
        out[y : y + h, x : x + w] = part[:h, :w]
    return out


def _position_map(vertices: np.ndarray, uv: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rasterise base positions over the half-size atlas; texels outside take their nearest neighbour's."""
    height, width = ATLAS_HEIGHT // 2, ATLAS_WIDTH // 2
    out, coverage = np.zeros((height, width, 3), np.float32), np.zeros((height, width), bool)
    triangles = np.concatenate([faces[:, [0, 1, 2]], faces[:, [0, 2, 3]]])
    for t in triangles:
        p, x = uv[t[:, 1]] * [width, height] - 0.5, vertices[t[:, 0]]
        low, high = np.floor(p.min(0)).astype(int), np.ceil(p.max(0)).astype(int)
        gx, gy = np.meshgrid(np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1))
        e1, e2 = p[1] - p[0], p[2] - p[0]
        area = e1[0] * e2[1] - e1[1] * e2[0]
        if abs(area) < 1e-9:
            continue
        dx, dy = gx - p[0, 0], gy - p[0, 1]
        b1, b2 = (dx * e2[1] - dy * e2[0]) / area, (dy * e1[0] - dx * e1[1]) / area
        inside = (b1 >= -0.02) & (b2 >= -0.02) & (b1 + b2 <= 1.02)
        inside &= (gx >= 0) & (gy >= 0) & (gx < width) & (gy < height)
        b = np.stack([1 - b1 - b2, b1, b2], -1)[inside]
        out[gy[inside], gx[inside]] = b @ x
        coverage[gy[inside], gx[inside]] = True
    nearest = ndimage.distance_transform_edt(~coverage, return_distances=False, return_indices=True)
    return out[nearest[0], nearest[1]], coverage


def _dilate_colour(picture: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Give transparent texels the colour of the nearest opaque one, so that mipmaps get no dark outline."""
    nearest = ndimage.distance_transform_edt(alpha < 96, return_distances=False, return_indices=True)
    return picture[nearest[0], nearest[1]]


def _strand_detail(picture: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Brightness of the strands around 1, with the painted large-scale highlights taken out."""
    light = np.log(_dilate_colour(picture, alpha).astype(np.float32).mean(-1) + 6)
    weight = (alpha > 96).astype(np.float32) + 1e-3
    scale = picture.shape[0] / 1024

    def blur(sigma: float) -> np.ndarray:
        return cv2.GaussianBlur(light * weight, (0, 0), sigma * scale) / cv2.GaussianBlur(weight, (0, 0), sigma * scale)

    large, medium = blur(40), blur(5)
    mean = (light * weight).sum() / weight.sum()
    return np.exp(0.2 * (large - mean) + 0.75 * (medium - large) + 1.5 * (light - medium))


def _uv_coverage(proxy: Proxy, size: int) -> np.ndarray:
    mask = np.zeros((size, size), np.uint8)
    for quad in proxy.faces:
        cv2.fillPoly(mask, [np.round(proxy.uv[quad[:, 1]] * size).astype(np.int32)], 255)
    return mask


def _curls(size: int = 512) -> np.ndarray:
    """A texture of tight curls: brightness and coverage."""
    rng = np.random.default_rng(5)
    light, alpha = np.full((size, size), 40, np.uint8), np.zeros((size, size), np.uint8)
    for _ in range(5200):
        centre = tuple(int(x) for x in rng.integers(0, size, 2))
        axes = tuple(int(x) for x in rng.integers(4, 11, 2))
        angle, start = rng.uniform(0, 360, 2)
        arc = (centre, axes, angle, start, start + rng.uniform(120, 300))
        shade = int(rng.uniform(60, 210))
        cv2.ellipse(light, *arc, shade, 2, cv2.LINE_AA)
        cv2.ellipse(alpha, *arc, 255, 2, cv2.LINE_AA)
    return np.stack([light, np.maximum(alpha, 150)], -1)


def _parse_textures(folder: Path, arrays: dict, proxies: dict[str, Proxy], positions, coverage) -> None:
    """Fill `arrays['texture/...']`; all pictures are RGB and uint8."""

    def read(path: Path) -> np.ndarray:
        picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if picture is None:
            raise _missing(path)
        code = cv2.COLOR_BGRA2RGBA if picture.shape[2] == 4 else cv2.COLOR_BGR2RGB
        return cv2.cvtColor(picture, code)

    x, y, z = np.moveaxis(positions, -1, 0)
    cheek = coverage & (abs(abs(x) - 0.42) < 0.12) & (abs(y - 6.95) < 0.14) & (z > 0.9)
    for name in SKINS:
        linear = (_atlas_picture(read(folder / "skins" / "textures" / f"{name}.png")) / np.float32(255)) ** 2.2
        half = cv2.resize(linear, (ATLAS_WIDTH // 2, ATLAS_HEIGHT // 2), interpolation=cv2.INTER_AREA)
        detail = linear / half[cheek].mean(0)
        detail = np.clip(np.sqrt(detail) * 127.5, 0, 255).astype(np.uint8)  # (texel / 127.5) ** 2 = detail
        arrays[f"texture/skin/{name.replace('_diffuse', '')}"] = detail
        arrays[f"texture/skin-half/{name.replace('_diffuse', '')}"] = cv2.resize(
            detail, (ATLAS_WIDTH // 2, ATLAS_HEIGHT // 2), interpolation=cv2.INTER_AREA
        )
    for name in EYE_COLOURS:
        eye = cv2.resize(read(folder / "eyes/materials" / f"{name}_eye.png"), (512, 512), interpolation=cv2.INTER_AREA)
        arrays[f"texture/eye/{name}"] = eye
    for kind, styles in (("eyebrows", BROW_STYLES), ("eyelashes", LASH_STYLES)):
        for name in styles:
            arrays[f"texture/{name}"] = np.ascontiguousarray(read(folder / kind / name / f"{name}.png")[..., 3])
    teeth = read(folder / "teeth/materials/teeth.png")
    teeth = _dilate_colour(teeth[..., :3], teeth[..., 3])
    arrays["texture/teeth"] = cv2.resize(teeth, (512, 512), interpolation=cv2.INTER_AREA)
    tongue = read(folder / "tongue/tongue01/tongue01_diffuse.png")
    arrays["texture/tongue"] = cv2.resize(tongue, (256, 256), interpolation=cv2.INTER_AREA)
    for name in CLOTHES:
        cloth = read(folder / "clothes" / name / f"{name}_diffuse.png")
        if cloth.shape[2] == 4:
            cloth = _dilate_colour(cloth[..., :3], cloth[..., 3])
        arrays[f"texture/{name}"] = cv2.resize(cloth, (512, 512), interpolation=cv2.INTER_AREA)
    for name in HAIR_STYLES:
        if name == "afro01":
            arrays[f"texture/{name}"] = _curls()
            continue
        picture = read(folder / "hair" / name / f"{name}_diffuse.png")
        picture = cv2.resize(picture, (1024, 1024), interpolation=cv2.INTER_AREA)
        alpha = picture[..., 3]
        if name == "long01":  # opaque black beside its strands
            alpha = np.where(picture[..., :3].max(-1) < 14, 0, alpha).astype(np.uint8)
            alpha = np.minimum(alpha, _uv_coverage(proxies[name], 1024))
        detail = np.clip(_strand_detail(picture[..., :3], alpha) * 100, 0, 255).astype(np.uint8)
        arrays[f"texture/{name}"] = np.stack([detail, alpha], -1)
