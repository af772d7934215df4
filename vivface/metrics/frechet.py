"""Frechet distance of two sets of features (Heusel et al., NeurIPS 2017, eq. 6), from sums that are added to."""

from __future__ import annotations

import torch
from torch import Tensor


def frechet_distance(mean_a: Tensor, covariance_a: Tensor, mean_b: Tensor, covariance_b: Tensor) -> float:
    """|mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)) of two Gaussians with covariances A and B.

    tr (A B)^(1/2) is that of (A^(1/2) B A^(1/2))^(1/2), which is symmetric: no complex numbers, no offset.

    Args:
        mean_a, mean_b (`torch.Tensor` of shape `(dim,)`), covariance_a, covariance_b (`(dim, dim)`): float64.

    Returns:
        `float`: 0 or more.
    """
    values, vectors = torch.linalg.eigh(covariance_a)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ covariance_b @ root).clamp(min=0).sqrt().sum()
    distance = (mean_a - mean_b).square().sum() + covariance_a.trace() + covariance_b.trace() - 2 * cross
    return max(float(distance), 0.0)


class FeatureSums:
    """Mean and covariance of features, added to batch by batch (Chan, Golub, LeVeque, 1979): `dim^2` numbers in all.

    Attributes:
        count (`int`): Features so far.
    """

    def __init__(self):
        self.count = 0
        self.mean: Tensor | None = None
        self.scatter: Tensor | None = None  # sum of (x - mean)(x - mean)^T

    def update(self, features: Tensor) -> None:
        """Take features `(batch, dim)` in. Raises `ValueError` if they have another shape or are not finite."""
        if features.ndim != 2 or (self.mean is not None and features.shape[1] != len(self.mean)):
            raise ValueError(f"`features` has shape {tuple(features.shape)}; expected (batch, dim) of one dim.")
        if not torch.isfinite(features).all():
            raise ValueError("`features` holds numbers that are not finite.")
        if not len(features):
            return
        x = features.detach().double().cpu()
        mean = x.mean(0)
        self._merge(len(x), mean, (x - mean).T @ (x - mean))

    def merge(self, other: FeatureSums) -> None:
        """Take in what another has seen."""
        if other.count:
            self._merge(other.count, other.mean, other.scatter)

    def _merge(self, count: int, mean: Tensor, scatter: Tensor) -> None:
        if self.mean is None or self.scatter is None:
            self.count, self.mean, self.scatter = count, mean.clone(), scatter.clone()
            return
        total, step = self.count + count, mean - self.mean
        self.scatter += scatter + torch.outer(step, step) * (self.count * count / total)
        self.mean += step * (count / total)
        self.count = total

    @property
    def covariance(self) -> Tensor:
        """Of the sample, `(dim, dim)`, divided by `count - 1`."""
        if self.scatter is None or self.count < 2:
            raise ValueError(f"A covariance needs 2 or more features; there are {self.count}.")
        return self.scatter / (self.count - 1)

    def state(self) -> dict:
        """What `from_state` takes."""
        return {"count": self.count, "mean": self.mean, "scatter": self.scatter}

    @classmethod
    def from_state(cls, state: dict) -> FeatureSums:
        """The sums that `state` wrote."""
        sums = cls()
        sums.count, sums.mean, sums.scatter = state["count"], state["mean"], state["scatter"]
        return sums


class FrechetDistance:
    """Streaming Frechet distance of real and made features."""

    def __init__(self):
        self.real, self.made = FeatureSums(), FeatureSums()

    def update(self, real: Tensor, made: Tensor) -> None:
        """Take features `(batch, dim)` of both sets in; the numbers may differ."""
        self.real.update(real)
        self.made.update(made)

    def merge(self, other: FrechetDistance) -> None:
        """Take in what another has seen."""
        self.real.merge(other.real)
        self.made.merge(other.made)

    def compute(self) -> float | None:
        """The distance; None with fewer than 2 features of a set."""
        if min(self.real.count, self.made.count) < 2:
            return None
        return frechet_distance(self.real.mean, self.real.covariance, self.made.mean, self.made.covariance)

    def state(self) -> dict:
        """What `from_state` takes."""
        return {"real": self.real.state(), "made": self.made.state()}

    @classmethod
    def from_state(cls, state: dict) -> FrechetDistance:
        """The distance that `state` wrote."""
        distance = cls()
        distance.real, distance.made = FeatureSums.from_state(state["real"]), FeatureSums.from_state(state["made"])
        return distance
