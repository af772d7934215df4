"""Train one stage: `accelerate launch training/train.py --preset NAME --output DIR` (or `python training/train.py`).

    DIR/preset.yaml      the options in full
    DIR/log.jsonl        one line of scalars every `loop.log_every` steps
    DIR/samples/*.png    sample grids
    DIR/checkpoint/NAME  each trained network (averaged weights), for `from_pretrained`
    DIR/state            all that a resume needs

Stops after `loop.steps`, `loop.minutes`, `--max-steps`, `--max-minutes`, or on SIGTERM or Ctrl-C, and saves.
"""

from __future__ import annotations

import json
import math
import shutil
import signal
import sys
import time
from pathlib import Path

if __package__ in (None, ""):  # run as a file: make the folder above importable instead of this one
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import cv2
import numpy as np
import torch
import yaml
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker, on_main_process
from accelerate.utils import set_seed

from training.arguments import Preset, as_tree, build_parser, explain, read_preset
from training.data import stream
from training.stages import STAGES, stage_class
from training.stages.base import Stage
from training.tools.programs import run_program
from vivface.errors import CheckpointError, OptionError


class JsonLines(GeneralTracker):
    """Writes what the accelerator logs as lines of JSON."""

    name = "jsonl"
    requires_logging_directory = False

    def __init__(self, path: Path):
        super().__init__()
        self.path = path

    @property
    def tracker(self) -> Path:
        return self.path

    @on_main_process
    def store_init_configuration(self, values: dict) -> None:
        self.path.with_name("preset.yaml").write_text(yaml.safe_dump(values, sort_keys=False))

    @on_main_process
    def log(self, values: dict, step: int | None = None, **kwargs) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")


class Stop:
    """Set by SIGTERM and SIGINT; the loop ends at the next step and saves. A second signal ends at once."""

    def __init__(self):
        self.asked = False

    def __enter__(self) -> Stop:
        self._before = {s: signal.signal(s, self._ask) for s in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *error) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


def main(argv: list[str] | None = None) -> None:
    """Build, prepare, resume, loop, save."""
    arguments = build_parser().parse_args(argv)
    if arguments.explain:
        print(explain_options())
        return
    preset = check(arguments)
    accelerator = prepare(arguments, preset)
    stage = build(preset, accelerator)
    if arguments.dry_run:
        describe(stage)
        return
    resume(arguments, stage)
    loop(arguments, stage)
    save(arguments.output, stage)
    accelerator.end_training()


def explain_options() -> str:
    """Every option of a preset, the stages' own included."""
    parts = [explain(Preset)]
    for name in STAGES:
        kind = stage_class(name).options_class
        parts.append(f"\noptions of stage {name}:\n{explain(kind, '    ') if kind else '    none'}")
    return "\n".join(parts)


def check(arguments) -> Preset:
    """Read the preset and find contradictions before anything is built.

    Raises:
        OptionError: If something is missing or wrong.
    """
    if not arguments.preset:
        raise OptionError("--preset is missing, give the name of a file in training/presets or a path to one")
    if not arguments.output and not arguments.dry_run:
        raise OptionError("--output is missing, give a folder for checkpoints and logs (or --dry-run)")
    preset = read_preset(arguments.preset, arguments.set)
    stage_class(preset.stage)
    if preset.loop.precision not in ("no", "bf16"):
        raise OptionError(f"loop.precision is {preset.loop.precision!r}, expected 'no' or 'bf16'")
    if arguments.output and (arguments.output / "state").exists() and not arguments.resume and not arguments.dry_run:
        raise OptionError(f"{arguments.output} holds a run already: give --resume latest to go on, or another folder")
    return preset


