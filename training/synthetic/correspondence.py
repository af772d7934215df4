"""Ground truth of correspondence: where each pixel of one frame of a person lies in any other frame.

A frame is drawn once as a *surface map*: for every pixel the triangle that it shows and the place inside it. As the
meshes keep their topology, the same place can be found in every other frame, whose vertices are posed by its own bones
and projected by the camera. That is the flow from target to source. Whether the source shows the place is decided by
the source's own surface map: it has to show the same part of the person, no nearer to the camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import moderngl
import numpy as np

from training.synthetic.renderer import EYE_SINK, TEETH_VISIBLE, Renderer
from training.synthetic.subject import Subject

PARTS = ("background", "skin", "eyes", "mouth", "hair", "clothes", "glasses")
BACKGROUND, SKIN, EYES, MOUTH, HAIR, CLOTHES, GLASSES = range(len(PARTS))
PART_OF_MESH = {  # brows and lashes are drawn on the skin
    "skin": SKIN, "eyes": EYES, "teeth": MOUTH, "tongue": MOUTH, "clothes": CLOTHES, "glasses": GLASSES, "hair": HAIR,
}  # fmt: skip
DEPTH_STEP = 0.02  # dm; how far behind the nearest surface a place may lie and count as shown

VERTEX = """
#version 330
uniform mat4 bones[5];
uniform mat4 view_projection;
in vec3 in_position;
in vec2 in_uv;
in vec4 in_chain;
out vec2 v_uv;
void main() {
    mat4 m = bones[0] * (1.0 - dot(in_chain, vec4(1.0))) + bones[1] * in_chain.x + bones[2] * in_chain.y
           + bones[3] * in_chain.z + bones[4] * in_chain.w;
    v_uv = in_uv;
    gl_Position = view_projection * (m * vec4(in_position, 1.0));
}
"""
GEOMETRY = """
#version 330
layout(triangles) in;
layout(triangle_strip, max_vertices = 3) out;
in vec2 v_uv[3];
out vec2 g_uv;
out vec3 g_place;
flat out int g_triangle;
void main() {
    for (int i = 0; i < 3; i++) {
        g_uv = v_uv[i];
        g_place = vec3(i == 0, i == 1, i == 2);
        g_triangle = gl_PrimitiveIDIn;
        gl_Position = gl_in[i].gl_Position;
        EmitVertex();
    }
    EndPrimitive();
}
"""
FRAGMENT = """
#version 330
uniform sampler2D picture;
uniform float cutoff;       // of the hair's coverage; negative: no alpha test
uniform int first;          // number of the mesh's first triangle
in vec2 g_uv;
in vec3 g_place;
flat in int g_triangle;
out vec4 surface;
void main() {
    if (cutoff >= 0.0 && texture(picture, g_uv).g < cutoff) discard;
    surface = vec4(float(first + g_triangle), g_place.y, g_place.z, 1.0);
}
"""


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
        triangle (`np.ndarray` of shape `(T, H, W)`): Number of the triangle, -1 for the background; int32.
        place (`np.ndarray` of shape `(T, H, W, 2)`): Barycentric coordinates of the triangle's second and third corner.
        corners (`np.ndarray` of shape `(M, 3)`): Vertices of each triangle.
        part (`np.ndarray` of shape `(M,)`): Part of each triangle, indices of `PARTS`, uint8.
        points (`np.ndarray` of shape `(T, N, 3)`): Vertices in each frame: x, y in pixels, depth in dm; float32.
    """

    triangle: np.ndarray
    place: np.ndarray
    corners: np.ndarray
    part: np.ndarray
    points: np.ndarray

    def parts(self, frame: int) -> np.ndarray:
        """What a frame shows `(H, W)`: indices of `PARTS`, uint8."""
        triangle = self.triangle[frame]
        return np.where(triangle < 0, np.uint8(BACKGROUND), self.part[triangle])

    def locate(self, target: int, source: int) -> np.ndarray:
        """Where the places that `target` shows lie in `source`.

        Args:
            target (`int`): Frame whose pixels are asked for.
            source (`int`): Frame in which they are found.

        Returns:
            `np.ndarray` of shape `(H, W, 3)`: x, y in pixels and depth in dm, float32; background pixels stay where
            they are, infinitely far.
        """
        triangle, place = self.triangle[target], self.place[target]
        height, width = triangle.shape
        y, x = np.mgrid[0:height, 0:width].astype(np.float32) + 0.5
        out = np.stack([x, y, np.full_like(x, np.inf)], -1)
        shown = triangle >= 0
        b = place[shown]
        corners = self.points[source][self.corners[triangle[shown]]]  # (P, 3, 3)
        weights = np.stack([1 - b.sum(1), b[:, 0], b[:, 1]], 1) / corners[..., 2]  # the screen is not linear in depth
        depth = 1 / weights.sum(1)
        out[shown, :2] = (weights[..., None] * corners[..., :2]).sum(1) * depth[:, None]
        out[shown, 2] = depth
        return out

    def correspondence(self, source: int, target: int) -> Correspondence:
        """Where the pixels of frame `target` lie in frame `source`.

        Args:
            source (`int`): Frame that would be warped.
            target (`int`): Frame that the result shows.

        Returns:
            `Correspondence`: flow, visibility and parts, of the target's pixels.
        """
        found = self.locate(target, source)
        parts = self.parts(target)
        height, width = parts.shape
        y, x = np.mgrid[0:height, 0:width].astype(np.float32) + 0.5
        flow = found[..., :2] - np.stack([x, y], -1)
        return Correspondence(flow, self._is_shown(source, found, parts), parts)

    def _is_shown(self, source: int, found: np.ndarray, parts: np.ndarray) -> np.ndarray:
        """Whether `source` shows the part at one of the four pixels around each place, no nearer than the place."""
        depth, shown = self.locate(source, source)[..., 2], self.parts(source)
        height, width = parts.shape
        x0, y0 = np.floor(found[..., 0] - 0.5).astype(int), np.floor(found[..., 1] - 0.5).astype(int)
        visible = np.zeros(parts.shape, bool)
        for dy in (0, 1):
            for dx in (0, 1):
                x, y = x0 + dx, y0 + dy
                inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
                x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
                near_enough = found[..., 2] <= depth[y, x] + DEPTH_STEP
                visible |= inside & (shown[y, x] == parts) & near_enough
        return np.where(parts == BACKGROUND, shown == BACKGROUND, visible)


