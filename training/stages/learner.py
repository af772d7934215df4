"""The networks, averaged weights and optimisers of a run: how they are built, stepped, saved and restored."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn

from training.arguments import LoopOptions, OptimizerOptions, Preset
from training.networks import build_network
from training.optim import Average, build_optimizer, learning_rate
from vivface.errors import CheckpointError


@dataclass
class Progress:
    """Progress of a run.

    Attributes:
        step (`int`): Steps done.
        images (`int`): Training images seen, over all processes.
        seconds (`float`): Duration, over all pieces of the run.
        batches (`int`): Items of the data set used, over all processes.
    """

    step: int = 0
    images: int = 0
    seconds: float = 0.0
    batches: int = 0

    def fraction(self, loop: LoopOptions) -> float:
        """Fraction of the run that is done, in [0, 1]: by steps or by the clock, whichever is further."""
        by_clock = self.seconds / (60.0 * loop.minutes) if loop.minutes > 0 else 0.0
        return min(1.0, max(self.step / max(loop.steps, 1), by_clock))


class Learner:
    """Networks and optimisers of a run.

    Args:
        preset (`Preset`): The run's options.
        accelerator (`Accelerator`): Device, precision and processes.

    Attributes:
        networks (`dict[str, nn.Module]`): All networks, in training mode if trained.
        trained (`set[str]`): Names of the networks that are trained (and in the checkpoint).
        averages (`dict[str, Average]`): Averaged weights, of some of them.
        optimizers (`dict[str, torch.optim.Optimizer]`): By name.
        progress (`Progress`): Updated by the loop.
    """

    def __init__(self, preset: Preset, accelerator: Accelerator):
        self.preset = preset
        self.accelerator = accelerator
        self.device = accelerator.device
        self.networks: dict[str, nn.Module] = {}
        self.trained: set[str] = set()
        self.averages: dict[str, Average] = {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.progress = Progress()
        self._part, self._parts = 0, 1  # of a step whose gradients are accumulated
        self._calls: Counter[str] = Counter()
        self._sums: dict[tuple[str, int], dict[Tensor, Tensor]] = {}

    def make(self, network_class: type[nn.Module], name: str, **defaults: Any) -> nn.Module:
        """Build a network as the preset's `networks.<name>` describes it.

        Args:
            network_class (`type`): A diffusers `ModelMixin`.
            name (`str`): Key in `networks`.
            defaults: Constructor arguments where the preset gives none.

        Raises:
            OptionError: See `build_network`.
        """
        given = self.preset.networks.get(name, {})
        return build_network(network_class, given if "pretrained" in given else {**defaults, **given}, name)

    def is_pretrained(self, name: str) -> bool:
        """Whether the preset loads a network from a checkpoint."""
        return "pretrained" in self.preset.networks.get(name, {})

    def add_network(self, name: str, network: nn.Module, trained: bool = True, average: bool = False) -> nn.Module:
        """Register a network and move it to the device.

        Args:
            name (`str`): Key in `Stage.networks` and subfolder of the checkpoint.
            network (`nn.Module`): The network.
            trained (`bool`, *optional*, defaults to True): Else it is frozen and not in the checkpoint.
            average (`bool`, *optional*, defaults to False): Keep averaged weights, which the checkpoint then holds.

        Returns:
            `nn.Module`: `network`.
        """
        network = network.to(self.device)
        if self.preset.loop.channels_last:
            network = network.to(memory_format=torch.channels_last)
        network.train(trained).requires_grad_(trained)
        self.networks[name] = network
        if trained:
            self.trained.add(name)
        if average:
            self.averages[name] = Average(network, self.preset.loop.ema_half_life, self.preset.loop.ema_rampup)
        return network

    def add_optimizer(self, name: str, *networks: str, parameters: Iterable | None = None) -> None:
        """Add the preset's `optimizers.<name>`.

        Args:
            name (`str`): Key in `optimizers`.
            networks (`str`): Names of networks to train whole.
            parameters (iterable, *optional*): Parameters in place of networks, or groups: dicts of `params` and,
                optionally, `lr_scale`, a factor of the optimiser's learning rate.
        """
        options = self.preset.optimizers.setdefault(name, OptimizerOptions())
        if parameters is None:
            parameters = [p for network in networks for p in self.networks[network].parameters()]
        self.optimizers[name] = build_optimizer(parameters, options)

    def averaged(self, name: str) -> nn.Module:
        """The averaged copy of a network if it has one, else the network itself."""
        return self.averages[name].network if name in self.averages else self.networks[name]

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """Context of mixed precision where the preset asks for it."""
        enabled = self.preset.loop.precision == "bf16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled):
            yield

    def fraction(self) -> float:
        """Fraction of the run that is done, in [0, 1]."""
        return self.progress.fraction(self.preset.loop)

    def begin_part(self, part: int, parts: int) -> None:
        """The next `step` is part `part` of `parts` of one step: only in the last do optimisers step."""
        self._part, self._parts = part, parts
        self._calls.clear()

    def update(self, name: str, loss: Tensor) -> None:
        """Backpropagate a loss and step an optimiser; gradients on networks of other optimisers are dropped.

        Clears old gradients first, averages new ones over the parts of a step and over processes, makes them finite,
        clips, and steps with the learning rate of the current step.

        Args:
            name (`str`): Of the optimiser.
            loss (`torch.Tensor`): 0-d.
        """
        optimizer, options = self.optimizers[name], self.preset.optimizers[name]
        for each in self.optimizers.values():
            each.zero_grad(set_to_none=True)
        loss.backward()
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if self._parts > 1 and not (parameters := self._accumulate(name, parameters)):
            return
        gradients = [p.grad for p in parameters]
        if self.accelerator.num_processes > 1:
            self._average_gradients(gradients)
        for gradient in gradients:
            torch.nan_to_num(gradient, nan=0.0, posinf=1e5, neginf=-1e5, out=gradient)
        if options.clip > 0:
            nn.utils.clip_grad_norm_(parameters, options.clip)
        rate = learning_rate(options, self.progress.step, self.fraction())
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)
        optimizer.step()

    def _accumulate(self, name: str, parameters: list[Tensor]) -> list[Tensor]:
        """Add gradients to those of earlier parts; in the last part they become the parameters' own."""
        call, self._calls[name] = self._calls[name], self._calls[name] + 1
        sums = self._sums.setdefault((name, call), {})
        for p in parameters:
            share = p.grad / self._parts
            sums[p] = sums[p] + share if p in sums else share
        if self._part < self._parts - 1:
            return []
        for p, total in self._sums.pop((name, call)).items():
            p.grad = total
        return list(sums)

    def _average_gradients(self, gradients: list[Tensor]) -> None:
        flat = torch.cat([g.flatten() for g in gradients])
        flat = self.accelerator.reduce(flat, reduction="mean")
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def share_buffers(self) -> None:
        """Give all processes the statistics (batch norms, mean latents) of the first one, as DDP does."""
        if self.accelerator.num_processes == 1:
            return
        buffers = [b for name in sorted(self.trained) for b in self.networks[name].buffers() if b.is_floating_point()]
        if buffers:
            flat = broadcast(torch.cat([b.flatten().float() for b in buffers]), from_process=0)
            for buffer, part in zip(buffers, flat.split([b.numel() for b in buffers]), strict=True):
                buffer.copy_(part.view_as(buffer))

    def update_averages(self, images: int) -> None:
        """Move the averaged weights after a step of `images` images."""
        self.share_buffers()
        for name, average in self.averages.items():
            average.update(self.networks[name], images, self.progress.images)

    # Checkpoints.

    def extra_state(self) -> dict[str, Any]:
        """Further state to keep over a resume (tensors and plain values)."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what `extra_state` gave.

        Raises:
            CheckpointError: If the state belongs to another stage.
        """
        if state:
            raise CheckpointError(f"the state holds {sorted(state)} that stage {self.preset.stage!r} does not know")

    def checkpoint_extra(self, folder: Path) -> None:  # noqa: B027 (optional)
        """Write further files beside the networks of a checkpoint.

        Args:
            folder (`Path`): Of the checkpoint.
        """

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resume needs, besides the random states that the accelerator keeps."""
        return {
            "networks": {name: self.networks[name].state_dict() for name in sorted(self.trained)},
            "averages": {name: average.network.state_dict() for name, average in self.averages.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "progress": vars(self.progress).copy(),
            "extra": self.extra_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state of the same preset."""
        for name in sorted(self.trained):
            self.networks[name].load_state_dict(state["networks"][name])
        for name, average in self.averages.items():
            average.network.load_state_dict(state["averages"][name])
        for name, optimizer in self.optimizers.items():
            scales = [group.get("lr_scale") for group in optimizer.param_groups]
            optimizer.load_state_dict(state["optimizers"][name])
            for group, scale in zip(optimizer.param_groups, scales, strict=True):
                if scale is not None:
                    group["lr_scale"] = scale  # the preset's: it may differ in this piece
        self.progress = Progress(**state["progress"])
        if "batches" not in state["progress"]:  # a state of an earlier version
            self.progress.batches = self.progress.step * self.accelerator.num_processes
        self.load_extra_state(state["extra"])

    def save_checkpoint(self, folder: Path) -> None:
        """Write each trained network (averaged where there is an average) to `folder/<name>` with `save_pretrained`."""
        for name in sorted(self.trained):
            network = self.averaged(name)
            if hasattr(network, "save_pretrained"):
                network.save_pretrained(folder / name)
        self.checkpoint_extra(folder)
