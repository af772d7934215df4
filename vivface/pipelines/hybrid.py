"""Hybrid latent spaces: one-shot face video re-enactment with two spaces of StyleGAN2, nothing else.

Robust One-Shot Face Video Re-enactment using Hybrid Latent Spaces of StyleGAN2 (ICCV 2023). The encoder reads an
identity code in W+ and motion codes in StyleSpace; identity and motion of two faces are simply added up:

    W_ID, S_F = E_ID(F(I)), E_F(F(I))               eq. 1
    I         = G(A(W_ID) + S_F)                    eq. 2
    I_t       = G(A(W_ID of the source) + S_F of driving frame t)    eq. 3

There is no transformer and no refinement network: the motion codes are the same for every person. Edits (eq. 4) and
Cyclic Manifold Adjustment (eq. 15-18) come with the base: `edits=` and `adjust_manifold`.
"""

from __future__ import annotations

import os
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vivface.editing import AttributeDirections
from vivface.errors import CheckpointError, OptionError
from vivface.hub.index import find_file, hub_options
from vivface.models.encoder import HybridEncoder
from vivface.models.identity import IdentityNetwork
from vivface.models.stylegan2 import StyleGAN2Generator
from vivface.pipelines.base import ReenactmentPipeline
from vivface.pipelines.vivface import VivFacePipeline
from vivface.reenactment.co_driving import POSE_FILE, PoseSubspace
from vivface.reenactment.codes import IdentityCode
from vivface.reenactment.portrait import Portrait
from vivface.reenactment.tuning import TuningNetworks

MOTION_HEADS_FILE = "hybrid/motion_heads.safetensors"
HYBRID_POSE_FILE = f"hybrid/{POSE_FILE}"
HYBRID_DIRECTIONS_FILE = "hybrid/directions.safetensors"
MOTION_LAYERS = ("w_plus_index", "stylespace")


