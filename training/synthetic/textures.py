"""Textures: full-body skins cut to an atlas, hair reduced to strands, and everything as bytes that shaders read."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import cv2
import numpy as np
from scipy import ndimage

from training.synthetic.kit import (
    ATLAS_HEIGHT,
    ATLAS_ISLANDS,
    ATLAS_WIDTH,
    BROW_STYLES,
    CLOTHES,
    EYE_COLOURS,
    HAIR_STYLES,
    LASH_STYLES,
    SKINS,
    Proxy,
)


def to_atlas(uv: np.ndarray) -> np.ndarray:
    """Map full-body uv (v upward) to the skin atlas (v downward)."""
    u, v = uv[:, 0], 1 - uv[:, 1]
    out = np.zeros_like(uv)
    for (u0, v0, u1, v1), (x, y), scale in ATLAS_ISLANDS:
        inside = (u >= u0) & (u <= u1) & (v >= v0) & (v <= v1)
        out[inside, 0] = (x + (u[inside] - u0) * 2048 * scale) / ATLAS_WIDTH
        out[inside, 1] = (y + (v[inside] - v0) * 2048 * scale) / ATLAS_HEIGHT
    return out


def _cut_atlas(image: np.ndarray) -> np.ndarray:
    """Cut the islands out of a 2048 x 2048 full-body skin."""
    out = np.empty((ATLAS_HEIGHT, ATLAS_WIDTH, 3), np.uint8)
    out[:] = np.median(image.reshape(-1, 3), axis=0)
    for (u0, v0, u1, v1), (x, y), scale in ATLAS_ISLANDS:
        part = image[round(v0 * 2048) : round(v1 * 2048), round(u0 * 2048) : round(u1 * 2048)]
        part = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        h, w = min(part.shape[0], ATLAS_HEIGHT - y), min(part.shape[1], ATLAS_WIDTH - x)
        out[y : y + h, x : x + w] = part[:h, :w]
    return out


def position_map(vertices: np.ndarray, uv: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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


def _dilate_colour(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Give transparent texels the colour of the nearest opaque one, so that mipmaps get no dark outline."""
    nearest = ndimage.distance_transform_edt(alpha < 96, return_distances=False, return_indices=True)
    return image[nearest[0], nearest[1]]


def _strand_detail(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Brightness of the strands around 1, with the painted large-scale highlights taken out."""
    light = np.log(_dilate_colour(image, alpha).astype(np.float32).mean(-1) + 6)
    weight = (alpha > 96).astype(np.float32) + 1e-3
    scale = image.shape[0] / 1024

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


def missing(path: Path) -> FileNotFoundError:
    """What a reader raises that finds no file."""
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))


def parse_textures(
    folder: Path, proxies: dict[str, Proxy], positions: np.ndarray, coverage: np.ndarray
) -> dict[str, np.ndarray]:
    """Read every texture.

    Args:
        folder (`Path`): The MakeHuman assets.
        proxies (`dict[str, Proxy]`): The meshes by style; one style of hair is masked by its own.
        positions (`np.ndarray` of shape `(1024, 512, 3)`): See `Kit`.
        coverage (`np.ndarray` of shape `(1024, 512)`): See `Kit`.

    Returns:
        `dict[str, np.ndarray]`: `texture/NAME` -> uint8 `(H, W, channels)`, RGB where there are three.

    Raises:
        FileNotFoundError: If a file is missing.
    """
    textures = _parse_skins(folder, positions, coverage)
    for name in EYE_COLOURS:
        textures[f"eye/{name}"] = _shrink(_read(folder / "eyes/materials" / f"{name}_eye.png"), 512)
    for kind, styles in (("eyebrows", BROW_STYLES), ("eyelashes", LASH_STYLES)):
        for name in styles:
            textures[name] = np.ascontiguousarray(_read(folder / kind / name / f"{name}.png")[..., 3])
    teeth = _read(folder / "teeth/materials/teeth.png")
    textures["teeth"] = _shrink(_dilate_colour(teeth[..., :3], teeth[..., 3]), 512)
    textures["tongue"] = _shrink(_read(folder / "tongue/tongue01/tongue01_diffuse.png"), 256)
    for name in CLOTHES:
        cloth = _read(folder / "clothes" / name / f"{name}_diffuse.png")
        if cloth.shape[2] == 4:
            cloth = _dilate_colour(cloth[..., :3], cloth[..., 3])
        textures[name] = _shrink(cloth, 512)
    for name in HAIR_STYLES:
        textures[name] = _curls() if name == "afro01" else _parse_hair(folder, name, proxies[name])
    return {f"texture/{name}": texture for name, texture in textures.items()}


def _read(path: Path) -> np.ndarray:
    """An image file as RGB or RGBA."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise missing(path)
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGB)


def _shrink(image: np.ndarray, size: int) -> np.ndarray:
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)


def _parse_skins(folder: Path, positions: np.ndarray, coverage: np.ndarray) -> dict[str, np.ndarray]:
    """Detail of the skins relative to the mean colour of their cheeks, at full and half size."""
    x, y, z = np.moveaxis(positions, -1, 0)
    cheek = coverage & (abs(abs(x) - 0.42) < 0.12) & (abs(y - 6.95) < 0.14) & (z > 0.9)
    half_size = (ATLAS_WIDTH // 2, ATLAS_HEIGHT // 2)
    textures = {}
    for name in SKINS:
        linear = (_cut_atlas(_read(folder / "skins" / "textures" / f"{name}.png")) / np.float32(255)) ** 2.2
        half = cv2.resize(linear, half_size, interpolation=cv2.INTER_AREA)
        detail = linear / half[cheek].mean(0)
        detail = np.clip(np.sqrt(detail) * 127.5, 0, 255).astype(np.uint8)  # (texel / 127.5) ** 2 = detail
        name = name.replace("_diffuse", "")
        textures[f"skin/{name}"] = detail
        textures[f"skin-half/{name}"] = cv2.resize(detail, half_size, interpolation=cv2.INTER_AREA)
    return textures


def _parse_hair(folder: Path, name: str, proxy: Proxy) -> np.ndarray:
    """Brightness of the strands and coverage `(1024, 1024, 2)`."""
    image = _shrink(_read(folder / "hair" / name / f"{name}_diffuse.png"), 1024)
    alpha = image[..., 3]
    if name == "long01":  # opaque black beside its strands
        alpha = np.where(image[..., :3].max(-1) < 14, 0, alpha).astype(np.uint8)
        alpha = np.minimum(alpha, _uv_coverage(proxy, 1024))
    detail = np.clip(_strand_detail(image[..., :3], alpha) * 100, 0, 255).astype(np.uint8)
    return np.stack([detail, alpha], -1)
