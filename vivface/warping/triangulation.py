"""Triangles in pixels: which of them each pixel shows, and values of their points between them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np

SUBPIXEL_BITS = 4


@cache
def between_rows(count: int, rows: int = 2) -> np.ndarray:
    """Triangles `(2 * (count - 1) * (rows - 1), 3)` between rows of `count` points, one row after the other."""
    k = np.concatenate([np.arange(count - 1) + row * count for row in range(rows - 1)])
    return np.concatenate([np.stack([k, k + 1, k + count], 1), np.stack([k + 1, k + count + 1, k + count], 1)])


def shown_triangles(
    target: np.ndarray, corners: np.ndarray, order: Sequence[int], box: tuple[int, int, int, int], size: int
) -> np.ndarray:
    """The triangle that each pixel of a part of the target shows.

    Args:
        target (`np.ndarray` of shape `(P, 2 or 3)`): Points, from 0 to 1.
        corners (`np.ndarray` of shape `(T, 3)`): Points of the triangles.
        order (sequence of `int`): Triangles from back to front.
        box (`tuple[int, int, int, int]`): The part: left, top, right, bottom in pixels.
        size (`int`): Width and height of the whole target in pixels.

    Returns:
        `np.ndarray` of shape `(height, width)`: numbers of triangles, int32; -1 where none lies.
    """
    left, top, right, bottom = box
    shown = np.full((bottom - top, right - left), -1, np.int32)
    one = 1 << SUBPIXEL_BITS
    pixels = np.round((target[:, :2] * size - 0.5 - (left, top)) * one).astype(np.int32)
    order = np.asarray(order)[_reaches(pixels, corners, shown.shape, one)[order]]
    for triangle, polygon in zip(order.tolist(), pixels[corners[order]], strict=True):
        cv2.fillConvexPoly(shown, polygon, triangle, cv2.LINE_8, SUBPIXEL_BITS)
    return shown


def _reaches(pixels: np.ndarray, corners: np.ndarray, part: tuple[int, int], one: int) -> np.ndarray:
    """Which triangles `(T,)` may reach into a part `(height, width)`; their edges are drawn a pixel wide."""
    reaches = np.ones(len(corners), bool)
    for axis, most in ((0, part[1]), (1, part[0])):
        first, second, third = pixels[:, axis][corners.T]
        reaches &= np.maximum(np.maximum(first, second), third) >= -2 * one
        reaches &= np.minimum(np.minimum(first, second), third) <= (most + 2) * one
    return reaches


def affine_tables(target: np.ndarray, values: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """What `interpolate` looks up: values of points as linear functions of the position in each triangle.

    Args:
        target (`np.ndarray` of shape `(P, 2 or 3)`), corners (`np.ndarray` of shape `(T, 3)`): See `shown_triangles`.
        values (`np.ndarray` of shape `(P, C)`): Of the points.

    Returns:
        `np.ndarray` of shape `(C, 5, T + 1)`: float32; change across, change down, value at the origin, least and most
        of the corners' values. The last triangle stands for none: there every pixel has its own position as its first
        two values, and zeros.
    """
    tables = np.empty((values.shape[1], 5, len(corners) + 1), np.float32)
    tables[:, :3, :-1] = _affine_maps(target[:, :2], values, corners).transpose(2, 1, 0)
    first, second, third = (values.T[:, corners[:, k]] for k in range(3))  # (C, T)
    tables[:, 3, :-1] = np.minimum(np.minimum(first, second), third)
    tables[:, 4, :-1] = np.maximum(np.maximum(first, second), third)
    tables[..., -1] = (0, 0, 0, -np.inf, np.inf)
    for k in range(min(2, len(tables))):
        tables[k, k, -1] = 1
    return tables


def interpolate(shown: np.ndarray, tables: np.ndarray, box: tuple[int, int, int, int], size: int) -> np.ndarray:
    """Values of points, linear over the triangles that pixels show.

    Args:
        shown (`np.ndarray` of shape `(height, width)`), box, size: See `shown_triangles`.
        tables (`np.ndarray` of shape `(C, 5, T + 1)`): See `affine_tables`.

    Returns:
        `np.ndarray` of shape `(height, width, C)`: float32, one value of all pixels after the other in memory.
    """
    left, top, right, bottom = box
    u = ((np.arange(left, right, dtype=np.float32) + 0.5) / size)[None]
    v = ((np.arange(top, bottom, dtype=np.float32) + 0.5) / size)[:, None]
    number = shown.astype(np.intp)  # -1 is the last triangle
    found = np.empty((len(tables), *shown.shape), np.float32)
    looked_up = np.empty(shown.shape, np.float32)

    def look_up(row: np.ndarray) -> np.ndarray:
        return row.take(number, out=looked_up, mode="wrap")

    for value, (across, down, offset, low, high) in zip(found, tables, strict=True):
        np.multiply(look_up(across), u, out=value)
        np.multiply(look_up(down), v, out=looked_up)
        value += looked_up
        value += look_up(offset)
        # A pixel on the edge of a thin triangle may lie outside it: no farther than the corners.
        np.maximum(value, look_up(low), out=value)
        np.minimum(value, look_up(high), out=value)
    return found.transpose(1, 2, 0)


def _affine_maps(target: np.ndarray, values: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Affine maps `(T, 3, C)` from positions to values: [x, y, 1] @ map."""
    a, b = target[corners], values[corners]  # (T, 3, 2), (T, 3, C)
    across, down = a[:, 1] - a[:, 0], a[:, 2] - a[:, 0]
    area = across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0]
    area = np.where(np.abs(area) < 1e-9, 1e-9, area)
    inverse = np.stack([np.stack([down[:, 1], -down[:, 0]], 1), np.stack([-across[:, 1], across[:, 0]], 1)], 1)
    inverse /= area[:, None, None]  # position - corner 0 -> shares along both sides: inverse @ (x, y)
    sides = np.stack([b[:, 1] - b[:, 0], b[:, 2] - b[:, 0]], 1)  # (T, 2, C)
    linear = np.einsum("tsx,tsc->txc", inverse, sides)
    offset = b[:, 0] - np.einsum("tx,txc->tc", a[:, 0], linear)
    return np.concatenate([linear, offset[:, None]], 1).astype(np.float32)
