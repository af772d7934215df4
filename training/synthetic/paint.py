"""Paint what a person wears on the surface: skin, iris, cloth. Textures store the square root of linear albedo."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from training.synthetic.kit import ATLAS_HEIGHT, ATLAS_WIDTH, LANDMARK_VERTICES, Kit
from training.synthetic.person import SyntheticPerson

LASH_LINE = (0.008, 0.022)  # dm from the lid's edge: as dark as lashes make it, and skin
LASH_SHADE = (0.08, 0.07, 0.07)  # of the skin's albedo


def encode(albedo: np.ndarray) -> np.ndarray:
    """Linear albedo to the bytes that the shaders square."""
    return (np.sqrt(np.clip(albedo, 0, 1)) * 255 + 0.5).astype(np.uint8)


def skin_masks(kit: Kit) -> dict[str, np.ndarray]:
    """Soft regions of the half-size skin atlas, measured on the base mesh the first time.

    Args:
        kit (`Kit`): The parsed assets, which keep the masks.

    Returns:
        `dict[str, np.ndarray]`: name -> `(1024, 512)` float32 in [0, 1].
    """
    if not kit.masks:
        kit.masks.update(_measure_masks(kit))
    return kit.masks


def _step(low: float, high: float, value: np.ndarray) -> np.ndarray:
    """A smooth step from 0 at `low` to 1 at `high`."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def _measure_masks(kit: Kit) -> dict[str, np.ndarray]:
    x, y, z = abs(kit.positions[..., 0]), kit.positions[..., 1], kit.positions[..., 2]

    def spot(cx: float, cy: float, rx: float, ry: float) -> np.ndarray:
        return (np.exp(-(((x - cx) / rx) ** 2) - ((y - cy) / ry) ** 2) * _step(0.5, 0.8, z)).astype(np.float32)

    distance = _lip_distance(kit)
    hairline = np.interp(z, [-0.9, -0.2, 0.35, 0.8, 1.3], [6.5, 6.85, 7.5, 7.80, 8.03]).astype(np.float32)
    scalp = _step(-0.10, 0.14, y - hairline) * (1 - _step(0.74, 0.80, x))
    cheek_line = np.interp(x, [0, 0.12, 0.25, 0.42, 0.58, 0.68], [6.84, 6.84, 6.74, 6.66, 6.80, 7.2])
    stubble = _step(-0.07, 0.05, cheek_line.astype(np.float32) - y) * _step(5.95, 6.3, y) * _step(0.25, 0.5, z)
    stubble *= 1 - _step(-0.03, 0.0, distance) * _step(1.1, 1.2, z)
    nose = kit.base[LANDMARK_VERTICES[30]]
    lash_line, _ = cKDTree(_lash_lines(kit)).query(kit.positions, distance_upper_bound=0.1)  # dm; inf further away
    return {
        "lips": _step(-0.02, 0.012, distance) * _step(1.15, 1.25, z),
        "scalp": scalp,
        "stubble": stubble.astype(np.float32),
        "blush": spot(0.44, 6.95, 0.17, 0.14),
        "nose": spot(0, nose[1], 0.14, 0.12) * _step(1.3, 1.5, z),
        "under_eye": spot(0.30, 7.13, 0.13, 0.05),
        "eye_shadow": spot(0.32, 7.38, 0.13, 0.06),
        "freckles": np.maximum(spot(0.35, 7.0, 0.28, 0.16), spot(0, 7.05, 0.2, 0.15)),
        "t_zone": np.maximum(spot(0, 7.75, 0.35, 0.2), spot(0, 7.0, 0.12, 0.3)),
        "lash_line": 1 - _step(*LASH_LINE, lash_line),
        "face": _step(0.4, 0.9, z) * (1 - scalp) * _step(6.1, 6.3, y),
    }


