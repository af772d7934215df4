"""Offscreen renderer (moderngl over EGL: a GPU or Mesa's software rasteriser).

A static pinhole camera looks along -z at the neutral face; the head moves inside the picture. Pixel coordinates:
x to the right, y down, pixel (0, 0) covers [0, 1) x [0, 1).
"""

from __future__ import annotations

import cv2
import moderngl
import numpy as np

from training.synthetic import shaders
from training.synthetic.assets import Kit
from training.synthetic.geometry import build_head
from training.synthetic.head import Head, frame_of_face
from training.synthetic.motion import controls_from
from training.synthetic.paint import encode, paint_cloth, paint_eye, paint_skin
from training.synthetic.person import SyntheticPerson
from training.synthetic.scene import Scene
from vivface.errors import BackendError

FRAME_SCALE = 1.45  # half extent of the picture over the half extent of an FFHQ-like crop
SHADOW_SIZE = 256
AO_SIZE, AO_DIRECTIONS = 128, 26
SWALLOW = {"teeth": 3.0, "tongue": 5.0}  # 1/dm; how fast light fades behind the lips
EYE_SINK = 0.03  # dm; how far eyes move back under shut lids, which are too flat for some of them
LASHES_SHUT = 3.0  # density that lashes gain when lids are shut and all of them lie in one line
MOUTH_WIDE = 0.28  # dm; the inner lips' gap at which the occlusion of the open mouth counts fully
BATCH = 32


def open_context() -> moderngl.Context:
    """An OpenGL context without a window.

    Raises:
        BackendError: If the machine has no EGL or no OpenGL 3.3.
    """
    try:
        return moderngl.create_context(standalone=True, backend="egl", require=330)
    except Exception as error:  # glcontext raises plain exceptions
        raise BackendError(
            "The renderer needs OpenGL 3.3 through EGL, which is not available here: install a graphics driver, or "
            "Mesa's software rasteriser (on Debian and Ubuntu: libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri)."
        ) from error


