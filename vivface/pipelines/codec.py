"""The 35-number codec: a talking head as one identity latent, head pose and 32 values a frame.

Oorloff and Yacoob, Expressive Talking Head Video Encoding in StyleGAN2 Latent Space, sec. 3.1:

    S_t = G(A(G_sf(L_ID, Y_t, P_t)) + alpha_t)            eq. 4, 13; turned in the picture by R_t

Encoding is in `vivface.reenactment.clip_encoding`, decoding in `vivface.pipelines.codec_decoding`, the file in
`vivface.reenactment.coded_video`, the bases and the ways to turn a head in `vivface.editing`.
"""

from __future__ import annotations

import io
import json
import os
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vivface.editing.codec_basis import Basis
from vivface.errors import OptionError
from vivface.media.images import load_image
from vivface.media.video import MAX_PIXELS, VideoReader
from vivface.models.encoder import HybridEncoder
from vivface.models.identity import IdentityNetwork
from vivface.models.styleflow import StyleFlow
from vivface.models.stylegan2 import StyleGAN2Generator
from vivface.models.transformer import DeformationTransformer
from vivface.pipelines.base import ReenactmentPipeline
from vivface.pipelines.checks import refuse
from vivface.pipelines.codec_checkpoint import CodecCheckpoint
from vivface.pipelines.codec_decoding import CodecDecoding
from vivface.pipelines.encoding import IDENTITY_STEPS, POSE_STEPS, STEPS, PipelineCoder, turned
from vivface.reenactment.clip_encoding import ClipEncoding, EncodingOptions
from vivface.reenactment.coded_frames import CodecFrames
from vivface.reenactment.coded_points import corrected, encode_points
from vivface.reenactment.coded_video import FITTED_BASES, NUMBERS, POINTS, CodedVideo
from vivface.reenactment.codes import IdentityCode
from vivface.reenactment.key_picture import KEY_SIZE, take_key_picture
from vivface.reenactment.portrait import Portrait
from vivface.reenactment.progress import OnProgress
from vivface.reenactment.tuning import Face, TuningNetworks

HEAD_POSES = ("motion", "styleflow", "directions")


