"""Spectacle frames, fitted to a head."""

from __future__ import annotations

import numpy as np


def fit_glasses(
    style: dict, skin: np.ndarray, skin_base: np.ndarray, in_front: np.ndarray, landmarks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Make two rims, a bridge and two temples as tubes.

    Args:
        style (`dict`): `width`, `height`, `square`, `thickness` (dm), see `person.py`.
        skin (`np.ndarray` of shape `(V, 3)`): Skin of the person, dm.
        skin_base (`np.ndarray` of shape `(V, 3)`): The same vertices on the base mesh, where ears are known.
        in_front (`np.ndarray` of shape `(B, 3)`): Brows and lashes, which must not pierce the rims.
        landmarks (`np.ndarray` of shape `(68, 3)`): Of the person, dm.

    Returns:
        Vertices with normals `(V, 6)` and triangles `(T, 3)`.
    """
    eyes = np.stack([landmarks[36:42].mean(0), landmarks[42:48].mean(0)])
    apart = abs(eyes[1, 0] - eyes[0, 0])
    half_w = 0.43 * apart * style["width"]
    half_h = half_w * style["height"]
    centre_y = eyes[:, 1].mean() - 0.25 * half_h
    near = skin[(abs(abs(skin[:, 0]) - apart / 2) < half_w) & (abs(skin[:, 1] - centre_y) < half_h)]
    side = near[abs(near[:, 0]) > 0.3 * apart]
    front = max(np.percentile(side[:, 2], 98), in_front[:, 2].max() - 0.03) + 0.05

    lines = []
    t = np.linspace(0, 2 * np.pi, 41)
    power = 2 / style["square"]
    c, s = np.sign(np.cos(t)) * abs(np.cos(t)) ** power, np.sign(np.sin(t)) * abs(np.sin(t)) ** power
    for sign in (-1, 1):
        x = sign * apart / 2 + half_w * c
        lines.append(np.stack([x, centre_y + half_h * s, front - 0.12 * (abs(x) / apart) ** 2], 1))
    inner = apart / 2 - half_w
    t = np.linspace(-1, 1, 9)
    bridge = np.stack([t * inner, centre_y + half_h * (0.35 + 0.12 * (1 - t**2)), front + 0.02 * (1 - t**2)], 1)
    lines.append(bridge)
    ear = (abs(skin_base[:, 0]) > 0.66) & (abs(skin_base[:, 1] - 7.35) < 0.14) & (abs(skin_base[:, 2] - 0.25) < 0.2)
    for sign in (-1, 1):
        top = skin[ear & (skin_base[:, 0] * sign > 0)]
        reach = (top[:, 0] * sign).max()
        corner = front - 0.12 * (0.5 + half_w / apart) ** 2
        start = np.array([sign * (apart / 2 + half_w), centre_y + half_h * 0.35, corner])
        hinge = np.array([sign * max(apart / 2 + half_w + 0.02, 0.93 * reach), start[1] + 0.02, start[2] - 0.15])
        end = np.array([sign * reach * 0.97, eyes[:, 1].mean() + 0.1, top[:, 2].mean()])
        lines.append(np.stack([start, hinge, hinge * 0.5 + end * 0.5, end]))
    return _tubes(lines, style["thickness"] / 2)


def _tubes(lines: list[np.ndarray], radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Six-sided tubes along polylines `(P, 3)`: vertices with normals `(V, 6)` and triangles `(T, 3)`."""
    vertices, triangles, n = [], [], 0
    for line in lines:
        direction = np.gradient(line, axis=0)
        direction /= np.linalg.norm(direction, axis=1, keepdims=True) + 1e-9
        up = np.where(abs(direction[:, 2:]) > 0.8, [[0.0, 1, 0]], [[0.0, 0, 1]])
        a = np.cross(direction, up)
        a /= np.linalg.norm(a, axis=1, keepdims=True)
        b = np.cross(direction, a)
        angle = np.arange(6) * np.pi / 3
        ring = np.cos(angle)[None, :, None] * a[:, None] + np.sin(angle)[None, :, None] * b[:, None]
        vertices.append(np.concatenate([line[:, None] + radius * ring, ring], -1).reshape(-1, 6))
        i = np.arange(len(line) - 1)[:, None] * 6 + np.arange(6)
        j = np.arange(len(line) - 1)[:, None] * 6 + (np.arange(6) + 1) % 6
        quads = np.stack([i, j, j + 6, i + 6], -1).reshape(-1, 4)
        triangles.append(np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]) + n)
        n += len(line) * 6
    return np.concatenate(vertices), np.concatenate(triangles)
