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

Tuned to one view of a person, a generator shows another one when the head turns. So where a system reads motion off
single frames, three steps of four are taken on views of the portrait in other poses and expressions
(`vivface.reenactment.portrait_views`), whose motion codes are read like those of a driving frame; eyes and mouth count
in these. They hold the generator in place, too, without locality regularisation.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vivface.faces.paste import soft_mask
from vivface.models.identity import IdentityNetwork
from vivface.reenactment.codes import IdentityCode
from vivface.reenactment.progress import OnProgress
from vivface.reenactment.tuning import Face, TuningNetworks, descend, finished

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
OWN_EVERY = 4  # one step of so many is taken on the portrait itself, the others on views of it
LOCALITY_REACH = 0.5  # where the generator is held: this far from the pivot towards random identities
MOTION_SPREAD = 1.0  # spread of random motion codes, in units of the source's own


class SeenView(NamedTuple):
    """The portrait in another pose, as a system sees it.

    Attributes:
        image (`torch.Tensor` of shape `(1, 3, size, size)`): What the generator is to show, RGB in [-1, 1].
        motion (`torch.Tensor` of shape `(1, *code_shape)`): Its motion code.
    """

    image: Tensor
    motion: Tensor


def tune_to_portrait(
    networks: TuningNetworks,
    identity: IdentityCode,
    image: Tensor,
    steps: int,
    *,
    views: Sequence[SeenView] = (),
    learning_rate: float | None = None,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> IdentityCode:
    """Tune the identity code, and after `CODE_STEPS` steps a copy of the generator too, to reproduce one portrait.

    Args:
        networks (`TuningNetworks`): Copies of the pipeline's networks; their generator is the one that is tuned. With
            R, it is tuned for the refined image.
        identity (`IdentityCode`): The encoder's code of the portrait.
        image (`torch.Tensor` of shape `(1, 3, size, size)`): The aligned portrait at the generator's size, in [-1, 1].
        steps (`int`): Optimiser steps in all.
        views (sequence of `SeenView`, *optional*): The portrait in other poses.
        learning_rate (`float`, *optional*): Of the generator, at its highest; 0.003 by default.
        seed (`int`, *optional*, defaults to 0): Of the random codes.
        on_progress (callable, *optional*): Told before every step; may raise to stop.

    Returns:
        `IdentityCode`: With another code and, after more than `CODE_STEPS` steps, a generator of its own.
    """
    dtype, tuned, recognizer = identity.w_plus.dtype, networks.generator, networks.recognizer
    image, start = image.to(torch.float32), identity.w_plus.detach().to(torch.float32)
    random = torch.Generator().manual_seed(seed)

    # 1. The source's own motion, as encoder and transformer see it.
    reference = networks.pool(image)
    with torch.no_grad():
        own = networks.face or networks.read(image)
        motion = networks.deform(own.motion, own.memory)
    apart, whole = eyes_and_mouth(image), _pixel_weight(image)
    weight = _pixel_weight(image, apart)

    def loss_of(output: Tensor) -> Tensor:
        return _difference(output, image, recognizer, weight, apart)

    # 2. The pivot: only the code and the portrait's own deformation move.
    w_plus, motion = start.clone().requires_grad_(True), motion.requires_grad_(True)
    code_steps = min(steps, CODE_STEPS)

    def code_loss(_: int) -> Tensor:
        return loss_of(networks.show(w_plus, motion)) + CODE_WEIGHT * F.mse_loss(w_plus, start)

    options = dict(device=image.device, decay=True, on_progress=on_progress)
    descend([w_plus, motion], code_loss, code_steps, CODE_RATE, progress=(0, steps), **options)

    # 3. Generator and code together, held in place away from the pivot.
    generator = None
    if steps > code_steps:
        frozen, motion = None if views else copy.deepcopy(tuned), motion.detach()
        tuned.requires_grad_(True)

        def generator_loss(step: int) -> Tensor:
            if views and step % OWN_EVERY:
                target, seen = views[step % len(views)]
                moved = networks.refined(w_plus, networks.deform(seen, own.memory), reference)
                return _difference(moved, target, recognizer, whole)
            loss = loss_of(networks.refined(w_plus, motion, reference))
            return loss if views else loss + LOCALITY_WEIGHT * _locality(networks, frozen, w_plus, own, random)

        parameters = [{"params": list(tuned.parameters())}, {"params": [w_plus]}]
        rate, progress = learning_rate or GENERATOR_RATE, (code_steps, steps)
        descend(parameters, generator_loss, steps - code_steps, rate, progress=progress, **options)
        generator = finished(tuned, dtype)

    w_plus = w_plus.detach().to(dtype)
    with torch.no_grad():
        styles = tuned.to_stylespace(w_plus.to(next(tuned.parameters()).dtype))
    return replace(
        identity,
        w_plus=w_plus,
        styles=[style.to(dtype) for style in styles],
        generator=generator or identity.generator,
    )


def _difference(
    output: Tensor, target: Tensor, recognizer: IdentityNetwork | None, weight: Tensor, apart: Tensor | None = None
) -> Tensor:
    """Pixels by their weight and, to the recognizer, persons, whatever lies `apart`; both `(1, 1, size, size)`."""
    loss = portrait_loss(output, target, weight)
    return loss if recognizer is None else loss + IDENTITY_WEIGHT * likeness_loss(recognizer, output, target, apart)


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


def likeness_loss(recognizer: IdentityNetwork, image: Tensor, target: Tensor, apart: Tensor | None = None) -> Tensor:
    """1 - cosine of an identity network's embeddings, plus distance of its feature maps, whatever lies `apart`."""
    output, expected = recognizer.crop(image), recognizer.crop(target)
    if apart is not None:
        output = output.lerp(expected, recognizer.crop(apart))
    embedding, features = recognizer.compare(output, expected)
    return embedding + features


def eyes_and_mouth(image: Tensor) -> Tensor:
    """1 in the eyes and the mouth of an aligned image and 0 elsewhere, soft at borders: `(1, 1, size, size)`."""
    place = (torch.arange(image.shape[-1]).to(image) + 0.5) / image.shape[-1]
    distances = [
        ((place - x) / rx).square() + ((place[:, None] - y) / ry).square() for (x, y), (rx, ry) in MOVING_REGIONS
    ]
    return (1.0 - 4.0 * (torch.stack(distances).amin(0).sqrt() - 1.0)).clamp(0.0, 1.0)[None, None]


def _locality(
    networks: TuningNetworks, frozen: nn.Module, w_plus: Tensor, own: Face, random: torch.Generator
) -> Tensor:
    """How far the tuned generator has moved from the frozen one, between the pivot and random codes."""
    with torch.no_grad():
        sampled = frozen.sample_latents(LOCALITY_BATCH, 1.0, random)  # (batch, num_latents, style_dim)
        codes = w_plus + LOCALITY_REACH * (sampled - w_plus)  # (batch, num_latents, style_dim)
        noise = torch.randn(LOCALITY_BATCH, *own.motion.shape[1:], generator=random).to(own.motion)
        generic = own.motion + MOTION_SPREAD * own.motion.std() * noise
        motion = networks.deform(generic, own.memory)
        expected = networks.show(codes, motion, frozen)
    return F.l1_loss(networks.show(codes, motion), expected)


def _pixel_weight(image: Tensor, apart: Tensor | None = None) -> Tensor:
    """Weight of each pixel `(1, 1, size, size)`, mean 1: the face counts more than the border, what lies apart not."""
    mask = torch.from_numpy(soft_mask(image.shape[-1])).to(image)[None, None]
    weight = 1 + (FACE_WEIGHT - 1) * mask
    if apart is not None:
        weight = weight * (1 - apart)
    return weight / weight.mean()
