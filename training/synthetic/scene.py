"""Light, camera distance and background of a clip, drawn from one seed; they stay fixed while the head moves."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass
class Scene:
    """Directions point toward the light (x right in the picture, y up, z to the camera); colours are linear RGB."""

    key_direction: np.ndarray
    key: np.ndarray
    fill_direction: np.ndarray
    fill: np.ndarray
    rim_direction: np.ndarray
    rim: np.ndarray
    sky: np.ndarray
    ground: np.ndarray
    exposure: float
    distance: float  # camera to the plane of the eyes, dm
    seed: int

    def background(self, size: int) -> np.ndarray:
        """Return the background `(size, size, 3)` uint8 RGB, row 0 on top."""
        return _background(np.random.default_rng([self.seed, 67]), size)


def sample_scene(seed: int, tone: np.ndarray | None = None) -> Scene:
    """Draw a scene; `tone` (skin albedo) lets the exposure follow dark skin a little, as a camera would."""
    rng = np.random.default_rng([seed, 61])

    def direction(azimuth: float, elevation: float) -> np.ndarray:
        a, e = np.radians([azimuth, elevation])
        return np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])

    def warmth(spread: float) -> np.ndarray:
        t = rng.normal(0, spread)
        return np.exp(t * np.array([0.5, 0.05, -0.6])) * np.exp(rng.normal(0, 0.02, 3))

    kind = rng.choice(["flat", "studio", "side", "window", "top"], p=[0.25, 0.3, 0.17, 0.18, 0.1])
    side = rng.choice([-1, 1])
    azimuth, elevation = {
        "flat": (rng.uniform(-25, 25), rng.uniform(5, 35)),
        "studio": (side * rng.uniform(20, 50), rng.uniform(15, 45)),
        "side": (side * rng.uniform(50, 85), rng.uniform(0, 35)),
        "window": (side * rng.uniform(35, 70), rng.uniform(5, 30)),
        "top": (rng.uniform(-30, 30), rng.uniform(50, 70)),
    }[str(kind)]
    ambient = {"flat": (0.5, 0.75), "studio": (0.3, 0.5), "side": (0.15, 0.4), "window": (0.25, 0.5), "top": (0.3, 0.5)}
    share = rng.uniform(*ambient[str(kind)])
    fill_share = rng.uniform(0.05, 0.35) * (1 - share)
    cast = warmth(0.12)
    key = cast * warmth(0.13) * (1 - share - fill_share) * 1.45
    sky = cast * warmth(0.15) * share * rng.uniform(1.0, 1.25)
    ground = sky * rng.uniform(0.3, 0.75) * np.exp(rng.normal(0, 0.06, 3))
    level = 1.0 if tone is None else float(np.clip((0.25 / (tone @ [0.25, 0.6, 0.15])) ** 0.27, 0.95, 1.8))
    return Scene(
        key_direction=direction(azimuth, elevation), key=key,
        fill_direction=direction(-side * rng.uniform(20, 70), rng.uniform(-10, 20)),
        fill=cast * warmth(0.2) * fill_share,
        rim_direction=direction(side * rng.choice([-1, 1]) * rng.uniform(110, 155), rng.uniform(10, 45)),
        rim=warmth(0.25) * rng.choice([0.0, rng.uniform(0.1, 0.9)]),
        sky=sky, ground=ground, exposure=float(level * rng.uniform(0.9, 1.45)), distance=float(rng.uniform(8, 16)),
        seed=seed,
    )  # fmt: skip


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    s = size / 256
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size

    def colour() -> np.ndarray:
        value = rng.beta(1.3, 1.5)
        saturation = rng.beta(1.2, 3.5)
        hsv = np.float32([[[rng.uniform(0, 360), saturation, value]]])
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0]

    def gradient() -> np.ndarray:
        a, b, angle = colour(), colour(), rng.uniform(0, 2 * np.pi)
        b = a + rng.uniform(0.1, 1) * (b - a)
        t = np.clip((x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle) + 0.5, 0, 1)
        if rng.random() < 0.4:
            t = np.clip(np.hypot(x - rng.uniform(0.2, 0.8), y - rng.uniform(0.1, 0.7)) * 1.3, 0, 1)
        return a + t[..., None] * (b - a)

    def shapes(picture: np.ndarray, count: int) -> np.ndarray:
        picture = np.ascontiguousarray(picture, np.float32)
        for _ in range(count):
            c, p = tuple(float(v) for v in colour()), rng.integers(-size // 4, size + size // 4, 2)
            w, h = rng.integers(size // 12, size // 2, 2)
            if rng.random() < 0.6:
                cv2.rectangle(picture, (int(p[0]), int(p[1])), (int(p[0] + w), int(p[1] + h)), c, -1)
            else:
                axes = (int(w // 2), int(h // 2))
                cv2.ellipse(picture, (int(p[0]), int(p[1])), axes, rng.uniform(0, 180), 0, 360, c, -1)
        return picture

    def cloud(octaves: int) -> np.ndarray:
        out = np.zeros((size, size, 1), np.float32)
        for o in range(octaves):
            cells = 3 * 2**o
            layer = rng.normal(size=(cells, cells)).astype(np.float32)
            out[..., 0] += cv2.resize(layer, (size, size), interpolation=cv2.INTER_CUBIC) * 0.6**o
        return out

    kind = rng.choice(["plain", "gradient", "shapes", "bokeh", "room", "nature"], p=[0.12, 0.2, 0.2, 0.13, 0.2, 0.15])
    if kind == "plain":
        picture = colour() * (1 + 0.05 * cloud(3))
    elif kind == "gradient":
        picture = gradient() * (1 + rng.uniform(0, 0.1) * cloud(4))
    elif kind == "shapes":
        picture = cv2.GaussianBlur(shapes(gradient(), int(rng.integers(3, 25))), (0, 0), rng.uniform(1.5, 16) * s)
    elif kind == "bokeh":
        picture = cv2.GaussianBlur(shapes(gradient() * 0.5, 6), (0, 0), 12 * s)
        for _ in range(int(rng.integers(10, 40))):
            disc = np.zeros((size, size), np.float32)
            centre = tuple(int(v) for v in rng.integers(0, size, 2))
            cv2.circle(disc, centre, max(2, int(rng.uniform(4, 18) * s)), float(rng.uniform(0.1, 0.6)), -1, cv2.LINE_AA)
            picture = picture + cv2.GaussianBlur(disc, (0, 0), 1.2 * s)[..., None] * colour()
    elif kind == "room":
        picture = np.ascontiguousarray(gradient() * (1 + 0.03 * cloud(3)), np.float32)
        for _ in range(int(rng.integers(2, 8))):  # panels, shelves, windows, frames
            c = tuple(float(v) for v in colour())
            px, py = rng.uniform(-0.1, 1, 2) * size
            w, h = rng.uniform(0.05, 0.5, 2) * size
            a, b = (int(px), int(py)), (int(px + w), int(py + h))
            cv2.rectangle(picture, a, b, c, -1)
            if rng.random() < 0.6:
                edge = tuple(float(v) for v in np.array(c) * rng.uniform(0.3, 0.8))
                cv2.rectangle(picture, a, b, edge, max(1, int(rng.uniform(1, 5) * s)))
        if rng.random() < 0.5:
            floor = (0, int(rng.uniform(0.6, 0.9) * size))
            cv2.rectangle(picture, floor, (size, size), tuple(map(float, colour())), -1)
        picture = cv2.GaussianBlur(picture, (0, 0), max(0.4, rng.choice([0.7, rng.uniform(1, 8)]) * s))
    else:
        low, high = colour() * [0.7, 0.9, 0.5], colour() * [0.8, 1.0, 0.9]
        t = np.clip(0.5 + 0.5 * cloud(6), 0, 1)
        picture = low + t * (high - low)
        horizon = rng.uniform(0.1, 0.7)
        blend = np.clip((horizon - y) / 0.1 + 0.5 + 0.8 * cloud(4)[..., 0], 0, 1)[..., None]
        picture = picture + blend * (colour() * 0.4 + [0.5, 0.55, 0.6] - picture)
        picture = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), rng.uniform(0.8, 7) * s)
    return (np.clip(picture, 0.01, 1) * 255).astype(np.uint8)