class HybridLatentPipeline(ReenactmentPipeline):
    """Re-enact a portrait with the motion of a video, in W+ and StyleSpace alone.

    Args:
        generator (`StyleGAN2Generator`): G, with its affine maps A.
        encoder (`HybridEncoder`): E; identity code and motion codes of an aligned face.
        recognizer (`IdentityNetwork`, *optional*): Tells people apart; used by the tunings only.
        image_size (`int`, *optional*, defaults to 256): Width and height in pixels of what E sees.
        crop (`str`, *optional*, defaults to `"ffhq"`): How faces are cut: `"ffhq"` frame by frame, `"stable"`
            following slow movement only.
        motion_layers (`str`, *optional*, defaults to `"w_plus_index"`): Which layers code i is added to.
            `"w_plus_index"`: those that read W+ index i (a convolution and the to-RGB layer beside it), as ViVFace's
            code; `"stylespace"`: layer i of StyleSpace in call order, to-RGB layers counted, as the paper's words
            "first 10 layers" say.
        adapt_steps (`int`, *optional*, defaults to 0): Steps of tuning to the source that suit this checkpoint.
        detail (`bool`, *optional*, defaults to `False`): Whether re-enactments move the photograph itself, unless
            asked otherwise.

    Example:

        >>> from vivface.pipelines.hybrid import HybridLatentPipeline
        >>> pipe = HybridLatentPipeline.from_pretrained()
        >>> identity = pipe.encode_identity("examples/portrait.png")
        >>> identity = pipe.adjust_manifold(identity, "examples/driving.mp4", method="cma", steps=50)
        >>> pipe(identity, "examples/driving.mp4", edits={"age": 1.0}).save("out.mp4")
    """

    COMPONENTS = {"generator": StyleGAN2Generator, "encoder": HybridEncoder, "recognizer": IdentityNetwork}
    TUNES_TO_VIEWS = True
    SETTINGS = ("image_size", "crop", "motion_layers", "adapt_steps", "detail")
    SERVED_BY_MAIN = True
    _optional_components = ["recognizer"]
    model_cpu_offload_seq = "encoder->generator"
    _exclude_from_cpu_offload = ["recognizer"]  # the tuning works on copies

    def __init__(
        self,
        generator: StyleGAN2Generator,
        encoder: HybridEncoder,
        recognizer: IdentityNetwork | None = None,
        image_size: int = 256,
        crop: Literal["ffhq", "stable"] = "ffhq",
        motion_layers: Literal["w_plus_index", "stylespace"] = "w_plus_index",
        adapt_steps: int = 0,
        detail: bool = False,
    ):
        super().__init__()
        if motion_layers not in MOTION_LAYERS:
            raise OptionError(
                f"`motion_layers` is {motion_layers!r}; expected {' or '.join(map(repr, MOTION_LAYERS))}."
            )
        self.register(
            dict(generator=generator, encoder=encoder, recognizer=recognizer),
            image_size=image_size,
            crop=crop,
            motion_layers=motion_layers,
            adapt_steps=adapt_steps,
            detail=detail,
        )

    @classmethod
    def from_main(
        cls, checkpoint: str | os.PathLike, settings: dict[str, Any], loading: dict[str, Any], **components: Any
    ) -> Self:
        """Build the pipeline of a checkpoint of `VivFacePipeline` that holds `hybrid/motion_heads.safetensors`.

        Its own motion codes mean nothing to the generator before the transformer, so the last layers of the encoder's
        motion heads are replaced by ones that give what the transformer makes of them for the average source (see
        `training/tools/fit_motion_heads.py`).
        """
        hub = hub_options(loading)
        heads = find_file(checkpoint, MOTION_HEADS_FILE, **hub)
        if heads is None:
            raise CheckpointError(
                f"The motion codes of '{checkpoint}' need its transformer, and it holds no {MOTION_HEADS_FILE}: make "
                "that with `python -m training.tools.fit_motion_heads`, or load the checkpoint as the system it is."
            )
        unused = {"transformer": None, "refinement": None}
        donor = VivFacePipeline.from_pretrained(checkpoint, **loading, **{**unused, **components})
        kept = {name: getattr(donor.config, name) for name in ("image_size", "crop", "adapt_steps")}
        pipeline = cls(donor.generator, donor.encoder, donor.recognizer, **{**kept, **settings})
        _replace_motion_heads(pipeline.encoder, heads)
        directions = find_file(checkpoint, HYBRID_DIRECTIONS_FILE, **hub)
        person = [] if directions is None else list(AttributeDirections.load(directions).values())
        pipeline.directions = AttributeDirections(donor.directions.of("w_plus") + person)
        if (pose := find_file(checkpoint, HYBRID_POSE_FILE, **hub)) is not None:
            pipeline.pose_subspace = PoseSubspace.load(pose)
        return pipeline

    @property
    def code_shape(self) -> tuple[int, int]:
        """Motion codes of a frame, `(motion_codes, style_dim)`."""
        return self.encoder.config.motion_codes, self.encoder.config.style_dim

    @property
    def fingerprint(self) -> list[float]:
        """The first weights of the last motion head, which differ from those of a system with a transformer."""
        return self.encoder.motion_heads.heads[-1].linears[-1].weight.detach().flatten()[:8].tolist()

    @torch.no_grad()
    def read_portrait(self, portrait: Portrait) -> IdentityCode:
        """E on the portrait (eq. 1): identity code, A(W) and the source's own motion codes."""
        reference = self.images([portrait.crop(self.config.crop, self.config.image_size)])
        code = self.encoder(reference, memory=False)
        return IdentityCode(
            w_plus=code.identity,
            styles=self.generator.to_stylespace(code.identity),
            motion=code.motion,
            reference=reference,
            photo=portrait.image,
            quad=portrait.quad,
            warnings=portrait.warnings,
        )

    def read_motion(self, images: Tensor) -> Tensor:
        """E on driving frames: motion codes S_F (eq. 1) only."""
        return self.network(self.encoder)(images, identity=False, memory=False).motion

    @torch.no_grad()
    def generate(self, identity: IdentityCode, motion: Tensor, refine: bool = True) -> Tensor:
        """Make the frames of a batch of motion codes: G(A(W_ID) + S_F) (eq. 3).

        Args:
            identity (`IdentityCode`): Whose face.
            motion (`torch.Tensor` of shape `(batch, motion_codes, style_dim)`): Motion codes of any person.
            refine (`bool`, *optional*, defaults to `True`): Without effect; there is no second stage.

        Returns:
            `torch.Tensor` of shape `(batch, 3, size, size)`: RGB, about [-1, 1], not clamped.
        """
        generator = self.generator_of(identity)
        styles = [style.expand(len(motion), -1) for style in identity.styles]
        return self.network(generator)(styles=self.add_motion(generator, styles, motion.to(styles[0].dtype)))

    def tuning_networks(self, identity: IdentityCode | None = None) -> TuningNetworks:
        """Copies of G, E and the recognizer, for a tuning."""
        networks = self.generator_of(identity), self.encoder
        return TuningNetworks(*networks, recognizer=self.recognizer, add_motion=self.add_motion)

    def add_motion(self, generator: StyleGAN2Generator, styles: list[Tensor], motion: Tensor) -> list[Tensor]:
        """A(W) + S, by W+ index or by StyleSpace layer, depending on the `motion_layers` setting.

        Args:
            generator (`StyleGAN2Generator`): Whose styles these are.
            styles (list of `torch.Tensor` of shape `(batch, channels)`): A(W), one a layer in call order.
            motion (`torch.Tensor` of shape `(batch, motion_codes, style_dim)`): Motion codes.

        Returns:
            list of `torch.Tensor`: New styles.
        """
        if self.config.motion_layers == "w_plus_index":
            return generator.add_motion(styles, motion)
        moved = list(styles)
        for index in range(min(motion.shape[1], len(styles))):
            channels = styles[index].shape[1]
            code = motion[:, index, :channels]  # (batch, at most channels)
            moved[index] = styles[index] + F.pad(code, (0, channels - code.shape[1]))
        return moved


def _replace_motion_heads(encoder: HybridEncoder, path: os.PathLike) -> None:
    """Put the linear layers of a file into the encoder's motion heads.

    Raises:
        CheckpointError: If the file is damaged or belongs to another encoder.
    """
    own = {name: value for name, value in encoder.named_parameters() if _is_motion_linear(name)}
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"The motion heads '{path}' cannot be read ({error}): copy them again.") from error
    fits = tensors.keys() == own.keys() and all(tensors[name].shape == value.shape for name, value in own.items())
    if not fits or not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise CheckpointError(f"The motion heads '{path}' do not fit the encoder: make them for this checkpoint.")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(tensors[name])


def _is_motion_linear(name: str) -> bool:
    return name.startswith("motion_heads.") and ".linears." in name
