"""Video2StyleGAN: position, pose, local expression and residual motion in StyleGAN3, each from a driver of its own.

Video2StyleGAN: Disentangling Local and Global Variations in a Video (anonymous submission).

    portrait -> align -> E -> w_ref --(pose of the driver, eq. 7)--> w_ref^p --+ residual motion (eq. 10) -> w_base
    video    -> align -> E -> w_j ---- channels of eyes, nose, mouth (eq. 8-9) -+                              |
        +-> place and tilt of the face (eq. 4-6) -> Fourier features            +-> styles (eq. 1-3) <---------+
                                                         +--------------------------> G(styles) -> frame -> paste back

Nothing is trained for it: G is a StyleGAN3 generator of configuration R, E an encoder to its W+, P_r a reader of pose.
"""

from __future__ import annotations

import copy
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from vivface.editing.local_channels import LocalChannels
from vivface.errors import OptionError
from vivface.hub.index import find_file, hub_options, locate, read_index
from vivface.models.encoder import HybridEncoder
from vivface.models.face_state import FaceStateNetwork
from vivface.models.identity import IdentityNetwork
from vivface.models.stylegan3 import StyleGAN3Generator
from vivface.pipelines.base import ReenactmentPipeline
from vivface.pipelines.checks import check_fit
from vivface.pipelines.editable import Image
from vivface.reenactment.codes import IdentityCode, MotionCodes
from vivface.reenactment.composition import ResidualMode, Weights, compose, with_residual
from vivface.reenactment.drivers import SMOOTHED, DrivenMotion, Drivers, read_frames, smooth_positions
from vivface.reenactment.frame_code import NUMBERS, ROWS_BESIDE, FrameCode, image_motion
from vivface.reenactment.portrait import Portrait
from vivface.reenactment.pose_matching import PoseDirections, match_pose
from vivface.reenactment.result import ReenactmentResult
from vivface.reenactment.tuning import TuningNetworks

CHANNELS_FILE = "local_channels.safetensors"
DIRECTIONS_FILE = "pose_directions.safetensors"
ADAPTED = ("VivFacePipeline", "Video2StyleGANAdapterPipeline")  # what the adapter to StyleGAN2 is made of
WEIGHTS = ("alpha", "beta", "gamma", "zeta")