def prepare(arguments, preset: Preset) -> Accelerator:
    """Threads, seeds and the accelerator with its loggers."""
    cv2.setNumThreads(1)
    if preset.loop.threads > 0:
        torch.set_num_threads(preset.loop.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    trackers = list(arguments.log_with)
    if arguments.output and not arguments.dry_run:
        arguments.output.mkdir(parents=True, exist_ok=True)
        trackers.append(JsonLines(arguments.output / "log.jsonl"))
    accelerator = Accelerator(log_with=trackers or None, project_dir=str(arguments.output or "."))
    accelerator.init_trackers("vivface", config=as_tree(preset) if trackers else None)
    set_seed(preset.loop.seed)  # the same start everywhere; `resume` makes the noise of processes differ
    return accelerator


def build(preset: Preset, accelerator: Accelerator) -> Stage:
    """The networks and optimisers of the preset's stage, saved and loaded with the accelerator's state."""
    stage = stage_class(preset.stage)(preset, accelerator)

    def save_stage(models, weights, folder: str) -> None:
        if accelerator.is_main_process:
            torch.save(stage.state_dict(), Path(folder) / "stage.pt")

    def load_stage(models, folder: str) -> None:
        stage.load_state_dict(torch.load(Path(folder) / "stage.pt", map_location="cpu", weights_only=True))

    accelerator.register_save_state_pre_hook(save_stage)
    accelerator.register_load_state_pre_hook(load_stage)
    return stage


def describe(stage: Stage) -> None:
    """Print what a run would train and on what."""
    print(yaml.safe_dump(as_tree(stage.preset), sort_keys=False))
    for name, network in stage.networks.items():
        million = sum(p.numel() for p in network.parameters()) / 1e6
        print(f"{name:>16}: {million:9.3f} M parameters, {'trained' if name in stage.trained else 'frozen'}")
    for name, tensor in stage.dataset()[0].items():
        print(f"{name:>16}: {tuple(tensor.shape)}")


def resume(arguments, stage: Stage) -> None:
    """Take back weights, optimisers, schedules, step and random states, if asked and there.

    Raises:
        CheckpointError: If a given state does not exist.
    """
    set_seed(stage.preset.loop.seed + 1, device_specific=True)
    if not arguments.resume:
        return
    folder = arguments.output / "state" if arguments.resume == "latest" else Path(arguments.resume)
    if arguments.resume == "latest" and not folder.exists():
        folder = arguments.output / "state.old"  # stopped between the two renames of `save`
        if not folder.exists():
            return
    if not folder.is_dir():
        raise CheckpointError(f"--resume {folder} is no folder, give 'latest' or the state folder of a run")
    stage.accelerator.load_state(str(folder))


class Means:
    """Running means of scalars; tensors are not read from the device before `take`."""

    def __init__(self):
        self.sums: dict[str, torch.Tensor | float] = {}
        self.counts: dict[str, int] = {}

    def add(self, scalars: dict[str, torch.Tensor | float]) -> None:
        for name, value in scalars.items():
            value = value.detach().float() if isinstance(value, torch.Tensor) else float(value)
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        means = {name: float(total) / self.counts[name] for name, total in self.sums.items()}
        self.__init__()
        return means


def loop(arguments, stage: Stage) -> None:
    """Step until the end of the run or of this piece."""
    options, progress, accelerator = stage.preset.loop, stage.progress, stage.accelerator
    first, began, earlier = progress.step, time.monotonic(), progress.seconds
    saved, logged, means = began, began, Means()
    world, rank = accelerator.num_processes, accelerator.process_index
    batches = stream(stage.dataset(), stage.preset.data, first * world + rank, world)
    with Stop() as stop:
        while progress.fraction(options) < 1.0 and progress.step - first != arguments.max_steps:
            batch = {name: tensor.to(stage.device, non_blocking=True) for name, tensor in next(batches).items()}
            images = stage.batch_images(batch) * world
            means.add(stage.step(batch))
            progress.step += 1
            progress.images += images
            stage.update_averages(images)
            progress.seconds = agree(stage, earlier + time.monotonic() - began)

            piece = progress.seconds - earlier
            over = bool(agree(stage, float(stop.asked)))
            over |= arguments.max_minutes is not None and piece > 60 * arguments.max_minutes
            if progress.step % options.log_every == 0 or progress.step == first + 1:
                write_log(stage, means, images, began + piece - logged)
                logged = began + piece
            if progress.step % options.sample_every == 0:
                write_samples(arguments.output, stage)
            due = began + piece - saved > 60 * options.save_minutes
            if due or progress.step % options.save_every == 0:
                save(arguments.output, stage)
                saved = began + piece
            if over:
                break
        if means.counts:
            write_log(stage, means, images, time.monotonic() - logged)
    batches.close()
    write_samples(arguments.output, stage)


def agree(stage: Stage, value: float) -> float:
    """The mean of a number over all processes, so that they decide alike."""
    if stage.accelerator.num_processes == 1:
        return value
    return stage.accelerator.reduce(torch.tensor(value, device=stage.device), reduction="mean").item()


def write_log(stage: Stage, means: Means, images: int, seconds: float) -> None:
    """Log the means since the last time, and how fast it goes.

    Raises:
        FloatingPointError: If a loss is not finite.
    """
    steps = max(means.counts.values(), default=1)
    values = means.take()
    if bad := [name for name, value in values.items() if not math.isfinite(value)]:
        raise FloatingPointError(f"{bad[0]} is {values[bad[0]]} at step {stage.progress.step}; the last save is intact")
    rates = {f"lr/{name}": optimizer.param_groups[0]["lr"] for name, optimizer in stage.optimizers.items()}
    speed = {"images": stage.progress.images, "minutes": stage.progress.seconds / 60}
    speed["images_per_second"] = images * steps / max(seconds, 1e-9)
    stage.accelerator.log(values | rates | speed, step=stage.progress.step)
    if stage.accelerator.is_main_process:
        shown = "  ".join(f"{name} {value:.4g}" for name, value in (values | speed).items())
        print(f"step {stage.progress.step}  {shown}", flush=True)


def write_samples(folder: Path, stage: Stage) -> None:
    """Write the stage's sample grid. Drawing it leaves the random states of training as they were."""
    if not stage.accelerator.is_main_process:
        return
    with torch.random.fork_rng(), torch.no_grad():
        grid = stage.sample_grid()
    if grid is not None:
        path = folder / "samples" / f"{stage.progress.step:08d}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), cv2.cvtColor(np.ascontiguousarray(grid), cv2.COLOR_RGB2BGR))


def save(folder: Path, stage: Stage) -> None:
    """Write `checkpoint` and `state`, each beside the old one first and then renamed over it."""
    accelerator = stage.accelerator
    accelerator.save_state(str(folder / "state.new"))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        shutil.rmtree(folder / "checkpoint.new", ignore_errors=True)
        stage.save_checkpoint(folder / "checkpoint.new")
        for name in ("checkpoint", "state"):
            shutil.rmtree(folder / f"{name}.old", ignore_errors=True)
            if (folder / name).exists():
                (folder / name).rename(folder / f"{name}.old")
            (folder / f"{name}.new").rename(folder / name)
            shutil.rmtree(folder / f"{name}.old", ignore_errors=True)
    accelerator.wait_for_everyone()


if __name__ == "__main__":
    run_program(main)
