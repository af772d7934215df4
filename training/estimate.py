"""What a run will need: memory and time, from two steps on a small batch."""

from __future__ import annotations

import time
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from training.stages.base import Stage

MEASURED = 2  # samples of the batch that is measured, where a batch can be cut


class SavedTensors:
    """Bytes that autograd keeps for the backward pass, on any device.

    Attributes:
        peak (`int`): Most bytes at one time so far, parameters not counted.
    """

    def __init__(self) -> None:
        self.peak = self._now = 0
        self._users: Counter[int] = Counter()

    @contextmanager
    def watch(self, networks: list[nn.Module]) -> Iterator[None]:
        """Count what is kept for `networks` within the block."""
        own = {p.untyped_storage().data_ptr() for network in networks for p in network.parameters()}

        def pack(tensor: Tensor) -> _Kept:
            storage = tensor.untyped_storage()
            place, size = storage.data_ptr(), storage.nbytes()
            kept = _Kept(tensor)
            if place not in own:
                self._users[place] += 1
                if self._users[place] == 1:
                    self._now += size
                    self.peak = max(self.peak, self._now)
                weakref.finalize(kept, self._release, place, size)
            return kept

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.tensor):
            yield

    def _release(self, place: int, size: int) -> None:
        self._users[place] -= 1
        if self._users[place] == 0:
            del self._users[place]
            self._now -= size


class _Kept:
    """A tensor that autograd keeps; ends with its graph."""

    def __init__(self, tensor: Tensor):
        self.tensor = tensor


def estimate(stage: Stage, batch: dict[str, Tensor]) -> dict[str, float]:
    """Train two steps and measure; the stage's weights change.

    Args:
        stage (`Stage`): Freshly built; nothing is written.
        batch (`dict[str, torch.Tensor]`): One of its data set.

    Returns:
        `dict[str, float]`: Megabytes (10^6 bytes) of `weights` (averages too), `gradients`, `optimisers`, `activations`
        for the preset's batch, their sum `memory`; seconds of a step of the preset's batch `step`, hours of the run
        `hours`, and the fraction of the batch that was measured `share`.
    """
    part = _cut(batch, stage.preset.data.batch)
    share = stage.batch_images(part) / stage.batch_images(batch)
    part = {name: tensor.to(stage.device) for name, tensor in part.items()}
    saved, networks = SavedTensors(), list(stage.networks.values())
    with saved.watch(networks):
        stage.step(part)
    stage.progress.step += 1
    _wait(stage.device)
    began = time.monotonic()
    stage.step(part)
    _wait(stage.device)
    seconds = (time.monotonic() - began) / share

    loop = stage.preset.loop
    averages = [average.network for average in stage.averages.values()]
    trained = [p for network in networks for p in network.parameters() if p.requires_grad]
    states = [value for o in stage.optimizers.values() for state in o.state.values() for value in state.values()]
    found = {
        "weights": sum(_bytes([*network.parameters(), *network.buffers()]) for network in [*networks, *averages]),
        "gradients": _bytes(trained),
        "optimisers": _bytes([value for value in states if isinstance(value, Tensor)]),
        "activations": saved.peak / share,
    }
    found = {name: value / 1e6 for name, value in found.items()}
    found["memory"] = sum(found.values())
    hours = loop.steps * loop.accumulate * seconds / 3600
    found |= {"step": seconds * loop.accumulate, "share": share}
    found["hours"] = min(hours, loop.minutes / 60) if loop.minutes > 0 else hours
    return found


def _cut(batch: dict[str, Tensor], size: int) -> dict[str, Tensor]:
    """The first samples of a batch of pairs; other batches stay whole."""
    if size <= MEASURED or any(len(tensor) != size for tensor in batch.values() if tensor.ndim):
        return batch
    return {name: tensor[:MEASURED] if tensor.ndim else tensor for name, tensor in batch.items()}


def _bytes(tensors: list[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def describe_estimate(found: dict[str, float], device: torch.device, processes: int) -> str:
    """The estimate for people."""
    parts = ", ".join(f"{name} {found[name]:.1f}" for name in ("weights", "gradients", "optimisers", "activations"))
    measured = "a whole batch" if found["share"] == 1 else f"{found['share']:.0%} of a batch, the rest in proportion"
    lines = [
        f"memory of a process: about {found['memory']:.1f} MB ({parts}), and workspace of the device",
        f"time: {found['step']:.3g} s a step on {device}, {found['hours']:.3g} hours the whole run "
        f"with {processes} process{'es' if processes > 1 else ''} like this one",
        f"measured on {measured}",
    ]
    return "\n".join(lines)