class Subject:
    """A person on the GPU: buffers, textures, baked occlusion, and the camera and light of a scene."""

    def __init__(self, renderer: Renderer, person: SyntheticPerson, scene: Scene) -> None:
        kit, ctx = renderer.kit, renderer.ctx
        self.person, self.scene = person, scene
        self.head: Head = build_head(kit, person)
        self.centre, half = frame_of_face(self.head.landmarks)
        self.half = half * FRAME_SCALE
        self.skull = self.centre - np.array([0, 0, 0.95])

        self.textures = {
            "skin": renderer.upload(paint_skin(kit, person, full=renderer.size > 320)),
            "eyes": renderer.upload(paint_eye(kit, person)),
            "teeth": renderer.shared("teeth", lambda: encode((kit.texture("teeth") / 255.0) ** 2.2)),
            "tongue": renderer.shared("tongue", lambda: encode((kit.texture("tongue") / 255.0) ** 2.2)),
            "brows": renderer.shared(person.brows, lambda: kit.texture(person.brows)[..., None]),
            "lashes": renderer.shared(person.lashes, lambda: kit.texture(person.lashes)[..., None]),
            "clothes": renderer.upload(paint_cloth(kit, person)),
            "glasses": renderer.shared("white", lambda: np.full((1, 1, 3), 255, np.uint8)),
        }
        if person.hair:
            self.textures["hair"] = renderer.shared(person.hair, lambda: kit.texture(person.hair))
        self.own = [self.textures[n] for n in ("skin", "eyes", "clothes")]

        self.occlusion = np.ones((len(self.head.rest), 2), np.float32)
        self.buffers: list = []
        self.dynamic = ctx.buffer(self.head.rest.astype(np.float32).tobytes(), dynamic=True)
        self.static = ctx.buffer(reserve=len(self.head.rest) * 8 * 4)
        self._write_static()
        self.buffers += [self.dynamic, self.static]
        self.arrays: dict[str, dict[str, moderngl.VertexArray]] = {}
        for part, triangles in self.head.parts.items():
            index = ctx.buffer(np.ascontiguousarray(triangles, np.int32).tobytes())
            self.buffers.append(index)
            self.arrays[part] = {}
            for name in (renderer.MATERIAL[part], "depth"):
                program = renderer.programs[name]
                have = {a for a in program if isinstance(program[a], moderngl.Attribute)}
                layout = []
                for buffer, fields in (
                    (self.dynamic, (("3f", 12, "in_position"), ("3f", 12, "in_normal"))),
                    (self.static, (("2f", 8, "in_uv"), ("4f", 16, "in_chain"), ("2f", 8, "in_ao"))),
                ):
                    form = " ".join(f if a in have else f"{size}x" for f, size, a in fields)
                    names = [a for _, _, a in fields if a in have]
                    if names:
                        layout.append((buffer, form, *names))
                array = ctx.vertex_array(program, layout, index_buffer=index, index_element_size=4)
                self.arrays[part][name] = array
                self.buffers.append(array)
        self._bake_occlusion(renderer)

    def _write_static(self) -> None:
        packed = np.concatenate([self.head.uv, self.head.chain, self.occlusion], 1).astype(np.float32)
        self.static.write(packed.tobytes())

    def _bake_occlusion(self, renderer: Renderer) -> None:
        """Sky visibility per vertex from depth maps, once with the mouth shut and once with it open."""
        i = np.arange(AO_DIRECTIONS) + 0.5
        y = 1 - 1.75 * i / AO_DIRECTIONS  # little light comes from straight below
        angle = i * np.pi * (1 + 5**0.5)
        r = np.sqrt(1 - y * y)
        directions = np.stack([r * np.cos(angle), y, r * np.sin(angle)], 1)
        states = np.stack([controls_from(), controls_from(jaw_open=0.75, part=0.4)])
        for column, state in enumerate(self.head.deform(states)):
            self.dynamic.write(np.ascontiguousarray(state).tobytes())
            position, normal = state[:, :3], state[:, 3:]
            normal = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
            two_sided = np.zeros(len(state), bool)
            for part in ("hair", "clothes", "brows", "lashes"):
                if part in self.head.parts:
                    two_sided[np.unique(self.head.parts[part])] = True
            outward = position - self.skull
            outward /= np.linalg.norm(outward, axis=1, keepdims=True)
            normal = np.where(two_sided[:, None], outward, normal)
            seen, total = np.zeros(len(state)), np.zeros(len(state))
            for d in directions:
                matrix = renderer.ortho(d, self.skull, 2.1)
                depth = renderer.depth_map(self, matrix)
                p = (position + normal * 0.03) @ matrix[:3, :3].T + matrix[:3, 3]
                px = np.clip(((p[:, 0] + 1) * 0.5 * AO_SIZE).astype(int), 0, AO_SIZE - 1)
                py = np.clip(((p[:, 1] + 1) * 0.5 * AO_SIZE).astype(int), 0, AO_SIZE - 1)
                weight = np.maximum(normal @ d, 0) * (0.75 + 0.25 * d[1])
                seen += weight * (p[:, 2] * 0.5 + 0.5 < depth[py, px] + 0.006)
                total += weight
            self.occlusion[:, column] = np.clip(seen / np.maximum(total, 1e-6), 0.03, 1) ** 0.9
        self._write_static()

    def project(self, points: np.ndarray, size: int) -> np.ndarray:
        """Project points `(..., 3)` dm to pixels `(..., 2)` of a picture of `size`."""
        d = points - self.centre
        scale = self.scene.distance / (self.half * (self.scene.distance - d[..., 2]))
        return np.stack([1 + d[..., 0] * scale, 1 - d[..., 1] * scale], -1) * (size / 2)

    def release(self) -> None:
        for item in (*self.buffers, *self.own):
            item.release()


