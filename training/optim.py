"""Optimisers by name, learning rates as plain functions of progress, averaged weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from training.arguments import OptimizerOptions


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
        start = {p: p.detach().clone() for p in parameters if "slow" not in self.state[p]}  # before the first step
        super().step()
        for p in parameters:
            state = self.state[p]
            if p in start:
                state["slow"] = start[p]
            if int(state["step"]) % self.period == 0:
                state["slow"].lerp_(p, self.alpha)
                p.copy_(state["slow"])
        return loss


def build_optimizer(
    parameters: Iterable[nn.Parameter] | Iterable[dict], options: OptimizerOptions
) -> torch.optim.Optimizer:
    """The optimiser that `options` describe.

    Args:
        parameters (iterable): Parameters, or groups of them.
        options (`OptimizerOptions`): Kind and settings.
    """
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "radam": torch.optim.RAdam, "ranger": Ranger}
    common = {"lr": options.lr, "betas": tuple(options.betas), "eps": options.eps}
    return kinds[options.kind](list(parameters), weight_decay=options.weight_decay, **common)


def learning_rate(options: OptimizerOptions, step: int, fraction: float) -> float:
    """Learning rate at a step: linear warm-up, then the chosen decay over the rest of the run.

    Args:
        options (`OptimizerOptions`): Height and shape of the schedule.
        step (`int`): Steps done so far.
        fraction (`float`): Fraction of the run that is done, in [0, 1].

    Returns:
        `float`: At most `options.lr`.
    """
    warm = min(1.0, (step + 1) / options.warmup) if options.warmup > 0 else 1.0
    done = min(max((fraction - options.decay_from) / max(1.0 - options.decay_from, 1e-9), 0.0), 1.0)
    shapes = {"constant": 1.0, "linear": 1.0 - done, "cosine": 0.5 * (1.0 + math.cos(math.pi * done))}
    return options.lr * warm * (options.final + (1.0 - options.final) * shapes[options.decay])


class Average:
    """Exponential moving average of a network's weights (buffers are copied).

    Args:
        network (`nn.Module`): Copied, as `Average.network`.
        half_life (`float`): In training images.
        rampup (`float`): The half-life is at most this fraction of the images seen so far; 0 for no such limit.
    """

    def __init__(self, network: nn.Module, half_life: float, rampup: float):
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.half_life, self.rampup = half_life, rampup

    @torch.no_grad()
    def update(self, network: nn.Module, batch: int, images: int) -> None:
        """Move towards `network` after a step of `batch` images, `images` seen in all."""
        half_life = min(self.half_life, images * self.rampup) if self.rampup > 0 else self.half_life
        average_weights(self.network, network, 0.5 ** (batch / max(half_life, 1e-8)))
        for average, current in zip(self.network.buffers(), network.buffers(), strict=True):
            average.copy_(current)


def average_weights(average: nn.Module, network: nn.Module, decay: float) -> None:
    """One step of an exponential moving average over parameters: `decay` * average + (1 - `decay`) * network."""
    current = [p.detach() for p in network.parameters()]
    get_ema_multi_avg_fn(decay)(list(average.parameters()), current, None)
