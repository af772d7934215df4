"""HyperReenact: one-shot re-enactment by a hypernetwork that refines and retargets.

Bounareli et al., "HyperReenact: One-Shot Reenactment via Jointly Learning to Refine and Retarget Faces" (ICCV 2023).

    photo -> crop -> e4e -> truncation -> styles --------------------------+
                  +-> five points -> E_app -> appearance map --+           |
    video -> crop -> E_p -> pose map -> 1x1 -> motion code ----+-> H -> offsets -> G(styles) -> frame -> paste back
"""

from __future__ import annotations

import os
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import ModelMixin
from torch import Tensor

from vivface.editing import AttributeDirections
from vivface.errors import CheckpointError, OptionError
from vivface.faces.alignment import to_crop
from vivface.faces.crops import CROPS, face_quad
from vivface.faces.voxceleb import arcface_transform
from vivface.hub.index import find_file, hub_options
from vivface.hub.loading import load_component
from vivface.models.encoder import HybridEncoder
from vivface.models.hypernetwork import ReenactmentHypernetwork, layer_channels
from vivface.models.identity import IdentityNetwork
from vivface.models.pose_encoder import PoseEncoder
from vivface.models.pose_map import motion_pose_map
from vivface.models.stylegan2 import StyleGAN2Generator
from vivface.pipelines.base import ReenactmentPipeline
from vivface.pipelines.checks import check_fit
from vivface.pipelines.vivface import VivFacePipeline
from vivface.reenactment.codes import IdentityCode
from vivface.reenactment.portrait import Portrait
from vivface.reenactment.tuning import Face, TuningNetworks, frozen_copy

FOLDER = "hyperreenact"  # of a checkpoint of another system, with the hypernetwork alone
LONGER = 2  # times as many steps of tuning as suit that checkpoint's own images
FFHQ_CROPS = ("ffhq", "stable")  # in these the appearance network knows where the face is


