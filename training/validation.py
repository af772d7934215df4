"""Metrics of people that the run does not train on, with averaged weights, while it goes on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from training.logs import Means, reduce_number
from vivface.errors import OptionError

if TYPE_CHECKING:
    from training.stages.base import Stage


class Validation:
    """Runs a stage's `validate` on the same held-out batches again and again.

    Args:
        stage (`Stage`): Of the run.

    Raises:
        OptionError: If the preset asks for it and the stage has none, or nobody is held out.
    """

    def __init__(self, stage: Stage):
        self.stage, self.options = stage, stage.preset.loop
        self.dataset = None
        if self.options.validate_every > 0:
            self.dataset = stage.validation_dataset()
            if self.dataset is None:
                raise OptionError(f"stage {stage.preset.stage} has no validation: set loop.validate_every to 0")

    def due(self, step: int) -> bool:
        """Whether it is time after `step` steps."""
        return self.dataset is not None and step % self.options.validate_every == 0

    @torch.no_grad()
    def run(self) -> dict[str, float]:
        """Means over `loop.validation_batches` batches, which the processes share (rounded up to a multiple of them).

        The random states of training stay as they were. All processes must call this at the same step.
        """
        if self.dataset is None:
            return {}
        accelerator = self.stage.accelerator
        world, means = accelerator.num_processes, Means()
        with torch.random.fork_rng():
            torch.manual_seed(self.stage.preset.loop.seed + accelerator.process_index)  # the same noise every time
            for k in range(math.ceil(self.options.validation_batches / world)):
                batch = self.dataset[k * world + accelerator.process_index]
                means.add(self.stage.validate({name: tensor.to(self.stage.device) for name, tensor in batch.items()}))
        return {f"validation/{name}": reduce_number(self.stage, value) for name, value in means.take().items()}
