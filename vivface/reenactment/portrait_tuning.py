"""Tune the generator to one portrait before it is animated (pivotal tuning).

First the identity code moves until the frozen generator shows the portrait as well as it can (the pivot), and with it
the portrait's own deformation, so that errors of the encoder in its expression do not turn into identity. Then, if
there are steps left, a copy of the generator and the code move together (Roich et al., Pivotal Tuning for Latent-based
Editing of Real Images, ACM TOG 2022, sec. 3.1-3.2) until the image that users see, behind the refinement network, shows
the portrait. Locality regularisation (sec. 3.3) keeps the copy equal to the original away from the pivot: here at
random identity codes under random motion, so that the portrait still moves as the original would.

Likeness lies in small differences of neighbouring pixels in the face (the shading of a nose, the line of a cheek), so
these weigh far more than the pixels themselves. Where the checkpoint has a recognizer, portrait and image must look
alike to it, too. Eyes and mouth are left out of both terms; otherwise the tuned generator overfits the portrait's
expression.
"""

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vivface.faces.paste import soft_mask
from vivface.models.encoder import HybridEncoder, HybridEncoderOutput
from vivface.models.identity import IdentityNetwork
from vivface.models.refinement import RefinementNetwork, generate_refined
from vivface.models.stylegan2 import StyleGAN2Generator
from vivface.models.transformer import DeformationTransformer
from vivface.reenactment.progress import OnProgress, Progress, ignore_progress
from vivface.runtime import compute_slot

CODE_STEPS = 12  # steps that optimise only the code; more of them overfit the portrait
CODE_RATE = 2e-2  # learning rates (Adam)
GENERATOR_RATE = 3e-3
SCALES = (1, 2, 4)  # the image is compared at these reductions
GRADIENT_WEIGHT = 4.0  # of the differences of neighbouring pixels; the pixels themselves have weight 1
FACE_WEIGHT = 3.0  # how much more the face counts than the border of the crop
IDENTITY_WEIGHT = 0.3  # of the distance to the recognizer, in its embedding and its features
# Eyes and mouth in an FFHQ crop: centre (x, y), half width and height, in fractions of its size.
MOVING_REGIONS = (((0.375, 0.472), (0.095, 0.055)), ((0.625, 0.472), (0.095, 0.055)), ((0.5, 0.70), (0.16, 0.10)))
CODE_WEIGHT = 1e-2  # keeps the code near the one the encoder gave
LOCALITY_WEIGHT = 1.0
LOCALITY_BATCH = 1
LOCALITY_REACH = 0.5  # where the generator is held: this far from the pivot towards random identities
MOTION_SPREAD = 1.0  # spread of random motion codes, in units of the source's own


@dataclass
class AdaptedSource:
    """An identity code, and the generator that belongs to it.

    Attributes:
        generator (`StyleGAN2Generator`, *optional*): a tuned copy; None if only the code has moved.
        w_plus (`torch.Tensor` of shape `(1, num_latents, style_dim)`).
    """

    generator: StyleGAN2Generator | None
    w_plus: Tensor


def adapt_to_source(
    generator: StyleGAN2Generator,
    encoder: HybridEncoder,
    transformer: DeformationTransformer,
    identity: Tensor,
    image: Tensor,
    steps: int,
    seed: int = 0,
    refinement: RefinementNetwork | None = None,
    recognizer: IdentityNetwork | None = None,
    on_progress: OnProgress | None = None,
) -> AdaptedSource:
    """Tune the identity code, and after `CODE_STEPS` steps a copy of the generator too, to reproduce one portrait.

    Args:
        generator (`StyleGAN2Generator`), encoder (`HybridEncoder`), transformer (`DeformationTransformer`): The
            pipeline's networks; none of them is changed.
        identity (`torch.Tensor` of shape `(1, num_latents, style_dim)`): the encoder's identity code of the portrait.
        image (`torch.Tensor` of shape `(1, 3, size, size)`): the aligned portrait at the generator's size, in [-1, 1].
        steps (`int`): number of optimiser steps in all.
        seed (`int`, *optional*, defaults to 0): of the random codes.
        refinement (`RefinementNetwork`, *optional*): what refines frames; the generator is then tuned for its images.
        recognizer (`IdentityNetwork`, *optional*): what must see the same person in portrait and image.
        on_progress (callable, *optional*): Told before every step; may raise to stop.

    Returns:
        [`AdaptedSource`]
    """
    on_progress = on_progress or ignore_progress
    dtype = torch.float32  # half precision does not train
    tuned, refinement, recognizer = (_frozen_copy(network, dtype) for network in (generator, refinement, recognizer))
    image, start = image.to(dtype), identity.detach().to(dtype)
    random = torch.Generator().manual_seed(seed)

    # 1. The source's own motion, as encoder and transformer see it.
    size = encoder.config.image_size
    with torch.no_grad():
        reference = image
        if image.shape[-1] != size:
            reference = F.interpolate(image, (size, size), mode="bilinear", antialias=True)
        own = encoder(reference.to(encoder.dtype), identity=False)
        motion = transformer(own.motion, own.memory).to(dtype)
    weight = _pixel_weight(image)

    def loss_of(output: Tensor) -> Tensor:
        loss = portrait_loss(output, image, weight)
        return loss if recognizer is None else loss + IDENTITY_WEIGHT * likeness_loss(recognizer, output, image)

    def render(w_plus: Tensor) -> Tensor:
        if refinement is None:
            return tuned(w_plus, motion)
        styles = tuned.add_motion(tuned.to_stylespace(w_plus), motion)
        return generate_refined(tuned, refinement, styles, reference)[1]

    with torch.enable_grad():
        # 2. The pivot: only the code and the portrait's own deformation move.
        w_plus, motion = start.clone().requires_grad_(True), motion.requires_grad_(True)
        code_steps = min(steps, CODE_STEPS)
        optimizer = torch.optim.Adam([w_plus, motion], lr=CODE_RATE)
        for step in range(code_steps):
            on_progress(Progress("adapting", step, steps))
            with compute_slot(image.device):
                _set_rate(optimizer, CODE_RATE, step, code_steps)
                loss = loss_of(tuned(w_plus, motion)) + CODE_WEIGHT * F.mse_loss(w_plus, start)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

        if steps == code_steps:
            return AdaptedSource(None, w_plus.detach().to(identity.dtype))

        # 3. Generator and code together, held in place away from the pivot.
        frozen, motion = copy.deepcopy(tuned), motion.detach()
        tuned.requires_grad_(True)
        parameters = [{"params": list(tuned.parameters())}, {"params": [w_plus]}]
        optimizer = torch.optim.Adam(parameters, lr=GENERATOR_RATE)
        for step in range(steps - code_steps):
            on_progress(Progress("adapting", code_steps + step, steps))
            with compute_slot(image.device):
                _set_rate(optimizer, GENERATOR_RATE, step, steps - code_steps)
                loss = loss_of(render(w_plus))
                loss = loss + LOCALITY_WEIGHT * _locality(tuned, frozen, transformer, w_plus, own, random)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    nn.Module.to(tuned.requires_grad_(False), generator.dtype)
    return AdaptedSource(tuned, w_plus.detach().to(identity.dtype))