class SurfaceRenderer:
    """Draws surface maps of `Subject`s, in the images of a renderer.

    Args:
        renderer (`Renderer`): Whose context and image size are used.
    """

    def __init__(self, renderer: Renderer) -> None:
        self.renderer = renderer
        ctx, size = renderer.ctx, renderer.size
        self.program = ctx.program(vertex_shader=VERTEX, geometry_shader=GEOMETRY, fragment_shader=FRAGMENT)
        self.target = ctx.framebuffer(
            [ctx.renderbuffer((size, size), 4, dtype="f4")], ctx.depth_renderbuffer((size, size))
        )

    def render(self, subject: Subject, controls: np.ndarray, poses: np.ndarray) -> SurfaceMaps:
        """Draw the surface maps of frames.

        Args:
            subject (`Subject`): Who is drawn.
            controls (`np.ndarray` of shape `(T, len(CONTROLS))`): See `motion.py`.
            poses (`np.ndarray` of shape `(T, 3)`): Yaw, pitch, roll in degrees.

        Returns:
            `SurfaceMaps`: of `size` x `size` pixels.
        """
        head = subject.head
        meshes = [name for name in head.parts if name in PART_OF_MESH]
        starts = np.cumsum([0, *(len(head.parts[name]) for name in meshes)])
        arrays = {name: self._array(subject, name) for name in meshes}
        vertices, bones = head.deform(controls), head.chain_matrices(poses)
        self._sink_eyes(subject, vertices, head.lids_shut(controls))
        opening = head.mouth_opening(controls)
        surfaces, points = [], []
        try:
            for v, b, o in zip(vertices, bones, opening, strict=True):
                shown = [m for m in meshes if PART_OF_MESH[m] != MOUTH or o > TEETH_VISIBLE]
                first = dict(zip(meshes, starts, strict=False))
                surfaces.append(self._draw(subject, v, b, [(m, arrays[m], int(first[m])) for m in shown]))
                points.append(self._project(subject, head.pose_vertices(v, b)))
        finally:
            for array in arrays.values():
                array.release()
        surface = np.stack(surfaces)
        return SurfaceMaps(
            triangle=np.where(surface[..., 3] > 0, surface[..., 0], -1).astype(np.int32),
            place=surface[..., 1:3],
            corners=np.concatenate([head.parts[name] for name in meshes]),
            part=np.repeat(np.uint8([PART_OF_MESH[name] for name in meshes]), np.diff(starts)),
            points=np.stack(points),
        )

    def _array(self, subject: Subject, mesh: str) -> moderngl.VertexArray:
        content = [(subject.dynamic, "3f 12x", "in_position"), (subject.static, "2f 4f 8x", "in_uv", "in_chain")]
        index = subject.indices[mesh]
        return self.renderer.ctx.vertex_array(self.program, content, index_buffer=index, index_element_size=4)

    @staticmethod
    def _sink_eyes(subject: Subject, vertices: np.ndarray, lids: np.ndarray) -> None:
        """Move eyes back under shut lids, as the shader of the eyes does; changes `vertices` `(T, N, 6)`."""
        eyes = np.unique(subject.head.parts["eyes"])
        shut = np.where(vertices[:, eyes, 0] > 0, lids[:, :1], lids[:, 1:])
        t = np.clip((shut - 0.5) / 0.5, 0, 1)
        vertices[:, eyes, 2] -= EYE_SINK * t * t * (3 - 2 * t)

    def _project(self, subject: Subject, positions: np.ndarray) -> np.ndarray:
        """Points `(N, 3)`: x, y in pixels, and depth, the distance along the view axis."""
        depth = subject.camera[2] - positions[:, 2]
        return np.concatenate([subject.project(positions, self.renderer.size), depth[:, None]], 1).astype(np.float32)

    def _draw(self, subject: Subject, vertices: np.ndarray, bones: np.ndarray, meshes: list) -> np.ndarray:
        """One surface map `(size, size, 4)`: triangle, place, and 1 where something is drawn."""
        ctx, program, size = self.renderer.ctx, self.program, self.renderer.size
        subject.dynamic.write(np.ascontiguousarray(vertices))
        self.target.use()
        self.target.clear(depth=1.0)
        program["bones"].write(np.ascontiguousarray(np.swapaxes(bones, 1, 2), np.float32).tobytes())
        program["view_projection"].write(np.ascontiguousarray(subject.view_projection().T, np.float32).tobytes())
        for mesh, array, first in meshes:
            closed = mesh in ("skin", "eyes")  # as the renderer: nobody sees their insides
            ctx.enable_only(moderngl.DEPTH_TEST | moderngl.CULL_FACE if closed else moderngl.DEPTH_TEST)
            program["first"].value = first
            program["cutoff"].value = subject.hair_edge if mesh == "hair" else -1.0
            if mesh == "hair":
                subject.textures["hair"].use(0)
            array.render()
        data = self.target.read(components=4, dtype="f4")
        return np.frombuffer(data, np.float32).reshape(size, size, 4)[::-1]
