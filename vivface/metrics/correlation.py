"""Correlation over time of what driver and result do (rho_AU, rho_GZ, rho_pose of the papers, by what is compared)."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from vivface.metrics.average import needs

LEAST_FRAMES = 3


class Correlation:
    """Pearson's correlation of every value over time, averaged over the values that move.

    Args:
        values (`int`): Values of a frame.
        still (`float`, *optional*, defaults to 1e-6): A value whose standard deviation in either video is lower does
            not count.
    """

    def __init__(self, values: int, still: float = 1e-6):
        regression = needs("torchmetrics.regression")
        self._pearson = regression.PearsonCorrCoef(num_outputs=values).set_dtype(torch.float64)
        self._values, self._still, self.count = values, still, 0

    def update(self, driving: Tensor, result: Tensor) -> None:
        """Take the values `(batch, values)` of consecutive frames in."""
        if driving.shape != result.shape or driving.ndim != 2 or driving.shape[1] != self._values:
            raise ValueError(
                f"`driving` and `result` have shapes {tuple(driving.shape)} and {tuple(result.shape)}; expected "
                f"(batch, {self._values}) for both."
            )
        self.count += len(driving)
        a, b = driving.double(), result.double()
        self._pearson.update(*((a[:, 0], b[:, 0]) if self._values == 1 else (a, b)))

    def each(self) -> Tensor:
        """Correlations `(values,)`; NaN where a value stands still or frames are fewer than 3."""
        if self.count < LEAST_FRAMES:
            return torch.full((self._values,), torch.nan, dtype=torch.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values that stand still: they are left out below
            rho = self._pearson.compute().reshape(-1).double()
        spread = torch.minimum(self._pearson.var_x, self._pearson.var_y).reshape(-1) / (self.count - 1)
        return torch.where(spread.sqrt() > self._still, rho, torch.nan)

    def compute(self) -> float | None:
        """Their mean; None if nothing moves."""
        rho = self.each()
        return float(rho.nanmean()) if not rho.isnan().all() else None
