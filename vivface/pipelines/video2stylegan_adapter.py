"""Video2StyleGAN on StyleGAN2, for checkpoints without StyleGAN3: an adapter, not the paper's system.

The algorithm is that of `Video2StyleGANPipeline`; what differs is named here.

- Position and tilt are applied to the finished picture, not to Fourier features: beyond its border its colours are
  spread, and texture does not follow as it does in StyleGAN3.
- A code is a motion code of hybrid latent spaces over an identity code in W+: rows 0 to 9 are added to the styles of
  the layers that read W+ rows 0 to 9, then follow the rows of W+. So pose (eq. 7) is searched in motion rows 0 to 7,
  and residual motion (eq. 10) moves motion rows 3 to 7.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vivface.editing.local_channels import LocalChannels
from vivface.errors import OptionError
from vivface.hub.index import find_file, hub_options
from vivface.models.encoder import HybridEncoder
from vivface.models.face_state import FaceStateNetwork
from vivface.models.identity import IdentityNetwork
from vivface.models.stylegan2 import StyleGAN2Generator
from vivface.pipelines.checks import check_fit
from vivface.pipelines.hybrid import HybridLatentPipeline
from vivface.pipelines.video2stylegan import CHANNELS_FILE, Video2StyleGANPipeline, resized
from vivface.reenactment.co_driving import PoseSubspace
from vivface.reenactment.codes import IdentityCode
from vivface.reenactment.frame_code import FrameCode, image_motion
from vivface.reenactment.portrait import Portrait
from vivface.reenactment.pose_matching import POSE_ROWS, PoseDirections
from vivface.reenactment.tuning import TuningNetworks
from vivface.warping.filling import spread

ADAPTER_CHANNELS_FILE = f"video2stylegan/{CHANNELS_FILE}"
ADAPT_STEPS = 20  # of pivotal tuning, as suits the bundled checkpoint
BORDER = 2  # pixels of a generator's picture that would be seen as a line in a larger one
DEGREES = 20.0  # of an angle of 1 in a pose subspace
ANGLES = ("yaw", "pitch", "roll")


class Video2StyleGANAdapterPipeline(Video2StyleGANPipeline):
    """`Video2StyleGANPipeline` with the generator and the encoder of hybrid latent spaces.

    Args:
        generator (`StyleGAN2Generator`): G, with its affine maps A.
        inversion (`HybridEncoder`): E; identity code in W+ and motion codes of an aligned face.
        pose, recognizer, settings: As for `Video2StyleGANPipeline`.
    """

    COMPONENTS: ClassVar[dict] = {
        "generator": StyleGAN2Generator,
        "inversion": HybridEncoder,
        "pose": FaceStateNetwork,
        "recognizer": IdentityNetwork,
    }

    SERVED_BY_MAIN = True

    @classmethod
    def from_main(
        cls, checkpoint: str | os.PathLike, settings: dict[str, Any], loading: dict[str, Any], **components: Any
    ) -> Self:
        """Build the pipeline of a checkpoint of `VivFacePipeline` that serves `HybridLatentPipeline`."""
        donor = HybridLatentPipeline.from_pretrained(checkpoint, **loading, **components)
        settings = {
            "image_size": donor.config.image_size,
            "adapt_steps": ADAPT_STEPS,
            "pose_steps": 0,
            "pose_apart": donor.pose_subspace is not None,
            **settings,
        }
        pipeline = cls(donor.generator, donor.encoder, None, donor.recognizer, **settings)
        if (path := find_file(checkpoint, ADAPTER_CHANNELS_FILE, **hub_options(loading))) is not None:
            pipeline.local_channels = LocalChannels.load(path)
            pipeline._local_masks()
        if donor.pose_subspace is not None:
            pipeline.pose_directions = directions_of(donor.pose_subspace)
        return pipeline

    # What differs ----------------------------------------------------------------------------------------------------

    @property
    def latent_rows(self) -> int:
        """Rows of a code: motion codes, then W+."""
        return self.generator.config.motion_codes + self.generator.num_latents

    @property
    def style_rows(self) -> list[int]:
        """The first row of a code that every layer's style depends on."""
        codes = self.generator.config.motion_codes
        return [row if row < codes else codes + row for row in self.generator.layer_latents]

    def invert(self, images: Tensor) -> Tensor:
        """E: codes `(batch, latent_rows, style_dim)` of aligned images `(batch, 3, size, size)` in [-1, 1]."""
        found = self.inversion(resized(images, self.inversion.config.image_size), memory=False)
        return torch.cat([found.motion, found.identity], dim=1)

    def styles_of(self, generator: StyleGAN2Generator, codes: Tensor) -> list[Tensor]:
        """A(W) + S: the styles of codes, `(batch, channels)` a layer."""
        count = generator.config.motion_codes
        return generator.add_motion(generator.to_stylespace(codes[:, count:]), codes[:, :count])

    def draw(self, generator: StyleGAN2Generator, styles: list[Tensor], position: Tensor | None = None) -> Tensor:
        """G, and its pictures moved and tilted by positions `(batch, 3)`, see `FrameCode`."""
        images = generator(styles=styles)
        if position is None or not position.any():
            return images
        return moved(images.float(), image_motion(position).to(images.device)).to(images.dtype)

    @torch.no_grad()
    def read_portrait(self, portrait: Portrait) -> IdentityCode:
        """E and P_r on the portrait: its identity code in W+, and its motion code."""
        identity = super().read_portrait(portrait)
        w_plus = identity.w_plus[:, self.generator.config.motion_codes :].contiguous()
        identity.w_plus, identity.styles = w_plus, self.generator.to_stylespace(w_plus)
        return identity

    def tuning_networks(self, identity: IdentityCode | None = None) -> TuningNetworks:
        """Copies of G, E and the recognizer, for pivotal tuning."""

        def add_motion(network: StyleGAN2Generator, styles: list[Tensor], motion: Tensor) -> list[Tensor]:
            rows = self._whole(FrameCode.unpack(motion))[:, : network.config.motion_codes]
            return network.add_motion(styles, rows.to(styles[0].dtype))

        networks = self.generator_of(identity), self.inversion
        return TuningNetworks(*networks, recognizer=self.recognizer, add_motion=add_motion)

    @staticmethod
    def check_fit(generator: StyleGAN2Generator, inversion: HybridEncoder) -> None:
        """Refuse components that do not fit together.

        Raises:
            OptionError: If a component does not take what another gives, or there are too few motion codes.
        """
        pairs = {
            "inversion's number of codes": (inversion.config.num_latents, generator.num_latents),
            "inversion's motion codes": (inversion.config.motion_codes, generator.config.motion_codes),
            "inversion's length of codes": (inversion.config.style_dim, generator.config.style_dim),
        }
        check_fit(pairs)
        if generator.config.motion_codes < POSE_ROWS:
            raise OptionError(
                f"The generator takes {generator.config.motion_codes} motion codes; expected at least {POSE_ROWS}."
            )


def moved(images: Tensor, motion: Tensor) -> Tensor:
    """Images moved as a whole; beyond their border their colours are spread.

    Args:
        images (`torch.Tensor` of shape `(batch, 3, size, size)`): float32.
        motion (`torch.Tensor` of shape `(batch, 3, 3)`): See `image_motion`.
    """
    affine = motion[:, :2].clone()
    affine[:, :, 2] *= 2  # sides of the picture to the halves in which `affine_grid` counts
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    found = F.grid_sample(images, grid, mode="bicubic", padding_mode="border", align_corners=False)
    inside = (grid.abs() < 1 - 2 * BORDER / images.shape[-1]).all(-1).float().cpu().numpy()
    pictures = zip(found.permute(0, 2, 3, 1).cpu().numpy(), inside, strict=True)
    return torch.from_numpy(np.stack([spread(*each) for each in pictures])).permute(0, 3, 1, 2).to(found)


def directions_of(subspace: PoseSubspace) -> PoseDirections:
    """What a degree of yaw, pitch and roll is in motion rows 0 to 7."""
    chosen = [subspace.names.index(name) for name in ANGLES]
    return PoseDirections(subspace.directions[chosen, :POSE_ROWS] / DEGREES)
