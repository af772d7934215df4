"""What the ways of tuning a generator to a portrait share: networks, options, steps, distances, the best step.

The ways themselves: `portrait_tuning` (the checkpoint's own), `pivotal_tuning` (PTI) and `cyclic_tuning` (Cyclic
Manifold Adjustment). All of them change a copy of the generator; every other network is a frozen copy.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vivface.errors import OptionError
from vivface.models.identity import feature_distance
from vivface.models.refinement import generate_refined
from vivface.reenactment.progress import OnProgress, Progress, ignore_progress
from vivface.runtime import compute_slot

METHODS = ("portrait", "pti", "cma")
DEFAULT_STEPS = {"portrait": 100, "pti": 100, "cma": 100}
JUDGE_EVERY = 5  # steps between two looks at the likeness


@dataclass(frozen=True)
class Tuning:
    """Which tuning, and how long.

    Attributes:
        method (`str`): `"portrait"` (the checkpoint's own), `"pti"` (pivotal tuning) or `"cma"` (Cyclic Manifold
            Adjustment).
        steps (`int`, *optional*): Optimiser steps; 0 for none; by default 100.
        learning_rate (`float`, *optional*): Of the generator; by default as suits the method.

    Raises:
        OptionError: If a value is out of its range.
    """

    method: str = "portrait"
    steps: int | None = None
    learning_rate: float | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise OptionError(f"There is no tuning {self.method!r}: give one of {', '.join(METHODS)}.")
        if self.steps is None:
            object.__setattr__(self, "steps", DEFAULT_STEPS[self.method])
        if not isinstance(self.steps, int) or isinstance(self.steps, bool) or self.steps < 0:
            raise OptionError(f"The steps of the tuning are {self.steps!r}; expected a whole number, 0 or more.")
        rate = self.learning_rate
        if rate is not None and not (isinstance(rate, int | float) and 0 < rate <= 1):
            raise OptionError(f"`learning_rate` is {rate!r}; expected a number above 0 and at most 1.")

    @classmethod
    def parse(cls, adapt: int | str | Tuning) -> Tuning:
        """What `adapt` asks for: steps of the checkpoint's own tuning, `"METHOD"` or `"METHOD:STEPS"`.

        Raises:
            OptionError: If it is none of these.
        """
        if isinstance(adapt, Tuning):
            return adapt
        if isinstance(adapt, int):
            return cls("portrait", adapt)
        if not isinstance(adapt, str):
            raise OptionError(f"`adapt` is {adapt!r}; expected steps, a method, or METHOD:STEPS such as 'cma:50'.")
        method, _, steps = adapt.partition(":")
        if method.strip().lstrip("-").isdecimal() and not steps:
            return cls("portrait", int(method))
        if method not in METHODS or (":" in adapt and not steps.strip().lstrip("-").isdecimal()):
            raise OptionError(
                f"`adapt` is {adapt!r}; expected steps such as 100, one of {', '.join(METHODS)}, or METHOD:STEPS such "
                "as cma:50."
            )
        return cls(method, int(steps) if steps else None)


class Face(NamedTuple):
    """What E reads of aligned faces.

    Attributes:
        w_plus (`torch.Tensor` of shape `(batch, num_latents, style_dim)`): Identity codes.
        motion (`torch.Tensor` of shape `(batch, motion_codes, style_dim)`): Motion codes.
        memory (`torch.Tensor` of shape `(batch, tokens, style_dim)`, *optional*): What T attends to.
    """

    w_plus: Tensor
    motion: Tensor
    memory: Tensor | None = None


class TuningNetworks:
    """A system's networks for its tuning: copies in float32, in evaluation mode, without gradients.

    Args:
        generator (`torch.nn.Module`): G, the copy that is tuned.
        encoder (`torch.nn.Module`): E.
        transformer (`torch.nn.Module`, *optional*): T; without it, motion codes are deformations already.
        refinement (`torch.nn.Module`, *optional*): R.
        recognizer (`torch.nn.Module`, *optional*): Tells people apart.
        add_motion (callable, *optional*): `(generator, styles, deformation) -> styles`; by default the generator's
            own `add_motion`.
        face (`Face`, *optional*): What the system has read of the portrait, where E alone does not read it.
        draw (callable, *optional*): `(generator, w_plus, deformation) -> images`, in the place of G(A(W) + S').
    """

    def __init__(
        self,
        generator: nn.Module,
        encoder: nn.Module,
        transformer: nn.Module | None = None,
        refinement: nn.Module | None = None,
        recognizer: nn.Module | None = None,
        add_motion: Callable[[nn.Module, list[Tensor], Tensor], list[Tensor]] | None = None,
        face: Face | None = None,
        draw: Callable[[nn.Module, Tensor, Tensor], Tensor] | None = None,
    ):
        networks = (generator, encoder, transformer, refinement, recognizer)
        copies = [frozen_copy(network, torch.float32) for network in networks]
        self.generator, self.encoder, self.transformer, self.refinement, self.recognizer = copies
        self._add_motion = add_motion or (lambda network, styles, deformation: network.add_motion(styles, deformation))
        self.face, self._draw = face, draw

    def read(self, images: Tensor) -> Face:
        """E; gradients flow into the images.

        Args:
            images (`torch.Tensor` of shape `(batch, 3, size, size)`): RGB in [-1, 1], of any size.
        """
        code = self.encoder(self.pool(images))
        return Face(code.identity, code.motion, None if self.transformer is None else code.memory)

    def pool(self, images: Tensor) -> Tensor:
        """Images `(batch, 3, size, size)` at the size that E sees."""
        size = self.encoder.config.image_size
        if images.shape[-1] == size:
            return images
        return F.interpolate(images, (size, size), mode="bilinear", antialias=True)

    def deform(self, motion: Tensor, memory: Tensor | None) -> Tensor:
        """Motion codes `(batch, motion_codes, style_dim)` as deformations of the face whose memory this is."""
        return motion if self.transformer is None else self.transformer(motion, memory)

    def show(self, w_plus: Tensor, deformation: Tensor, generator: nn.Module | None = None) -> Tensor:
        """G(A(W) + S').

        Args:
            w_plus (`torch.Tensor` of shape `(batch or 1, num_latents, style_dim)`): Identity codes.
            deformation (`torch.Tensor` of shape `(batch, motion_codes, style_dim)`): What `deform` gave.
            generator (`torch.nn.Module`, *optional*): Another one than that which is tuned.

        Returns:
            `torch.Tensor` of shape `(batch, 3, size, size)`: RGB, about [-1, 1].
        """
        generator = generator or self.generator
        if self._draw is not None:
            return self._draw(generator, w_plus, deformation)
        return generator(styles=self.styles(w_plus, deformation, generator))

    def refined(self, w_plus: Tensor, deformation: Tensor, reference: Tensor) -> Tensor:
        """`show`, then R if there is one; `reference` is the portrait `(1, 3, image_size, image_size)`."""
        if self.refinement is None:
            return self.show(w_plus, deformation)
        return generate_refined(self.generator, self.refinement, self.styles(w_plus, deformation), reference)[1]

    def styles(self, w_plus: Tensor, deformation: Tensor, generator: nn.Module | None = None) -> list[Tensor]:
        """A(W) + S', `(batch, channels)` a layer."""
        generator = generator or self.generator
        return self._add_motion(generator, generator.to_stylespace(w_plus), deformation)

    def distance(self, images: Tensor, targets: Tensor, squares: float = 1.0) -> Tensor:
        """How differently images look: perceptual distance plus mean square (a scalar, 0 for equal images).

        The perceptual distance is that of the recognizer's feature maps, in the place of LPIPS, whose weights no
        checkpoint carries; without a recognizer there is only the mean square.

        Args:
            images, targets (`torch.Tensor` of shape `(batch, 3, size, size)`): RGB in [-1, 1].
            squares (`float`, *optional*, defaults to 1.0): Weight of the mean square.
        """
        loss = squares * F.mse_loss(images, targets)
        if self.recognizer is None:
            return loss
        with torch.no_grad():
            wanted = self.recognizer.features(targets)
        return loss + feature_distance(self.recognizer.features(images), wanted)


class BestStep:
    """Keeps the generator's weights at the step whose images the recognizer finds most like the portrait.

    Args:
        networks (`TuningNetworks`): The tuned generator and the recognizer; without one the last step is kept.
        portrait (`torch.Tensor` of shape `(1, 3, size, size)`): RGB in [-1, 1].
        images (callable `() -> torch.Tensor`): Makes the images to judge, `(batch, 3, size, size)`.

    Attributes:
        likeness (`float`): Mean cosine of the kept step, in [-1, 1]; -inf before the first look.
        step (`int`): The kept step.
    """

    def __init__(self, networks: TuningNetworks, portrait: Tensor, images: Callable[[], Tensor]):
        self.likeness, self.step = float("-inf"), 0
        self._networks, self._images = networks, images
        self._weights: dict[str, Tensor] | None = None
        with torch.no_grad():
            self._person = None if networks.recognizer is None else networks.recognizer.embed(portrait)

    @torch.no_grad()
    def look(self, step: int) -> None:
        """Judge the generator after a step."""
        if self._person is None:
            return
        made = self._networks.recognizer.embed(self._images())
        likeness = float((made * self._person).sum(1).mean())
        if likeness > self.likeness:
            self.likeness, self.step = likeness, step
            self._weights = {name: value.clone() for name, value in self._networks.generator.state_dict().items()}

    def restore(self) -> None:
        """Put the weights of the best step back."""
        if self._weights is not None:
            self._networks.generator.load_state_dict(self._weights)


def descend(
    parameters: Iterable,
    loss_of_step: Callable[[int], Tensor],
    steps: int,
    rate: float,
    *,
    device: torch.device,
    decay: bool = False,
    on_progress: OnProgress | None = None,
    progress: tuple[int, int] | None = None,
    best: BestStep | None = None,
) -> None:
    """Take steps of Adam down a loss; every step is one turn on the CPU.

    Args:
        parameters (iterable of `torch.nn.Parameter` or of groups): What moves.
        loss_of_step (callable `int -> torch.Tensor`): The loss of a step, which counts from 0.
        steps (`int`): How many.
        rate (`float`): Learning rate.
        device (`torch.device`): Where the work is done.
        decay (`bool`, *optional*, defaults to False): Lower the rate to a tenth over the last half of the steps.
        on_progress (callable, *optional*): Told before every step; may raise to stop.
        progress (`tuple[int, int]`, *optional*): Steps that were done before, and steps in all.
        best (`BestStep`, *optional*): Looks before the first step, every few steps, and after the last.
    """
    on_progress = on_progress or ignore_progress
    before, total = progress or (0, steps)
    optimizer = torch.optim.Adam(parameters, lr=rate)
    for step in range(steps):
        on_progress(Progress("adapting", before + step, total))
        with torch.enable_grad(), compute_slot(device):
            if best is not None and step % JUDGE_EVERY == 0:
                best.look(step)
            if decay:
                _set_rate(optimizer, rate, step, steps)
            loss = loss_of_step(step)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    if best is not None and steps:
        with compute_slot(device):
            best.look(steps)


def synthesis_parameters(generator: nn.Module) -> list[nn.Parameter]:
    """Everything of a generator but its mapping network, set to take gradients."""
    chosen = [value for name, value in generator.named_parameters() if not name.startswith("mapping.")]
    for parameter in chosen:
        parameter.requires_grad_(True)
    return chosen


def finished(generator: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A tuned generator for use: without gradients, in the pipeline's precision."""
    for parameter in generator.parameters():
        parameter.grad = None
    return nn.Module.to(generator.requires_grad_(False), dtype).eval()


def frozen_copy(network: nn.Module | None, dtype: torch.dtype) -> nn.Module | None:
    """A copy in evaluation mode that takes no gradients, if there is a network."""
    if network is None:
        return None
    # Not the diffusers class's `to`, which warns of every cast.
    return nn.Module.to(copy.deepcopy(network), dtype).eval().requires_grad_(False)


def _set_rate(optimizer: torch.optim.Optimizer, rate: float, step: int, steps: int) -> None:
    """Full rate, then linearly down to a tenth over the last half of the steps."""
    left = (steps - step) / max(steps, 1)
    for group in optimizer.param_groups:
        group["lr"] = rate * max(0.1, min(1.0, 2 * left))
