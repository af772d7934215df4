"""ViVFace: one-shot face video re-enactment in the latent spaces of StyleGAN2.

Enhancing Identity-Deformation Disentanglement in StyleGAN for One-Shot Face Video Re-Enactment (AAAI 2025).

    photo -> align -> E -> identity code W + memory --+
    video -> align -> E -> motion code -> T(., memory) -> G(A(W) + S') -> R -> frame -> paste back -> video (+ audio)
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vivface.errors import OptionError
from vivface.media.tensors import to_images
from vivface.models.encoder import HybridEncoder
from vivface.models.identity import IdentityNetwork
from vivface.models.refinement import RefinementNetwork, generate_refined
from vivface.models.stylegan2 import StyleGAN2Generator
from vivface.models.transformer import DeformationTransformer
from vivface.pipelines.base import ReenactmentPipeline
from vivface.reenactment.codes import IdentityCode
from vivface.reenactment.portrait import Portrait
from vivface.reenactment.tuning import TuningNetworks


class VivFacePipeline(ReenactmentPipeline):
    """Re-enact a portrait with the motion of a video.

    Args:
        generator (`StyleGAN2Generator`): G, with its affine maps A.
        encoder (`HybridEncoder`): E; identity code, generic motion code and memory of an aligned face.
        transformer (`DeformationTransformer`, *optional*): T; makes a generic motion code the source's own. Without it
            (table 2 of the paper) the code is taken as it is.
        refinement (`RefinementNetwork`, *optional*): R; None for a system without a second stage.
        recognizer (`IdentityNetwork`, *optional*): Tells people apart; used by the tuning to a portrait only.
        image_size (`int`, *optional*, defaults to 256): Width and height in pixels of what E and R see.
        crop (`str`, *optional*, defaults to `"ffhq"`): How faces are cut. `"ffhq"`: FFHQ's square, frame by frame, as
            the published systems; `"stable"`: the same square, but following slow movement only, so that the head
            moves inside the crop.
        neutral (`str`, *optional*, defaults to `"zero"`): What the neutral image adds to A(W): `"zero"` nothing (the
            paper, sec. 3.2), `"transformed"` T(0) (the authors' code).
        adapt_steps (`int`, *optional*, defaults to 0): Steps of tuning to the source that suit this checkpoint.
        detail (`bool`, *optional*, defaults to `False`): Whether re-enactments move the photograph itself, unless
            asked otherwise.

    Example:

        >>> from vivface import VivFacePipeline
        >>> pipe = VivFacePipeline.from_pretrained()
        >>> result = pipe("examples/portrait.png", "examples/driving.mp4")
        >>> result.save("out.mp4")
    """

    COMPONENTS = {
        "generator": StyleGAN2Generator,
        "encoder": HybridEncoder,
        "transformer": DeformationTransformer,
        "refinement": RefinementNetwork,
        "recognizer": IdentityNetwork,
    }
    TUNES_TO_VIEWS = True
    SETTINGS = ("image_size", "crop", "neutral", "adapt_steps", "detail")
    _optional_components = ["transformer", "refinement", "recognizer"]
    model_cpu_offload_seq = "encoder->transformer->generator->refinement"
    _exclude_from_cpu_offload = ["recognizer"]  # the tuning works on copies

    def __init__(
        self,
        generator: StyleGAN2Generator,
        encoder: HybridEncoder,
        transformer: DeformationTransformer | None = None,
        refinement: RefinementNetwork | None = None,
        recognizer: IdentityNetwork | None = None,
        image_size: int = 256,
        crop: Literal["ffhq", "stable"] = "ffhq",
        neutral: Literal["zero", "transformed"] = "zero",
        adapt_steps: int = 0,
        detail: bool = False,
    ):
        super().__init__()
        if neutral not in ("zero", "transformed"):
            raise OptionError(f"`neutral` is {neutral!r}; expected 'zero' or 'transformed'.")
        components = dict(generator=generator, encoder=encoder, transformer=transformer)
        components |= dict(refinement=refinement, recognizer=recognizer)
        self.register(
            components, image_size=image_size, crop=crop, neutral=neutral, adapt_steps=adapt_steps, detail=detail
        )

    @property
    def code_shape(self) -> tuple[int, int]:
        """Motion codes of a frame, `(motion_codes, style_dim)`."""
        return self.encoder.config.motion_codes, self.encoder.config.style_dim

    @torch.no_grad()
    def read_portrait(self, portrait: Portrait) -> IdentityCode:
        """E on the portrait: identity code, A(W), memory and the source's own generic motion code."""
        reference = self.images([portrait.crop(self.config.crop, self.config.image_size)])
        code = self.encoder(reference)
        return IdentityCode(
            w_plus=code.identity,
            styles=self.generator.to_stylespace(code.identity),
            motion=code.motion,
            reference=reference,
            photo=portrait.image,
            quad=portrait.quad,
            memory=code.memory,
            warnings=portrait.warnings,
        )

    def read_motion(self, images: Tensor) -> Tensor:
        """E on driving frames: generic motion codes only."""
        return self.network(self.encoder)(images, identity=False, memory=False).motion

    @torch.no_grad()
    def generate(self, identity: IdentityCode, motion: Tensor, refine: bool = True) -> Tensor:
        """Make the frames of a batch of generic motion codes.

        Args:
            identity (`IdentityCode`): Whose face.
            motion (`torch.Tensor` of shape `(batch, motion_codes, style_dim)`): Generic motion codes.
            refine (`bool`, *optional*, defaults to `True`): Second stage, if the checkpoint has one.

        Returns:
            `torch.Tensor` of shape `(batch, 3, size, size)`: RGB, about [-1, 1], not clamped.
        """
        # 1. T: the generic motion becomes the source's own deformation S'.
        return self._synthesize(identity, self._deform(motion, identity.memory), refine)

    @torch.no_grad()
    def neutral(self, identity: IdentityCode, refine: bool = False) -> np.ndarray:
        """The portrait without motion, A(W) + 0 or A(W) + T(0), depending on the `neutral` setting.

        Returns:
            `numpy.ndarray` of shape `(size, size, 3)`: uint8 RGB.
        """
        self._evaluate()
        nothing = torch.zeros_like(identity.motion)
        if self.config.neutral == "transformed":
            nothing = self._deform(nothing, identity.memory)
        return to_images(self._synthesize(identity, nothing, refine))[0]

    def tuning_networks(self, identity: IdentityCode | None = None) -> TuningNetworks:
        """Copies of G, E, T, R and the recognizer, for a tuning."""
        networks = self.encoder, self.transformer, self.refinement, self.recognizer
        return TuningNetworks(self.generator_of(identity), *networks)

    def _deform(self, motion: Tensor, memory: Tensor) -> Tensor:
        """T, or the motion itself: `(batch, motion_codes, style_dim)`."""
        return motion if self.transformer is None else self.network(self.transformer)(motion, memory)

    def _synthesize(self, identity: IdentityCode, deformation: Tensor, refine: bool) -> Tensor:
        # 2. G(A(W) + S').
        generator = self.network(self.generator_of(identity))
        styles = [style.expand(len(deformation), -1) for style in identity.styles]
        styles = generator.add_motion(styles, deformation.to(styles[0].dtype))
        if not refine or self.refinement is None:
            return generator(styles=styles)

        # 3. R: what the stage I image lacks beside the source, as scale and shift of one layer; once more from there.
        return generate_refined(generator, self.network(self.refinement), styles, identity.reference)[1]
