"""What a frame is made of in Video2StyleGAN: pose, local expression and residual motion (sec. 3.3, eq. 1-3 and 10).

    w_base  = w_ref^p + residual motion, on rows 3..7 of W+             eq. 10
    s_local = alpha s_ref + beta s_j        on X_s                      eq. 1
    s       = s_local + gamma s_base        on X_s                      eq. 2
    s       = zeta s_ref + (1 - zeta) s_base    elsewhere, rows 3..7    eq. 3

s_ref, s_j and s_base are the styles A(w) of w_ref^p, of the driving frame and of w_base; X_s are the channels of eyes,
nose and mouth. In all other rows s is s_ref. With the paper's alpha = -1, beta = gamma = 1 a local channel takes the
driver's value plus the residual motion; a frame that is the reference itself gives s_ref exactly.

Eq. 10 is printed as w_ref^p + (w_{j-1} - w_j), which undoes one step of the motion. Read as steps that add up it is
w_ref^p + (w_j - w_0). Both are here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vivface.errors import OptionError

RESIDUAL_ROWS = range(3, 8)  # of W+
ResidualMode = Literal["cumulative", "printed"]
RESIDUAL_MODES = ("cumulative", "printed")


@dataclass(frozen=True)
class Weights:
    """The weights of eq. 1-3; the defaults are those of appendix F.

    Attributes:
        alpha, beta (`float`): Of the reference's and of the driver's local channels.
        gamma (`float`): Of the residual motion's local channels.
        zeta (`float`): How much of the reference stays in the other channels of rows 3..7, 0 to 1.

    Raises:
        OptionError: If a weight is no number, or zeta is outside of [0, 1].
    """

    alpha: float = -1.0
    beta: float = 1.0
    gamma: float = 1.0
    zeta: float = 0.5

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 10:
                raise OptionError(f"`{name}` is {value!r}; expected a number from -10 to 10.")
        if not 0 <= self.zeta <= 1:
            raise OptionError(f"`zeta` is {self.zeta!r}; expected 0 to 1.")


def residual_motion(codes: Tensor, first: Tensor, before: Tensor, mode: ResidualMode = "cumulative") -> Tensor:
    """What is added to w_ref^p in eq. 10.

    Args:
        codes (`torch.Tensor` of shape `(batch, num_latents, style_dim)`): W+ of consecutive frames, w_j.
        first (`torch.Tensor` of shape `(1, num_latents, style_dim)`): W+ of the clip's first frame, w_0.
        before (`torch.Tensor` of shape `(1, num_latents, style_dim)`): W+ of the frame before the first of these.
        mode (`str`, *optional*, defaults to `"cumulative"`): `"cumulative"`: w_j - w_0; `"printed"`: w_{j-1} - w_j.

    Returns:
        `torch.Tensor` of shape `(batch, len(RESIDUAL_ROWS), style_dim)`.
    """
    rows = slice(RESIDUAL_ROWS.start, RESIDUAL_ROWS.stop)
    if mode == "cumulative":
        return (codes - first)[:, rows]
    return (torch.cat([before, codes[:-1]]) - codes)[:, rows]


def with_residual(w_plus: Tensor, residual: Tensor) -> Tensor:
    """w_base of eq. 10: codes `(batch, num_latents, style_dim)` with a motion added to rows 3..7."""
    base = w_plus.clone()
    base[:, RESIDUAL_ROWS.start : RESIDUAL_ROWS.stop] += residual
    return base


def compose(
    reference: Sequence[Tensor],
    driver: Sequence[Tensor],
    base: Sequence[Tensor],
    local: Sequence[Tensor],
    weights: Weights,
    rows: Sequence[int] | None = None,
) -> list[Tensor]:
    """The styles of frames (eq. 1-3).

    Args:
        reference, driver, base (sequences of `torch.Tensor` of shape `(batch, channels)`): s_ref, s_j and s_base, one a
            layer.
        local (sequence of `torch.Tensor` of shape `(channels,)`): Whether a channel is in X_s; bool.
        weights (`Weights`): alpha, beta, gamma, zeta.
        rows (sequence of `int`, *optional*): The row of W+ that every layer reads; by default the layer's number.

    Returns:
        `list[torch.Tensor]`: One a layer, `(batch, channels)`.
    """
    styles = []
    rows = range(len(reference)) if rows is None else rows
    for row, s_ref, s_j, s_base, mask in zip(rows, reference, driver, base, local, strict=True):
        mask = mask.to(s_ref.device)
        moved = weights.alpha * s_ref + weights.beta * s_j + weights.gamma * s_base  # eq. 1, 2
        other = s_base + weights.zeta * (s_ref - s_base) if row in RESIDUAL_ROWS else s_ref  # eq. 3
        styles.append(torch.where(mask, moved, other))
    return styles
