"""Codes of what a render is known to show: motion codes of its controls and pose, identity codes of its identity.

The autodecoder stage learns both together with the generator; the supervised stage teaches them to the encoder.
"""

from __future__ import annotations

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

ANGLES = [0, 1]  # of a pose: yaw and pitch; roll is measured against the image, not against the crop
POINTS = 2 * 68  # labels that are landmarks
ANGLE_IMPORTANCE, POINT_IMPORTANCE = 6.0, 0.3  # of a label in a code at initialisation, controls being 1
CODE_RMS = 0.5  # root mean square of the motion codes at initialisation
EMBEDDING_STD = 0.5  # of the identity embeddings at initialisation


def motion_labels(controls: Tensor, pose: Tensor, landmarks: Tensor) -> Tensor:
    """Everything that is known about motions, concatenated.

    Args:
        controls (`torch.Tensor` of shape `(..., K)`): Of the renderer, about 0 to 1.
        pose (`torch.Tensor` of shape `(..., 3)`): Yaw, pitch and roll, degrees.
        landmarks (`torch.Tensor` of shape `(..., 68, 2)`): In fractions of the crop, averaged over identities: where
            the face is and how it moves, and hardly whose it is.

    Returns:
        `torch.Tensor` of shape `(..., K + 2 + 136)`: Controls, yaw, pitch, landmarks.
    """
    return torch.cat([controls, pose[..., ANGLES], landmarks.flatten(-2)], -1)


class MotionLabelEncoder(ModelMixin, ConfigMixin):
    """Motion codes as a linear map of the ground-truth labels, which are standardised first.

    Args:
        labels (`int`): Number of labels, see `motion_labels`.
        motion_codes (`int`): Motion codes.
        style_dim (`int`): Width of a code.
    """

    @register_to_config
    def __init__(self, labels: int, motion_codes: int, style_dim: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(labels))
        self.register_buffer("std", torch.ones(labels))
        importance = torch.ones(labels)
        importance[-POINTS:] = POINT_IMPORTANCE
        importance[-POINTS - len(ANGLES) : -POINTS] = ANGLE_IMPORTANCE
        self.register_buffer("importance", importance * CODE_RMS / importance.square().sum().sqrt())
        self.linear = nn.Linear(labels, motion_codes * style_dim)
        nn.init.normal_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def measure(self, labels: Tensor) -> None:
        """Take mean and standard deviation from examples.

        Args:
            labels (`torch.Tensor` of shape `(examples, labels)`): At least two.
        """
        self.mean.copy_(labels.mean(0))
        self.std.copy_(labels.std(0).clamp_min(1e-2))

    def forward(self, labels: Tensor) -> Tensor:
        """Motion codes of labels.

        Args:
            labels (`torch.Tensor` of shape `(..., labels)`): See `motion_labels`.

        Returns:
            `torch.Tensor` of shape `(..., motion_codes, style_dim)`.
        """
        codes = self.linear(self.standardize(labels).clamp(-4, 4) * self.importance)
        return codes.unflatten(-1, (self.config.motion_codes, self.config.style_dim))

    def standardize(self, labels: Tensor) -> Tensor:
        """Labels `(..., K)`, or their first K entries, with mean 0 and standard deviation 1."""
        count = labels.shape[-1]
        return (labels - self.mean[:count]) / self.std[:count]

    def decode(self, change: Tensor) -> tuple[Tensor, Tensor]:
        """Change of controls and angles that a change of codes stands for, by least squares.

        Landmarks are left out: their share of a code is so small that decoding them would magnify every error.

        Args:
            change (`torch.Tensor` of shape `(..., motion_codes, style_dim)`): Differences of codes.

        Returns:
            `tuple[torch.Tensor, torch.Tensor]`: `(..., controls)` and `(..., 2)`, in standard deviations.
        """
        with torch.autocast(change.device.type, enabled=False):
            weight = self.linear.weight.float().detach()
            inverse = torch.linalg.solve(weight.T @ weight, weight.T) / self.importance[:, None]
            labels = change.float().flatten(-2) @ inverse[:-POINTS].T
        return labels[..., : -len(ANGLES)], labels[..., -len(ANGLES) :]


class IdentityEmbeddings(ModelMixin, ConfigMixin):
    """One free identity code per synthetic identity, the same for all layers.

    Args:
        seeds (`list[int]`): The identities, in the order of the codes; no seed twice.
        style_dim (`int`): Width of a code.
    """

    @register_to_config
    def __init__(self, seeds: list[int], style_dim: int):
        super().__init__()
        self.codes = nn.Parameter(torch.randn(len(seeds), style_dim) * EMBEDDING_STD)
        sorted_seeds, order = torch.tensor(seeds, dtype=torch.long).sort()
        self.register_buffer("sorted_seeds", sorted_seeds, persistent=False)
        self.register_buffer("order", order, persistent=False)

    def rows(self, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Where the codes of identities are; stays on the device.

        Args:
            seeds (`torch.Tensor` of shape `(...)`): Identities, int64.

        Returns:
            `tuple[torch.Tensor, torch.Tensor]`: Rows of `codes` and whether the identity has a code, both `(...)`; the
            row of an identity without a code is arbitrary.
        """
        place = torch.searchsorted(self.sorted_seeds, seeds.contiguous()).clamp_max(len(self.sorted_seeds) - 1)
        return self.order[place], self.sorted_seeds[place] == seeds

    def forward(self, seeds: Tensor) -> Tensor:
        """Codes `(..., style_dim)` of identities `(...)`, which must all have one."""
        return self.codes[self.rows(seeds)[0]]


def code_error(codes: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of codes, as a fraction of the target codes' variance.

    Args:
        codes (`torch.Tensor` of shape `(frames, codes, width)`): Estimates.
        target (`torch.Tensor` of the same shape): Float32, without a gradient.

    Returns:
        `torch.Tensor`: 0-d; 1 for codes that are always the mean.
    """
    variance = (target - target.mean(0)).square().mean().clamp_min(1e-4)
    return (codes.float() - target).square().mean() / variance


def motion_code_errors(encoder: MotionLabelEncoder, codes: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Errors of motion codes, and of the controls and angles decoded from them.

    Args:
        encoder (`MotionLabelEncoder`): Decodes the codes.
        codes (`torch.Tensor` of shape `(frames, codes, width)`): Estimates.
        target (`torch.Tensor` of the same shape): Float32, without a gradient.

    Returns:
        `dict[str, torch.Tensor]`: `motion_codes` (see `code_error`), `controls` and `angles` (mean square, in
            variances).
    """
    controls, angles = encoder.decode(codes.float() - target)
    return {
        "motion_codes": code_error(codes, target),
        "controls": controls.square().mean(),
        "angles": angles.square().mean(),
    }


def identity_code_error(codes: Tensor, seeds: Tensor, embeddings: IdentityEmbeddings) -> Tensor:
    """Mean squared error of identity codes, as a fraction of the variance of the learned embeddings.

    Args:
        codes (`torch.Tensor` of shape `(frames, num_latents, style_dim)`): Estimates, W+.
        seeds (`torch.Tensor` of shape `(frames,)`): Identities; those without an embedding do not count.
        embeddings (`IdentityEmbeddings`): The targets.

    Returns:
        `torch.Tensor`: 0-d; 0 if no identity has an embedding.
    """
    table = embeddings.codes.detach()
    rows, known = embeddings.rows(seeds)
    error = (codes.float() - table[rows][:, None]).square().mean((1, 2))
    error = (error * known).sum() / known.sum().clamp_min(1)
    return error / table.var(0).mean().clamp_min(1e-4)
