"""Cyclic Manifold Adjustment: the generator learns source and driver together.

Oorloff and Yacoob, Robust One-Shot Face Video Re-enactment using Hybrid Latent Spaces of StyleGAN2 (ICCV 2023), eq.
15-18. A tuned generator G* shows the source under the driver's motion; what the frozen encoder reads of that image must
give back the source under its own motion, and the driver under the motion that was read:

    X        = G*(A*(W_S) + S_D)                    eq. 3
    W_c, S_c = E(X)                                 eq. 16
    I_S'     = G*(A*(W_c) + S_S)                    eq. 17
    I_D'     = G*(A*(W_D) + S_c)                    eq. 18
    L        = d(I_S', I_S) + d(I_D', I_D)          eq. 15, d = perceptual distance + mean square

With ViVFace's transformer, motion codes S become deformations T(S, memory) of the face that is shown.

The loss does not compare X itself with anything: the encoder decides what counts. So likeness of X to the source is
watched at a few driving frames, and the best step is kept.
"""

import torch
from torch import Tensor

from vivface.reenactment.progress import OnProgress
from vivface.reenactment.tuning import BestStep, Face, TuningNetworks, descend, synthesis_parameters

LEARNING_RATE = 1e-3
BATCH = 1  # driving frames a step
JUDGED = 4  # driving frames at which likeness is watched


def tune_cyclically(
    networks: TuningNetworks,
    source: Face,
    source_image: Tensor,
    driving_images: Tensor,
    steps: int,
    *,
    learning_rate: float | None = None,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> BestStep:
    """Tune `networks.generator` to the cycle of source and driver.

    Args:
        networks (`TuningNetworks`): Their generator is changed.
        source (`Face`): What E reads of the portrait.
        source_image (`torch.Tensor` of shape `(1, 3, image_size, image_size)`): The aligned portrait, in [-1, 1].
        driving_images (`torch.Tensor` of shape `(frames, 3, image_size, image_size)`): Aligned driving frames.
        steps (`int`): Optimiser steps, each with one random driving frame.
        learning_rate (`float`, *optional*): 0.001 by default.
        seed (`int`, *optional*, defaults to 0): Of the choice of frames.
        on_progress (callable, *optional*): Told before every step; may raise to stop.

    Returns:
        `BestStep`: The step that was kept.
    """
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        read = [networks.read(image[None]) for image in driving_images]
    drivers = Face(*(None if codes[0] is None else torch.cat(codes) for codes in zip(*read, strict=True)))
    watched = torch.linspace(0, len(driving_images) - 1, min(JUDGED, len(driving_images))).round().long()

    def shown() -> Tensor:
        return networks.pool(networks.show(source.w_plus, networks.deform(drivers.motion[watched], source.memory)))

    best = BestStep(networks, source_image, shown)

    def loss_of(_: int) -> Tensor:
        rows = torch.randint(len(driving_images), (BATCH,), generator=random)
        memory = None if drivers.memory is None else drivers.memory[rows]
        chosen = Face(drivers.w_plus[rows], drivers.motion[rows], memory)
        return cyclic_loss(networks, source, source_image, chosen, driving_images[rows])

    descend(
        synthesis_parameters(networks.generator),
        loss_of,
        steps,
        learning_rate or LEARNING_RATE,
        device=source_image.device,
        on_progress=on_progress,
        best=best,
    )
    best.restore()
    return best


def cyclic_loss(
    networks: TuningNetworks, source: Face, source_image: Tensor, driver: Face, driving_images: Tensor
) -> Tensor:
    """The cyclic loss of the module's docstring (eq. 15), a scalar.

    Args:
        networks (`TuningNetworks`): G*, E and, if there is one, T.
        source (`Face`), source_image (`torch.Tensor` of shape `(1, 3, image_size, image_size)`): The portrait.
        driver (`Face`), driving_images (`torch.Tensor` of shape `(batch, 3, image_size, image_size)`): Driving frames.
    """
    own = networks.deform(source.motion, source.memory)
    shown = networks.show(source.w_plus, networks.deform(driver.motion, source.memory))  # (batch, 3, size, size)
    cycle = networks.read(shown)
    own = own.expand(len(shown), *own.shape[1:])
    source_again = networks.pool(networks.show(cycle.w_plus, own))
    driver_again = networks.pool(networks.show(driver.w_plus, networks.deform(cycle.motion, driver.memory)))
    return networks.distance(source_again, source_image.expand_as(source_again)) + networks.distance(
        driver_again, driving_images
    )
