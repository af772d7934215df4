"""A person on the graphics card: buffers, textures, baked occlusion, and the camera and light of a scene."""

from __future__ import annotations

from typing import TYPE_CHECKING

import moderngl
import numpy as np

from training.synthetic.geometry import build_head
from training.synthetic.head import Head, frame_of_face
from training.synthetic.motion import controls_from
from training.synthetic.paint import encode, paint_cloth, paint_eye, paint_skin
from training.synthetic.person import SyntheticPerson
from training.synthetic.scene import Scene

if TYPE_CHECKING:
    from training.synthetic.renderer import Renderer

FRAME_SCALE = 1.45  # half extent of the image over the half extent of an FFHQ-like crop
MATERIAL = {  # mesh -> shader
    "skin": "skin", "eyes": "eye", "teeth": "mouth", "tongue": "mouth", "brows": "decal", "lashes": "decal",
    "clothes": "cloth", "glasses": "cloth", "hair": "hair",
}  # fmt: skip
OCCLUSION_SIZE, OCCLUSION_DIRECTIONS = 128, 26


class Subject:
    """A person in a scene, ready to be drawn.

    Args:
        renderer (`Renderer`): Whose context holds the buffers.
        person (`SyntheticPerson`): Who it is.
        scene (`Scene`): Light, camera distance and background.

    Attributes:
        head (`Head`): The geometry.
        centre (`np.ndarray` of shape `(3,)`): The point that the camera looks at, dm.
        half (`float`): Half extent of the image at that point, dm.
        skull (`np.ndarray` of shape `(3,)`): Middle of the head, dm.
    """

    def __init__(self, renderer: Renderer, person: SyntheticPerson, scene: Scene) -> None:
        self.person, self.scene = person, scene
        self.head: Head = build_head(renderer.kit, person)
        self.centre, half = frame_of_face(self.head.landmarks)
        self.half = half * FRAME_SCALE
        self.skull = self.centre - np.array([0, 0, 0.95])
        self.brightness = float(np.clip(0.55 + 1.5 * person.tone.mean(), 0.6, 1.0))  # of eyes and teeth in dark skin
        self.occlusion = np.ones((len(self.head.rest), 2), np.float32)  # mouth shut, mouth open
        self.tints = {
            "teeth": person.teeth_tint * self.brightness, "tongue": np.array([0.5, 0.36, 0.36]) * self.brightness,
            "clothes": np.ones(3), "brows": person.brow_colour,
            "lashes": np.array([0.012, 0.010, 0.010]) + 0.1 * person.brow_colour,
            "glasses": person.glasses["colour"] if person.glasses else np.ones(3),
        }  # fmt: skip
        self.roundness, self.hair_edge = (0.85, 0.5) if person.hair == "afro01" else (0.4, 0.42)  # coverage at its edge
        self.density = {"brows": person.brow_density, "lashes": person.lash_density}
        self.textures: dict[str, moderngl.Texture] = {}
        self.arrays: dict[str, dict[str, moderngl.VertexArray]] = {}  # mesh -> shader -> what it draws
        self._owned: list = []
        self._renderer = renderer
        renderer.use()
        self._load_textures(renderer)
        self._load_buffers(renderer)
        self._bake_occlusion(renderer)

    def _load_textures(self, renderer: Renderer) -> None:
        kit, person = renderer.kit, self.person
        own = {
            "skin": paint_skin(kit, person, full=renderer.size > 320),
            "eyes": paint_eye(kit, person),
            "clothes": paint_cloth(kit, person),
        }
        self.textures = {name: renderer.upload(image) for name, image in own.items()}
        self._owned += self.textures.values()
        self.textures |= {
            "teeth": renderer.shared("teeth", lambda: encode((kit.texture("teeth") / 255.0) ** 2.2)),
            "tongue": renderer.shared("tongue", lambda: encode((kit.texture("tongue") / 255.0) ** 2.2)),
            "brows": renderer.shared(person.brows, lambda: kit.texture(person.brows)[..., None]),
            "lashes": renderer.shared(person.lashes, lambda: kit.texture(person.lashes)[..., None]),
            "glasses": renderer.shared("white", lambda: np.full((1, 1, 3), 255, np.uint8)),
        }
        if person.hair:
            self.textures["hair"] = renderer.shared(person.hair, lambda: kit.texture(person.hair))

    def _load_buffers(self, renderer: Renderer) -> None:
        ctx = renderer.ctx
        self.dynamic = ctx.buffer(self.head.rest.astype(np.float32).tobytes(), dynamic=True)
        self.static = ctx.buffer(reserve=len(self.head.rest) * 8 * 4)
        self.indices = {}
        self._write_static()
        self._owned += [self.dynamic, self.static]
        for mesh, triangles in self.head.parts.items():
            self.indices[mesh] = ctx.buffer(np.ascontiguousarray(triangles, np.int32).tobytes())
            self._owned.append(self.indices[mesh])
            self.arrays[mesh] = {name: self._array(renderer, mesh, name) for name in (MATERIAL[mesh], "depth")}

    def _array(self, renderer: Renderer, mesh: str, shader: str) -> moderngl.VertexArray:
        """The vertices of a mesh, bound to a shader."""
        program = renderer.programs[shader]
        have = {a for a in program if isinstance(program[a], moderngl.Attribute)}
        layout = []
        for buffer, fields in (
            (self.dynamic, (("3f", 12, "in_position"), ("3f", 12, "in_normal"))),
            (self.static, (("2f", 8, "in_uv"), ("4f", 16, "in_chain"), ("2f", 8, "in_ao"))),
        ):
            names = [a for _, _, a in fields if a in have]
            if names:
                layout.append((buffer, " ".join(f if a in have else f"{size}x" for f, size, a in fields), *names))
        index = self.indices[mesh]
        array = renderer.ctx.vertex_array(program, layout, index_buffer=index, index_element_size=4)
        self._owned.append(array)
        return array

    def _write_static(self) -> None:
        packed = np.concatenate([self.head.uv, self.head.chain, self.occlusion], 1).astype(np.float32)
        self.static.write(packed.tobytes())

    def _bake_occlusion(self, renderer: Renderer) -> None:
        """Sky visibility per vertex, once with the mouth shut and once with it open."""
        states = np.stack([controls_from(), controls_from(jaw_open=0.75, part=0.4)])
        for column, state in enumerate(self.head.deform(states)):
            self.dynamic.write(np.ascontiguousarray(state).tobytes())
            self.occlusion[:, column] = self._sky_visibility(renderer, state)
        self._write_static()

    def _sky_visibility(self, renderer: Renderer, state: np.ndarray) -> np.ndarray:
        """How much sky each vertex of a state `(N, 6)` sees `(N,)`, from depth maps of many directions."""
        position, normal = state[:, :3], self._outer_normals(state)
        seen, total = np.zeros(len(state)), np.zeros(len(state))
        for direction in sky_directions():
            matrix = view_from(direction, self.skull, 2.1)
            depth = renderer.depth_map(self, matrix)
            p = (position + normal * 0.03) @ matrix[:3, :3].T + matrix[:3, 3]
            px = np.clip(((p[:, 0] + 1) * 0.5 * OCCLUSION_SIZE).astype(int), 0, OCCLUSION_SIZE - 1)
            py = np.clip(((p[:, 1] + 1) * 0.5 * OCCLUSION_SIZE).astype(int), 0, OCCLUSION_SIZE - 1)
            weight = np.maximum(normal @ direction, 0) * (0.75 + 0.25 * direction[1])
            seen += weight * (p[:, 2] * 0.5 + 0.5 < depth[py, px] + 0.006)
            total += weight
        return np.clip(seen / np.maximum(total, 1e-6), 0.03, 1) ** 0.9

    def _outer_normals(self, state: np.ndarray) -> np.ndarray:
        """Unit normals `(N, 3)`; of what is drawn from both sides, the direction away from the head."""
        position, normal = state[:, :3], state[:, 3:]
        normal = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
        two_sided = np.zeros(len(state), bool)
        for mesh in ("hair", "clothes", "brows", "lashes"):
            if mesh in self.head.parts:
                two_sided[np.unique(self.head.parts[mesh])] = True
        outward = position - self.skull
        outward /= np.linalg.norm(outward, axis=1, keepdims=True)
        return np.where(two_sided[:, None], outward, normal)

    @property
    def camera(self) -> np.ndarray:
        """Position of the camera `(3,)`, dm."""
        return self.centre + [0, 0, self.scene.distance]

    def view_projection(self) -> np.ndarray:
        """The camera as a row-major matrix `(4, 4)`: from points in dm to clip space."""
        d = self.scene.distance
        far, near = d + 6.0, max(d - 4.0, 1.0)
        projection = np.zeros((4, 4))
        projection[0, 0] = projection[1, 1] = d / self.half
        projection[2, 2], projection[2, 3] = -(far + near) / (far - near), -2 * far * near / (far - near)
        projection[3, 2] = -1
        view = np.eye(4)
        view[:3, 3] = -self.camera
        return projection @ view

    def project(self, points: np.ndarray, size: int) -> np.ndarray:
        """Where points lie in an image.

        Args:
            points (`np.ndarray` of shape `(..., 3)`): In dm.
            size (`int`): Height and width of the image, pixels.

        Returns:
            `np.ndarray` of shape `(..., 2)`: x right, y down; pixel (0, 0) covers [0, 1) x [0, 1).
        """
        d = points - self.centre
        scale = self.scene.distance / (self.half * (self.scene.distance - d[..., 2]))
        return np.stack([1 + d[..., 0] * scale, 1 - d[..., 1] * scale], -1) * (size / 2)

    def release(self) -> None:
        """Free what the graphics card holds for this subject."""
        self._renderer.use()
        for item in self._owned:
            item.release()


