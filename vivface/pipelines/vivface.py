"""ViVFace: one-shot face video re-enactment in the latent spaces of StyleGAN2.

Enhancing Identity-Deformation Disentanglement in StyleGAN for One-Shot Face Video Re-Enactment (AAAI 2025).

    photo -> align -> E -> identity code W + memory --+
    video -> align -> E -> motion code -> T(., memory) -> G(A(W) + S') -> R -> frame -> paste back -> video (+ sound)
"""

import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.configuration_utils import FrozenDict
from torch import Tensor

from vivface.errors import CheckpointError, MediaError, OptionError
from vivface.faces.backends import get_backend
from vivface.faces.landmarks import LandmarkBackend
from vivface.faces.paste import PasteBack
from vivface.hub.loading import bundled_checkpoint, load_part, read_index
from vivface.media.images import load_image
from vivface.media.video import VideoReader
from vivface.models.encoder import HybridEncoder
from vivface.models.identity import IdentityNetwork
from vivface.models.refinement import RefinementNetwork
from vivface.models.stylegan2 import StyleGAN2Generator
from vivface.models.transformer import DeformationTransformer
from vivface.reenactment.codes import MOTION_SUFFIX, IdentityCode, MotionBatch, MotionCodes, MotionRecorder
from vivface.reenactment.driving import DrivingFrame, DrivingVideo
from vivface.reenactment.portrait import Portrait, source_name
from vivface.reenactment.portrait_tuning import adapt_to_source
from vivface.reenactment.result import ReenactmentResult, RenderedFrame
from vivface.reenactment.streams import ReadAhead

EXAMPLE = """
    >>> from vivface import VivFacePipeline
    >>> pipe = VivFacePipeline.from_pretrained()
    >>> result = pipe("examples/portrait.png", "examples/driving.mp4")
    >>> result.save("out.mp4")
"""

PARTS = {
    "generator": StyleGAN2Generator,
    "encoder": HybridEncoder,
    "transformer": DeformationTransformer,
    "refinement": RefinementNetwork,
    "recognizer": IdentityNetwork,
}
SETTINGS = ("image_size", "crop", "neutral", "adapt_steps")


