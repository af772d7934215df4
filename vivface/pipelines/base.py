"""What the systems share: a checkpoint's components, a portrait and a driving video in, frames out.

    photo -> align -> read_portrait -> identity code --+
    video -> align -> read_motion  -> motion codes ----+-> generate -> paste back -> video (+ audio)

A system is a subclass that declares its components and defines two readers and `generate`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from diffusers import DiffusionPipeline, ModelMixin
from torch import Tensor

from vivface.editing import AttributeDirections, Edits, TimedEdits
from vivface.errors import OptionError
from vivface.faces.alignment import to_crop
from vivface.faces.backends import get_backend
from vivface.faces.crops import CROPS
from vivface.faces.landmarks import LandmarkBackend
from vivface.media.images import load_image
from vivface.media.tensors import to_tensor
from vivface.media.video import MAX_PIXELS, VideoReader
from vivface.pipelines.accelerated import Accelerated
from vivface.pipelines.checks import as_seconds, check_counts
from vivface.pipelines.co_drivable import CoDrivable
from vivface.pipelines.composite import Composite
from vivface.pipelines.editable import Editable, Image
from vivface.pipelines.origin import Origin
from vivface.pipelines.tunable import Tunable
from vivface.reenactment.co_driving import check_pose
from vivface.reenactment.codes import MOTION_SUFFIX, IdentityCode, MotionCodes
from vivface.reenactment.face_pairs import Faces
from vivface.reenactment.motion_library import find_motion
from vivface.reenactment.portrait import Portrait, source_name
from vivface.reenactment.progress import OnProgress
from vivface.reenactment.rendering import MotionMode, RenderOptions, render_frames
from vivface.reenactment.result import ReenactmentResult
from vivface.reenactment.tuning import Tuning
from vivface.reenactment.video_motion import VideoMotion
from vivface.runtime import compute_slot
from vivface.warping.background import KEEP, Background
from vivface.warping.parts import AS_DRIVEN, Parts


class ReenactmentPipeline(Tunable, CoDrivable, Composite, Origin, Editable, Accelerated, DiffusionPipeline):
    """Base of the systems that re-enact a portrait with the motion of a video.

    A subclass registers its components and settings in `__init__` (`image_size`, the width and height in pixels of what
    its readers see, `crop` and `adapt_steps` among them), and defines `code_shape`, `read_portrait`, `read_motion`,
    `generate` and, if it can be tuned to a portrait, `tuning_networks`.
    """

    #: The component that reads motion codes; its first weights recognise a motion file's origin.
    MOTION_READER: ClassVar[str] = "encoder"

    code_shape: tuple[int, ...]
    _backend: LandmarkBackend | None = None

    def register(self, components: dict[str, ModelMixin | None], **settings: Any) -> None:
        """Take the components and settings of a constructor.

        Raises:
            OptionError: If `crop` or `adapt_steps` is out of its range.
        """
        if settings["crop"] not in CROPS:
            raise OptionError(f"`crop` is {settings['crop']!r}; expected {' or '.join(map(repr, CROPS))}.")
        if settings["adapt_steps"] < 0:
            raise OptionError(f"`adapt_steps` is {settings['adapt_steps']}; expected 0 or more.")
        self.register_modules(**components)
        self.register_to_config(**settings)
        self.directions = AttributeDirections()

    # Faces -----------------------------------------------------------------------------------------------------------

    def use_detector(self, detector: str | LandmarkBackend) -> Self:
        """Choose what finds faces: "auto", "dlib", "face-alignment[:detector]", or a backend of your own."""
        if isinstance(detector, str):
            detector = get_backend(detector, str(self._execution_device), self.face_engine)
        self._backend = detector
        return self

    @property
    def backend(self) -> LandmarkBackend:
        """What finds faces and their landmarks, made at first use."""
        if self._backend is None:
            self.use_detector("auto")
        return self._backend

    # The system ------------------------------------------------------------------------------------------------------

    def read_portrait(self, portrait: Portrait) -> IdentityCode:
        """Read everything of a portrait that its re-enactment keeps."""
        raise NotImplementedError

    def read_motion(self, images: Tensor) -> Tensor:
        """Read the motion of aligned driving frames.

        Args:
            images (`torch.Tensor` of shape `(batch, 3, motion_size, motion_size)`): RGB in [-1, 1].

        Returns:
            `torch.Tensor` of shape `(batch, *code_shape)`.
        """
        raise NotImplementedError

    def generate(self, identity: IdentityCode, motion: Tensor, refine: bool = True) -> Tensor:
        """Make the frames of a batch of motion codes.

        Args:
            identity (`IdentityCode`): Whose face.
            motion (`torch.Tensor` of shape `(batch, *code_shape)`): Motion codes.
            refine (`bool`, *optional*, defaults to `True`): Second stage, if the system has one.

        Returns:
            `torch.Tensor` of shape `(batch, 3, size, size)`: RGB, about [-1, 1], not clamped.
        """
        raise NotImplementedError

    @property
    def motion_size(self) -> int:
        """Width and height of the driving frames that `read_motion` takes, in pixels."""
        return self.config.image_size

    @property
    def motion_crop(self) -> str:
        """How driving frames are cut: a key of `vivface.faces.CROPS`."""
        return self.config.crop

    @property
    def crops(self) -> tuple[str, str]:
        """How portraits and driving frames are cut: keys of `vivface.faces.CROPS`."""
        return self.config.crop, self.motion_crop

    def generator_of(self, identity: IdentityCode | None) -> ModelMixin:
        """The generator that was tuned to a portrait, or the pipeline's."""
        return self.generator if identity is None or identity.generator is None else identity.generator

    @property
    def output_size(self) -> int:
        """Width and height of the images that `generate` makes, in pixels."""
        return self.generator.config.size

    # The stages ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode_identity(
        self,
        image: Image,
        face: int | None = None,
        adapt: int | str | None = None,
        seed: int = 0,
        on_progress: OnProgress | None = None,
    ) -> IdentityCode:
        """Read everything of a portrait that its re-enactment keeps.

        Args:
            image (`str`, `os.PathLike`, `PIL.Image.Image`, `numpy.ndarray` or open file): A file, a PIL image, or a
                uint8 RGB array `(height, width, 3)`.
            face (`int`, *optional*): Which face, 0 the largest; by default the largest.
            adapt (`int` or `str`, *optional*): Steps of the checkpoint's own tuning to this portrait, or `"pti"`,
                `"pti:STEPS"`; by default `adapt_steps` of the checkpoint.
            seed (`int`, *optional*, defaults to 0): Of the tuning.
            on_progress (callable, *optional*): Told of every step of tuning; may raise to stop.

        Raises:
            MediaError: If the image cannot be read.
            NoFaceError: If it shows no face, or not the asked one.
            OptionError: If `adapt` is unknown or needs the driving video.
        """
        check_counts(face=face)
        tuning = Tuning.parse(self.config.adapt_steps if adapt is None else adapt)
        if tuning.method == "cma":
            raise OptionError(
                "`adapt` is 'cma', which needs a driving video: take 'pti' or 'portrait', or `adjust_manifold`."
            )
        self._evaluate()
        portrait = Portrait.find(load_image(image), self.backend, face, source_name(image), self.config.image_size)
        with compute_slot(self._execution_device):
            identity = self.read_portrait(portrait)
        identity.fingerprint = self.fingerprint
        identity.points = None if portrait.points is None else to_crop(portrait.points, identity.quad)
        identity.file = Path(image) if isinstance(image, str | os.PathLike) else None
        return self._adjusted(identity, tuning, seed, on_progress)

    def encode_motion(
        self,
        video: str | os.PathLike,
        face: int | None = None,
        start: float | Fraction = 0,
        duration: float | Fraction | None = None,
        max_pixels: int = MAX_PIXELS,
        max_frames: int | None = None,
    ) -> VideoMotion:
        """Open a video as a lazy stream of motion codes.

        Args:
            video (`str` or `os.PathLike`): The driving video.
            face (`int`, *optional*): Which face to follow, 0 the largest of the first frame.
            start (`float` or `Fraction`, *optional*, defaults to 0): Where to begin, seconds.
            duration (`float` or `Fraction`, *optional*): How much to read, seconds; by default all.
            max_pixels (`int`, *optional*): Width times height beyond which a video is refused.
            max_frames (`int`, *optional*): Most frames to read, whatever the file declares; by default all.

        Raises:
            MediaError: If the video cannot be opened. While it is read: if no frame can be decoded.
            NoFaceError: While it is read, if no frame shows a face.
        """
        check_counts(driving_face=face)
        start, duration = as_seconds("start", start), None if duration is None else as_seconds("duration", duration)
        return VideoMotion.open(video, self, face, start, duration, max_pixels, max_frames)

    @torch.no_grad()
    def encode_crops(self, crops: Sequence[np.ndarray]) -> Tensor:
        """Motion codes `(batch, *code_shape)` of aligned uint8 RGB crops `(motion_size, motion_size, 3)`."""
        self._evaluate()
        with compute_slot(self._execution_device):
            return self.read_motion(self.images(crops))

    def render(
        self,
        identity: IdentityCode,
        motion: MotionCodes,
        refine: bool = True,
        paste_back: bool = False,
        motion_mode: MotionMode = "absolute",
        strength: float = 1.0,
        batch_size: int | None = None,
        edits: Edits | None = None,
        detail: bool | None = None,
        size: int | None = None,
        background: Background = KEEP,
        parts: Parts = AS_DRIVEN,
    ) -> Iterator[np.ndarray]:
        """Show an identity under a motion, frame by frame.

        Args:
            identity (`IdentityCode`), motion (`MotionCodes`): What `encode_identity` and `encode_motion` (or their
                `load`) gave.
            refine (`bool`, *optional*, defaults to `True`): Second stage, if the checkpoint has one.
            paste_back (`bool`, *optional*, defaults to `False`): Put the face back into the photo.
            motion_mode (`str`, *optional*, defaults to `"absolute"`): `"absolute"` takes over pose and expression of
                the driving video; `"relative"` adds its changes since its first frame to the source's own.
            strength (`float`, *optional*, defaults to 1.0): How far to go from the source's own motion to that, 0 to 3.
            batch_size (`int`, *optional*): Frames at once; by default as suits device and size.
            edits (mapping, *optional*): Amounts by name of `directions`, each a number, a function of seconds, or key
                frames such as `{0: 0, 2.5: 1}`; see `vivface.editing.TimedEdits`.
            detail (`bool`, *optional*): Move the photograph itself, at its own resolution, instead of showing the
                generator's images; by default as the checkpoint says, unless the
                generator was tuned to the portrait or edits change over time.
            size (`int`, *optional*): Width and height of a frame in pixels, an even number; by default as large as
                the face is in the photo, 512 to 1024, or without detail what the generator makes.
            background (*optional*, defaults to `"keep"`): With detail, what lies behind the person: the photograph's
                own, `"transparent"` (frames are RGBA), a colour such as `"white"` or `"#00b140"`, or a picture.
            parts (`Parts`, *optional*): Strengths of mouth, eyes, brows and pose, eye contact, blinks; see `Parts`.

        Returns:
            Iterator of `numpy.ndarray` of shape `(height, width, 3)`: uint8 RGB.

        Raises:
            OptionError: If an option is out of its range.
            MediaError: If identity or motion belong to another checkpoint.
        """
        edits = self._edits(edits)
        detail = self._shows_detail(detail, edits, motion, identity)
        options = RenderOptions(refine, paste_back, motion_mode, strength, batch_size, detail, size, background, parts)
        self._check_origin(motion.name, motion.code_shape, motion.fingerprint)
        frames = render_frames(self, self._own(identity), motion, self.checked(options), edits=edits)
        return (frame.image for frame in frames)

    def __call__(
        self,
        source: Image | IdentityCode | VideoReader,
        driving: str | os.PathLike | MotionCodes,
        *,
        refine: bool = True,
        paste_back: bool = False,
        motion_mode: MotionMode = "absolute",
        strength: float = 1.0,
        batch_size: int | None = None,
        seed: int = 0,
        face: int | None = None,
        driving_face: int | None = None,
        adapt: int | str | None = None,
        edits: Edits | None = None,
        detail: bool | None = None,
        size: int | None = None,
        background: Background = KEEP,
        parts: Parts = AS_DRIVEN,
        start: float | Fraction = 0,
        duration: float | Fraction | None = None,
        co_driving: str | os.PathLike | MotionCodes | None = None,
        pose: str | None = None,
        faces: Faces | None = None,
        fit: str = "trim",
        head: str = "keep",
        sound: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> ReenactmentResult:
        """Re-enact a portrait with the motion of a video, lazily: frames are made as they are read.

        Args:
            source (as `image` of `encode_identity`, or `IdentityCode`): The portrait; or a film (`str`, `os.PathLike`,
                or a `VideoReader` of the part to use), whose face then wears the driver's expression in every frame.
            driving (`str`, `os.PathLike` or `MotionCodes`): A video, a saved motion file (.safetensors), codes, or a
                name of the motion library, such as "nod".
            refine, paste_back, motion_mode, strength, batch_size, edits, detail, size, background, parts: See `render`.
            seed (`int`, *optional*, defaults to 0): Of the tuning to the portrait; nothing else is random.
            face, driving_face (`int`, *optional*): Which face of the portrait and of the video, 0 the largest.
            adapt (`int` or `str`, *optional*): Steps of the checkpoint's own tuning to the portrait, or a method of
                `adjust_manifold` with or without its steps: `"cma"`, `"cma:50"`; by default as the checkpoint says, and
                none with detail, which shows the photograph.
            start, duration (`float` or `Fraction`, *optional*): The part of the video to use, seconds.
            co_driving, pose (*optional*): A second video that gives the pose, or `pose="source"`; see `co_drive`.
            faces (`str`, mapping or sequence, *optional*): Several faces of the picture, each with what drives it: a
                face of the video, another clip, or both, as `[(0, 0), (1, "other.mp4"), (2, ("other.mp4", 1))]`; or
                `"all"`, for one driver of all. The whole picture is shown; see `vivface.reenactment.face_pairs`.
            fit (`str`, *optional*, defaults to `"trim"`): What follows the end of a driver that is shorter than the
                film (with `faces`, than `driving`): `"trim"` nothing, `"hold"` its last frame, `"loop"` its beginning,
                `"mirror"` itself backwards.
            head (`str`, *optional*, defaults to `"keep"`): Whether the head of a film moves as it does (`"keep"`) or is
                turned as the driver's (`"replace"`).
            sound (`str`, *optional*): Of a film's result, `"source"` (the default) or `"driving"`.
            on_progress (callable, *optional*): Told of every step of tuning; may raise to stop.

        Returns:
            `ReenactmentResult`: Iterate it for uint8 frames, or `save` it as a video.

        Raises:
            VivFaceError: What a user can cause, in one sentence; see the subclasses in `vivface.errors`.
        """
        # 1. Check what was asked.
        edits = self._edits(edits)
        shows = self._may_show_detail(detail, edits)
        options = RenderOptions(refine, paste_back, motion_mode, strength, batch_size, shows, size, background, parts)
        tuning = Tuning.parse(self.config.adapt_steps if adapt is None else adapt)
        pose = check_pose(pose, co_driving)
        film = self.film_options(source, head, fit, sound)
        if self.composes(source, faces):
            self.check_composed(source, edits, pose, film, adapt, detail)
            part = (start, duration, co_driving, pose, edits)
            return self.compose(source, driving, options, film, faces, face, driving_face, *part)

        # 2. Open the driving video, or its saved codes; they are read lazily.
        motion = driving if isinstance(driving, MotionCodes) else self._motion(driving, driving_face, start, duration)
        self._check_origin(motion.name, motion.code_shape, motion.fingerprint)
        tuned = adapt is not None and tuning.steps > 0
        options = self.checked(replace(options, detail=self._shows_detail(detail, edits, motion, source, tuned)))
        if options.detail and adapt is None:
            tuning = Tuning(steps=0)

        # 3. Read the portrait, once, and tune to it.
        if isinstance(source, IdentityCode):
            identity, tuning = self._own(source), tuning if adapt is not None else Tuning(steps=0)
        else:
            identity = self.encode_identity(source, face, adapt=0)
        identity = self._adjusted(identity, tuning, seed, on_progress, motion)
        motion = self.co_drive(motion, co_driving, pose, identity)

        # 4. Frames are made when the result is read.
        return ReenactmentResult(self, identity, motion, options, edits)

    # Details ---------------------------------------------------------------------------------------------------------

    def images(self, images: Sequence[np.ndarray]) -> Tensor:
        """uint8 RGB images `(size, size, 3)` as a batch `(batch, 3, size, size)` in [-1, 1] for the networks."""
        return to_tensor(images, self._execution_device, self.motion_reader.dtype)

    def _shows_detail(
        self, detail: bool | None, edits: TimedEdits | None, motion: MotionCodes, source: object, tuned: bool = False
    ) -> bool:
        """Whether the photograph is moved: where there are points, unless a generator was tuned or edits change."""
        if isinstance(source, IdentityCode):
            tuned = tuned or source.generator is not None or source.points is None
        shows = self._may_show_detail(detail, edits)
        return shows and (detail is not None or (motion.has_points and not tuned))

    def _motion(self, driving: str | os.PathLike, *options) -> MotionCodes:
        """A video, a saved motion file, or a name of the library, as a stream of codes."""
        driving = find_motion(driving)
        if Path(driving).suffix == MOTION_SUFFIX:
            return MotionCodes.load(driving)
        return self.encode_motion(driving, *options)

    def _evaluate(self) -> None:
        """Inference: no dropout, normalisation by the stored statistics."""
        for component in self.components.values():
            if component is not None:
                component.eval()
