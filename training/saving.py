"""Saving and resuming a run: `checkpoint`, the networks for others, and `state`, everything that a resume needs."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed

from training.stages.base import Stage
from vivface.errors import CheckpointError
from vivface.files import replace_folder


def register_state(stage: Stage, accelerator: Accelerator) -> None:
    """Make the accelerator save and load the state of a stage with its own."""

    rank = accelerator.process_index

    def save_stage(models, weights, folder: str) -> None:
        if accelerator.is_main_process:
            torch.save(stage.state_dict(), Path(folder) / "stage.pt")
        else:  # what differs between processes
            torch.save(stage.extra_state(), Path(folder) / f"extra_{rank}.pt")

    def load_stage(models, folder: str) -> None:
        state = torch.load(Path(folder) / "stage.pt", map_location="cpu", weights_only=True)
        own = Path(folder) / f"extra_{rank}.pt"
        if own.is_file() and not accelerator.is_main_process:
            state["extra"] = torch.load(own, map_location="cpu", weights_only=True)
        stage.load_state_dict(state)

    accelerator.register_save_state_pre_hook(save_stage)
    accelerator.register_load_state_pre_hook(load_stage)


def resume(output: Path, source: str | None, stage: Stage) -> None:
    """Restore weights, optimisers, schedules, step and random states, on as many processes as before or another number.

    Args:
        output (`Path`): Folder of the run.
        source (`str`, *optional*): `"latest"` for `output/state`, which may be missing, or the folder of a state; None
            for a new run.
        stage (`Stage`): Of the run.

    Raises:
        CheckpointError: If a given state does not exist.
    """
    set_seed(stage.preset.loop.seed + 1, device_specific=True)  # the noise of processes differs
    if source is None:
        return
    folder = output / "state" if source == "latest" else Path(source)
    if source == "latest" and not folder.exists():
        # Where folders cannot be exchanged in one step, a kill may leave the old one under this name.
        folder = next(output.glob(".state-old-*"), folder)
        if not folder.exists():
            return
    if not folder.is_dir():
        raise CheckpointError(f"--resume {folder} is no folder, give 'latest' or the state folder of a run")
    stage.accelerator.load_state(str(folder))
    if not (folder / f"random_states_{stage.accelerator.process_index}.pkl").is_file():  # there were fewer processes
        set_seed(stage.preset.loop.seed + 1 + stage.progress.step, device_specific=True)


def save(output: Path, stage: Stage) -> None:
    """Write `state` and `checkpoint`; at every moment there is a complete one of each on the disk.

    Args:
        output (`Path`): Folder of the run.
        stage (`Stage`): Of the run; all processes must call this at the same step.
    """
    accelerator = stage.accelerator
    state, checkpoint = output / ".state-new", output / ".checkpoint-new"
    if accelerator.is_main_process:
        for folder in (state, checkpoint):  # of a save that was killed
            shutil.rmtree(folder, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(state))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        stage.save_checkpoint(checkpoint)
        replace_folder(state, output / "state")
        replace_folder(checkpoint, output / "checkpoint")
    accelerator.wait_for_everyone()
