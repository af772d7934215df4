"""What a run writes while it goes on: scalars as lines of JSON, and sample grids."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml
from accelerate.tracking import GeneralTracker, on_main_process

from training.stages.base import Stage


class JsonLines(GeneralTracker):
    """Accelerate tracker that writes lines of JSON, and the options beside them.

    Args:
        path (`Path`): File to append to; `preset.yaml` goes into the same folder.
    """

    name = "jsonl"
    requires_logging_directory = False

    def __init__(self, path: Path):
        super().__init__()
        self.path = path

    @property
    def tracker(self) -> Path:
        """The file."""
        return self.path

    @on_main_process
    def store_init_configuration(self, values: dict) -> None:
        """Write the options in full."""
        self.path.with_name("preset.yaml").write_text(yaml.safe_dump(values, sort_keys=False))

    @on_main_process
    def log(self, values: dict, step: int | None = None, **kwargs) -> None:
        """Append one line."""
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")


class Means:
    """Running means of scalars; tensors are not read from the device before `take`."""

    def __init__(self) -> None:
        self.sums: dict[str, torch.Tensor | float] = {}
        self.counts: dict[str, int] = {}

    def add(self, scalars: dict[str, torch.Tensor | float]) -> None:
        """Add the scalars of one step."""
        for name, value in scalars.items():
            value = value.detach().float() if isinstance(value, torch.Tensor) else float(value)
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1

    @property
    def steps(self) -> int:
        """Steps since the last `take`."""
        return max(self.counts.values(), default=0)

    def take(self) -> dict[str, float]:
        """The means, and start again."""
        means = {name: float(total) / self.counts[name] for name, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        return means


def reduce_number(stage: Stage, value: float, reduction: str = "mean") -> float:
    """Mean or sum of a number over all processes, so that they decide alike.

    Args:
        stage (`Stage`): Its accelerator.
        value (`float`): Of this process.
        reduction (`str`, *optional*, defaults to `"mean"`): `"mean"` or `"sum"`.
    """
    if stage.accelerator.num_processes == 1:
        return value
    number = torch.tensor(value, device=stage.device, dtype=torch.float32)
    return stage.accelerator.reduce(number, reduction=reduction).item()


def write_log(stage: Stage, means: Means, images: int, seconds: float) -> None:
    """Log the means since the last call, and the speed. All processes must call it at the same step.

    Args:
        stage (`Stage`): Of the run.
        means (`Means`): Emptied.
        images (`int`): Training images per step, over all processes.
        seconds (`float`): Since the last call.

    Raises:
        FloatingPointError: On all processes, if a scalar of one of them is not finite.
    """
    steps, values = max(means.steps, 1), means.take()
    broken = [name for name, value in values.items() if not math.isfinite(value)]
    if (count := round(reduce_number(stage, float(bool(broken)), "sum"))) > 0:
        what = f"{broken[0]} is {values[broken[0]]}" if broken else f"a loss is not finite on {count} other processes"
        raise FloatingPointError(f"{what} at step {stage.progress.step}; the last save is intact")
    rates = {f"lr/{name}": optimizer.param_groups[0]["lr"] for name, optimizer in stage.optimizers.items()}
    speed = {"images": stage.progress.images, "minutes": stage.progress.seconds / 60}
    speed["images_per_second"] = images * steps / max(seconds, 1e-9)
    stage.accelerator.log(values | rates | speed, step=stage.progress.step)
    if stage.accelerator.is_main_process:
        shown = "  ".join(f"{name} {value:.4g}" for name, value in (values | speed).items())
        print(f"step {stage.progress.step}  {shown}", flush=True)


def write_samples(folder: Path, stage: Stage) -> None:
    """Write the stage's sample grid to `folder/samples`; the random states of training stay as they were."""
    if not stage.accelerator.is_main_process:
        return
    with torch.random.fork_rng(), torch.no_grad():
        grid = stage.sample_grid()
    if grid is not None:
        path = folder / "samples" / f"{stage.progress.step:08d}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), cv2.cvtColor(np.ascontiguousarray(grid), cv2.COLOR_RGB2BGR))


def write_validation(stage: Stage) -> None:
    """Log the stage's scores on validation data; the random states of training stay as they were."""
    if not stage.accelerator.is_main_process:
        return
    with torch.random.fork_rng(), torch.no_grad():
        scores = {f"validation/{name}": float(value) for name, value in stage.validate().items()}
    if scores:
        stage.accelerator.log(scores, step=stage.progress.step)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in scores.items())
        print(f"step {stage.progress.step}  {shown}", flush=True)
