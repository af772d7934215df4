"""What a run writes while it goes on: scalars as lines of JSON, and sample grids."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, get_available_trackers, on_main_process

from training.stages.base import Stage
from vivface.errors import OptionError
from vivface.files import complete_file


class JsonLines(GeneralTracker):
    """Accelerate tracker that writes lines of JSON, and the options beside them.

    Args:
        path (`Path`): File to append to; `preset.yaml` goes into the same folder.
        options (`dict`): In full.
    """

    name = "jsonl"
    requires_logging_directory = False

    def __init__(self, path: Path, options: dict):
        super().__init__()
        self.path, self.options = path, options

    @property
    def tracker(self) -> Path:
        """The file."""
        return self.path

    @on_main_process
    def store_init_configuration(self, values: dict) -> None:
        """Write the options in full."""
        self.path.with_name("preset.yaml").write_text(yaml.safe_dump(self.options, sort_keys=False))

    @on_main_process
    def log(self, values: dict, step: int | None = None, **kwargs) -> None:
        """Append one line."""
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")


def choose_trackers(names: list[str] | None) -> list[str]:
    """The trackers beside `log.jsonl`.

    Args:
        names (`list[str]`, *optional*): Given on the command line; None for tensorboard where it is installed.

    Raises:
        OptionError: If one is unknown or not installed.
    """
    installed = [str(getattr(name, "value", name)) for name in get_available_trackers()]
    if names is None:
        return ["tensorboard"] if "tensorboard" in installed else []
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS and name != "none":
            raise OptionError(f"--log-with is {name!r}, expected none or one of: {', '.join(LOGGER_TYPE_TO_CLASS)}")
        if name not in installed and name != "none":
            raise OptionError(f"--log-with {name} needs its package, which is not installed: pip install {name}")
    return [name for name in names if name != "none"]


def flat(tree: dict, prefix: str = "") -> dict[str, str | int | float | bool]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`, the form that trackers take; lists become text."""
    values = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            values |= flat(value, f"{prefix}{key}.")
        else:
            values[f"{prefix}{key}"] = value if isinstance(value, str | int | float | bool) else str(value)
    return values


def forget_after(path: Path, step: int) -> None:
    """Remove the lines of `log.jsonl` that a killed run wrote after its last save, for they come again.

    Args:
        path (`Path`): The file; nothing happens if it is not there.
        step (`int`): Step of the state that the run goes on from.
    """
    if not path.is_file():
        return
    lines = path.read_text().splitlines(keepends=True)
    kept = [line for line in lines if _step(line) is not None and _step(line) <= step]
    if len(kept) < len(lines):
        with complete_file(path) as temporary:
            temporary.write_text("".join(kept))


def _step(line: str) -> int | None:
    """None for a line that a kill cut off."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return None


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

    def broken(self) -> list[str]:
        """Names of scalars that are not finite."""
        return [name for name, total in self.sums.items() if not math.isfinite(float(total))]

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


def check_finite(stage: Stage, means: Means) -> None:
    """Stop all processes at once if a loss or a trained weight of one of them is not finite.

    Args:
        stage (`Stage`): Of the run; all processes must call this at the same step.
        means (`Means`): Losses since the last log.

    Raises:
        FloatingPointError: On all processes.
    """
    broken = [f"{name} is {float(means.sums[name])}" for name in means.broken()]
    if not broken:
        networks = {name: stage.networks[name] for name in sorted(stage.trained)}
        broken = [f"a weight of {name} is not finite" for name, network in networks.items() if not _finite(network)]
    if (count := round(reduce_number(stage, float(bool(broken)), "sum"))) > 0:
        what = broken[0] if broken else f"a loss is not finite on {count} other processes"
        raise FloatingPointError(f"{what} at step {stage.progress.step}; the last save is intact")


def _finite(network: torch.nn.Module) -> bool:
    return bool(torch.stack([p.detach().isfinite().all() for p in network.parameters()]).all())


def write_log(stage: Stage, means: Means, images: int, seconds: float, more: dict[str, float] | None = None) -> None:
    """Log the means since the last call, and the speed. All processes must call it at the same step.

    Args:
        stage (`Stage`): Of the run.
        means (`Means`): Emptied.
        images (`int`): Training images per batch, over all processes.
        seconds (`float`): Since the last call.
        more (`dict[str, float]`, *optional*): Further values, those of a validation.

    Raises:
        FloatingPointError: On all processes, if a scalar of one of them is not finite.
    """
    check_finite(stage, means)
    steps, values = max(means.steps, 1), means.take() | (more or {})
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
