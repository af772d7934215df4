"""The codec's networks as `vivface.reenactment.clip_encoding` needs them, and as a decoder of the other basis."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vivface.editing.codec_basis import VALUES, Basis, Channels
from vivface.editing.stylespace import rates
from vivface.media.tensors import to_tensor
from vivface.models.layers.pooling import average_pool
from vivface.reenactment.clip_encoding import Inversion
from vivface.reenactment.codes import IdentityCode
from vivface.reenactment.frame_fitting import FrameFitter, fit_identity

if TYPE_CHECKING:
    from vivface.pipelines.codec import ExpressiveCodecPipeline

FIT_SIZE = 256  # pictures are compared at this size, or smaller
STEPS = {"channels": 40, "components": 0}  # of a frame, by basis
IDENTITY_STEPS = 60  # the same, once
POSE_STEPS = {"motion": 0, "styleflow": 30, "directions": 30}  # the same, by what turns the head
RATES = {"channels": 0.5, "components": 0.05}  # step lengths; one channel does less than one component
WHOLE = {"channels": 0.0, "components": 1.0}  # weight of the whole picture in the loss


class PipelineCoder:
    """See `vivface.reenactment.clip_encoding.Coder`.

    Args:
        pipeline (`ExpressiveCodecPipeline`): Whose networks.
        basis (`Channels` or `Components`): What the 32 values move.
    """

    def __init__(self, pipeline: ExpressiveCodecPipeline, basis: Basis):
        self._pipeline, self._basis = pipeline, basis
        self.device = pipeline._execution_device

    def faces(self, crops: list[np.ndarray]) -> Tensor:
        """uint8 crops as images of the size at which pictures are compared."""
        return _pooled(to_tensor(crops, self.device, self._pipeline.encoder.dtype), FIT_SIZE)

    def invert(
        self, images: Tensor, w_plus: Tensor | None = None, memory: Tensor | None = None, show: bool = True
    ) -> Inversion:
        """Read faces; with an identity latent and memory, as frames of that person."""
        pipeline, components = self._pipeline, self._pipeline.components_basis
        code = pipeline.encoder(_pooled(images, pipeline.config.image_size))
        w_plus = code.identity if w_plus is None else w_plus
        numbers = images.new_zeros(len(images), 2 + VALUES)
        deformation = None
        if pipeline.config.head_pose == "motion":  # identity latents without pose, and E with motion heads
            deformation = code.motion
            if pipeline.transformer is not None:
                seen = code.memory if memory is None else memory.expand(len(images), -1, -1)
                deformation = pipeline.transformer(code.motion, seen)
            read = components.read(deformation)
            numbers = read if self._basis.kind == "components" else torch.cat([read[:, :2], numbers[:, 2:]], dim=1)
        made = images
        if show:
            latents = w_plus.expand(len(images), -1, -1)
            made = _pooled(pipeline.generator(latents, deformation), FIT_SIZE)
        memory = None if pipeline.transformer is None else code.memory
        return Inversion(w_plus, numbers, made, memory, deformation)

    def similarity(self, images: Tensor, others: Tensor) -> Tensor:
        """Cosine of the recognizer's embeddings; without one, how close the pictures are."""
        recognizer = self._pipeline.recognizer
        if recognizer is None:
            return -(images - others).square().flatten(1).mean(1)
        return (recognizer.embed(images) * recognizer.embed(others)).sum(1)

    def fit_identity(self, inversion: Inversion, images: Tensor, steps: int, on_step) -> Tensor:
        """The identity latent that shows several frames best.

        Frames keep the deformation that was read of them, not only what the 32 values hold of it, so that the latent
        is the same for both bases. Without motion heads there is no deformation to hold, and the latent of the chosen
        frame fits that frame only.
        """
        pipeline = self._pipeline
        if inversion.deformation is None:
            inversion, images = replace(inversion, w_plus=inversion.w_plus[:1]), images[:1]

        def show(w_plus: Tensor) -> Tensor:
            return _pooled(pipeline.generator(w_plus.expand(len(images), -1, -1), inversion.deformation), FIT_SIZE)

        return fit_identity(show, inversion.w_plus[:1], images, pipeline.recognizer, steps, on_step)

    def fitter(self, w_plus: Tensor) -> FrameFitter:
        """Fits the numbers of frames of an identity latent."""
        pipeline, basis = self._pipeline, self._basis
        factors = gaze = None
        if isinstance(basis, Channels):
            factors = rates(basis.gamma, basis.attributes)
            gaze = torch.tensor([name == "gaze" for name in basis.attributes])
        nothing = w_plus.new_zeros(1, VALUES)
        with torch.no_grad():
            person = self._render(w_plus, nothing[:, :2], nothing)
        reads = pipeline.config.head_pose == "motion"
        return FrameFitter(
            lambda pose, values: self._render(w_plus, pose, values),
            pipeline.recognizer,
            factors,
            gaze,
            WHOLE[basis.kind],
            person,
            RATES[basis.kind],
            reads_pose=reads,
            reads_values=reads and basis.kind == "components",
        )

    def carry(self, w_plus: Tensor, pose: Tensor, values: Tensor, new_pose: Tensor) -> Tensor:
        """Values at a new pose that hold what the old ones held (eq. 7): the channels keep what they hold in all."""
        if not isinstance(self._basis, Channels):
            return values
        turner, generator = self._pipeline.turner, self._pipeline.generator
        before, after = (
            self._basis.read(turner.styles(generator, w_plus, angles[:, 0], angles[:, 1]))
            for angles in (pose, new_pose)
        )
        return before + values - after

    def _render(self, w_plus: Tensor, pose: Tensor, values: Tensor) -> Tensor:
        return _pooled(self._pipeline.show(w_plus, pose, values, self._basis), FIT_SIZE)


class WithBasis:
    """A pipeline that decodes another basis than its own.

    Args:
        pipeline (`ExpressiveCodecPipeline`): Which one.
        basis (`str`): `"channels"` or `"components"`.
    """

    def __init__(self, pipeline: ExpressiveCodecPipeline, basis: str):
        self._pipeline, self._basis = pipeline, pipeline.basis(basis)
        self.device, self.output_size = pipeline.device, pipeline.output_size
        self.default_batch_size = pipeline.default_batch_size
        self.progress_bar = pipeline.progress_bar
        self.crops, self.pose_subspace = pipeline.crops, pipeline.pose_subspace

    @torch.no_grad()
    def generate(self, identity: IdentityCode, motion: Tensor, refine: bool = True) -> Tensor:
        """As `ExpressiveCodecPipeline.generate`."""
        return self._pipeline.generate(identity, motion, refine, basis=self._basis)


def turned(images: Tensor, degrees: Tensor) -> Tensor:
    """Images turned clockwise about their middle, their border repeated.

    Args:
        images (`torch.Tensor` of shape `(batch, channels, size, size)`): To turn.
        degrees (`torch.Tensor` of shape `(batch,)`): By how much.

    Returns:
        `torch.Tensor` of the same shape; the very same if nothing turns.
    """
    if not degrees.any():
        return images
    angle = torch.deg2rad(degrees.float())
    cosine, sine, nothing = angle.cos(), angle.sin(), torch.zeros_like(angle)
    rows = torch.stack([torch.stack([cosine, sine, nothing], 1), torch.stack([-sine, cosine, nothing], 1)], 1)
    grid = F.affine_grid(rows.to(images), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _pooled(images: Tensor, size: int) -> Tensor:
    """Images at a size, or as they are where they are smaller."""
    return average_pool(images, size) if images.shape[-1] > size else images