def sky_directions() -> np.ndarray:
    """Unit vectors `(OCCLUSION_DIRECTIONS, 3)` all around; little light comes from straight below."""
    i = np.arange(OCCLUSION_DIRECTIONS) + 0.5
    y = 1 - 1.75 * i / OCCLUSION_DIRECTIONS
    angle = i * np.pi * (1 + 5**0.5)
    r = np.sqrt(1 - y * y)
    return np.stack([r * np.cos(angle), y, r * np.sin(angle)], 1)


def view_from(direction: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
    """An orthographic view of a ball.

    Args:
        direction (`np.ndarray` of shape `(3,)`): From the ball to the viewer.
        centre (`np.ndarray` of shape `(3,)`): Of the ball, dm.
        radius (`float`): Of the ball, dm.

    Returns:
        `np.ndarray` of shape `(4, 4)`: row-major; depth grows away from the viewer.
    """
    z = direction / np.linalg.norm(direction)
    x = np.cross([0.0, 1.0, 0.0] if abs(z[1]) < 0.95 else [1.0, 0.0, 0.0], z)
    x /= np.linalg.norm(x)
    rows = np.stack([x, np.cross(z, x), -z]) / radius
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = rows, -rows @ centre
    out[2] *= 0.5
    out[2, 3] = -0.5 * (-z / radius) @ centre
    return out
