"""Offscreen renderer (moderngl over EGL: a GPU or Mesa's software rasteriser).

A static pinhole camera looks along -z at the neutral face; the head moves inside the image. Pixel coordinates:
x to the right, y down, pixel (0, 0) covers [0, 1) x [0, 1).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import cv2
import moderngl
import numpy as np

from training.synthetic import shaders
from training.synthetic.kit import Kit
from training.synthetic.subject import MATERIAL, OCCLUSION_SIZE, Subject, view_from
from vivface.errors import BackendError

SHADOW_SIZE = 256
LIGHT_LOSS = {"teeth": 3.0, "tongue": 5.0}  # 1/dm; how fast light fades behind the lips
EYE_SINK = 0.03  # dm; how far eyes move back under shut lids, which are too flat for some of them
LASHES_SHUT = 3.0  # density that lashes gain when lids are shut and all of them lie in one line
MOUTH_WIDE = 0.28  # dm; the inner lips' gap at which the occlusion of the open mouth counts fully
TEETH_VISIBLE = 0.012  # dm; the gap from which teeth and tongue are drawn
BATCH = 32


def open_context() -> moderngl.Context:
    """Open an OpenGL context without a window.

    Returns:
        `moderngl.Context`: OpenGL 3.3.

    Raises:
        BackendError: If the machine has no EGL or no OpenGL 3.3.
    """
    os.environ.setdefault("LP_NUM_THREADS", "1")  # Mesa's rasteriser: one worker process a core instead
    try:
        return moderngl.create_context(standalone=True, backend="egl", require=330)
    except Exception as error:  # glcontext raises plain exceptions
        raise BackendError(
            "The renderer needs OpenGL 3.3 through EGL, which is not available here: install a graphics driver, or "
            "Mesa's software rasteriser (on Debian and Ubuntu: libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri)."
        ) from error


class Renderer:
    """Draws `Subject`s into square images.

    Args:
        kit (`Kit`): The parsed assets.
        size (`int`, *optional*, defaults to 224): Height and width of the images, pixels.
        supersample (`int`, *optional*, defaults to 1): 2 averages 2 x 2 samples a pixel.

    Raises:
        ValueError: If `supersample` is neither 1 nor 2.
        BackendError: If the machine has no EGL or no OpenGL 3.3.
    """

    def __init__(self, kit: Kit, size: int = 224, supersample: int = 1) -> None:
        if supersample not in (1, 2):
            raise ValueError(f"supersample is {supersample}, expected 1 or 2")
        self.kit, self.size, self.supersample = kit, size, supersample
        self.ctx = open_context()  # current from here on, see `use`
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
        size = (OCCLUSION_SIZE, OCCLUSION_SIZE)
        self.occlusion_target = ctx.framebuffer(depth_attachment=ctx.depth_renderbuffer(size))
        self._shared: dict[str, moderngl.Texture] = {}
        self._prepared: tuple = ()  # subject and scene whose light, camera and background the shaders hold

    # -------------------------------------------------------------------------------------------- resources

    def use(self) -> None:
        """Make this renderer's context the one that OpenGL's calls go to.

        OpenGL draws in the context that was made current last, with whatever that calls program 3 or texture 7. Where a
        process has several renderers, each has to say that it is its turn before it touches its own.
        """
        self.ctx.__enter__()  # not `with`: leaving that would make no context current

    def upload(self, image: np.ndarray) -> moderngl.Texture:
        """Upload an image `(H, W, channels)` uint8 with mipmaps."""
        self.use()
        height, width, channels = image.shape
        texture = self.ctx.texture((width, height), channels, np.ascontiguousarray(image).tobytes(), alignment=1)
        texture.build_mipmaps()
        texture.filter = (moderngl.LINEAR_MIPMAP_NEAREST, moderngl.LINEAR)
        return texture

    def shared(self, name: str, make: Callable[[], np.ndarray]) -> moderngl.Texture:
        """A texture that many people use; `make` is called the first time."""
        if name not in self._shared:
            self._shared[name] = self.upload(make())
        return self._shared[name]

    def set_uniforms(self, name: str, **values) -> None:
        """Set uniforms of a shader; those that it does not have are left out."""
        program = self.programs[name]
        for key, value in values.items():
            if key in program:
                if isinstance(value, np.ndarray):
                    program[key].write(np.ascontiguousarray(value, np.float32).tobytes())
                else:
                    program[key].value = value

    def depth_map(self, subject: Subject, matrix: np.ndarray) -> np.ndarray:
        """Depth of head, hair and clothes before the head pose.

        Args:
            subject (`Subject`): Its vertices as they were last written.
            matrix (`np.ndarray` of shape `(4, 4)`): See `view_from`.

        Returns:
            `np.ndarray` of shape `(OCCLUSION_SIZE, OCCLUSION_SIZE)`, float32: row 0 lies at y = -1.
        """
        self.use()
        self.occlusion_target.use()
        self.occlusion_target.clear(depth=1.0)
        self._draw_depth(subject, matrix, np.tile(np.eye(4), (5, 1, 1)), ("skin", "hair", "clothes"))
        data = self.occlusion_target.read(components=1, attachment=-1, dtype="f4")
        return np.frombuffer(data, np.float32).reshape(OCCLUSION_SIZE, OCCLUSION_SIZE)

    def _draw_depth(self, subject: Subject, matrix: np.ndarray, bones: np.ndarray, meshes: tuple[str, ...]) -> None:
        self.ctx.enable_only(moderngl.DEPTH_TEST)
        self.set_uniforms("depth", bones=np.swapaxes(bones, 1, 2), view_projection=matrix.T, picture=0, push=0.0)
        for mesh in meshes:
            if mesh in subject.arrays:
                self.set_uniforms("depth", cutoff=0.5 if mesh == "hair" else -1.0)
                if mesh == "hair":
                    subject.textures["hair"].use(0)
                subject.arrays[mesh]["depth"].render()

    # ---------------------------------------------------------------------------------------------- drawing

    def render(self, subject: Subject, controls: np.ndarray, poses: np.ndarray) -> Iterator[np.ndarray]:
        """Draw frames, one at a time; several subjects may take turns.

        Args:
            subject (`Subject`): Who is drawn.
            controls (`np.ndarray` of shape `(T, len(CONTROLS))`): See `motion.py`.
            poses (`np.ndarray` of shape `(T, 3)`): Yaw, pitch, roll in degrees.

        Yields:
            `np.ndarray` of shape `(size, size, 3)`: uint8 RGB.
        """
        for start in range(0, len(controls), BATCH):
            rows = slice(start, start + BATCH)
            vertices = subject.head.deform(controls[rows])
            bones = subject.head.chain_matrices(poses[rows])
            opening = subject.head.mouth_opening(controls[rows])
            lids = subject.head.lids_shut(controls[rows])
            for v, b, o, shut in zip(vertices, bones, opening, lids, strict=True):
                yield self._frame(subject, v, b, float(o), shut)

    def _prepare(self, subject: Subject) -> np.ndarray:
        """Give the shaders what stays the same of a subject; returns the view of its key light `(4, 4)`."""
        scene = subject.scene
        shadow_view = view_from(scene.key_direction, subject.skull - np.array([0, 0.25, 0]), 2.0)
        if self._prepared and self._prepared[0] is subject and self._prepared[1] is scene:
            return shadow_view
        self._prepared = (subject, scene)
        for name in self.programs:
            if name in MATERIAL.values():
                self.set_uniforms(
                    name, view_projection=subject.view_projection().T, shadow_matrix=shadow_view.T,
                    camera=subject.camera, key=scene.key, key_direction=scene.key_direction, rim=scene.rim,
                    rim_direction=scene.rim_direction, sky=scene.sky, ground=scene.ground, fill=scene.fill,
                    fill_direction=scene.fill_direction, exposure=scene.exposure, shadow_map=1, picture=0,
                    ao_range=(0.0, 1.0), push=0.0, swallow=0.0, sink=0.0, centre=subject.skull, shine=0.0,
                )  # fmt: skip
        self.set_uniforms("mouth", ao_range=(0.22, 0.78), lips=float(subject.head.landmarks[60:68, 2].mean()))
        self.set_uniforms("eye", ao_range=(0.40, 0.5 * subject.brightness), sink=EYE_SINK)
        roundness = (subject.roundness, subject.hair_edge)
        self.set_uniforms("hair", ao_range=(0.22, 0.78), tint=subject.person.hair_colour, roundness=roundness)
        self._upload_backdrop(scene.background(self.size))
        return shadow_view

    def _upload_backdrop(self, image: np.ndarray) -> None:
        s = self.supersample
        image = np.repeat(np.repeat(image[::-1], s, 0), s, 1)
        alpha = np.full((*image.shape[:2], 1), 255, np.uint8)
        self.backdrop_texture.write(np.ascontiguousarray(np.concatenate([image, alpha], 2)).tobytes())

    def _frame(
        self, subject: Subject, vertices: np.ndarray, bones: np.ndarray, opening: float, lids: np.ndarray
    ) -> np.ndarray:
        self.use()
        shadow_view = self._prepare(subject)
        subject.dynamic.write(vertices)
        self.shadow.use()
        self.shadow.clear(depth=1.0)
        self._draw_depth(subject, shadow_view, bones, ("skin", "hair"))

        self.ctx.copy_framebuffer(self.target, self.backdrop)
        self.target.use()
        self.shadow_texture.use(1)
        column_major = np.swapaxes(bones, 1, 2)
        for name in set(MATERIAL.values()):
            self.set_uniforms(name, bones=column_major, mouth_open=min(opening / MOUTH_WIDE, 1.0), lids=lids)
        self._draw_solid(subject, mouth_visible=opening > TEETH_VISIBLE)
        self._draw_blended(subject)
        return self._read_target()

    def _draw_solid(self, subject: Subject, mouth_visible: bool) -> None:
        self.ctx.enable_only(moderngl.DEPTH_TEST | moderngl.CULL_FACE)
        self._draw(subject, "skin")
        self._draw(subject, "eyes")
        self.ctx.enable_only(moderngl.DEPTH_TEST)
        if mouth_visible:
            self._draw(subject, "teeth", swallow=LIGHT_LOSS["teeth"])
            self._draw(subject, "tongue", swallow=LIGHT_LOSS["tongue"])
        self._draw(subject, "clothes", shine=0.0)
        self._draw(subject, "glasses", shine=0.8)

    def _draw_blended(self, subject: Subject) -> None:
        self.ctx.enable_only(moderngl.DEPTH_TEST | moderngl.BLEND)
        self.ctx.blend_func = moderngl.SRC_ALPHA, moderngl.ONE_MINUS_SRC_ALPHA
        self.target.depth_mask = False
        self._draw(subject, "brows", push=0.0006, dense_shut=0.0)
        self._draw(subject, "lashes", push=0.0002, dense_shut=LASHES_SHUT)
        self.target.depth_mask = True
        self._draw(subject, "hair")

    def _draw(self, subject: Subject, mesh: str, **uniforms) -> None:
        if mesh not in subject.arrays:
            return
        if mesh in subject.tints:
            uniforms["tint"] = subject.tints[mesh]
        if mesh in subject.density:
            uniforms["density"] = subject.density[mesh]
        subject.textures[mesh].use(0)
        self.set_uniforms(MATERIAL[mesh], **uniforms)
        subject.arrays[mesh][MATERIAL[mesh]].render()

    def _read_target(self) -> np.ndarray:
        inner = self.size * self.supersample
        data = np.frombuffer(self.target.read(components=4, alignment=1), np.uint8).reshape(inner, inner, 4)
        image = np.ascontiguousarray(data[::-1, :, :3])
        if self.supersample > 1:
            image = cv2.resize(image, (self.size, self.size), interpolation=cv2.INTER_AREA)
        return image
