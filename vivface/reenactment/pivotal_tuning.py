"""Plain pivotal tuning: the generator learns one portrait at a fixed code.

Roich et al., Pivotal Tuning for Latent-based Editing of Real Images (ACM TOG 2022), sec. 3.2-3.3. The pivot is the
encoder's identity code under the portrait's own motion:

    L = perceptual(G*(A*(W) + S), I) + |G*(A*(W) + S) - I|^2 + locality

Locality keeps G* equal to G at codes that lie `LOCALITY_REACH` away from the pivot towards random ones.
"""

import copy

import torch
from torch import Tensor, nn

from vivface.reenactment.progress import OnProgress
from vivface.reenactment.tuning import BestStep, Face, TuningNetworks, descend, synthesis_parameters

LEARNING_RATE = 1e-3
# As published, for W+ of 18 x 512: how far to move, and the weights of its two distances. The published code draws one
# code a step.
LOCALITY_REACH = 30.0
LOCALITY_WEIGHT = 0.1


def tune_pivotally(
    networks: TuningNetworks,
    source: Face,
    image: Tensor,
    steps: int,
    *,
    learning_rate: float | None = None,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> BestStep:
    """Tune `networks.generator` to show a portrait at its own code and motion.

    Args:
        networks (`TuningNetworks`): Their generator is changed.
        source (`Face`): What E reads of the portrait, the pivot.
        image (`torch.Tensor` of shape `(1, 3, size, size)`): The aligned portrait at the generator's size, in [-1, 1].
        steps (`int`): Optimiser steps.
        learning_rate (`float`, *optional*): 0.001 by default, which suits small generators; published for 1024 x 1024:
            0.0003.
        seed (`int`, *optional*, defaults to 0): Of the random codes.
        on_progress (callable, *optional*): Told before every step; may raise to stop.

    Returns:
        `BestStep`: The step that was kept.
    """
    random = torch.Generator().manual_seed(seed)
    frozen = copy.deepcopy(networks.generator)
    with torch.no_grad():
        deformation = networks.deform(source.motion, source.memory)
    best = BestStep(networks, image, lambda: networks.show(source.w_plus, deformation))

    def loss_of(_: int) -> Tensor:
        loss = networks.distance(networks.show(source.w_plus, deformation), image)
        return loss + LOCALITY_WEIGHT * locality_loss(networks, frozen, source.w_plus, deformation, random)

    descend(
        synthesis_parameters(networks.generator),
        loss_of,
        steps,
        learning_rate or LEARNING_RATE,
        device=image.device,
        on_progress=on_progress,
        best=best,
    )
    best.restore()
    return best


def locality_loss(
    networks: TuningNetworks, frozen: nn.Module, pivot: Tensor, deformation: Tensor, random: torch.Generator
) -> Tensor:
    """Distance of the tuned generator's image to the frozen one's at one code beside the pivot.

    Args:
        networks (`TuningNetworks`), frozen (`torch.nn.Module`): With the tuned generator, and the generator as it was.
        pivot (`torch.Tensor` of shape `(1, num_latents, style_dim)`): Where the portrait is.
        deformation (`torch.Tensor` of shape `(1, motion_codes, style_dim)`): Under which motion to look.
        random (`torch.Generator`): Draws the code towards which to go.
    """
    with torch.no_grad():
        step = frozen.sample_latents(1, 1.0, random) - pivot
        length = step.norm()
        beside = pivot + step * (LOCALITY_REACH / length).clamp(max=1.0)  # not beyond the code itself
        expected = networks.show(beside, deformation, frozen)
    return networks.distance(networks.show(beside, deformation), expected)
