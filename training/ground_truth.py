"""Codes of what a render is known to show: motion codes of its controls and pose, identity codes of its person.

The autodecoder stage learns both together with the generator; the known-truth stage teaches them to the encoder.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

ANGLES = [0, 1]  # of a pose: yaw and pitch; roll is measured against the picture, not against the crop
ANGLE_IMPORTANCE, POINT_IMPORTANCE = 6.0, 0.3  # of a truth in a code at the start, controls being 1
CODE_SIZE = 0.5  # root mean square of the motion codes at the start
CODE_SPREAD = 0.5  # of the identity codes at the start


def truth_vector(controls: Tensor, pose: Tensor, landmarks: Tensor) -> Tensor:
    """Everything that is known about motions, side by side.

    Args:
        controls (`torch.Tensor` of shape `(..., K)`): Of the renderer, about 0 to 1.
        pose (`torch.Tensor` of shape `(..., 3)`): Degrees.
        landmarks (`torch.Tensor` of shape `(..., 68, 2)`): In fractions of the crop, averaged over people: where the
            face is and how it moves, and hardly whose it is.

    Returns:
        `torch.Tensor` of shape `(..., K + 2 + 136)`
    """
    return torch.cat([controls, pose[..., ANGLES], landmarks.flatten(-2)], -1)


class TruthCodes(ModelMixin, ConfigMixin):
    """Motion codes as a linear map of the truth, which is brought to mean 0 and spread 1 first.

    Args:
        truths (`int`): Entries of a truth, see `truth_vector`.
        motion_codes (`int`): Motion codes.
        style_dim (`int`): Entries of one.
    """

    @register_to_config
    def __init__(self, truths: int, motion_codes: int, style_dim: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(truths))
        self.register_buffer("spread", torch.ones(truths))
        importance = torch.ones(truths)
        importance[-2 * 68 :] = POINT_IMPORTANCE
        importance[-2 * 68 - len(ANGLES) : -2 * 68] = ANGLE_IMPORTANCE
        self.register_buffer("importance", importance * CODE_SIZE / importance.square().sum().sqrt())
        self.linear = nn.Linear(truths, motion_codes * style_dim)
        nn.init.normal_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def measure(self, truths: Tensor) -> None:
        """Take mean and spread from examples `(examples, truths)`."""
        self.mean.copy_(truths.mean(0))
        self.spread.copy_(truths.std(0).clamp_min(1e-2))

    def forward(self, truth: Tensor) -> Tensor:
        """`(..., truths)` -> `(..., motion_codes, style_dim)`"""
        codes = self.linear(self.standard(truth).clamp(-4, 4) * self.importance)
        return codes.unflatten(-1, (self.config.motion_codes, self.config.style_dim))

    def standard(self, truth: Tensor) -> Tensor:
        """Truths `(..., K)`, or their first K entries, brought to mean 0 and spread 1."""
        known = truth.shape[-1]
        return (truth - self.mean[:known]) / self.spread[:known]

    def read(self, change: Tensor) -> tuple[Tensor, Tensor]:
        """What a change of codes says of controls and angles, by least squares, in units of their spread.

        Landmarks are left out: they take so little room in a code that to read them out would magnify every error.

        Args:
            change (`torch.Tensor` of shape `(..., motion_codes, style_dim)`): Differences of codes.

        Returns:
            `tuple[torch.Tensor, torch.Tensor]`: `(..., controls)` and `(..., 2)`
        """
        with torch.autocast(change.device.type, enabled=False):
            weight = self.linear.weight.float().detach()
            inverse = torch.linalg.solve(weight.T @ weight, weight.T) / self.importance[:, None]
            truths = change.float().flatten(-2) @ inverse[: -2 * 68].T
        return truths[..., : -len(ANGLES)], truths[..., -len(ANGLES) :]


class PersonCodes(ModelMixin, ConfigMixin):
    """One free identity code a person, the same for all layers.

    Args:
        seeds (`list[int]`): The people, in the order of the codes.
        style_dim (`int`): Entries of a code.
    """

    @register_to_config
    def __init__(self, seeds: list[int], style_dim: int):
        super().__init__()
        self.codes = nn.Parameter(torch.randn(len(seeds), style_dim) * CODE_SPREAD)
        self._rows = {seed: row for row, seed in enumerate(seeds)}

    def rows(self, seeds: Tensor) -> Tensor:
        """Rows of people `(...)`, given by their seeds; -1 for people without a code."""
        return torch.tensor([self._rows.get(int(seed), -1) for seed in seeds.flatten()]).view(seeds.shape)

    def forward(self, seeds: Tensor) -> Tensor:
        """`(...)` seeds of people that have codes -> `(..., style_dim)`"""
        return self.codes[self.rows(seeds).to(self.codes.device)]


def code_error(found: Tensor, true: Tensor) -> Tensor:
    """Mean squared error of codes `(frames, codes, width)`, as a part of the true codes' variance."""
    variance = (true - true.mean(0)).square().mean().clamp_min(1e-4)
    return (found.float() - true).square().mean() / variance


def code_errors(codes: TruthCodes, found: Tensor, true: Tensor) -> dict[str, Tensor]:
    """How wrong motion codes are, as codes ("truth") and in what they say of "controls" and "angles".

    Args:
        codes (`TruthCodes`): The map that reads the codes.
        found, true (`torch.Tensor` of shape `(frames, codes, width)`): Motion codes; no gradient goes into the true.
    """
    controls, angles = codes.read(found.float() - true)
    return {
        "truth": code_error(found, true),
        "controls": controls.square().mean(),
        "angles": angles.square().mean(),
    }


def code_terms(codes: TruthCodes, found: Tensor, true: Tensor, options: Any) -> dict[str, Tensor]:
    """The same as terms of a loss: weighted by `truth`, `controls` and `angles` of a stage's options."""
    return {name: getattr(options, name) * error for name, error in code_errors(codes, found, true).items()}


def person_error(found: Tensor, seeds: Tensor, people: PersonCodes) -> Tensor:
    """Mean squared error of identity codes, as a part of the variance of those that an autodecoder run found.

    Args:
        found (`torch.Tensor` of shape `(frames, latents, width)`): Codes.
        seeds (`torch.Tensor` of shape `(frames,)`): Whose; people without a known code do not count.
        people (`PersonCodes`): The known codes.
    """
    everyone = people.codes.detach()
    rows = people.rows(seeds)
    known = rows >= 0
    if not known.any():
        return found.new_zeros(())
    wanted = everyone[rows[known].to(everyone.device)]
    error = (found[known.to(found.device)].float() - wanted[:, None]).square().mean()
    return error / everyone.var(0).mean().clamp_min(1e-4)
