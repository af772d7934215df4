"""Draw surface maps, the ground truth of correspondence, with the camera and the meshes of the renderer."""

from __future__ import annotations

import moderngl
import numpy as np

from training.synthetic.correspondence import CLOTHES, EYES, GLASSES, HAIR, MOUTH, SKIN, SurfaceMaps
from training.synthetic.renderer import EYE_SINK, TEETH_VISIBLE, Renderer
from training.synthetic.subject import Subject

PART_OF_MESH = {  # brows and lashes are drawn on the skin
    "skin": SKIN, "eyes": EYES, "teeth": MOUTH, "tongue": MOUTH, "clothes": CLOTHES, "glasses": GLASSES, "hair": HAIR,
}  # fmt: skip

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


class SurfaceRenderer:
    """Draws surface maps of `Subject`s, in the images of a renderer.

    Args:
        renderer (`Renderer`): Whose context and image size are used.
    """

    def __init__(self, renderer: Renderer) -> None:
        self.renderer = renderer
        renderer.use()
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
        self.renderer.use()
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