def _lip_distance(kit: Kit) -> np.ndarray:
    """Distance `(1024, 512)` of each texel to the outer contour of the lips in the plane of the face; > 0 inside."""
    scale, low = 500, np.array([-0.6, 6.2])
    canvas = np.zeros((500, 600), np.uint8)
    outline = kit.base[LANDMARK_VERTICES][48:60, :2]
    cv2.fillPoly(canvas, [np.round((outline - low) * scale).astype(np.int32)], 1)
    inside = cv2.distanceTransform(canvas, cv2.DIST_L2, 5) - cv2.distanceTransform(1 - canvas, cv2.DIST_L2, 5)
    at = ((kit.positions[..., :2] - low.astype(np.float32)) * scale).astype(np.float32)
    return cv2.remap(inside, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderValue=-100) / scale


def _lash_lines(kit: Kit) -> np.ndarray:
    """Points `(N, 3)` along the edges of the upper lids, from corner to corner of each eye, 0.2 mm apart."""
    corners = kit.faces[..., 0]
    ends = np.concatenate([corners[:, [i, (i + 1) % 4]] for i in range(4)])
    lengths = np.linalg.norm(kit.base[ends[:, 0]] - kit.base[ends[:, 1]], axis=1)
    edges = sparse.csr_matrix((lengths, ends.T), (len(kit.base),) * 2)
    points = []
    for first in (36, 37, 38, 42, 43, 44):  # landmarks of the upper lids and the next ones
        start, vertex = LANDMARK_VERTICES[[first, first + 1]]
        before = sparse.csgraph.dijkstra(edges, False, start, return_predecessors=True)[1]
        while vertex != start:
            a, b = kit.base[vertex], kit.base[before[vertex]]
            points.append(np.linspace(a, b, max(2, int(np.linalg.norm(b - a) / 0.002))))
            vertex = before[vertex]
    return np.concatenate(points)