class ExpressiveCodecPipeline(CodecCheckpoint, CodecDecoding, ReenactmentPipeline):
    """Encode a talking head in 70 bytes a frame, decode it, or let it move another person.

    Args:
        generator (`StyleGAN2Generator`): G, with its affine maps A.
        encoder (`HybridEncoder`): E; identity latents of aligned faces, and motion codes if it has motion heads.
        transformer (`DeformationTransformer`, *optional*): T; needed where E's motion codes need it.
        recognizer (`IdentityNetwork`, *optional*): Tells people apart; chooses the identity latent, and its features
            compare pictures.
        flow (`StyleFlow`, *optional*): Turns heads as the paper does.
        image_size (`int`, *optional*, defaults to 256): Width and height in pixels of what E sees.
        crop (`str`, *optional*, defaults to `"ffhq"`): How driving videos of `__call__` are cut; `encode` always cuts
            upright and registers frames.
        basis (`str`, *optional*, defaults to `"channels"`): What the 32 values move: `"channels"` of StyleSpace, the
            paper's, or principal `"components"` of deformation codes.
        head_pose (`str`, *optional*, defaults to `"motion"`): `"motion"` (deformation codes), `"styleflow"`, or
            `"directions"` (of W+).
        adapt_steps (`int`, *optional*, defaults to 0): Steps of tuning to a portrait that suit this checkpoint (ours;
            the paper's system is not tuned).

    Example:

        >>> import vivface
        >>> codec = vivface.load_pipeline(system="codec")
        >>> coded = codec.encode("examples/driving.mp4")
        >>> coded.save("talk.vfc")
        >>> codec.decode(coded).save("again.mp4")
        >>> codec.puppeteer("examples/portrait.png", coded).save("puppet.mp4")
    """

    COMPONENTS = {
        "generator": StyleGAN2Generator,
        "encoder": HybridEncoder,
        "transformer": DeformationTransformer,
        "recognizer": IdentityNetwork,
        "flow": StyleFlow,
    }
    SETTINGS = ("image_size", "crop", "basis", "head_pose", "adapt_steps")
    _optional_components = ["transformer", "recognizer", "flow"]
    model_cpu_offload_seq = "encoder->transformer->flow->generator->recognizer"

    def __init__(
        self,
        generator: StyleGAN2Generator,
        encoder: HybridEncoder,
        transformer: DeformationTransformer | None = None,
        recognizer: IdentityNetwork | None = None,
        flow: StyleFlow | None = None,
        image_size: int = 256,
        crop: Literal["ffhq", "stable"] = "ffhq",
        basis: Literal["channels", "components"] = "channels",
        head_pose: Literal["motion", "styleflow", "directions"] = "motion",
        adapt_steps: int = 0,
    ):
        super().__init__()
        for name, value, known in (("basis", basis, FITTED_BASES), ("head_pose", head_pose, HEAD_POSES)):
            if value not in known:
                raise OptionError(f"`{name}` is {value!r}; expected {' or '.join(map(repr, known))}.")
        networks = dict(generator=generator, encoder=encoder, transformer=transformer)
        self.register(
            networks | dict(recognizer=recognizer, flow=flow),
            image_size=image_size,
            crop=crop,
            basis=basis,
            head_pose=head_pose,
            adapt_steps=adapt_steps,
        )

    # Encoding --------------------------------------------------------------------------------------------------------

    def encode(
        self,
        video: str | os.PathLike,
        *,
        basis: str | None = None,
        steps: int | None = None,
        pose_steps: int | None = None,
        identity_steps: int | None = None,
        identity: Tensor | None = None,
        target: str | None = None,
        crop_track: bool = False,
        key_picture: bool = False,
        register: bool = True,
        face: int | None = None,
        start: float | Fraction = 0,
        duration: float | Fraction | None = None,
        max_frames: int | None = None,
        max_pixels: int = MAX_PIXELS,
        work: str | os.PathLike | None = None,
        on_progress: OnProgress | None = None,
    ) -> CodedVideo:
        """Encode a clip.

        Args:
            video (`str` or `os.PathLike`): The clip.
            basis (`str`, *optional*): `"channels"`, `"components"`, or `"points"`: the values move the points of a key
                picture, which is always kept, and nothing is fitted, so that the options of a fit are refused; by
                default as the checkpoint says.
            steps (`int`, *optional*): Of the descent for the 32 values of a frame; by default 40 for channels and 0
                for components, which can be read off the encoder's codes.
            pose_steps (`int`, *optional*): The same for yaw and pitch (eq. 2); by default 0 where they can be read off
                the encoder's codes, else 30.
            identity_steps (`int`, *optional*): The same for the identity latent; 0 takes the encoder's; by default 60.
            identity (`torch.Tensor` of shape `(num_latents, style_dim)`, *optional*): An identity latent of the person,
                such as that of another coded video; else it is chosen and fitted.
            target (`str`, *optional*): What is fitted: the clip's `"frames"` (by default), or `"inversion"`, the
                system's own pictures of them (the paper).
            crop_track (`bool`, *optional*, defaults to False): Also keep where the face was, eight bytes a frame.
            key_picture (`bool`, *optional*, defaults to False): Also keep a picture of the face, some kilobytes once,
                that `decode` moves; ours.
            register (`bool`, *optional*, defaults to True): Register frames to key frames, against jitter.
            face (`int`, *optional*): Which face, 0 the largest of the first frame.
            start, duration (`float` or `Fraction`, *optional*): The part of the clip, seconds.
            max_frames, max_pixels (`int`, *optional*): As for `encode_motion`.
            work (`str` or `os.PathLike`, *optional*): A file in which what is done so far is kept: a stopped run goes
                on from there; it is removed at the end. For points nothing is kept.
            on_progress (callable, *optional*): Told of every stage; may raise to stop.

        Returns:
            `CodedVideo`: With the clip's sound, if it has any.

        Raises:
            MediaError: If the clip cannot be read.
            NoFaceError: If no frame shows a face.
            OptionError: If an option is out of its range, or belongs to a fit and nothing is fitted.
            CheckpointError: If the checkpoint lacks the basis.
        """
        basis = basis or self.config.basis
        self._evaluate()
        reader = VideoReader(video, start, duration, max_pixels=max_pixels, max_frames=max_frames)
        if basis == POINTS:
            fitted = dict(steps=steps, pose_steps=pose_steps, identity_steps=identity_steps, identity=identity)
            refuse("leave it out: points are read off the clip, nothing is fitted", target=target, **fitted)
            frames = CodecFrames(reader, self.backend, KEY_SIZE, face, register)
            clip = encode_points(frames, self.backend, reader.path.name, on_progress)
            w_plus, picture, shown = self._latent_of(clip.key), clip.key, clip.key_frame
        else:
            options = EncodingOptions(
                STEPS.get(basis, 0) if steps is None else steps,
                POSE_STEPS[self.config.head_pose] if pose_steps is None else pose_steps,
                IDENTITY_STEPS if identity_steps is None else identity_steps,
                target or "frames",
                crop_track,
                register,
            )
            mover = self.basis(basis)
            frames = CodecFrames(reader, self.backend, self.output_size, face, register)
            stamp = os.stat(video)
            origin = [Path(video).name, stamp.st_size, stamp.st_mtime_ns, str(reader.start), str(duration), max_frames]
            origin += [face, basis, self.digest(basis), self.fingerprint]
            key = json.dumps([*origin, None if identity is None else identity.flatten()[:8].tolist()])
            coder, kept = PipelineCoder(self, mover), None if work is None else Path(work)
            given = None if identity is None else identity[None].to(self._execution_device, self.encoder.dtype)
            clip = ClipEncoding(coder, frames, options, key, kept, on_progress, given).run()
            w_plus = clip.w_plus
            picture, shown = take_key_picture(frames, clip.numbers) if key_picture else (None, 0)
        unit = reader.time_base
        timestamps = [round(time / unit) for time in clip.times]
        end = timestamps[-1] + max(round(clip.durations[-1] / unit), 1)
        coded = CodedVideo(
            identity=w_plus,
            frames=clip.numbers,
            timestamps=timestamps,
            end=end,
            time_base=unit,
            fps=reader.fps,
            basis=basis,
            digest=self.digest(basis),
            head_pose=self.config.head_pose,
            fingerprint=self.fingerprint,
            crop=clip.crop if crop_track else None,
            key=picture,
            key_frame=shown,
            clip_size=reader.size,
            missing=clip.missing,
            name=reader.path.name,
            sound=reader.path if reader.has_audio else None,
            sound_start=reader.start,
            sound_duration=None if duration is None and max_frames is None else end * unit,
            warnings=list(reader.warnings),
        )
        return self._corrected(coded, clip.key_points) if basis == POINTS else coded

    def _corrected(self, coded: CodedVideo, key: np.ndarray) -> CodedVideo:
        """A coded video of points whose numbers make up for what decoding does not show of them."""
        rolls, coded.frames[:, 2] = coded.frames[:, 2].clone(), 0
        coded.frames = corrected(coded, self.decode(coded, size=KEY_SIZE), key, self.backend)
        coded.frames[:, 2] = rolls
        return coded

    @torch.no_grad()
    def _latent_of(self, picture: bytes) -> Tensor:
        """E's identity latent `(num_latents, style_dim)` of a key picture, float16."""
        coder = PipelineCoder(self, self.basis(self.config.basis))
        read = coder.invert(coder.faces([load_image(io.BytesIO(picture))]), show=False)
        return read.w_plus[0].half().cpu()

    # The system ------------------------------------------------------------------------------------------------------

    @property
    def code_shape(self) -> tuple[int]:
        """The 35 numbers of a frame."""
        return (NUMBERS,)

    @property
    def fingerprint(self) -> list[float]:
        """The first weights of the generator, which recognise it in any precision."""
        return self.generator.constant.detach().flatten()[:8].tolist()

    @torch.no_grad()
    def read_portrait(self, portrait: Portrait) -> IdentityCode:
        """E on the portrait: identity latent, and the portrait's own numbers as far as they can be read."""
        reference = self.images([portrait.crop(self.config.crop, self.config.image_size)])
        inversion = PipelineCoder(self, self.basis(self.config.basis)).invert(reference, show=False)
        numbers = inversion.numbers
        return IdentityCode(
            w_plus=inversion.w_plus,
            styles=self.generator.to_stylespace(inversion.w_plus),
            motion=torch.cat([numbers[:, :2], torch.zeros_like(numbers[:, :1]), numbers[:, 2:]], dim=1),
            reference=reference,
            photo=portrait.image,
            quad=portrait.quad,
            warnings=portrait.warnings,
        )

    @torch.no_grad()
    def read_motion(self, images: Tensor) -> Tensor:
        """Numbers of driving frames, read off E's codes; without roll, which the crop does not show.

        Raises:
            OptionError: If the basis cannot be read off: such clips have to be encoded.
        """
        if self.config.basis != "components":
            raise OptionError(
                "The values of channels have to be fitted to the frames: encode the clip and use `puppeteer`, or take "
                "the basis 'components'."
            )
        numbers = PipelineCoder(self, self.basis("components")).invert(images, show=False).numbers
        return torch.cat([numbers[:, :2], torch.zeros_like(numbers[:, :1]), numbers[:, 2:]], dim=1)

    @torch.no_grad()
    def generate(
        self, identity: IdentityCode, motion: Tensor, refine: bool = True, basis: Basis | None = None
    ) -> Tensor:
        """Make the frames of a batch of numbers (eq. 13), turned by their roll.

        Args:
            identity (`IdentityCode`): Whose face.
            motion (`torch.Tensor` of shape `(batch, 35)`): Yaw, pitch, roll in degrees, 32 values.
            refine (`bool`, *optional*, defaults to `True`): Without effect; there is no second stage.
            basis (`Channels` or `Components`, *optional*): What the values move; by default the pipeline's.

        Returns:
            `torch.Tensor` of shape `(batch, 3, size, size)`: RGB, about [-1, 1], not clamped.
        """
        numbers = motion.to(identity.w_plus)
        images = self.show(identity.w_plus, numbers[:, :2], numbers[:, 3:], basis, identity.generator)
        return turned(images, numbers[:, 2])

    def tuning_networks(self, identity: IdentityCode | None = None) -> TuningNetworks:
        """Copies of G and the recognizer, and what draws frames with them, for a tuning to a portrait (ours)."""
        if identity is None:
            return super().tuning_networks(identity)

        def draw(generator: StyleGAN2Generator, w_plus: Tensor, numbers: Tensor) -> Tensor:
            return self.show(w_plus, numbers[:, :2], numbers[:, 3:], generator=generator)

        networks = self.generator_of(identity), self.encoder
        face = Face(identity.w_plus.float(), identity.motion.float())
        return TuningNetworks(*networks, recognizer=self.recognizer, face=face, draw=draw)

    def show(
        self,
        w_plus: Tensor,
        pose: Tensor,
        values: Tensor,
        basis: Basis | None = None,
        generator: StyleGAN2Generator | None = None,
    ) -> Tensor:
        """G(A(G_sf(L_ID, Y, P)) + alpha) (eq. 13), differentiable.

        Args:
            w_plus (`torch.Tensor` of shape `(1 or batch, num_latents, style_dim)`): Identity latent.
            pose (`torch.Tensor` of shape `(batch, 2)`): Yaw and pitch, degrees.
            values (`torch.Tensor` of shape `(batch, 32)`): Alpha.
            basis (`Channels` or `Components`, *optional*): What they move; by default the pipeline's.
            generator (`StyleGAN2Generator`, *optional*): By default the pipeline's.

        Returns:
            `torch.Tensor` of shape `(batch, 3, size, size)`: RGB, about [-1, 1].
        """
        generator, basis = generator or self.generator, basis or self.basis(self.config.basis)
        styles = self.turner.styles(generator, w_plus, pose[:, 0], pose[:, 1])
        return generator(styles=basis.move(generator, styles, values))