class HyperReenactPipeline(ReenactmentPipeline):
    """Re-enact a portrait with the motion of a video; the generator's weights follow the driver's pose.

    A frame's motion code is the pose map after the hypernetwork's first, linear step: all that is ever read of it, at a
    quarter of its size.

    Args:
        generator (`StyleGAN2Generator`): G.
        inversion (`HybridEncoder`): e4e; the identity code of a portrait, without mean latent.
        appearance (`IdentityNetwork`): E_app; its last feature map.
        pose (`PoseEncoder`, *optional*): E_p; without it the motion codes of the inversion are the pose map.
        hypernetwork (`ReenactmentHypernetwork`): Refinement module and H.
        image_size (`int`, *optional*, defaults to 256): Width and height in pixels of what the inversion sees.
        crop (`str`, *optional*, defaults to `"voxceleb"`): How the portrait is cut: a key of `vivface.faces.CROPS`.
        pose_crop (`str`, *optional*, defaults to `"deca"`): The same of what the pose encoder sees; without one,
            driving frames are cut as the portrait is.
        truncation (`float`, *optional*, defaults to 0.7): How far codes go from the mean latent, in [0, 1].
        adapt_steps (`int`, *optional*, defaults to 0): Steps of tuning to the source that suit this checkpoint (ours;
            the paper's system is not tuned).
        detail (`bool`, *optional*, defaults to `False`): Whether re-enactments move the photograph itself, unless
            asked otherwise.

    Raises:
        OptionError: If a setting is out of its range, or the components do not fit together.
    """

    COMPONENTS = {
        "generator": StyleGAN2Generator,
        "inversion": HybridEncoder,
        "appearance": IdentityNetwork,
        "pose": PoseEncoder,
        "hypernetwork": ReenactmentHypernetwork,
    }
    TUNES_TO_VIEWS = True
    SETTINGS = ("image_size", "crop", "pose_crop", "truncation", "adapt_steps", "detail")
    SERVED_BY_MAIN = True
    MOTION_READER = "pose"
    _optional_components = ["pose"]
    model_cpu_offload_seq = "inversion->appearance->pose->hypernetwork->generator"

    def __init__(
        self,
        generator: StyleGAN2Generator,
        inversion: HybridEncoder,
        appearance: IdentityNetwork,
        pose: PoseEncoder | None,
        hypernetwork: ReenactmentHypernetwork,
        image_size: int = 256,
        crop: str = "voxceleb",
        pose_crop: str = "deca",
        truncation: float = 0.7,
        adapt_steps: int = 0,
        detail: bool = False,
    ):
        super().__init__()
        if pose_crop not in CROPS:
            raise OptionError(f"`pose_crop` is {pose_crop!r}; expected {' or '.join(map(repr, CROPS))}.")
        if not 0 <= truncation <= 1:
            raise OptionError(f"`truncation` is {truncation!r}; expected 0 to 1.")
        components = dict(generator=generator, inversion=inversion, appearance=appearance, pose=pose)
        components |= dict(hypernetwork=hypernetwork)
        _check_fit(**components)
        self.register(
            components,
            image_size=image_size,
            crop=crop,
            pose_crop=pose_crop,
            truncation=truncation,
            adapt_steps=adapt_steps,
            detail=detail,
        )

    @classmethod
    def from_main(
        cls, checkpoint: str | os.PathLike, settings: dict[str, Any], loading: dict[str, Any], **components: Any
    ) -> Self:
        """Build the pipeline of a checkpoint of `VivFacePipeline` that holds a folder `hyperreenact`.

        That is a hypernetwork for its generator, trained by the stage of that name; its encoder is the inversion, whose
        motion codes are the pose map, and its recognizer reads appearance.
        """
        if find_file(checkpoint, f"{FOLDER}/config.json", **hub_options(loading)) is None:
            raise CheckpointError(
                f"'{checkpoint}' is of another system, and it holds no {FOLDER}/config.json, the hypernetwork that "
                "this one adds: train it with the stage hyperreenact, or load the checkpoint as the system it is."
            )
        unused = {"transformer": None, "refinement": None}
        donor = VivFacePipeline.from_pretrained(checkpoint, **loading, **{**unused, **components})
        hypernetwork = load_component(ReenactmentHypernetwork, checkpoint, FOLDER, **loading)
        kept = {name: getattr(donor.config, name) for name in ("image_size", "crop")}
        kept |= {"adapt_steps": LONGER * donor.config.adapt_steps, "truncation": 1.0}
        networks = donor.generator, donor.encoder, donor.recognizer, None, hypernetwork
        pipeline = cls(*networks, **{**kept, **settings})
        pipeline.directions = AttributeDirections(donor.directions.of("w_plus"))
        return pipeline

    @property
    def code_shape(self) -> tuple[int, int, int]:
        """Motion code of a frame, `(channels, side, side)` of the hypernetwork."""
        config = self.hypernetwork.config
        return config.channels, config.side, config.side

    @property
    def fingerprint(self) -> list[float]:
        """The first weights of the two networks that read motion, which recognise them in any precision."""
        projection = self.hypernetwork.pose_projection.weight
        return super().fingerprint[:4] + projection.detach().flatten()[:4].tolist()

    @property
    def motion_reader(self) -> ModelMixin:
        """The network that sees driving frames: the pose encoder, or the inversion in its place."""
        return self.inversion if self.pose is None else self.pose

    @property
    def motion_size(self) -> int:
        """Width and height of what it sees, in pixels."""
        return self.motion_reader.config.image_size

    @property
    def motion_crop(self) -> str:
        """How driving frames are cut: a key of `vivface.faces.CROPS`."""
        return self.config.crop if self.pose is None else self.config.pose_crop

    @torch.no_grad()
    def read_portrait(self, portrait: Portrait) -> IdentityCode:
        """Invert the portrait, and read its appearance map (`IdentityCode.memory`) and its own motion code."""
        crop, size = self.config.crop, self.config.image_size
        quad = face_quad(portrait.landmarks, crop)
        reference = self.images([portrait.crop(crop, size)])

        # 1. e4e, then truncation: the code w_s that stays the same in all frames.
        code = self.inversion(reference, motion=False, memory=False).identity
        code = self.generator.truncate(code, self.config.truncation)

        # 2. E_app, once a source.
        if crop in FFHQ_CROPS:
            face = self.appearance.crop(reference)
        else:
            landmarks = to_crop(portrait.landmarks, quad) * size - 0.5
            face = appearance_crop(reference, landmarks, self.appearance.config.image_size)
        appearance = self.appearance.features(face)

        # 3. E_p on the source, where relative motion starts.
        motion = self.read_motion(self.images([portrait.crop(self.motion_crop, self.motion_size)]))
        return IdentityCode(
            w_plus=code,
            styles=self.generator.to_stylespace(code),
            motion=motion,
            reference=reference,
            photo=portrait.image,
            quad=quad,
            memory=appearance[-1].contiguous(),
            warnings=portrait.warnings,
        )

    def read_motion(self, images: Tensor) -> Tensor:
        """E_p and the hypernetwork's first step on driving frames.

        Args:
            images (`torch.Tensor` of shape `(batch, 3, motion_size, motion_size)`): RGB in [-1, 1].

        Returns:
            `torch.Tensor` of shape `(batch, channels, side, side)`.
        """
        if self.pose is None:
            pose = motion_pose_map(self.network(self.inversion), images, self.hypernetwork.config.side)
        else:
            pose = self.network(self.pose)(images)
        return self.hypernetwork.project(pose).contiguous()

    @torch.no_grad()
    def generate(self, identity: IdentityCode, motion: Tensor, refine: bool = True) -> Tensor:
        """Make the frames of a batch of motion codes.

        Args:
            identity (`IdentityCode`): Whose face.
            motion (`torch.Tensor` of shape `(batch, channels, side, side)`): Motion codes.
            refine (`bool`, *optional*, defaults to `True`): Without effect: there is no second stage.

        Returns:
            `torch.Tensor` of shape `(batch, 3, size, size)`: RGB, about [-1, 1], not clamped.
        """
        styles = identity.styles if self.hypernetwork.config.relative_to == "styles" else None
        offsets = self.network(self.hypernetwork)(identity.memory, motion=motion, styles=styles)
        return self.network(self.generator_of(identity))(styles=identity.styles, offsets=offsets)

    def tuning_networks(self, identity: IdentityCode | None = None) -> TuningNetworks:
        """Copies of G and the recognizer, and what draws frames with them, for a tuning to a portrait (ours).

        Raises:
            OptionError: If portraits are not cut as in FFHQ, whose places of eyes and mouth the tunings know.
        """
        if identity is None or self.config.crop not in FFHQ_CROPS:
            return super().tuning_networks(identity)
        hypernetwork, relative = frozen_copy(self.hypernetwork, torch.float32), self.hypernetwork.config.relative_to
        face = Face(*(code.float() for code in (identity.w_plus, identity.motion, identity.memory)))

        def draw(generator: StyleGAN2Generator, w_plus: Tensor, motion: Tensor) -> Tensor:
            styles = generator.to_stylespace(w_plus)
            offsets = hypernetwork(face.memory, motion=motion, styles=styles if relative == "styles" else None)
            return generator(styles=styles, offsets=offsets)

        networks = self.generator_of(identity), self.inversion
        return TuningNetworks(*networks, recognizer=self.appearance, face=face, draw=draw)