class Video2StyleGANPipeline(ReenactmentPipeline):
    """Re-enact a portrait with the motion of one video, or of two.

    Args:
        generator (`StyleGAN3Generator`): G, of configuration R, with its affine maps A.
        inversion (`HybridEncoder`): E; W+ of an aligned face.
        pose (`FaceStateNetwork`, *optional*): P_r; by default the one that comes with the package.
        recognizer (`IdentityNetwork`, *optional*): Tells people apart; used by the tuning only.
        image_size (`int`, *optional*, defaults to 128): Width and height in pixels of the crops that E and P_r see.
        crop (`str`, *optional*, defaults to `"ffhq"`): How faces are cut.
        adapt_steps (`int`, *optional*, defaults to 0): Steps of pivotal tuning to the portrait.
        detail (`bool`, *optional*, defaults to `False`): Whether re-enactments move the photograph itself, unless
            asked otherwise.
        alpha, beta, gamma, zeta (`float`, *optional*): Weights of eq. 1-3, see `Weights`.
        pose_steps (`int`, *optional*, defaults to 100): Steps of the search for the driver's pose (eq. 7); 0 leaves its
            start, which is the portrait's own pose where the checkpoint has no pose directions.
        pose_apart (`bool`, *optional*, defaults to `False`): Whether the driver's pose is taken out of its local
            channels and its residual motion, by the checkpoint's pose directions; the paper leaves it in.

    Attributes:
        local_channels (`LocalChannels`): X_s of eyes, nose and mouth; none if the checkpoint holds none.
        pose_directions (`PoseDirections`, *optional*): Where the search for a pose starts.

    Example:

        >>> import vivface
        >>> pipe = vivface.load_pipeline(system="video2stylegan")
        >>> pipe("portrait.jpg", "speech.mp4", co_driving="turning.mp4", pose="co_driving").save("out.mp4")
    """

    COMPONENTS = {
        "generator": StyleGAN3Generator,
        "inversion": HybridEncoder,
        "pose": FaceStateNetwork,
        "recognizer": IdentityNetwork,
    }
    SETTINGS = ("image_size", "crop", "adapt_steps", "detail", *WEIGHTS, "pose_steps", "pose_apart")
    MOTION_READER = "inversion"
    _optional_components: ClassVar[list[str]] = ["pose", "recognizer"]
    model_cpu_offload_seq = "inversion->pose->generator"
    _exclude_from_cpu_offload: ClassVar[list[str]] = ["recognizer"]  # the tuning works on copies

    def __init__(
        self,
        generator: StyleGAN3Generator,
        inversion: HybridEncoder,
        pose: FaceStateNetwork | None = None,
        recognizer: IdentityNetwork | None = None,
        image_size: int = 128,
        crop: str = "ffhq",
        adapt_steps: int = 0,
        detail: bool = False,
        alpha: float = -1.0,
        beta: float = 1.0,
        gamma: float = 1.0,
        zeta: float = 0.5,
        pose_steps: int = 100,
        pose_apart: bool = False,
    ):
        super().__init__()
        weights = Weights(alpha, beta, gamma, zeta)
        if isinstance(pose_steps, bool) or not isinstance(pose_steps, int) or pose_steps < 0:
            raise OptionError(f"`pose_steps` is {pose_steps!r}; expected 0 or more.")
        pose = FaceStateNetwork.from_pretrained() if pose is None else pose
        self.check_fit(generator, inversion)
        self.register(
            dict(generator=generator, inversion=inversion, pose=pose, recognizer=recognizer),
            image_size=image_size,
            crop=crop,
            adapt_steps=adapt_steps,
            detail=detail,
            **asdict(weights),
            pose_steps=pose_steps,
            pose_apart=pose_apart,
        )
        self.local_channels = LocalChannels({})
        self.pose_directions: PoseDirections | None = None

    # Checkpoints -----------------------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike | None = None, **kwargs: Any) -> Self:
        """Load a pipeline; without an argument, of the networks that come with the package.

        Args:
            pretrained_model_name_or_path (`str` or `os.PathLike`, *optional*): Folder or Hub id. A checkpoint of
                ViVFace gives a `Video2StyleGANAdapterPipeline`, which does the same with its StyleGAN2.
            kwargs: As for `VivFacePipeline.from_pretrained`.

        Raises:
            CheckpointError: If the checkpoint is missing, incomplete, damaged, or of another system.
        """
        checkpoint = locate(pretrained_model_name_or_path)
        name = read_index(checkpoint, **hub_options(kwargs))["_class_name"]
        if cls is Video2StyleGANPipeline and name in ADAPTED:
            from vivface.pipelines.video2stylegan_adapter import Video2StyleGANAdapterPipeline

            return Video2StyleGANAdapterPipeline.from_pretrained(checkpoint, **kwargs)
        return super().from_pretrained(checkpoint, **kwargs)

    def load_extras(self, checkpoint: str | os.PathLike, **hub: Any) -> None:
        """As every pipeline, with local channels and pose directions."""
        super().load_extras(checkpoint, **hub)
        if (path := find_file(checkpoint, CHANNELS_FILE, **hub)) is not None:
            self.local_channels = LocalChannels.load(path)
            self._local_masks()  # refuses those of another generator
        if (path := find_file(checkpoint, DIRECTIONS_FILE, **hub)) is not None:
            self.pose_directions = PoseDirections.load(path)

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """As every pipeline, with local channels and pose directions."""
        super().save_pretrained(save_directory, **kwargs)
        if self.local_channels.parts:
            self.local_channels.save(Path(save_directory) / CHANNELS_FILE)
        if self.pose_directions is not None:
            self.pose_directions.save(Path(save_directory) / DIRECTIONS_FILE)

    # The system ------------------------------------------------------------------------------------------------------

    @property
    def shown_crop(self) -> str:
        """How an evaluation cuts driving frames: results move as the driver does in the square of its first face."""
        return "still"

    @property
    def latent_rows(self) -> int:
        """Rows of the codes that E gives."""
        return self.generator.num_latents

    @property
    def style_rows(self) -> list[int]:
        """The row of a code that every layer's style depends on."""
        return list(range(self.generator.num_latents))

    def invert(self, images: Tensor) -> Tensor:
        """E: codes `(batch, latent_rows, style_dim)` of aligned images `(batch, 3, size, size)` in [-1, 1]."""
        images = resized(images, self.inversion.config.image_size)
        return self.inversion(images, motion=False, memory=False).identity

    def styles_of(self, generator: StyleGAN3Generator, codes: Tensor) -> list[Tensor]:
        """A: the styles of codes, `(batch, channels)` a layer."""
        return generator.to_stylespace(codes)

    def draw(self, generator: StyleGAN3Generator, styles: list[Tensor], position: Tensor | None = None) -> Tensor:
        """G: images of styles, moved and tilted by positions `(batch, 3)`, see `FrameCode`, by Fourier features."""
        return generator(styles=styles, transform=None if position is None else image_motion(position))

    @property
    def code_shape(self) -> tuple[int, int]:
        """Motion code of a frame, see `FrameCode`."""
        return self.latent_rows + ROWS_BESIDE, self.generator.config.style_dim

    @torch.no_grad()
    def read_portrait(self, portrait: Portrait) -> IdentityCode:
        """E and P_r on the portrait: w_ref, its styles, and its own motion code."""
        reference = self.images([portrait.crop(self.config.crop, self.config.image_size)])
        motion = self.read_motion(reference)
        w_plus = self._whole(FrameCode.unpack(motion))
        return IdentityCode(
            w_plus=w_plus,
            styles=self.styles_of(self.generator, w_plus),
            motion=motion,
            reference=reference,
            photo=portrait.image,
            quad=portrait.quad,
            warnings=portrait.warnings,
        )

    @torch.no_grad()
    def read_motion(self, images: Tensor) -> Tensor:
        """E and P_r on driving frames; where the frames lie, and how they differ from the first, `encode_motion` adds.

        Args:
            images (`torch.Tensor` of shape `(batch, 3, image_size, image_size)`): RGB in [-1, 1].

        Returns:
            `torch.Tensor` of shape `(batch, *code_shape)`.
        """
        w_plus = self.invert(images)
        pose = self.pose(resized(images, self.pose.config.image_size)).pose
        if self._directions_apart is not None:
            w_plus = self._directions_apart.estimate(w_plus, -pose)
        return FrameCode.still(w_plus, pose).pack()

    def encode_motion(self, video: str | os.PathLike, *args: Any, **kwargs: Any) -> MotionCodes:
        """As `ReenactmentPipeline.encode_motion`, with positions (eq. 4-6) and residual motion (eq. 10)."""
        return read_frames(super().encode_motion(video, *args, **kwargs))

    @torch.no_grad()
    def generate(self, identity: IdentityCode, motion: Tensor, refine: bool = True) -> Tensor:
        """Make the frames of a batch of motion codes.

        Args:
            identity (`IdentityCode`): Whose face.
            motion (`torch.Tensor` of shape `(batch, *code_shape)`): Motion codes, their parts from any drivers.
            refine (`bool`, *optional*, defaults to `True`): Without effect; there is no second stage.

        Returns:
            `torch.Tensor` of shape `(batch, 3, size, size)`: RGB, about [-1, 1], not clamped.
        """
        frames = FrameCode.unpack(motion)
        generator = self.generator_of(identity)

        # 1. The driver's pose, in the original generator (eq. 7); then the residual motion (eq. 10).
        posed = self._posed(identity, frames)
        base = with_residual(posed, frames.residual)

        # 2. Styles: the driver's eyes, nose and mouth, residual motion elsewhere (eq. 1-3).
        codes = (posed, self._whole(frames), base)
        reference, driver, moved = (self.styles_of(generator, code) for code in codes)
        styles = compose(reference, driver, moved, self._local_masks(), self.weights, self.style_rows)

        # 3. Where the face lies in the picture (eq. 4-6).
        return self.draw(generator, styles, frames.position)

    # Drivers ---------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def __call__(
        self,
        source: Image | IdentityCode,
        driving: str | os.PathLike | MotionCodes,
        *,
        co_driving: str | os.PathLike | MotionCodes | None = None,
        position: str | None = None,
        pose: str | None = None,
        local: str | None = None,
        residual: str | None = None,
        residual_mode: ResidualMode = "cumulative",
        smooth: int = SMOOTHED,
        alpha: float | None = None,
        beta: float | None = None,
        gamma: float | None = None,
        zeta: float | None = None,
        face: int | None = None,
        driving_face: int | None = None,
        adapt: int | str | None = None,
        start: float = 0,
        duration: float | None = None,
        **options: Any,
    ) -> ReenactmentResult:
        """Re-enact a portrait, lazily, every part of its motion from a driver of its own.

        Args:
            source, driving, face, driving_face, adapt, start, duration, options: As for `ReenactmentPipeline.__call__`.
            co_driving (`str`, `os.PathLike` or `MotionCodes`, *optional*): A second video, a motion file, or codes.
            position, pose, local, residual (`str`, *optional*): Where place and tilt, head pose, eyes, nose and mouth,
                and residual motion come from: `"driving"`, `"co_driving"` or `"source"`, the portrait. By default the
                driving video, but position and pose the co-driving video if there is one.
            residual_mode (`str`, *optional*, defaults to `"cumulative"`): How eq. 10 is read, see `residual_motion`.
            smooth (`int`, *optional*, defaults to 3): Frames over which positions are averaged; 1 for none.
            alpha, beta, gamma, zeta (`float`, *optional*): Weights of eq. 1-3; by default the checkpoint's.

        Returns:
            `ReenactmentResult`: Iterate it for uint8 frames, or `save` it as a video.

        Raises:
            VivFaceError: What a user can cause, in one sentence; see the subclasses in `vivface.errors`.
        """
        # 1. Check what was asked.
        given = dict(zip(WEIGHTS, (alpha, beta, gamma, zeta), strict=True))
        system = self.with_weights(**{name: value for name, value in given.items() if value is not None})
        drivers = Drivers.choose(co_driving, position=position, pose=pose, local=local, residual=residual)

        # 2. Open the videos; they are read lazily.
        motion = self._opened(driving, driving_face, start, duration)
        second = None if co_driving is None else smooth_positions(self._opened(co_driving), smooth)

        # 3. Read the portrait, and put the parts together.
        if not isinstance(source, IdentityCode):
            source, adapt = self.encode_identity(source, face, 0), self.config.adapt_steps if adapt is None else adapt
        motion = DrivenMotion(smooth_positions(motion, smooth), second, self._own(source), drivers, residual_mode)
        return ReenactmentPipeline.__call__(system, source, motion, adapt=adapt, **options)

    def with_weights(self, **weights: float) -> Self:
        """The same pipeline, sharing all networks, with other weights of eq. 1-3, named as in `Weights`."""
        chosen = replace(self.weights, **weights)
        pipeline = copy.copy(self)
        pipeline.register_to_config(**asdict(chosen))
        return pipeline

    @property
    def weights(self) -> Weights:
        """Of eq. 1-3."""
        return Weights(**{name: self.config[name] for name in WEIGHTS})

    @staticmethod
    def check_fit(generator: StyleGAN3Generator, inversion: HybridEncoder) -> None:
        """Refuse components that do not fit together, and codes without room for a position."""
        pairs = {
            "inversion's number of codes": (inversion.config.num_latents, generator.num_latents),
            "inversion's length of codes": (inversion.config.style_dim, generator.config.style_dim),
            "generator's configuration": (generator.config.configuration, "R"),
        }
        check_fit(pairs)
        if generator.config.style_dim < 2 * NUMBERS:
            raise OptionError(f"`style_dim` is {generator.config.style_dim}; expected {2 * NUMBERS} or more.")

    # Details ---------------------------------------------------------------------------------------------------------

    def tuning_networks(self, identity: IdentityCode | None = None) -> TuningNetworks:
        """Copies of G, E and the recognizer, for pivotal tuning."""
        networks = (self.generator_of(identity), self.inversion)
        # The pivot is the portrait's own code, its motion included
        return TuningNetworks(*networks, recognizer=self.recognizer, add_motion=lambda _, styles, motion: styles)

    def _adjusted(self, identity, tuning, seed, on_progress, driving=None) -> IdentityCode:
        """The checkpoint's own tuning is pivotal tuning, as in the paper; the code stays what the encoder gave."""
        if tuning.method == "cma" and tuning.steps:
            raise OptionError(
                "`adapt` is 'cma', which needs motion codes of StyleGAN2: take 'pti' or a number of steps."
            )
        return super()._adjusted(identity, replace(tuning, method="pti"), seed, on_progress, driving)

    def _opened(self, driving: str | os.PathLike | MotionCodes, *options: Any) -> MotionCodes:
        motion = driving if isinstance(driving, MotionCodes) else self._motion(driving, *options)
        self._check_origin(motion.name, motion.code_shape, motion.fingerprint)
        return motion

    @property
    def _directions_apart(self) -> PoseDirections | None:
        """The pose directions, if pose is taken out of local channels and residual motion."""
        return self.pose_directions if self.config.pose_apart else None

    def _whole(self, frames: FrameCode) -> Tensor:
        """W+ of frames with the pose put back that `read_motion` took out: of the pose that the frames should have."""
        directions = self._directions_apart
        return frames.w_plus if directions is None else directions.estimate(frames.w_plus, frames.pose)

    def _posed(self, identity: IdentityCode, frames: FrameCode) -> Tensor:
        """w_ref^p of eq. 7, `(batch, num_latents, style_dim)`."""
        own = FrameCode.unpack(identity.motion)
        steps, directions = self.config.pose_steps, self.pose_directions
        return match_pose(self._read_pose, self._whole(own), own.pose, frames.pose.to(own.pose), steps, directions)

    def _read_pose(self, w_plus: Tensor) -> Tensor:
        """P_r(G(w)): yaw, pitch, roll `(batch, 3)`, degrees."""
        image = self.draw(self.generator, self.styles_of(self.generator, w_plus))
        return self.pose(resized(image, self.pose.config.image_size)).pose

    def _local_masks(self) -> list[Tensor]:
        layers = [self.generator.get_submodule(name) for name in self.generator.layer_names]
        return self.local_channels.masks([layer.modulation.weight.shape[0] for layer in layers])


def resized(images: Tensor, size: int) -> Tensor:
    """Images `(batch, 3, height, height)` at another size."""
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, (size, size), mode="bilinear", antialias=images.shape[-1] > size)
