"""Train one stage: `accelerate launch training/train.py --preset NAME --output DIR` (or `python training/train.py`).

    DIR/preset.yaml      the options in full
    DIR/log.jsonl        one line of scalars every `loop.log_every` steps
    DIR/trackers         the same for tensorboard
    DIR/samples/*.png    sample grids
    DIR/checkpoint/NAME  each trained network (averaged weights), for `from_pretrained`
    DIR/state            everything that a resume needs

Stops after `loop.steps`, `loop.minutes`, `--max-steps`, `--max-minutes`, or on SIGTERM or Ctrl-C, and saves.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a file: import from the folder above, not from this one
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import cv2
import torch
import yaml
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration, set_seed

from training.arguments import Preset, build_parser
from training.estimate import describe_estimate, estimate
from training.logs import JsonLines, choose_trackers, flat, forget_after
from training.loop import train
from training.preset import explain, read_preset
from training.publishing import check_repository, push_checkpoint
from training.saving import register_state, resume, save
from training.stages import STAGES, stage_class
from training.stages.base import Stage
from training.tools.programs import run_program
from vivface.errors import OptionError


def main(argv: list[str] | None = None) -> None:
    """Check, prepare, build, resume, train, save.

    Args:
        argv (`list[str]`, *optional*): Command line; that of the process by default.

    Raises:
        VivFaceError: If an option, a checkpoint or the data are wrong.
    """
    arguments = build_parser().parse_args(argv)
    if arguments.explain:
        print(explain_options())
        return
    preset = check(arguments)
    if arguments.push_to_hub and not arguments.dry_run:
        check_repository(arguments.push_to_hub)
    accelerator = prepare(arguments, preset)
    stage = stage_class(preset.stage)(preset, accelerator)
    register_state(stage, accelerator)
    if arguments.dry_run:
        describe(stage)
        return
    resume(arguments.output, arguments.resume, stage)
    if accelerator.is_main_process:
        forget_after(arguments.output / "log.jsonl", stage.progress.step)
    metrics = train(arguments.output, stage, arguments.max_steps, arguments.max_minutes)
    save(arguments.output, stage)
    if arguments.push_to_hub and accelerator.is_main_process:
        checkpoint = arguments.output / "checkpoint"
        pushed = push_checkpoint(checkpoint, arguments.push_to_hub, preset, stage.progress, metrics)
        print(f"pushed to {pushed.url}")
    accelerator.end_training()


def explain_options() -> str:
    """Every option of a preset, those of the stages included."""
    sections = [explain(Preset)]
    for name in STAGES:
        kind = stage_class(name).options_class
        sections.append(f"\noptions of stage {name}:\n{explain(kind, '    ') if kind else '    none'}")
    return "\n".join(sections)


def check(arguments: argparse.Namespace) -> Preset:
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
    if arguments.output and (arguments.output / "state").exists() and not arguments.resume and not arguments.dry_run:
        raise OptionError(f"{arguments.output} holds a run already: give --resume latest or another folder")
    return preset


def prepare(arguments: argparse.Namespace, preset: Preset) -> Accelerator:
    """Threads, seeds and the accelerator with its loggers."""
    cv2.setNumThreads(1)
    if preset.loop.threads > 0:
        torch.set_num_threads(preset.loop.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    options, trackers = preset.model_dump(), []
    if arguments.output and not arguments.dry_run:
        trackers += choose_trackers(arguments.log_with)
        arguments.output.mkdir(parents=True, exist_ok=True)
        trackers.append(JsonLines(arguments.output / "log.jsonl", options))
    folders = ProjectConfiguration(str(arguments.output or "."), str((arguments.output or Path()) / "trackers"))
    accelerator = Accelerator(log_with=trackers or None, project_config=folders)
    accelerator.init_trackers("vivface", config=flat(options) if trackers else None)
    set_seed(preset.loop.seed)  # the same initial weights on all processes
    return accelerator


def describe(stage: Stage) -> None:
    """Print the options, the networks, the shapes of a batch, and what the run will need."""
    print(yaml.safe_dump(stage.preset.model_dump(), sort_keys=False))
    for name, network in stage.networks.items():
        million = sum(p.numel() for p in network.parameters()) / 1e6
        print(f"{name:>20}: {million:9.3f} M parameters, {'trained' if name in stage.trained else 'frozen'}")
    batch = stage.dataset()[0]
    for name, tensor in batch.items():
        print(f"{name:>20}: {tuple(tensor.shape)}")
    print(describe_estimate(estimate(stage, batch), stage.device, stage.accelerator.num_processes))


if __name__ == "__main__":
    run_program(main)