def paint_skin(kit: Kit, person: SyntheticPerson, full: bool = False) -> np.ndarray:
    """Return the skin `(H, W, 4)` uint8: square root of albedo, and gloss; 1024 x 512, or 2048 x 1024 if `full`."""
    rng = np.random.default_rng([person.seed, 47])
    masks = skin_masks(kit)
    folder = "skin" if full else "skin-half"
    a, b = (kit.texture(f"{folder}/{name}") for name in person.skin_maps)
    root = cv2.addWeighted(a, 1 - person.skin_blend, b, person.skin_blend, 0).astype(np.float32) * (1 / 127.5)
    luma = root @ np.float32([0.3, 0.55, 0.15])
    keep = 0.25 if "old_dark" in person.skin_maps[1] else 0.8  # the old maps are far too red
    root = luma[..., None] * (1 - keep) + root * keep
    root = 1 + person.skin_contrast * (root - 1)

    def up(mask: np.ndarray) -> np.ndarray:
        return cv2.resize(mask, (ATLAS_WIDTH, ATLAS_HEIGHT)) if full else mask

    def noise(cells: int) -> np.ndarray:
        small = rng.normal(size=(cells * 2, cells)).astype(np.float32)
        return up(cv2.resize(small, (ATLAS_WIDTH // 2, ATLAS_HEIGHT // 2), interpolation=cv2.INTER_CUBIC))

    p = person.paint
    scalp, stubble = up(masks["scalp"]), up(masks["stubble"])
    root += (scalp * 0.85)[..., None] * (1 - root)  # painted stubble of the map goes, ours comes below
    factor = np.zeros((*root.shape[:2], 3), np.float32)  # log of the factor on the albedo

    def tint(mask: np.ndarray, amount: float, colour: tuple[float, float, float]) -> None:
        if amount > 0:
            factor[...] += (up(mask) * amount)[..., None] * np.log(np.float32(colour))

    tint(masks["blush"], p["blush"], (0.98, 0.72, 0.74))
    tint(masks["nose"], p["nose"], (1.0, 0.74, 0.74))
    tint(masks["lips"], 1.0, tuple(np.clip(person.lips, 0.1, 1.5)))
    tint(masks["under_eye"], p["under_eye"], (0.72, 0.58, 0.62))
    tint(masks["eye_shadow"], p["eye_shadow"], tuple(rng.uniform(0.3, 0.8, 3)))
    tint(masks["lash_line"], 0.5 + 0.5 * person.lash_density, LASH_SHADE)
    factor += (p["mottle"] * noise(24) * 0.6 + 0.02 * noise(96))[..., None] * np.float32([0.7, 1.0, 1.0])
    if p["freckles"]:
        dots = np.clip(noise(150) - 1.1, 0, 1.2) * up(masks["freckles"])
        factor += (dots * p["freckles"])[..., None] * np.log(np.float32([0.72, 0.52, 0.42]))
    albedo = person.tone.astype(np.float32) * (root * root) * np.exp(factor)

    fine = rng.random((ATLAS_HEIGHT // 2, ATLAS_WIDTH // 2), dtype=np.float32)
    fine = up(cv2.GaussianBlur(fine, (0, 0), 0.7))
    hair_tone = (person.hair_colour * 0.6).astype(np.float32)
    growth = stubble * p["stubble"] * np.clip(0.55 + 0.9 * (fine - 0.5), 0, 1) * 0.85
    growth = np.maximum(growth, scalp * person.scalp_hair * np.clip(0.75 + 0.8 * (fine - 0.5), 0, 1) * 0.9)
    albedo += growth[..., None] * (hair_tone - albedo)
    for _ in range(int(p["moles"])):
        ys, xs = np.nonzero(masks["face"] > 0.5)
        pick = rng.integers(len(ys))
        scale = 2 if full else 1
        centre = (int(xs[pick] * scale), int(ys[pick] * scale))
        shade = albedo[centre[1], centre[0]] * np.float32([0.45, 0.35, 0.3])
        cv2.circle(albedo, centre, scale, tuple(float(v) for v in shade), -1, cv2.LINE_AA)
    gloss = 0.35 + 0.3 * p["gloss"] * up(masks["t_zone"]) + 0.55 * p["lip_gloss"] * up(masks["lips"])
    gloss *= 1 - 0.7 * np.minimum(growth * 1.3, 1)
    return np.dstack([encode(albedo), (np.clip(gloss, 0, 1) * 255).astype(np.uint8)])


def paint_eye(kit: Kit, person: SyntheticPerson) -> np.ndarray:
    """Return the eyeball texture `(512, 512, 3)` uint8."""
    albedo = (kit.texture(f"eye/{person.eye_colour}")[..., :3] / np.float32(255)) ** 2.2
    grey = albedo.mean(-1, keepdims=True)
    iris = _iris_mask()[..., None]
    coloured = (grey + 0.62 * (albedo - grey)) * person.eye_tint.astype(np.float32) * 1.15
    sclera = (grey + 0.7 * (albedo - grey)) * np.float32([0.80, 0.76, 0.72])
    return encode(sclera + iris * (coloured - sclera))


@lru_cache(1)
def _iris_mask() -> np.ndarray:
    y, x = np.mgrid[0:512, 0:512].astype(np.float32) / 512
    radius = np.minimum(np.hypot(x - 0.705, y - 0.295), np.hypot(x - 0.295, y - 0.705))
    return np.clip((0.121 - radius) / 0.012, 0, 1)


def paint_cloth(kit: Kit, person: SyntheticPerson) -> np.ndarray:
    """Return the cloth texture `(512, 512, 3)` uint8 in the person's colour."""
    albedo = (kit.texture(person.clothes)[..., :3] / np.float32(255)) ** 2.2
    light = albedo.max(-1, keepdims=True)
    if "elegant" in person.clothes:  # dark suit over a light shirt: tint, do not replace
        colour = person.cloth_colour / person.cloth_colour.max()
        painted = albedo * (0.5 + 0.5 * colour.astype(np.float32))
        return encode(painted * np.float32(0.5 + 1.6 * person.cloth_colour.mean()))
    painted = person.cloth_colour.astype(np.float32) * np.clip(light / np.median(light), 0.2, 2.5) ** 0.8
    return encode(albedo + person.cloth_mix * (painted - albedo))