def _frozen_copy(network: nn.Module | None, dtype: torch.dtype) -> nn.Module | None:
    """A copy in evaluation mode that takes no gradients, if there is a network."""
    if network is None:
        return None
    # Not the diffusers class's `to`, which warns of every cast.
    return nn.Module.to(copy.deepcopy(network), dtype).eval().requires_grad_(False)


def portrait_loss(image: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """L1 of pixels and of their differences to the right and below, at several scales, weighted over the image."""
    loss = image.new_zeros(())
    for scale in SCALES:
        difference = F.avg_pool2d(image - target, scale)
        mask = F.avg_pool2d(weight, scale)
        pixels = (difference.abs() * mask).mean()
        right = ((difference[..., 1:] - difference[..., :-1]).abs() * mask[..., 1:]).mean()
        below = ((difference[..., 1:, :] - difference[..., :-1, :]).abs() * mask[..., 1:, :]).mean()
        loss = loss + pixels + GRADIENT_WEIGHT * (right + below)
    return loss / len(SCALES)


def likeness_loss(recognizer: IdentityNetwork, image: Tensor, target: Tensor) -> Tensor:
    """1 - cosine of an identity network's embeddings, plus distance of its feature maps, whatever eyes and mouth do."""
    output, expected = recognizer.crop(image), recognizer.crop(target)
    embedding, features = recognizer.compare(output.lerp(expected, recognizer.crop(_moving_regions(target))), expected)
    return embedding + features


def _moving_regions(image: Tensor) -> Tensor:
    """1 in the eyes and the mouth of an aligned image and 0 elsewhere, soft at borders: `(1, 1, size, size)`."""
    place = (torch.arange(image.shape[-1]).to(image) + 0.5) / image.shape[-1]
    distances = [
        ((place - x) / rx).square() + ((place[:, None] - y) / ry).square() for (x, y), (rx, ry) in MOVING_REGIONS
    ]
    return (1.0 - 4.0 * (torch.stack(distances).amin(0).sqrt() - 1.0)).clamp(0.0, 1.0)[None, None]


def _locality(
    tuned: StyleGAN2Generator,
    frozen: StyleGAN2Generator,
    transformer: DeformationTransformer,
    w_plus: Tensor,
    own: HybridEncoderOutput,
    random: torch.Generator,
) -> Tensor:
    """How far the tuned generator has moved from the frozen one, between the pivot and random codes."""
    with torch.no_grad():
        sampled = frozen.sample_latents(LOCALITY_BATCH, 1.0, random)  # (batch, num_latents, style_dim)
        codes = w_plus + LOCALITY_REACH * (sampled - w_plus)  # (batch, num_latents, style_dim)
        noise = torch.randn(LOCALITY_BATCH, *own.motion.shape[1:], generator=random).to(own.motion)
        generic = own.motion + MOTION_SPREAD * own.motion.std() * noise
        motion = transformer(generic, own.memory).to(w_plus.dtype)
        expected = frozen(codes, motion)
    return F.l1_loss(tuned(codes, motion), expected)


def _pixel_weight(image: Tensor) -> Tensor:
    """Weight of each pixel, mean 1: the face counts more than the border, eyes and mouth not. `(1, 1, size, size)`."""
    mask = torch.from_numpy(soft_mask(image.shape[-1])).to(image)[None, None]
    weight = (1 + (FACE_WEIGHT - 1) * mask) * (1 - _moving_regions(image))
    return weight / weight.mean()


def _set_rate(optimizer: torch.optim.Optimizer, rate: float, step: int, steps: int) -> None:
    """Full rate, then linearly down to a tenth over the last half of the steps."""
    left = (steps - step) / max(steps, 1)
    for group in optimizer.param_groups:
        group["lr"] = rate * max(0.1, min(1.0, 2 * left))