def appearance_crop(image: Tensor, landmarks: np.ndarray, size: int = 112) -> Tensor:
    """The face as the appearance encoder wants it: five points at ArcFace's places, black outside the image.

    Args:
        image (`torch.Tensor` of shape `(1, 3, height, height)`): RGB in [-1, 1].
        landmarks (`numpy.ndarray` of shape `(68, 2)`): In pixels of the image.
        size (`int`, *optional*, defaults to 112): Width and height of the result.

    Returns:
        `torch.Tensor` of shape `(1, 3, size, size)`: RGB in [-1, 1]; 0 outside the image.
    """
    theta = torch.from_numpy(arcface_transform(landmarks, image.shape[2]))[None].to(image.device)
    grid = F.affine_grid(theta, [1, 3, size, size], align_corners=False)
    return F.grid_sample(image.float(), grid, align_corners=False).to(image.dtype)


def _check_fit(
    generator: StyleGAN2Generator,
    inversion: HybridEncoder,
    appearance: IdentityNetwork,
    pose: PoseEncoder | None,
    hypernetwork: ReenactmentHypernetwork,
) -> None:
    """Refuse components of different systems.

    Raises:
        OptionError: If a component does not take what another gives.
    """
    config = hypernetwork.config
    made = layer_channels(config.generator_channels)
    taken = [None if "rgb" in name else tuple(layer.weight.shape[1::-1]) for name, layer in _layers(generator)]
    last = appearance.config.image_size // 2 ** len(appearance.config.units)
    codes = inversion.config.motion_codes * inversion.config.style_dim
    pose_shape = (codes, config.side) if pose is None else (pose.channels, pose.side)
    pairs = {
        "hypernetwork's generator channels": (made, taken),
        "inversion's number of codes": (inversion.config.num_latents, generator.num_latents),
        "inversion's length of codes": (inversion.config.style_dim, generator.config.style_dim),
        "appearance map": ((appearance.config.widths[-1], last), (config.appearance_channels, config.side)),
        "pose map": (pose_shape, (config.pose_channels, config.side)),
    }
    check_fit(pairs)


def _layers(generator: StyleGAN2Generator) -> list[tuple[str, torch.nn.Module]]:
    return [(name, generator.get_submodule(name)) for name in generator.layer_names]
