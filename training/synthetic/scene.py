"""Light, camera distance and background of a clip, drawn from one seed; they stay fixed while the head moves."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass
class Scene:
    """Directions point toward the light (x right in the image, y up, z to the camera); colours are linear RGB."""

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
        """The background `(size, size, 3)` uint8 RGB, row 0 on top."""
        return _background(np.random.default_rng([self.seed, 67]), size)


def sample_scene(seed: int, tone: np.ndarray | None = None) -> Scene:
    """Draw a scene.

    Args:
        seed (`int`): The same seed always gives the same scene.
        tone (`np.ndarray` of shape `(3,)`, *optional*): Skin albedo; dark skin is exposed a little longer, as a camera
            would.

    Returns:
        `Scene`: Light, camera distance and background.
    """
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
    kind = rng.choice(["plain", "gradient", "shapes", "bokeh", "room", "nature"], p=[0.12, 0.2, 0.2, 0.13, 0.2, 0.15])
    image = getattr(_Painter(rng, size), str(kind))()
    return (np.clip(image, 0.01, 1) * 255).astype(np.uint8)


class _Painter:
    """Backgrounds of several kinds, float `(size, size, 3)` around [0, 1]."""

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        self.rng, self.size, self.scale = rng, size, size / 256
        self.y, self.x = np.mgrid[0:size, 0:size].astype(np.float32) / size

    def plain(self) -> np.ndarray:
        return self._colour() * (1 + 0.05 * self._cloud(3))

    def gradient(self) -> np.ndarray:
        return self._gradient() * (1 + self.rng.uniform(0, 0.1) * self._cloud(4))

    def shapes(self) -> np.ndarray:
        image = self._add_shapes(self._gradient(), int(self.rng.integers(3, 25)))
        return cv2.GaussianBlur(image, (0, 0), self.rng.uniform(1.5, 16) * self.scale)

    def bokeh(self) -> np.ndarray:
        rng, size, s = self.rng, self.size, self.scale
        image = cv2.GaussianBlur(self._add_shapes(self._gradient() * 0.5, 6), (0, 0), 12 * s)
        for _ in range(int(rng.integers(10, 40))):
            disc = np.zeros((size, size), np.float32)
            centre = tuple(int(v) for v in rng.integers(0, size, 2))
            cv2.circle(disc, centre, max(2, int(rng.uniform(4, 18) * s)), float(rng.uniform(0.1, 0.6)), -1, cv2.LINE_AA)
            image = image + cv2.GaussianBlur(disc, (0, 0), 1.2 * s)[..., None] * self._colour()
        return image

    def room(self) -> np.ndarray:
        rng, size, s = self.rng, self.size, self.scale
        image = np.ascontiguousarray(self._gradient() * (1 + 0.03 * self._cloud(3)), np.float32)
        for _ in range(int(rng.integers(2, 8))):  # panels, shelves, windows, frames
            colour = tuple(float(v) for v in self._colour())
            px, py = rng.uniform(-0.1, 1, 2) * size
            w, h = rng.uniform(0.05, 0.5, 2) * size
            a, b = (int(px), int(py)), (int(px + w), int(py + h))
            cv2.rectangle(image, a, b, colour, -1)
            if rng.random() < 0.6:
                edge = tuple(float(v) for v in np.array(colour) * rng.uniform(0.3, 0.8))
                cv2.rectangle(image, a, b, edge, max(1, int(rng.uniform(1, 5) * s)))
        if rng.random() < 0.5:
            floor = (0, int(rng.uniform(0.6, 0.9) * size))
            cv2.rectangle(image, floor, (size, size), tuple(map(float, self._colour())), -1)
        return cv2.GaussianBlur(image, (0, 0), max(0.4, rng.choice([0.7, rng.uniform(1, 8)]) * s))

    def nature(self) -> np.ndarray:
        rng = self.rng
        low, high = self._colour() * [0.7, 0.9, 0.5], self._colour() * [0.8, 1.0, 0.9]
        image = low + np.clip(0.5 + 0.5 * self._cloud(6), 0, 1) * (high - low)
        horizon = rng.uniform(0.1, 0.7)
        blend = np.clip((horizon - self.y) / 0.1 + 0.5 + 0.8 * self._cloud(4)[..., 0], 0, 1)[..., None]
        image = image + blend * (self._colour() * 0.4 + [0.5, 0.55, 0.6] - image)
        return cv2.GaussianBlur(image.astype(np.float32), (0, 0), rng.uniform(0.8, 7) * self.scale)

    def _colour(self) -> np.ndarray:
        value = self.rng.beta(1.3, 1.5)
        saturation = self.rng.beta(1.2, 3.5)
        hsv = np.float32([[[self.rng.uniform(0, 360), saturation, value]]])
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0]

    def _gradient(self) -> np.ndarray:
        rng, x, y = self.rng, self.x, self.y
        a, b, angle = self._colour(), self._colour(), rng.uniform(0, 2 * np.pi)
        b = a + rng.uniform(0.1, 1) * (b - a)
        t = np.clip((x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle) + 0.5, 0, 1)
        if rng.random() < 0.4:
            t = np.clip(np.hypot(x - rng.uniform(0.2, 0.8), y - rng.uniform(0.1, 0.7)) * 1.3, 0, 1)
        return a + t[..., None] * (b - a)

    def _add_shapes(self, image: np.ndarray, count: int) -> np.ndarray:
        rng, size = self.rng, self.size
        image = np.ascontiguousarray(image, np.float32)
        for _ in range(count):
            c, p = tuple(float(v) for v in self._colour()), rng.integers(-size // 4, size + size // 4, 2)
            w, h = rng.integers(size // 12, size // 2, 2)
            if rng.random() < 0.6:
                cv2.rectangle(image, (int(p[0]), int(p[1])), (int(p[0] + w), int(p[1] + h)), c, -1)
            else:
                axes = (int(w // 2), int(h // 2))
                cv2.ellipse(image, (int(p[0]), int(p[1])), axes, rng.uniform(0, 180), 0, 360, c, -1)
        return image

    def _cloud(self, octaves: int) -> np.ndarray:
        size = self.size
        out = np.zeros((size, size, 1), np.float32)
        for o in range(octaves):
            cells = 3 * 2**o
            layer = self.rng.normal(size=(cells, cells)).astype(np.float32)
            out[..., 0] += cv2.resize(layer, (size, size), interpolation=cv2.INTER_CUBIC) * 0.6**o
        return out
