"""Decoding of the codec's videos: frames, key pictures, puppets."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from vivface.errors import MediaError, OptionError
from vivface.faces.alignment import whole_quad
from vivface.faces.paste import paste_back
from vivface.media.tensors import to_images
from vivface.pipelines.encoding import WithBasis
from vivface.reenactment.coded_points import CodedPoints
from vivface.reenactment.coded_video import NUMBERS, POINTS, CodedVideo, quad_of
from vivface.reenactment.codes import IdentityCode, MotionCodes
from vivface.reenactment.key_picture import PointedMotion, read_key_picture
from vivface.reenactment.progress import OnProgress
from vivface.reenactment.rendering import RenderOptions
from vivface.reenactment.result import ReenactmentResult
from vivface.runtime import compute_slot

if TYPE_CHECKING:
    from vivface.pipelines.base import Image
    from vivface.pipelines.codec import ExpressiveCodecPipeline


class CodecDecoding:
    """What is done with coded videos; mixed into `ExpressiveCodecPipeline` before its base."""

    def decode(
        self,
        coded: CodedVideo | str | os.PathLike,
        batch_size: int | None = None,
        *,
        key_picture: bool | None = None,
        size: int | None = None,
    ) -> ReenactmentResult:
        """Show a coded video, lazily: frames are made as they are read.

        Args:
            coded (`CodedVideo`, `str` or `os.PathLike`): What `encode` gave, or a `.vfc` file.
            batch_size (`int`, *optional*): Frames at once; by default as suits device and size.
            key_picture (`bool`, *optional*): Move its key picture as the decoded faces move, instead of showing these;
                by default if there is one.
            size (`int`, *optional*): Width and height of a frame in pixels; by default as the generator makes it, or
                512 with a key picture.

        Returns:
            `ReenactmentResult`: Iterate it for uint8 frames, or `save` it as a video.

        Raises:
            MediaError: If the file is damaged or belongs to another checkpoint.
            CheckpointError: If the checkpoint lacks the basis.
            NoFaceError: If the decoded faces or the key picture show no face.
            OptionError: If a key picture is asked for, and there is none.
        """
        coded = self._coded(coded)
        if key_picture and coded.key is None:
            raise OptionError(f"'{coded.name}' has no key picture: encode it with `key_picture=True`.")
        if key_picture is False and coded.basis == POINTS:
            raise OptionError(f"'{coded.name}' holds points, which move its key picture: leave `key_picture` out.")
        identity, moves = self.identity_of(coded), coded.key is not None and key_picture is not False
        options = RenderOptions(batch_size=batch_size, size=size)
        if not moves:
            return self._result(identity, coded, options)
        identity.photo, identity.points = read_key_picture(coded.key, coded.name, self.backend)
        if coded.basis == POINTS:
            motion = CodedPoints(coded, identity.points)
        else:
            motion = PointedMotion(coded, partial(self._pictures, identity, coded.basis), self.backend)
            motion.rest = motion.rest_at(coded.key_frame)
        identity.quad = whole_quad(len(identity.photo))
        return self._result(identity, coded, replace(options, detail=True), motion)

    def puppeteer(
        self,
        portrait: Image | IdentityCode,
        coded: CodedVideo | str | os.PathLike,
        *,
        paste_back: bool = False,
        motion_mode: Literal["absolute", "relative"] = "absolute",
        strength: float = 1.0,
        face: int | None = None,
        batch_size: int | None = None,
        adapt: int | str | None = None,
        on_progress: OnProgress | None = None,
    ) -> ReenactmentResult:
        """Let a coded video move another person (sec. 3.3): its numbers, the person's identity latent.

        Args:
            portrait (image or `IdentityCode`): The person.
            coded (`CodedVideo`, `str` or `os.PathLike`): Whose motion.
            paste_back, motion_mode, strength, face, batch_size, on_progress: As for `__call__`.
            adapt (`int` or `str`, *optional*): Tuning to the portrait, as for `encode_identity`; a coded video of
                points moves the photograph itself, which needs none.

        Returns:
            `ReenactmentResult`.

        Raises:
            VivFaceError: As for `decode` and `encode_identity`.
        """
        options = RenderOptions(True, paste_back, motion_mode, strength, batch_size)
        coded = self._coded(coded)
        if isinstance(portrait, IdentityCode):
            identity = self._own(portrait)
        else:
            adapt = 0 if coded.basis == POINTS else adapt
            identity = self.encode_identity(portrait, face, adapt, on_progress=on_progress)
        if coded.basis != POINTS:
            return self._result(identity, coded, options)
        motion = CodedPoints(coded, read_key_picture(coded.key, coded.name, self.backend)[1]).for_others()
        return self._result(identity, coded, replace(options, detail=True), motion)

    @torch.no_grad()
    def identity_of(self, coded: CodedVideo) -> IdentityCode:
        """The identity latent of a coded video as an identity code, shown as it looks ahead."""
        self._check(coded)
        w_plus = coded.identity[None].to(self._execution_device, self.encoder.dtype)
        size, rest = self.output_size, torch.zeros(1, NUMBERS).to(w_plus)
        styles, photo = self.generator.to_stylespace(w_plus), np.zeros((2, 2, 3), np.uint8)
        code = IdentityCode(w_plus, styles, rest, w_plus, photo, np.zeros((4, 2)))
        image = self.generate(code, rest)
        code.reference, code.photo, code.quad = image.clamp(-1, 1), to_images(image)[0], whole_quad(size)
        code.fingerprint = self.fingerprint
        return code

    def paste_into(self, photo: np.ndarray, coded: CodedVideo, frame: int, image: np.ndarray) -> np.ndarray:
        """A decoded frame in a picture of the clip's size, where the face was.

        Args:
            photo (`numpy.ndarray` of shape `(height, width, 3)`): uint8 RGB.
            coded (`CodedVideo`): With a crop track.
            frame (`int`): Which frame.
            image (`numpy.ndarray` of shape `(size, size, 3)`): The face, upright, as `generate` makes it without roll.

        Raises:
            OptionError: If there is no crop track.
        """
        if coded.crop is None:
            raise OptionError("The coded video has no crop track: encode the clip with `crop_track=True`.")
        return paste_back(photo, image, quad_of(coded.crop[frame].numpy(), photo.shape[1::-1]))

    # Details ---------------------------------------------------------------------------------------------------------

    def _coded(self, coded: CodedVideo | str | os.PathLike) -> CodedVideo:
        coded = coded if isinstance(coded, CodedVideo) else CodedVideo.load(coded)
        self._check(coded)
        return coded

    def _check(self, coded: CodedVideo) -> None:
        """Refuse what another checkpoint, or this one with another basis, encoded."""
        self._check_origin(coded.name, (NUMBERS,), coded.fingerprint)
        shape = (self.generator.num_latents, self.generator.config.style_dim)
        if coded.head_pose != self.config.head_pose or tuple(coded.identity.shape) != shape:
            raise MediaError(f"'{coded.name}' was encoded by another checkpoint: encode it with this one.")
        if coded.digest != self.digest(coded.basis):
            raise MediaError(f"'{coded.name}' was encoded with other {coded.basis}: encode it with this checkpoint.")

    def _result(
        self, identity: IdentityCode, coded: CodedVideo, options: RenderOptions, motion: MotionCodes | None = None
    ) -> ReenactmentResult:
        return ReenactmentResult(self._decoder(coded.basis), identity, motion or coded.motion(), options)

    def _decoder(self, basis: str) -> ExpressiveCodecPipeline | WithBasis:
        return self if basis in (self.config.basis, POINTS) else WithBasis(self, basis)

    def _pictures(self, identity: IdentityCode, basis: str, numbers: Tensor) -> np.ndarray:
        """uint8 RGB images of numbers `(batch, 35)`."""
        with compute_slot(self.device):
            return to_images(self._decoder(basis).generate(identity, numbers))
