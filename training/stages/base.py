"""What every stage of training shares: networks, averaged weights, optimisers, and one way to step them.

A stage is a class with four methods:

    class MyStage(Stage):
        options_class = MyOptions                       # dataclass filled from the preset's `options`

        def build(self):                                # networks, then optimisers
            self.add_network("encoder", self.make(HybridEncoder, "encoder"), average=True)
            self.add_network("generator", self.make(StyleGAN2Generator, "generator"), trained=False)
            self.add_optimizer("main", "encoder")

        def dataset(self):                              # dataset[i] is batch i, a dict of tensors
            return GridBatches(...)

        def step(self, batch):                          # one generator update; scalars for the log
            with self.autocast():
                loss = ...
            self.update("main", loss)
            return {"loss": loss}

        def sample_grid(self):                          # uint8 (H, W, 3), or None
            return ...

The loop in `train.py` does the rest: seeds, batches, learning rates, averages, log, samples, checkpoints, resume.
Networks are not wrapped for several processes; `update` averages gradients over them instead, which lets a
stage call any method of a network.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from training.arguments import LoopOptions, OptimizerOptions, Preset, fill
from training.grow import grow
from training.optim import build_optimizer, learning_rate
from vivface.errors import CheckpointError, OptionError


@dataclass
class Progress:
    """How far a run is. `images` counts training pictures over all processes, `seconds` all pieces of the run."""

    step: int = 0
    images: int = 0
    seconds: float = 0.0

    def fraction(self, loop: LoopOptions) -> float:
        """Part of the run that is done, in [0, 1]: by steps or by the clock, whichever is further."""
        by_clock = self.seconds / (60.0 * loop.minutes) if loop.minutes > 0 else 0.0
        return min(1.0, max(self.step / max(loop.steps, 1), by_clock))


class Average:
    """Exponential moving average of a network's weights (buffers are copied)."""

    def __init__(self, network: nn.Module, half_life: float, rampup: float):
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.half_life, self.rampup = half_life, rampup

    @torch.no_grad()
    def update(self, network: nn.Module, batch: int, images: int) -> None:
        """Move towards `network` after a step of `batch` pictures, `images` seen in all."""
        half_life = min(self.half_life, images * self.rampup) if self.rampup > 0 else self.half_life
        keep = 0.5 ** (batch / max(half_life, 1e-8))
        averaged, current = list(self.network.parameters()), list(network.parameters())
        torch._foreach_lerp_(averaged, [p.detach() for p in current], 1.0 - keep)
        for mine, theirs in zip(self.network.buffers(), network.buffers(), strict=True):
            mine.copy_(theirs)


def build_network(network_class: type[nn.Module], arguments: Mapping[str, Any], name: str) -> nn.Module:
    """Build a network from constructor arguments, or load it from `{pretrained: folder, subfolder: name}`.

    A loaded network becomes a larger one that begins with the same function by `grown: {argument: value}`.

    Raises:
        OptionError: If an argument is not one of the constructor's, the folder does not exist, or the network cannot
            be grown like this.
    """
    arguments = dict(arguments)
    if "pretrained" in arguments:
        folder, subfolder = Path(arguments.pop("pretrained")), arguments.pop("subfolder", None)
        grown = arguments.pop("grown", {})
        place = folder / subfolder if subfolder else folder
        if not place.is_dir():
            raise OptionError(f"networks.{name}.pretrained is {place}, which is no folder: give a saved {name}")
        if arguments:
            raise OptionError(f"networks.{name} has {sorted(arguments)[0]!r} beside 'pretrained': the folder decides")
        network = network_class.from_pretrained(place)
        return grow(network, **grown) if grown else network
    known = [n for n in inspect.signature(network_class.__init__).parameters if n != "self"]
    if unknown := [key for key in arguments if key not in known]:
        raise OptionError(f"networks.{name} has no option {unknown[0]!r}, expected one of: {', '.join(known)}")
    return network_class(**arguments)


@contextlib.contextmanager
def frozen(*networks: nn.Module) -> Iterator[None]:
    """Within the block no weight of `networks` asks for a gradient (gradients still flow through them)."""
    changed = [p for network in networks for p in network.parameters() if p.requires_grad]
    for p in changed:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in changed:
            p.requires_grad_(True)


