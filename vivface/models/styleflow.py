"""StyleFlow: a conditional continuous normalising flow of W.

Abdal et al., StyleFlow: Attribute-conditioned Exploration of StyleGAN-generated Images using Conditional Continuous
Normalizing Flows (ACM TOG 2021), sec. 4. A chain of a moving batch norm, one flow and another batch norm:

    dy/dt = f(y, (t, a)),   y(0) = norm(w),   z = norm(y(T))

The condition a are 17 numbers: nine of the light (spherical harmonics), then gender, glasses, yaw, pitch, baldness,
beard, age and expression. Every layer of f is (W x + b) sigmoid(Wg c + bg) + Wb c with c = (t, a).

Equation and integration are ours: Dormand and Prince's method of order 5(4), "A family of embedded Runge-Kutta
formulae" (J. Comput. Appl. Math. 1980), table 2, with the usual control of its step. Gradients pass through it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from vivface.models.precision import PrecisionMixin

EPSILON = 1e-4  # of the norms
MAX_STEPS = 1000
# Dormand-Prince 5(4)
NODES = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
MATRIX = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
FIFTH = (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0.0)
FOURTH = (5179 / 57600, 0.0, 7571 / 16695, 393 / 640, -92097 / 339200, 187 / 2100, 1 / 40)


class GatedLinear(nn.Module):
    """(W x + b) sigmoid(Wg c + bg) + Wb c.

    Args:
        dim (`int`): Entries of x and of the result.
        conditions (`int`): Entries of c.
    """

    def __init__(self, dim: int, conditions: int):
        super().__init__()
        self.linear = nn.Linear(dim, dim)
        self.gate = nn.Linear(conditions, dim)
        self.bias = nn.Linear(conditions, dim, bias=False)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x `(batch, rows, dim)`, condition `(batch, conditions)` -> `(batch, rows, dim)`."""
        return self.linear(x) * torch.sigmoid(self.gate(condition))[:, None] + self.bias(condition)[:, None]


class Velocity(nn.Module):
    """f: layers with tanh between them.

    Args:
        dim (`int`): Entries of a code.
        conditions (`int`): Of the condition, without the time.
        layers (`int`): Layers.
    """

    def __init__(self, dim: int, conditions: int, layers: int):
        super().__init__()
        self.layers = nn.ModuleList(GatedLinear(dim, conditions + 1) for _ in range(layers))

    def forward(self, time: Tensor, y: Tensor, condition: Tensor) -> Tensor:
        """dy/dt `(batch, rows, dim)` at a time (0-d)."""
        c = torch.cat([time.expand(len(condition), 1), condition], dim=1)
        for number, layer in enumerate(self.layers):
            y = layer(torch.tanh(y) if number else y, c)
        return y


class FlowNorm(nn.Module):
    """Batch norm by stored statistics, invertible; its scale is exp(weight).

    Args:
        dim (`int`): Entries of a code.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_var", torch.ones(dim))

    def forward(self, x: Tensor, reverse: bool = False) -> Tensor:
        """Codes `(..., dim)` to normed ones, or back."""
        deviation = (self.running_var + EPSILON).sqrt()
        if reverse:
            return (x - self.bias) * torch.exp(-self.weight) * deviation + self.running_mean
        return (x - self.running_mean) / deviation * torch.exp(self.weight) + self.bias


class StyleFlow(PrecisionMixin, ModelMixin, ConfigMixin):
    """The flow. At the defaults it is the published one.

    Args:
        style_dim (`int`, *optional*, defaults to 512): Entries of a code of W.
        conditions (`int`, *optional*, defaults to 17): Entries of the condition.
        layers (`int`, *optional*, defaults to 6): Layers of f.
        tolerance (`float`, *optional*, defaults to 1e-5): Absolute and relative error of a step.
    """

    @register_to_config
    def __init__(self, style_dim: int = 512, conditions: int = 17, layers: int = 6, tolerance: float = 1e-5):
        super().__init__()
        self.first_norm = FlowNorm(style_dim)
        self.velocity = Velocity(style_dim, conditions, layers)
        self.sqrt_end_time = nn.Parameter(torch.ones(()))
        self.last_norm = FlowNorm(style_dim)

    def forward(self, codes: Tensor, condition: Tensor, reverse: bool = False) -> Tensor:
        """Codes of W to z under a condition, or back.

        Args:
            codes (`torch.Tensor` of shape `(batch, rows, style_dim)`): w, or z if `reverse`; every row is a code.
            condition (`torch.Tensor` of shape `(batch, conditions)`): Light and attributes.
            reverse (`bool`, *optional*, defaults to False): From z to w.

        Returns:
            `torch.Tensor` of shape `(batch, rows, style_dim)`.

        Raises:
            ValueError: If a shape is wrong.
        """
        dim, count = self.config.style_dim, self.config.conditions
        if codes.ndim != 3 or codes.shape[2] != dim:
            raise ValueError(f"`codes` has shape {tuple(codes.shape)}; expected (batch, rows, {dim}).")
        if condition.shape != (len(codes), count):
            raise ValueError(f"`condition` has shape {tuple(condition.shape)}; expected ({len(codes)}, {count}).")
        end = self.sqrt_end_time.square()
        start, stop = (end, torch.zeros_like(end)) if reverse else (torch.zeros_like(end), end)
        before, after = (self.last_norm, self.first_norm) if reverse else (self.first_norm, self.last_norm)
        y = integrate(
            lambda time, y: self.velocity(time, y, condition),
            before(codes, reverse),
            start,
            stop,
            self.config.tolerance,
        )
        return after(y, reverse)


def integrate(
    velocity: Callable[[Tensor, Tensor], Tensor], y: Tensor, start: Tensor, stop: Tensor, tolerance: float
) -> Tensor:
    """Solve dy/dt = velocity(t, y) from `start` to `stop`.

    Args:
        velocity (callable): Time (0-d) and y to dy/dt.
        y (`torch.Tensor`): At `start`.
        start, stop (`torch.Tensor`, 0-d): Times; `stop` may be the earlier one.
        tolerance (`float`): Absolute and relative error of a step, as root mean square.

    Returns:
        `torch.Tensor`: y at `stop`.

    Raises:
        RuntimeError: If more than a thousand steps would be needed.
    """
    whole = stop - start
    done, share = 0.0, 0.1  # of the way
    slope = velocity(start, y)
    for _ in range(MAX_STEPS):
        share = min(share, 1.0 - done)
        step = whole * share
        slopes = [slope]
        for node, row in zip(NODES[1:], MATRIX[1:], strict=True):
            inner = y + step * sum(factor * k for factor, k in zip(row, slopes, strict=True) if factor)
            slopes.append(velocity(start + whole * (done + node * share), inner))
        moved = y + step * sum(factor * k for factor, k in zip(FIFTH, slopes, strict=True) if factor)
        off = step * sum((a - b) * k for a, b, k in zip(FIFTH, FOURTH, slopes, strict=True))
        with torch.no_grad():
            scale = tolerance * (1 + torch.maximum(y.abs(), moved.abs()))
            error = float((off / scale).square().mean().sqrt())
        if error <= 1:
            y, slope, done = moved, slopes[-1], done + share
            if done >= 1 - 1e-9:
                return y
        share *= min(max(0.9 * max(error, 1e-10) ** -0.2, 0.2), 10.0)
    raise RuntimeError("the flow needs more than a thousand steps: its weights are damaged")