class Renderer:
    """Draws `Subject`s into square pictures of `size` pixels; `supersample` 2 averages 2 x 2 samples a pixel."""

    MATERIAL = {
        "skin": "skin", "eyes": "eye", "teeth": "mouth", "tongue": "mouth", "brows": "decal", "lashes": "decal",
        "clothes": "cloth", "glasses": "cloth", "hair": "hair",
    }  # fmt: skip

    def __init__(self, kit: Kit, size: int = 224, supersample: int = 1) -> None:
        if supersample not in (1, 2):
            raise ValueError(f"supersample is {supersample}, expected 1 or 2")
        self.kit, self.size, self.supersample = kit, size, supersample
        self.ctx = open_context()
        ctx, inner = self.ctx, size * supersample
        fragments = {
            "skin": shaders.SKIN, "eye": shaders.EYE, "mouth": shaders.MOUTH, "decal": shaders.DECAL,
            "hair": shaders.HAIR, "cloth": shaders.CLOTH, "depth": shaders.DEPTH_FRAGMENT,
        }  # fmt: skip
        self.programs = {k: ctx.program(vertex_shader=shaders.VERTEX, fragment_shader=f) for k, f in fragments.items()}
        self.target = ctx.framebuffer([ctx.renderbuffer((inner, inner), 4)], ctx.depth_renderbuffer((inner, inner)))
        self.backdrop_texture = ctx.texture((inner, inner), 4)
        self.backdrop = ctx.framebuffer([self.backdrop_texture], ctx.depth_renderbuffer((inner, inner)))
        self.backdrop.clear(depth=1.0)  # copying the backdrop also clears the depth of the target
        self.shadow_texture = ctx.depth_texture((SHADOW_SIZE, SHADOW_SIZE))
        self.shadow_texture.compare_func = "<="
        self.shadow_texture.filter = (moderngl.LINEAR, moderngl.LINEAR)
        self.shadow = ctx.framebuffer(depth_attachment=self.shadow_texture)
        self.ao_target = ctx.framebuffer(depth_attachment=ctx.depth_renderbuffer((AO_SIZE, AO_SIZE)))
        self._shared: dict[str, moderngl.Texture] = {}

    # -------------------------------------------------------------------------------------------- resources

    def upload(self, picture: np.ndarray) -> moderngl.Texture:
        """Upload `(H, W, C)` uint8 with mipmaps."""
        height, width, channels = picture.shape
        texture = self.ctx.texture((width, height), channels, np.ascontiguousarray(picture).tobytes(), alignment=1)
        texture.build_mipmaps()
        texture.filter = (moderngl.LINEAR_MIPMAP_NEAREST, moderngl.LINEAR)
        return texture

    def shared(self, name: str, make) -> moderngl.Texture:
        """Return a texture that many people use, uploading it the first time."""
        if name not in self._shared:
            self._shared[name] = self.upload(make())
        return self._shared[name]

    @staticmethod
    def ortho(direction: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
        """View from `direction` (toward the viewer) of a ball: row-major matrix `(4, 4)`, depth grows away."""
        z = direction / np.linalg.norm(direction)
        x = np.cross([0.0, 1.0, 0.0] if abs(z[1]) < 0.95 else [1.0, 0.0, 0.0], z)
        x /= np.linalg.norm(x)
        rows = np.stack([x, np.cross(z, x), -z]) / radius
        out = np.eye(4)
        out[:3, :3], out[:3, 3] = rows, -rows @ centre
        out[2] *= 0.5
        out[2, 3] = -0.5 * (-z / radius) @ centre
        return out

    def _set(self, program: moderngl.Program, **values) -> None:
        for name, value in values.items():
            if name in program:
                if isinstance(value, np.ndarray):
                    program[name].write(np.ascontiguousarray(value, np.float32).tobytes())
                else:
                    program[name].value = value

    def depth_map(self, subject: Subject, matrix: np.ndarray) -> np.ndarray:
        """Depth of head, hair and clothes under `matrix` in the rest pose, `(AO_SIZE, AO_SIZE)`, row 0 at y = -1."""
        self.ao_target.use()
        self.ao_target.clear(depth=1.0)
        self._draw_depth(subject, matrix, np.tile(np.eye(4), (5, 1, 1)), ("skin", "hair", "clothes"))
        data = self.ao_target.read(components=1, attachment=-1, dtype="f4")
        return np.frombuffer(data, np.float32).reshape(AO_SIZE, AO_SIZE)

    def _draw_depth(self, subject: Subject, matrix: np.ndarray, bones: np.ndarray, parts: tuple[str, ...]) -> None:
        program = self.programs["depth"]
        self.ctx.enable_only(moderngl.DEPTH_TEST)
        self._set(program, bones=np.swapaxes(bones, 1, 2), view_projection=matrix.T, picture=0, push=0.0)
        for part in parts:
            if part in subject.arrays:
                hair = part == "hair"
                self._set(program, cutoff=0.5 if hair else -1.0)
                if hair:
                    subject.textures["hair"].use(0)
                subject.arrays[part]["depth"].render()

    # ---------------------------------------------------------------------------------------------- drawing

    def render(self, subject: Subject, controls: np.ndarray, poses: np.ndarray):
        """Yield one picture `(size, size, 3)` uint8 RGB per row of `controls` `(T, K)` and `poses` `(T, 3)`."""
        self._prepare(subject)
        for start in range(0, len(controls), BATCH):
            part = slice(start, start + BATCH)
            vertices = subject.head.deform(controls[part])
            bones = np.swapaxes(subject.head.chain_matrices(poses[part]), 2, 3)  # column-major for GL
            opening = subject.head.mouth_opening(controls[part])
            lids = subject.head.lids_shut(controls[part])
            for v, b, o, shut in zip(vertices, bones, opening, lids, strict=True):
                yield self._frame(subject, v, b, float(o), shut)

    def _prepare(self, subject: Subject) -> None:
        """Set everything that stays the same over a clip."""
        scene, person = subject.scene, subject.person
        far, near = scene.distance + 6.0, max(scene.distance - 4.0, 1.0)
        c, d = subject.centre, scene.distance
        projection = np.zeros((4, 4))
        projection[0, 0] = projection[1, 1] = d / subject.half
        projection[2, 2], projection[2, 3] = -(far + near) / (far - near), -2 * far * near / (far - near)
        projection[3, 2] = -1
        view = np.eye(4)
        view[:3, 3] = -(c + np.array([0, 0, d]))
        self.shadow_matrix = self.ortho(scene.key_direction, subject.skull - np.array([0, 0.25, 0]), 2.0)
        dim = float(np.clip(0.55 + 1.5 * person.tone.mean(), 0.6, 1.0))  # bright things next to dark skin
        mirror = np.array([1, 1, 1])
        for name, program in self.programs.items():
            if name == "depth":
                continue
            self._set(
                program, view_projection=(projection @ view).T, shadow_matrix=self.shadow_matrix.T,
                camera=c + [0, 0, d], key=scene.key, key_direction=scene.key_direction * mirror, rim=scene.rim,
                rim_direction=scene.rim_direction, sky=scene.sky, ground=scene.ground, fill=scene.fill,
                fill_direction=scene.fill_direction, exposure=scene.exposure, shadow_map=1, picture=0,
                ao_range=(0.0, 1.0), push=0.0, swallow=0.0, sink=0.0, centre=subject.skull, shine=0.0,
            )  # fmt: skip
        lips = float(subject.head.landmarks[60:68, 2].mean())
        self._set(self.programs["mouth"], ao_range=(0.22, 0.78), lips=lips)
        self._set(self.programs["eye"], ao_range=(0.40, 0.5 * dim), sink=EYE_SINK)
        self._set(self.programs["hair"], ao_range=(0.22, 0.78), tint=person.hair_colour,
                  roundness=(0.85, 0.5) if person.hair == "afro01" else (0.4, 0.42))  # fmt: skip
        self.tints = {
            "teeth": person.teeth_tint * dim, "tongue": np.array([0.5, 0.36, 0.36]) * dim, "clothes": np.ones(3),
            "brows": person.brow_colour, "lashes": np.array([0.012, 0.010, 0.010]) + 0.1 * person.brow_colour,
            "glasses": person.glasses["colour"] if person.glasses else np.ones(3),
        }  # fmt: skip
        self.density = {"brows": person.brow_density, "lashes": person.lash_density}

        picture = scene.background(self.size)
        s = self.supersample
        picture = np.repeat(np.repeat(picture[::-1], s, 0), s, 1)
        alpha = np.full((*picture.shape[:2], 1), 255, np.uint8)
        self.backdrop_texture.write(np.ascontiguousarray(np.concatenate([picture, alpha], 2)).tobytes())

    def _frame(
        self, subject: Subject, vertices: np.ndarray, bones: np.ndarray, opening: float, lids: np.ndarray
    ) -> np.ndarray:
        ctx = self.ctx
        subject.dynamic.write(vertices)
        self.shadow.use()
        self.shadow.clear(depth=1.0)
        self._draw_depth(subject, self.shadow_matrix, np.swapaxes(bones, 1, 2), ("skin", "hair"))

        ctx.copy_framebuffer(self.target, self.backdrop)
        self.target.use()
        self.shadow_texture.use(1)
        mouth = min(opening / MOUTH_WIDE, 1.0)
        for name, program in self.programs.items():
            if name != "depth":
                self._set(program, bones=bones, mouth_open=mouth, lids=lids)

        ctx.enable_only(moderngl.DEPTH_TEST | moderngl.CULL_FACE)
        self._draw(subject, "skin")
        self._draw(subject, "eyes")
        ctx.enable_only(moderngl.DEPTH_TEST)
        if opening > 0.012:
            self._draw(subject, "teeth")
            self._draw(subject, "tongue")
        self._draw(subject, "clothes")
        if "glasses" in subject.arrays:
            self._set(self.programs["cloth"], shine=0.8)
            self._draw(subject, "glasses")
            self._set(self.programs["cloth"], shine=0.0)
        ctx.enable_only(moderngl.DEPTH_TEST | moderngl.BLEND)
        ctx.blend_func = moderngl.SRC_ALPHA, moderngl.ONE_MINUS_SRC_ALPHA
        self.target.depth_mask = False
        self._set(self.programs["decal"], push=0.0006, dense_shut=0.0)
        self._draw(subject, "brows")
        self._set(self.programs["decal"], push=0.0002, dense_shut=LASHES_SHUT)
        self._draw(subject, "lashes")
        self.target.depth_mask = True
        self._draw(subject, "hair")

        inner = self.size * self.supersample
        data = np.frombuffer(self.target.read(components=4, alignment=1), np.uint8).reshape(inner, inner, 4)
        picture = np.ascontiguousarray(data[::-1, :, :3])
        if self.supersample > 1:
            picture = cv2.resize(picture, (self.size, self.size), interpolation=cv2.INTER_AREA)
        return picture

    def _draw(self, subject: Subject, part: str) -> None:
        if part not in subject.arrays:
            return
        name = self.MATERIAL[part]
        program = self.programs[name]
        subject.textures[part].use(0)
        if part in self.tints:
            self._set(program, tint=self.tints[part])
        if part in self.density:
            self._set(program, density=self.density[part])
        if part in SWALLOW:
            self._set(program, swallow=SWALLOW[part])
        subject.arrays[part][name].render()
