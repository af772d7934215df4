"""Numbers of frames by gradient descent: head pose (eq. 2) and the 32 values (eq. 3, 7-12, algorithm 1).

Expressive Talking Head Video Encoding in StyleGAN2 Latent Space, sec. 3.2. The numbers of a frame are moved until the
generator's image of the identity latent looks like the frame S_t:

    L = L_m + L_e + L_p + L_ID                                               eq. 9, without L_FP
    L_m = LPIPS + L2 + IF on mouth, chin and jaw                             eq. 10
    L_e = LPIPS + L2 + IF on eyes and brows                                  eq. 11
    L_p = L2 + IF on the pupils                                              eq. 12
    IF  = |(S^_t - S^_{t-1}) - (S_t - S_{t-1})|^2                            ours; the text has no definition

A region counts by its mean, all terms by 1. LPIPS is replaced by the recognizer's features, weighted by the region;
L_FP (face parsing) is left out, as no network here parses faces. The optimiser is Adam (the text names none); it treats
every number by itself, so frames that are fitted together do not influence one another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vivface.models.identity import IdentityNetwork, feature_distance_maps

Render = Callable[[Tensor, Tensor], Tensor]  # yaw and pitch (batch, 2) in degrees, values (batch, 32) -> images
FACE, MOUTH, JAW, EYES, GAZE, BROWS = range(6)  # of the maps, as `vivface.faces.regions.attribute_maps` gives them
POSE_UNIT = 20.0  # degrees
VALUE_RATE, POSE_RATE = 0.05, 0.02


@dataclass
class Targets:
    """Frames to fit.

    Attributes:
        images (`torch.Tensor` of shape `(batch, 3, size, size)`): S_t, RGB in [-1, 1].
        maps (`torch.Tensor` of shape `(batch, 6, size, size)`): Regions, in [0, 1].
        blink (`torch.Tensor` of shape `(batch,)`): Boolean: gaze is not seen, and its values stay.
    """

    images: Tensor
    maps: Tensor
    blink: Tensor

    def at(self, rows: slice | list[int]) -> Targets:
        """Some of the frames."""
        return Targets(self.images[rows], self.maps[rows], self.blink[rows])


@dataclass
class Before:
    """The frames before, of which the inter-frame loss IF speaks: S_{t-1} and S^_{t-1}, and whether there is one.

    Attributes:
        images, made (`torch.Tensor` of shape `(batch, 3, size, size)`): RGB.
        there (`torch.Tensor` of shape `(batch,)`): 1, or 0 in the first frame.
    """

    images: Tensor
    made: Tensor
    there: Tensor


class FrameFitter:
    """Fits numbers to frames of one identity.

    Args:
        render (callable): Yaw and pitch `(batch, 2)` in degrees and values `(batch, 32)` to images; differentiable.
        recognizer (`IdentityNetwork`, *optional*): Its features take the place of LPIPS, its embedding is that of
            L_ID; without it both are left out.
        rates (`torch.Tensor` of shape `(32,)`, *optional*): Factors of the learning rate (eq. 8); 1 by default.
        gaze (`torch.Tensor` of shape `(32,)`, *optional*): Boolean: values that move the pupils.
        whole (`float`, *optional*, defaults to 0.0): Weight of the mean square over the image, for a basis that
            reaches all of it.
        person (`torch.Tensor` of shape `(1, 3, size, size)`, *optional*): Image of the identity latent, for L_ID.
        rate (`float`, *optional*, defaults to 0.05): Step length of values, in their own unit.
        reads_pose, reads_values (`bool`, *optional*, default to False): Whether frames start from what was read of
            them, instead of the frame before.
    """

    def __init__(
        self,
        render: Render,
        recognizer: IdentityNetwork | None = None,
        rates: Tensor | None = None,
        gaze: Tensor | None = None,
        whole: float = 0.0,
        person: Tensor | None = None,
        rate: float = VALUE_RATE,
        reads_pose: bool = False,
        reads_values: bool = False,
    ):
        self.render, self.reads_pose, self.reads_values = render, reads_pose, reads_values
        self._recognizer, self._rates, self._gaze, self._whole = recognizer, rates, gaze, whole
        self._rate = rate
        self._person = None
        if recognizer is not None and person is not None:
            with torch.no_grad():
                self._person = recognizer.embed(person)

    def fit_pose(self, targets: Targets, pose: Tensor, steps: int) -> Tensor:
        """Yaw and pitch (eq. 2): LPIPS of the face, and mean square of the face without eyes, brows and mouth.

        Args:
            targets (`Targets`): Frames.
            pose (`torch.Tensor` of shape `(batch, 2)`): Where to start, degrees.
            steps (`int`): Of Adam.

        Returns:
            `torch.Tensor` of shape `(batch, 2)`: Degrees.
        """
        maps = targets.maps
        rigid = maps[:, FACE] * (1 - maps[:, [MOUTH, EYES, BROWS]].amax(1))
        wanted = self._features(targets.images)
        nothing = torch.zeros(len(pose), 32).to(pose)

        def loss(turn: Tensor) -> Tensor:
            images = self.render(turn * POSE_UNIT, nothing)
            total = _square(images, targets.images, rigid)
            return total + self._perceptual(self._features(images), wanted, maps[:, FACE])

        return descend(loss, pose / POSE_UNIT, steps, POSE_RATE) * POSE_UNIT

    def fit_values(
        self, targets: Targets, pose: Tensor, values: Tensor, steps: int, before: Before | None = None
    ) -> Tensor:
        """The 32 values (eq. 3, algorithm 1).

        Args:
            targets (`Targets`): Frames.
            pose (`torch.Tensor` of shape `(batch, 2)`): Yaw and pitch, degrees.
            values (`torch.Tensor` of shape `(batch, 32)`): Where to start.
            steps (`int`): Of Adam.
            before (`Before`, *optional*): The frames before; without them there is no inter-frame loss.

        Returns:
            `torch.Tensor` of shape `(batch, 32)`.
        """
        wanted = self._features(targets.images)
        rates = torch.ones_like(values) if self._rates is None else self._rates.to(values).expand_as(values)
        if self._gaze is not None:
            rates = rates * (1 - (targets.blink[:, None] & self._gaze[None].to(targets.blink.device)).to(rates))

        def loss(moved: Tensor) -> Tensor:
            images = self.render(pose, moved)
            return self.distance(images, targets, wanted, before)

        return descend(loss, values, steps, self._rate, rates)

    def distance(
        self, images: Tensor, targets: Targets, wanted: list[Tensor] | None = None, before: Before | None = None
    ) -> Tensor:
        """L of every frame, `(batch,)` (eq. 9)."""
        features, maps = self._features(images), targets.maps
        wanted = self._features(targets.images) if wanted is None else wanted
        total = images.new_zeros(len(images))
        for parts, perceptual in (((MOUTH, JAW), True), ((EYES, BROWS), True), ((GAZE,), False)):
            region = maps[:, list(parts)].amax(1)
            total = total + _square(images, targets.images, region)
            if perceptual:
                total = total + self._perceptual(features, wanted, region)
            if before is not None:
                change, own = targets.images - before.images, images - before.made
                total = total + before.there * _square(own, change, region)
        if self._whole:
            total = total + self._whole * (images - targets.images).square().flatten(1).mean(1)
        if self._person is not None:
            total = total + 1 - (self._recognizer.read(features) * self._person).sum(1)
        return total

    def _features(self, images: Tensor) -> list[Tensor]:
        if self._recognizer is None:
            return []
        return self._recognizer.features(self._recognizer.crop(images))

    def _perceptual(self, features: list[Tensor], wanted: list[Tensor], region: Tensor) -> Tensor:
        """Mean of the features' differences within a region `(batch, size, size)`, of every frame."""
        if self._recognizer is None:
            return region.new_zeros(len(region))
        region = self._recognizer.crop(region[:, None])
        stages = []
        for places in feature_distance_maps(features, wanted):
            weight = F.adaptive_avg_pool2d(region, places.shape[1:])[:, 0]
            stages.append((places * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp(min=1e-3))
        return torch.stack(stages).mean(0)


def fit_identity(
    show: Callable[[Tensor], Tensor],
    w_plus: Tensor,
    images: Tensor,
    recognizer: IdentityNetwork | None,
    steps: int,
    on_step: Callable[[int], None] | None = None,
    rate: float = 0.02,
) -> Tensor:
    """The identity latent that shows several frames best, their numbers held fixed.

    Args:
        show (callable): Identity latent `(1, num_latents, style_dim)` to the images of all frames.
        w_plus (`torch.Tensor` of shape `(1, num_latents, style_dim)`): Where to start.
        images (`torch.Tensor` of shape `(frames, 3, size, size)`): Frames, RGB in [-1, 1].
        recognizer (`IdentityNetwork`, *optional*): For its features, in the place of LPIPS.
        steps (`int`): Of Adam.
        on_step (callable, *optional*): Told the number of every step before it; may raise to stop.
        rate (`float`, *optional*, defaults to 0.02): Learning rate.

    Returns:
        `torch.Tensor` of shape `(1, num_latents, style_dim)`.
    """
    with torch.no_grad():
        wanted = None if recognizer is None else recognizer.features(recognizer.crop(images))

    def loss(moved: Tensor) -> Tensor:
        made = show(moved)
        total = 4 * F.mse_loss(made, images)
        if recognizer is not None:
            features = recognizer.features(recognizer.crop(made))
            total = total + torch.stack([m.mean() for m in feature_distance_maps(features, wanted)]).mean()
        return total

    return descend(loss, w_plus, steps, rate, on_step=on_step)


def descend(
    loss: Callable[[Tensor], Tensor],
    start: Tensor,
    steps: int,
    rate: float,
    rates: Tensor | None = None,
    on_step: Callable[[int], None] | None = None,
) -> Tensor:
    """Adam with a rate that falls to nothing by a cosine, and factors of its own for every number.

    Args:
        loss (callable): The moved numbers to losses, summed up.
        start (`torch.Tensor`): Where to start; not changed.
        steps (`int`): Steps; 0 returns the start.
        rate (`float`): First step length.
        rates (`torch.Tensor`, *optional*): Factors, of the shape of `start`.
        on_step (callable, *optional*): Told the number of every step before it; may raise to stop.

    Returns:
        `torch.Tensor`: The moved numbers.
    """
    numbers = start.detach().clone()
    mean, square = torch.zeros_like(numbers), torch.zeros_like(numbers)
    for step in range(steps):
        if on_step is not None:
            on_step(step)
        with torch.enable_grad():
            moved = numbers.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(loss(moved).sum(), moved)
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.99 * square + 0.01 * gradient.square()
        change = mean / (1 - 0.9 ** (step + 1)) / ((square / (1 - 0.99 ** (step + 1))).sqrt() + 1e-8)
        falling = 0.5 * (1 + torch.cos(torch.tensor(torch.pi * step / steps)))
        numbers = numbers - rate * float(falling) * change * (1.0 if rates is None else rates)
    return numbers


def _square(images: Tensor, targets: Tensor, region: Tensor) -> Tensor:
    """Mean square of every frame within its region `(batch, size, size)`."""
    places = (images - targets).square().mean(1) * region
    return places.flatten(1).sum(1) / region.flatten(1).sum(1).clamp(min=1.0)
