"""Ground truth of correspondence: where each pixel of one frame of a person lies in any other frame.

A frame is drawn once as a *surface map*: for every pixel the triangle that it shows and the place inside it. As the
meshes keep their topology, the same place can be found in every other frame, whose vertices are posed by its own bones
and projected by the camera. That is the flow from target to source. Whether the source shows the place is decided by
the source's own surface map: it has to show the same part of the person, no nearer to the camera.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

PARTS = ("background", "skin", "eyes", "mouth", "hair", "clothes", "glasses")
BACKGROUND, SKIN, EYES, MOUTH, HAIR, CLOTHES, GLASSES = range(len(PARTS))
DEPTH_STEP = 0.02  # dm; how far behind the nearest surface a place may lie and count as shown


@dataclass
class Correspondence:
    """Where the pixels of a target frame lie in a source frame.

    Attributes:
        flow (`np.ndarray` of shape `(H, W, 2)`): Source position minus target position in pixels (x right, y down),
            float32. The background does not move.
        visible (`np.ndarray` of shape `(H, W)`): Whether the source shows what the target's pixel shows.
        parts (`np.ndarray` of shape `(H, W)`): What the target shows, indices of `PARTS`, uint8.
    """

    flow: np.ndarray
    visible: np.ndarray
    parts: np.ndarray


@dataclass
class SurfaceMaps:
    """T frames of one person with the surface that each pixel shows: everything that correspondence needs.

    Attributes:
        triangle (`np.ndarray` of shape `(T, H, W)`): Number of the triangle, -1 for the background.
        place (`np.ndarray` of shape `(T, H, W, 2)`): Barycentric coordinates of the triangle's second and third
            corner: float32, or uint8 in 255ths.
        corners (`np.ndarray` of shape `(M, 3)`): Vertices of each triangle.
        part (`np.ndarray` of shape `(M,)`): Part of each triangle, indices of `PARTS`, uint8.
        points (`np.ndarray` of shape `(T, N, 3)`): Vertices in each frame: x, y in pixels, depth in dm; float32.
    """

    triangle: np.ndarray
    place: np.ndarray
    corners: np.ndarray
    part: np.ndarray
    points: np.ndarray
    _depth: tuple[int, np.ndarray] | None = field(default=None, repr=False)  # of the last frame that was asked for

    def parts(self, frame: int) -> np.ndarray:
        """What a frame shows `(H, W)`: indices of `PARTS`, uint8."""
        triangle = self.triangle[frame]
        return np.where(triangle < 0, np.uint8(BACKGROUND), self.part[triangle])

    def locate(self, triangle: np.ndarray, place: np.ndarray, frame: int) -> np.ndarray:
        """Where places on the surface lie in a frame.

        Args:
            triangle (`np.ndarray` of shape `(P,)`): Numbers of triangles.
            place (`np.ndarray` of shape `(P, 2)`): Barycentric coordinates in them.
            frame (`int`): The frame.

        Returns:
            `np.ndarray` of shape `(P, 3)`: x, y in pixels and depth in dm, float32.
        """
        b = place / np.float32(255) if place.dtype == np.uint8 else place
        points, corners = self.points[frame], self.corners[triangle]
        first, second, third = (points[corners[:, k]] for k in range(3))  # (P, 3) each
        # The screen is not linear in depth: weights over depth are.
        u, v, w = (1 - b[:, 0] - b[:, 1]) / first[:, 2], b[:, 0] / second[:, 2], b[:, 1] / third[:, 2]
        depth = 1 / (u + v + w)
        out = u[:, None] * first + v[:, None] * second + w[:, None] * third
        out *= depth[:, None]
        out[:, 2] = depth
        return out

    def depth(self, frame: int) -> np.ndarray:
        """Depth of what a frame shows `(H, W)` in dm, infinite for the background."""
        cached = self._depth
        if cached is None or cached[0] != frame:
            shown = self.triangle[frame] >= 0
            depth = np.full(shown.shape, np.inf, np.float32)
            depth[shown] = self.locate(self.triangle[frame][shown], self.place[frame][shown], frame)[:, 2]
            cached = self._depth = (frame, depth)
        return cached[1]

    def correspondence(self, source: int, target: int, positions: np.ndarray | None = None) -> Correspondence:
        """Where pixels of frame `target` lie in frame `source`.

        Args:
            source (`int`): Frame that would be warped.
            target (`int`): Frame that the result shows.
            positions (`np.ndarray` of shape `(h, w, 2)`, *optional*): Where to look in the target, x, y in pixels (as
                for a crop); by default the centres of all its pixels. Beyond the image there is background.

        Returns:
            `Correspondence`: flow, visibility and parts at the positions.
        """
        height, width = self.triangle.shape[1:]
        if positions is None:
            y, x = np.mgrid[0:height, 0:width].astype(np.float32) + 0.5
            positions = np.stack([x, y], -1)
        x, y = np.floor(positions[..., 0]).astype(int), np.floor(positions[..., 1]).astype(int)
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
        triangle, place = self.triangle[target][y, x], self.place[target][y, x]
        shown = inside & (triangle >= 0)
        parts = np.where(shown, self.part[triangle], np.uint8(BACKGROUND))
        flow, depth = np.zeros(positions.shape, np.float32), np.full(parts.shape, np.inf, np.float32)
        found = self.locate(triangle[shown], place[shown], source)
        flow[shown] = found[:, :2] - np.stack([x[shown], y[shown]], 1) - 0.5
        depth[shown] = found[:, 2]
        return Correspondence(flow, self._is_shown(source, positions + flow, depth, parts), parts)

    def _is_shown(self, source: int, positions: np.ndarray, depth: np.ndarray, parts: np.ndarray) -> np.ndarray:
        """Whether `source` shows the part at one of the four pixels around each position, no nearer than `depth`."""
        nearest, shown = self.depth(source), self.parts(source)
        height, width = shown.shape
        x0, y0 = np.floor(positions[..., 0] - 0.5).astype(int), np.floor(positions[..., 1] - 0.5).astype(int)
        visible = np.zeros(parts.shape, bool)
        for dy in (0, 1):
            for dx in (0, 1):
                x, y = x0 + dx, y0 + dy
                inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
                x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
                visible |= inside & (shown[y, x] == parts) & (depth <= nearest[y, x] + DEPTH_STEP)
        x = np.floor(positions[..., 0]).astype(int).clip(0, width - 1)
        y = np.floor(positions[..., 1]).astype(int).clip(0, height - 1)
        return np.where(parts == BACKGROUND, shown[y, x] == BACKGROUND, visible)
