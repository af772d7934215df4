"""The loop of a run."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from training.data import stream
from training.logs import Means, reduce_number, write_log, write_samples, write_validation
from training.saving import save
from training.stages.base import Stage


class Stop:
    """Set by SIGTERM and SIGINT; the loop ends at the next step and saves. A second signal ends the process."""

    def __init__(self) -> None:
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


def train(output: Path, stage: Stage, max_steps: int | None = None, max_minutes: float | None = None) -> None:
    """Step until the end of the run or of this piece; log, draw samples and save on the way.

    Args:
        output (`Path`): Folder of the run.
        stage (`Stage`): Of the run.
        max_steps (`int`, *optional*): Steps of this piece.
        max_minutes (`float`, *optional*): Minutes of this piece.

    Raises:
        FloatingPointError: If a loss is not finite.
    """
    options, progress, accelerator = stage.preset.loop, stage.progress, stage.accelerator
    first, began, earlier = progress.step, time.monotonic(), progress.seconds
    saved, logged, means = began, began, Means()
    world, rank = accelerator.num_processes, accelerator.process_index
    batches = stream(stage.dataset(), stage.preset.data, first * world + rank, world)
    images = 0
    if options.validate_every > 0 and first == 0:
        write_validation(stage)
    with Stop() as stop:
        while progress.fraction(options) < 1.0 and progress.step - first != max_steps:
            batch = {name: tensor.to(stage.device, non_blocking=True) for name, tensor in next(batches).items()}
            images = stage.batch_images(batch) * world
            means.add(stage.step(batch))
            progress.step += 1
            progress.images += images
            stage.update_averages(images)
            progress.seconds = reduce_number(stage, earlier + time.monotonic() - began)

            piece = progress.seconds - earlier
            over = bool(reduce_number(stage, float(stop.asked)))
            over |= max_minutes is not None and piece > 60 * max_minutes
            if progress.step % options.log_every == 0 or progress.step == first + 1:
                write_log(stage, means, images, began + piece - logged)
                logged = began + piece
            if progress.step % options.sample_every == 0:
                write_samples(output, stage)
            if options.validate_every > 0 and progress.step % options.validate_every == 0:
                write_validation(stage)
            due = began + piece - saved > 60 * options.save_minutes
            if due or progress.step % options.save_every == 0:
                save(output, stage)
                saved = began + piece
            if over:
                break
        if means.steps:
            write_log(stage, means, images, time.monotonic() - logged)
    batches.close()
    write_samples(output, stage)