class VivFacePipeline(DiffusionPipeline):
    """Re-enact a portrait with the motion of a video.

    Args:
        generator (`StyleGAN2Generator`): G, with its affine maps A.
        encoder (`HybridEncoder`): E; identity code, generic motion code and memory of an aligned face.
        transformer (`DeformationTransformer`): T; makes a generic motion code the source's own.
        refinement (`RefinementNetwork`, *optional*): R; None for a system without a second stage.
        recognizer (`IdentityNetwork`, *optional*): tells people apart; judges adaptation to a portrait, nothing else.
        image_size (`int`, *optional*, defaults to 256): side in pixels of what E and R see.
        crop (`str`, *optional*, defaults to `"ffhq"`): how faces are cut. `"ffhq"`: FFHQ's square, frame by frame, as
            the published systems; `"stable"`: the same square, but following slow movement only, so that the head
            moves inside the crop.
        neutral (`str`, *optional*, defaults to `"zero"`): what the neutral picture adds to A(W): `"zero"` nothing (the
            paper), `"transformed"` T(0) (the authors' code).
        adapt_steps (`int`, *optional*, defaults to 0): steps of adaptation to the source that suit this checkpoint.
    """

    _optional_components = ["refinement", "recognizer"]

    def __init__(
        self,
        generator: StyleGAN2Generator,
        encoder: HybridEncoder,
        transformer: DeformationTransformer,
        refinement: RefinementNetwork | None = None,
        recognizer: IdentityNetwork | None = None,
        image_size: int = 256,
        crop: Literal["ffhq", "stable"] = "ffhq",
        neutral: Literal["zero", "transformed"] = "zero",
        adapt_steps: int = 0,
    ):
        super().__init__()
        if crop not in ("ffhq", "stable"):
            raise OptionError(f"`crop` is {crop!r}; expected 'ffhq' or 'stable'.")
        if neutral not in ("zero", "transformed"):
            raise OptionError(f"`neutral` is {neutral!r}; expected 'zero' or 'transformed'.")
        if adapt_steps < 0:
            raise OptionError(f"`adapt_steps` is {adapt_steps}; expected 0 or more.")
        self.register_modules(
            generator=generator, encoder=encoder, transformer=transformer, refinement=refinement, recognizer=recognizer
        )
        self.register_to_config(image_size=image_size, crop=crop, neutral=neutral, adapt_steps=adapt_steps)
        self._backend: LandmarkBackend | None = None

    # ---- loading

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike | None = None,
        *,
        dtype: torch.dtype | None = None,
        variant: str | None = None,
        **kwargs,
    ) -> "VivFacePipeline":
        """Load a pipeline; without an argument, the checkpoint that comes with the package.

        Args:
            pretrained_model_name_or_path (*optional*): folder or Hub id.
            dtype (`torch.dtype`, *optional*): of the weights in memory; float32 by default, whatever is stored.
            variant (`str`, *optional*): of the weight files, for example "fp16".
            kwargs: `revision`, `local_files_only`, `cache_dir`, `token`, `force_download` and `proxies` as for every
                Hub model; a part's name with a network, or None for an optional one, in place of the stored part;
                and the pipeline's own settings in place of the stored ones.

        Raises:
            CheckpointError: If the checkpoint is missing, incomplete, damaged, or another pipeline's.
        """
        given = {name: kwargs.pop(name) for name in (*PARTS, *SETTINGS) if name in kwargs}
        dtype = kwargs.pop("torch_dtype", dtype)
        hub_options = ("revision", "local_files_only", "cache_dir", "token", "force_download", "proxies")
        hub = {name: kwargs.pop(name) for name in hub_options if kwargs.get(name) is not None}
        if kwargs:
            raise OptionError(f"from_pretrained takes no option {', '.join(map(repr, kwargs))}.")

        checkpoint = pretrained_model_name_or_path
        if checkpoint is None:
            checkpoint = bundled_checkpoint()
        index = read_index(checkpoint, cls.__name__, **hub)
        parts = {}
        for name, part in PARTS.items():
            stored = (index.get(name) or [None, None])[1]
            if name in given:
                parts[name] = given.pop(name)
            elif stored is None and name in cls._optional_components:
                parts[name] = None
            elif stored != part.__name__:
                raise CheckpointError(
                    f"The part '{name}' of the checkpoint '{checkpoint}' is {stored or 'missing'}, expected a "
                    f"{part.__name__}."
                )
            else:
                parts[name] = load_part(part, checkpoint, name, **hub, **({"variant": variant} if variant else {}))
                if dtype is not None:
                    parts[name].to(dtype)
        settings = {name: index[name] for name in SETTINGS if name in index}
        return cls(**parts, **{**settings, **given})

    def _upload_folder(
        self,
        working_dir: str | os.PathLike,
        repo_id: str,
        token: str | None = None,
        commit_message: str | None = None,
        create_pr: bool = False,
        subfolder: str | None = None,
    ) -> str:
        """Where `push_to_hub` and `save_pretrained(push_to_hub=True)` end: adds the card and the generic layout."""
        from vivface.hub.push import push_folder

        if subfolder:
            raise OptionError(f"`subfolder` is {subfolder!r}; a pipeline is pushed to the top of its repository.")
        message = commit_message or "Upload VivFacePipeline"
        return push_folder(Path(working_dir), repo_id, create_pr=create_pr, message=message, token=token).url

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs) -> None:
        """Save as every pipeline does; the configs do not tell from which folder a part was once loaded."""
        for part in (getattr(self, name) for name in PARTS):
            if part is not None:
                part._internal_dict = FrozenDict({k: v for k, v in part.config.items() if k != "_name_or_path"})
        super().save_pretrained(save_directory, **kwargs)

    def use_detector(self, detector: str | LandmarkBackend) -> "VivFacePipeline":
        """Choose what finds faces: "auto", "dlib", "face-alignment[:detector]", or a backend of your own."""
        self._backend = get_backend(detector, str(self.device)) if isinstance(detector, str) else detector
        return self

    @property
    def backend(self) -> LandmarkBackend:
        """What finds faces and their landmarks, made at first use."""
        if self._backend is None:
            self.use_detector("auto")
        return self._backend

    # ---- the stages

    @torch.no_grad()
    def encode_identity(
        self,
        image: str | os.PathLike | np.ndarray | object,
        face: int | None = None,
        adapt: int | None = None,
        seed: int = 0,
    ) -> IdentityCode:
        """Read everything of a portrait that its re-enactment keeps.

        Args:
            image: a path, a PIL picture, a uint8 RGB array `(height, width, 3)` or an open file.
            face (`int`, *optional*): which face, 0 the largest; by default the largest.
            adapt (`int`, *optional*): steps of adaptation to this portrait; by default
                `adapt_steps` of the checkpoint.
            seed (`int`, *optional*, defaults to 0): of the adaptation.

        Raises:
            MediaError: If the picture cannot be read.
            NoFaceError: If it shows no face, or not the asked one.
        """
        self._check_counts(face=face, adapt=adapt)
        self._evaluate()

        # 1. Find the face and cut its square, as E and R see it.
        size, mode = self.config.image_size, self.config.crop
        portrait = Portrait.find(load_image(image), self.backend, face, source_name(image), size)
        reference = self._to_tensor([portrait.crop(mode, size)])  # (1, 3, image_size, image_size)

        # 2. Encode: identity code W, generic motion code, memory.
        code = self.encoder(reference)
        w_plus, generator = code.identity, None

        # 3. Adapt the code, and after some steps a copy of the generator, to this portrait, if asked.
        steps = self.config.adapt_steps if adapt is None else adapt
        if steps > 0:
            target = self._to_tensor([portrait.crop(mode, self.generator.config.size)])
            networks = self.generator, self.encoder, self.transformer
            seen_by = dict(refinement=self.refinement, recognizer=self.recognizer)
            adapted = adapt_to_source(*networks, w_plus, target, steps=steps, seed=seed, **seen_by)
            w_plus, generator = adapted.w_plus, adapted.generator

        # 4. A(W), once a source.
        styles = (generator or self.generator).to_stylespace(w_plus)
        photo, quad = portrait.limited()
        return IdentityCode(
            w_plus=w_plus,
            styles=styles,
            memory=code.memory,
            motion=code.motion,
            reference=reference,
            photo=photo,
            quad=quad,
            generator=generator,
            warnings=portrait.warnings,
        )

    def encode_motion(
        self,
        video: str | os.PathLike,
        face: int | None = None,
        start: float | Fraction = 0,
        duration: float | Fraction | None = None,
    ) -> MotionCodes:
        """Open a video as a lazy stream of motion codes.

        Args:
            video: path of the driving video.
            face (`int`, *optional*): which face to follow, 0 the largest of the first frame.
            start (*optional*, defaults to 0): where to begin, seconds.
            duration (*optional*): how much to read, seconds; by default all.

        Raises:
            MediaError: If the video cannot be opened. While it is read: if no frame can be decoded.
            NoFaceError: While it is read, if no frame shows a face.
        """
        self._check_counts(driving_face=face)
        start, duration = _seconds(start), None if duration is None else _seconds(duration)
        reader = VideoReader(video, start, duration)
        driving = DrivingVideo(reader, self.backend, self.config.image_size, self.config.crop, face)
        warnings: list[str] = []
        return MotionCodes(
            lambda batch_size, images: self._motion_batches(driving.frames(warnings, images), batch_size),
            name=reader.path.name,
            fps=reader.fps,
            time_base=reader.time_base,
            frames=reader.frames_estimate,
            code_shape=self._code_shape,
            encoder=self._encoder_sample(),
            video=reader.path,
            video_size=driving.shown_size,
            start=reader.start,
            duration=duration,
            warnings=warnings,
        )

    def render(
        self,
        identity: IdentityCode,
        motion: MotionCodes,
        refine: bool = True,
        paste_back: bool = False,
        motion_mode: Literal["absolute", "relative"] = "absolute",
        strength: float = 1.0,
        batch_size: int | None = None,
    ) -> Iterator[np.ndarray]:
        """Show an identity under a motion, frame by frame.

        Args:
            identity, motion: what `encode_identity` and `encode_motion` (or `MotionCodes.load`) gave.
            refine (`bool`, *optional*, defaults to `True`): second stage, when the checkpoint has one.
            paste_back (`bool`, *optional*, defaults to `False`): put the face back into the photo.
            motion_mode (`str`, *optional*, defaults to `"absolute"`): `"absolute"` takes over pose and expression of
                the driving video; `"relative"` adds its changes since its first frame to the source's own.
            strength (`float`, *optional*, defaults to 1.0): how far to go from the source's own motion to that.
            batch_size (`int`, *optional*): frames at once; by default 8 up to 256 pixels, fewer above.

        Yields:
            `numpy.ndarray` of shape `(height, width, 3)`: uint8 RGB.
        """
        self.check_options(motion=motion_mode, strength=strength, batch_size=batch_size)
        options = dict(refine=refine, paste_back=paste_back, motion_mode=motion_mode, strength=strength)
        for frame in self._render(identity, motion, batch_size=batch_size, **options):
            yield frame.image

    @torch.no_grad()
    def generate(self, identity: IdentityCode, generic: Tensor, refine: bool = True) -> Tensor:
        """Make the frames of a batch of generic motion codes.

        Args:
            identity (`IdentityCode`): whose face.
            generic (`torch.Tensor` of shape `(batch, motion_codes, style_dim)`): generic motion codes.
            refine (`bool`, *optional*, defaults to `True`): second stage, when the checkpoint has one.

        Returns:
            `torch.Tensor` of shape `(batch, 3, size, size)`: RGB, about [-1, 1], not clamped.
        """
        # 1. T: the generic motion becomes the source's own deformation S'.
        deformation = self.transformer(generic, identity.memory)  # (batch, motion_codes, style_dim)
        return self._synthesize(identity, deformation, refine)

    @torch.no_grad()
    def neutral(self, identity: IdentityCode, refine: bool = False) -> np.ndarray:
        """The portrait without motion, A(W) + 0 or A(W) + T(0) as `neutral` says: uint8 RGB `(size, size, 3)`."""
        self._evaluate()
        nothing = torch.zeros_like(identity.motion)
        if self.config.neutral == "transformed":
            nothing = self.transformer(nothing, identity.memory)
        return self._to_pictures(self._synthesize(identity, nothing, refine))[0]

    # ---- all together

    def __call__(
        self,
        source: str | os.PathLike | np.ndarray | IdentityCode | object,
        driving: str | os.PathLike | MotionCodes,
        *,
        refine: bool = True,
        paste_back: bool = False,
        motion: Literal["absolute", "relative"] = "absolute",
        strength: float = 1.0,
        batch_size: int | None = None,
        seed: int = 0,
        face: int | None = None,
        driving_face: int | None = None,
        adapt: int | None = None,
        start: float | Fraction = 0,
        duration: float | Fraction | None = None,
    ) -> ReenactmentResult:
        """Re-enact a portrait with the motion of a video, lazily: frames are made as they are read.

        Args:
            source: the portrait: a path, a picture, or an `IdentityCode`.
            driving: the driving video: a path, a saved motion file (.safetensors), or `MotionCodes`.
            refine (`bool`, *optional*, defaults to `True`): second stage, when the checkpoint has one.
            paste_back (`bool`, *optional*, defaults to `False`): put the face back into the photo.
            motion (`str`, *optional*, defaults to `"absolute"`): or `"relative"`, see `render`.
            strength (`float`, *optional*, defaults to 1.0): of the motion, see `render`.
            batch_size (`int`, *optional*): frames at once; by default 8 up to 256 pixels, fewer above.
            seed (`int`, *optional*, defaults to 0): of the adaptation; all else draws no random numbers.
            face, driving_face (`int`, *optional*): which face of the portrait and of the video, 0 the largest.
            adapt (`int`, *optional*): steps of adaptation to the portrait; by default as the checkpoint says.
            start, duration (*optional*): the part of the video to use, seconds.

        Returns:
            [`ReenactmentResult`]: iterate it for uint8 frames, or `save` it as a video.

        Raises:
            VivFaceError: What a user can cause, in one sentence; see the subclasses in `vivface.errors`.
        """
        # 1. Check what was asked.
        self.check_options(motion=motion, strength=strength, batch_size=batch_size)

        # 2. Open the driving video (or its saved codes): align -> E -> motion codes, read lazily.
        if not isinstance(driving, MotionCodes):
            if Path(driving).suffix == MOTION_SUFFIX:
                driving = MotionCodes.load(driving)
            else:
                driving = self.encode_motion(driving, driving_face, start, duration)
        self._check_motion(driving)

        # 3. Encode the portrait: align -> E -> identity code and memory, once.
        if isinstance(source, IdentityCode):
            identity = source
        else:
            identity = self.encode_identity(source, face=face, adapt=adapt, seed=seed)

        # 4. T, G, R and paste back run when the result is read.
        options = dict(refine=refine, paste_back=paste_back, motion_mode=motion, strength=strength)
        side = self.generator.config.size
        size = identity.photo.shape[1::-1] if paste_back else (side, side)

        def open_stream(images: bool, recorder: MotionRecorder | None) -> Iterator[RenderedFrame]:
            return self._render(identity, driving, batch_size=batch_size, images=images, recorder=recorder, **options)

        return ReenactmentResult(
            open_stream, identity, driving, size, progress=lambda total: self.progress_bar(total=total)
        )

    def check_options(self, *, motion: str, strength: float, batch_size: int | None) -> None:
        """Raise an OptionError for a value that is out of its range."""
        if motion not in ("absolute", "relative"):
            raise OptionError(f"`motion` is {motion!r}; expected 'absolute' or 'relative'.")
        if not 0 <= strength <= 3:
            raise OptionError(f"`strength` is {strength}; expected a number from 0 to 3, 1 for the driver's own.")
        if batch_size is not None and batch_size < 1:
            raise OptionError(f"`batch_size` is {batch_size}; expected 1 or more frames.")

    # ---- details

    def _render(
        self,
        identity: IdentityCode,
        motion: MotionCodes,
        *,
        refine: bool,
        paste_back: bool,
        motion_mode: str,
        strength: float,
        batch_size: int | None,
        images: bool = False,
        recorder: MotionRecorder | None = None,
    ) -> Iterator[RenderedFrame]:
        self._check_motion(motion)
        self._evaluate()
        side = self.generator.config.size
        paste = PasteBack(identity.photo, identity.quad, side, harmonize=True) if paste_back else None
        first = None  # the driver's first code, which relative motion counts from
        for batch in motion.batches(batch_size or self.default_batch_size, images):
            if recorder is not None:
                recorder.add(batch)
            codes = batch.codes.to(self.device, self.encoder.dtype)
            first = codes[:1] if first is None else first

            # 1. Where the source's own motion should go.
            change = codes - first if motion_mode == "relative" else codes - identity.motion
            generic = identity.motion + strength * change if strength != 1 or motion_mode == "relative" else codes

            # 2. T, G, R.
            pictures = self._to_pictures(self.generate(identity, generic, refine))

            # 3. Back into the photo.
            for number, picture in enumerate(pictures):
                image = paste(picture) if paste is not None else picture
                driving = batch.images[number] if batch.images else None
                time, duration, found = batch.times[number], batch.durations[number], batch.found[number]
                yield RenderedFrame(image, time, duration, found, driving)

    def _synthesize(self, identity: IdentityCode, deformation: Tensor, refine: bool) -> Tensor:
        # 2. G(A(W) + S').
        generator = identity.generator or self.generator
        styles = [style.expand(len(deformation), -1) for style in identity.styles]
        styles = generator.add_motion(styles, deformation.to(styles[0].dtype))
        if not refine or self.refinement is None:
            return generator.synthesize(styles)

        # 3. R: what the stage I image lacks beside the source, as scale and shift of one layer; once more from there.
        return self.refinement.synthesize(generator, styles, identity.reference)[1]

    def _motion_batches(self, frames: Iterator[DrivingFrame], batch_size: int) -> Iterator[MotionBatch]:
        """Encode crops in batches, beside the thread that decodes and tracks; missing faces repeat the last code."""
        self._evaluate()
        last = None
        with ReadAhead(frames, depth=2 * batch_size) as ahead:
            stream = iter(ahead)
            while chunk := list(islice(stream, batch_size)):
                fresh = [frame.crop for frame in chunk if frame.crop is not None]
                encoded = iter(self._encode_crops(fresh)) if fresh else iter(())
                codes = []
                for frame in chunk:
                    last = next(encoded) if frame.crop is not None else last
                    codes.append(last)
                images = [frame.image for frame in chunk] if chunk[0].image is not None else None
                yield MotionBatch(
                    torch.stack(codes),
                    times=[frame.time for frame in chunk],
                    durations=[frame.duration for frame in chunk],
                    found=[frame.found for frame in chunk],
                    images=images,
                )

    @torch.no_grad()
    def _encode_crops(self, crops: Sequence[np.ndarray]) -> Tensor:
        """Generic motion codes `(batch, motion_codes, style_dim)` of uint8 crops."""
        return self.encoder(self._to_tensor(crops), identity=False, memory=False).motion

    def _to_tensor(self, pictures: Sequence[np.ndarray]) -> Tensor:
        """uint8 pictures `(height, width, 3)` to one batch `(batch, 3, height, width)` in [-1, 1]."""
        batch = torch.from_numpy(np.stack(pictures)).to(self.device)
        return (batch.permute(0, 3, 1, 2).to(torch.float32) / 127.5 - 1).to(self.encoder.dtype)

    @staticmethod
    def _to_pictures(images: Tensor) -> np.ndarray:
        """Images `(batch, 3, height, width)` in [-1, 1] to uint8 `(batch, height, width, 3)`."""
        levels = (images.float().clamp(-1, 1) + 1).mul(127.5).round().to(torch.uint8)
        return levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()

    def _evaluate(self) -> None:
        """Inference: no dropout, normalisation by the stored statistics."""
        for name in PARTS:
            if (part := getattr(self, name)) is not None:
                part.eval()

    @property
    def default_batch_size(self) -> int:
        """Frames computed at once: 8 up to 256 pixels, fewer above, where memory counts more than calls."""
        return max(1, min(8, 8 * 256**2 // self.generator.config.size**2))

    @property
    def _code_shape(self) -> tuple[int, int]:
        return self.encoder.config.motion_codes, self.encoder.config.style_dim

    def _encoder_sample(self) -> list[float]:
        """A few weights by which an encoder is recognised, whatever its precision."""
        return next(self.encoder.parameters()).detach().flatten()[:8].tolist()

    def _check_motion(self, motion: MotionCodes) -> None:
        if motion.code_shape != self._code_shape:
            raise MediaError(
                f"'{motion.name}' holds {motion.code_shape[0]} motion codes of {motion.code_shape[1]} numbers, this "
                f"checkpoint takes {self._code_shape[0]} of {self._code_shape[1]}: extract them with this checkpoint."
            )
        ours, theirs = np.array(self._encoder_sample()), np.array(motion.encoder)
        if ours.shape != theirs.shape or np.abs(ours - theirs).max() > 1e-2 * np.abs(ours).max():
            raise MediaError(
                f"'{motion.name}' was made by the encoder of another checkpoint: extract the motion with this one."
            )

    @staticmethod
    def _check_counts(**values: int | None) -> None:
        for name, value in values.items():
            if value is not None and value < 0:
                raise OptionError(f"`{name}` is {value}; expected 0 or more.")


def _seconds(value: float | Fraction) -> Fraction:
    """Seconds as they were meant: 0.2 is a fifth, not the float next to it."""
    return Fraction(value).limit_denominator(1_000_000)
