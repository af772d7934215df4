"""An identity adjusted by one of the tunings: portrait, pivotal, cyclic."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from vivface.reenactment.codes import IdentityCode
from vivface.reenactment.cyclic_tuning import tune_cyclically
from vivface.reenactment.pivotal_tuning import tune_pivotally
from vivface.reenactment.portrait_tuning import SeenView, tune_to_portrait
from vivface.reenactment.progress import OnProgress
from vivface.reenactment.tuning import Face, Tuning, TuningNetworks, finished

DRIVING_FRAMES = 64  # evenly spaced frames of the driving video that a tuning sees


def adjust(
    networks: TuningNetworks,
    identity: IdentityCode,
    image: Tensor,
    tuning: Tuning,
    *,
    driving_images: Tensor | None = None,
    views: Sequence[SeenView] = (),
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> IdentityCode:
    """Tune a copy of the generator, and with it perhaps the code, to a portrait.

    Args:
        networks (`TuningNetworks`): Copies of the pipeline's networks; their generator is the one that is tuned.
        identity (`IdentityCode`): The portrait's code; not changed.
        image (`torch.Tensor` of shape `(1, 3, size, size)`): The aligned portrait at the generator's size, in [-1, 1].
        tuning (`Tuning`): Method, steps, learning rate.
        driving_images (`torch.Tensor` of shape `(frames, 3, image_size, image_size)`, *optional*): Aligned driving
            frames, which `"cma"` needs.
        views (sequence of `SeenView`, *optional*): The portrait in other poses, for `"portrait"`.
        seed (`int`, *optional*, defaults to 0): Of what is drawn at random.
        on_progress (callable, *optional*): Told before every step; may raise to stop.

    Returns:
        `IdentityCode`: This very one if there are no steps.
    """
    if tuning.steps == 0:
        return identity
    options = dict(learning_rate=tuning.learning_rate, seed=seed, on_progress=on_progress)
    if tuning.method == "portrait":
        return tune_to_portrait(networks, identity, image, tuning.steps, views=views, **options)
    face = Face(
        *(None if code is None else code.float() for code in (identity.w_plus, identity.motion, identity.memory))
    )
    if tuning.method == "pti":
        tune_pivotally(networks, face, image.float(), tuning.steps, **options)
    else:
        reference, driving_images = identity.reference.float(), driving_images.float()
        tune_cyclically(networks, face, reference, driving_images, tuning.steps, **options)
    dtype = identity.w_plus.dtype
    with torch.no_grad():
        styles = [style.to(dtype) for style in networks.generator.to_stylespace(face.w_plus)]
    return replace(identity, styles=styles, generator=finished(networks.generator, dtype))
