"""Optimisers by name, and learning rates as plain functions of progress."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn

from training.arguments import OptimizerOptions
from vivface.errors import OptionError


class Ranger(torch.optim.RAdam):
    """RAdam with gradient centralisation, inside Lookahead (the optimiser family of the published recipe).

    Every gradient with more than one axis has its mean over all axes but the first removed before the RAdam step
    (Yong et al., Gradient Centralization). After every `period` steps the weights return to slow weights that
    have moved by `alpha` of the way to the fast ones (Zhang et al., Lookahead Optimizer).

    Args:
        alpha (`float`, *optional*, defaults to 0.5): Share of the way that the slow weights follow, in (0, 1].
        period (`int`, *optional*, defaults to 6): Steps between two meetings of slow and fast weights.
    """

    def __init__(self, params: Iterable, lr: float = 1e-3, alpha: float = 0.5, period: int = 6, **kwargs):
        super().__init__(params, lr=lr, **kwargs)
        self.alpha, self.period = alpha, period

    @torch.no_grad()
    def step(self, closure: Callable | None = None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        parameters = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        for p in parameters:
            if p.grad.dim() > 1:
                p.grad.sub_(p.grad.mean(dim=tuple(range(1, p.grad.dim())), keepdim=True))
        super().step()
        for p in parameters:
            state = self.state[p]
            if "slow" not in state:  # slow weights start where the first step ends
                state["slow"] = p.detach().clone()
            elif int(state["step"]) % self.period == 0:
                state["slow"].lerp_(p, self.alpha)
                p.copy_(state["slow"])
        return loss


def build_optimizer(
    parameters: Iterable[nn.Parameter] | Iterable[dict], options: OptimizerOptions
) -> torch.optim.Optimizer:
    """The optimiser that `options` describe.

    Raises:
        OptionError: If `options.kind` is unknown.
    """
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "radam": torch.optim.RAdam, "ranger": Ranger}
    if options.kind not in kinds:
        raise OptionError(f"optimizer kind {options.kind!r} is unknown, expected one of: {', '.join(kinds)}")
    common = {"lr": options.lr, "betas": tuple(options.betas), "eps": options.eps}
    return kinds[options.kind](list(parameters), weight_decay=options.weight_decay, **common)


def learning_rate(options: OptimizerOptions, step: int, fraction: float) -> float:
    """Learning rate at a step: linear warm-up, then the chosen decay over the rest of the run.

    Args:
        options (`OptimizerOptions`): Height and shape of the schedule.
        step (`int`): Steps done so far.
        fraction (`float`): Part of the run that is done, in [0, 1].

    Raises:
        OptionError: If `options.decay` is unknown.
    """
    grown = min(1.0, (step + 1) / options.warmup) if options.warmup > 0 else 1.0
    done = min(max((fraction - options.decay_from) / max(1.0 - options.decay_from, 1e-9), 0.0), 1.0)
    shapes = {"constant": 1.0, "linear": 1.0 - done, "cosine": 0.5 * (1.0 + math.cos(math.pi * done))}
    if options.decay not in shapes:
        raise OptionError(f"optimizer decay {options.decay!r} is unknown, expected one of: {', '.join(shapes)}")
    height = shapes[options.decay]
    return options.lr * grown * (options.final + (1.0 - options.final) * height)