def to_uint8(images: Tensor) -> np.ndarray:
    """(..., 3, H, W) in [-1, 1] -> uint8 (..., H, W, 3)."""
    return ((images.detach().float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).movedim(-3, -1).cpu().numpy()


def tile(rows: list[list[Tensor | np.ndarray]]) -> np.ndarray:
    """Rows of (3, S, S) pictures in [-1, 1] or uint8 (S, S, 3) -> one uint8 picture; short rows end in black."""
    pictures = [[p if isinstance(p, np.ndarray) else to_uint8(p) for p in row] for row in rows]
    size, width = pictures[0][0].shape[0], max(len(row) for row in pictures)
    canvas = np.zeros((len(pictures) * size, width * size, 3), np.uint8)
    for y, row in enumerate(pictures):
        for x, picture in enumerate(row):
            canvas[y * size : (y + 1) * size, x * size : (x + 1) * size] = picture
    return canvas


class Stage(ABC):
    """One phase of training; see the head of this file.

    Args:
        preset (`Preset`): The run's options.
        accelerator (`Accelerator`): Device, precision and processes.

    Attributes:
        networks (`dict[str, nn.Module]`): What `step` uses, in training mode if trained.
        trained (`set[str]`): Names of the networks that are trained (and checkpointed).
        averages (`dict[str, Average]`): Averaged copies, by the network's name.
        optimizers (`dict[str, torch.optim.Optimizer]`): By name.
        progress (`Progress`): Kept by the loop.
    """

    options_class: ClassVar[type | None] = None

    def __init__(self, preset: Preset, accelerator: Accelerator):
        self.preset = preset
        self.accelerator = accelerator
        self.device = accelerator.device
        self.options: Any = fill(self.options_class, preset.options, "options") if self.options_class else None
        self.networks: dict[str, nn.Module] = {}
        self.trained: set[str] = set()
        self.averages: dict[str, Average] = {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.progress = Progress()
        self.build()

    # What a stage says of itself.

    @abstractmethod
    def build(self) -> None:
        """Create networks (`add_network`) and optimisers (`add_optimizer`)."""

    @abstractmethod
    def dataset(self):
        """An object whose item `i` is batch `i`, a dict of tensors that depends on nothing but seed and `i`."""

    @abstractmethod
    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor | float]:
        """Train on one batch (already on the device); returns scalars for the log."""

    def sample_grid(self) -> np.ndarray | None:
        """A picture that shows the state of training: uint8 (H, W, 3)."""
        return None

    def batch_images(self, batch: dict[str, Tensor]) -> int:
        """Training pictures in a batch, for counting: those of its largest set."""
        return max(t.shape[:-3].numel() for t in batch.values() if t.dim() >= 4)

    def extra_state(self) -> dict[str, Any]:
        """Anything else to keep over a resume (tensors and plain values)."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what `extra_state` gave."""
        if state:
            raise CheckpointError(f"the state holds {sorted(state)} that stage {self.preset.stage!r} does not know")

    def checkpoint_extra(self, folder: Path) -> None:  # noqa: B027 (optional)
        """Write further files beside the networks of a checkpoint."""

    # Building blocks.

    def make(self, network_class: type[nn.Module], name: str, **defaults: Any) -> nn.Module:
        """Build network `name` from the preset's `networks.<name>`; `defaults` fill what it leaves out."""
        given = self.preset.networks.get(name, {})
        return build_network(network_class, given if "pretrained" in given else {**defaults, **given}, name)

    def add_network(self, name: str, network: nn.Module, trained: bool = True, average: bool = False) -> nn.Module:
        """Register a network: to the device, in the chosen memory order, trained or frozen, averaged or not."""
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
        """Add the preset's `optimizers.<name>` over whole networks, or over parameters or groups of them.

        A group is a dict of `params` and, if wanted, `lr_scale`, a factor of the optimiser's learning rate.
        """
        options = self.preset.optimizers.setdefault(name, OptimizerOptions())
        if parameters is None:
            parameters = [p for network in networks for p in self.networks[network].parameters()]
        self.optimizers[name] = build_optimizer(parameters, options)

    def check_data_size(self, size: int, name: str) -> None:
        """Raise OptionError unless the preset's pictures have the side that network `name` sees."""
        if self.preset.data.size != size:
            raise OptionError(f"data.size is {self.preset.data.size}, expected {size}, which networks.{name} sees")

    def averaged(self, name: str) -> nn.Module:
        """The averaged copy of a network if it has one, else the network itself."""
        return self.averages[name].network if name in self.averages else self.networks[name]

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """Mixed precision as the preset asks (nothing on float32)."""
        enabled = self.preset.loop.precision == "bf16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled):
            yield

    def fraction(self) -> float:
        """Part of the run that is done, in [0, 1]."""
        return self.progress.fraction(self.preset.loop)

    def update(self, name: str, loss: Tensor) -> None:
        """Backpropagate `loss` and step optimiser `name`; gradients that it left on other networks are dropped.

        Clears old gradients first, averages new ones over processes, makes them finite, clips, and steps with
        the learning rate of the present step.
        """
        optimizer, options = self.optimizers[name], self.preset.optimizers[name]
        for each in self.optimizers.values():
            each.zero_grad(set_to_none=True)
        loss.backward()
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
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

    def _average_gradients(self, gradients: list[Tensor]) -> None:
        flat = torch.cat([g.flatten() for g in gradients])
        flat = self.accelerator.reduce(flat, reduction="mean")
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def update_averages(self, images: int) -> None:
        """Move the averaged weights after a step of `images` pictures."""
        for name, average in self.averages.items():
            average.update(self.networks[name], images, self.progress.images)

    # Checkpoints.

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
        """Take back a state of the same preset."""
        for name in sorted(self.trained):
            self.networks[name].load_state_dict(state["networks"][name])
        for name, average in self.averages.items():
            average.network.load_state_dict(state["averages"][name])
        for name, optimizer in self.optimizers.items():
            scales = [group.get("lr_scale", 1.0) for group in optimizer.param_groups]
            optimizer.load_state_dict(state["optimizers"][name])
            for group, scale in zip(optimizer.param_groups, scales, strict=True):
                group["lr_scale"] = scale  # the preset's: it may have been changed for this piece
        self.progress = Progress(**state["progress"])
        self.load_extra_state(state["extra"])

    def save_checkpoint(self, folder: Path) -> None:
        """Write each trained network (averaged where there is an average) to `folder/<name>` by save_pretrained."""
        for name in sorted(self.trained):
            network = self.averaged(name)
            if hasattr(network, "save_pretrained"):
                network.save_pretrained(folder / name)
        self.checkpoint_extra(folder)
