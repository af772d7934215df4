"""The loop of a run."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from training.data import stream
from training.logs import Means, check_finite, reduce_number, write_log, write_samples
from training.saving import save
from training.stages.base import Stage
from training.validation import Validation


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


def train(
    output: Path, stage: Stage, max_steps: int | None = None, max_minutes: float | None = None
) -> dict[str, float]:
    """Step until the end of the run or of this piece; validate, log, draw samples and save on the way.

    Args:
        output (`Path`): Folder of the run.
        stage (`Stage`): Of the run.
        max_steps (`int`, *optional*): Steps of this piece.
        max_minutes (`float`, *optional*): Minutes of this piece.

    Returns:
        `dict[str, float]`: Of the last validation; empty if the preset asks for none.

    Raises:
        FloatingPointError: If a loss or a weight is not finite; what was saved before stays as it is.
        OptionError: If the preset asks for a validation that is not possible.
    """
    options, progress, accelerator = stage.preset.loop, stage.progress, stage.accelerator
    validation, found, validated = Validation(stage), {}, -1
    first, began, earlier = progress.step, time.monotonic(), progress.seconds
    saved, logged, means = began, began, Means()
    world, rank = accelerator.num_processes, accelerator.process_index
    batches = stream(stage.dataset(), stage.preset.data, progress.batches + rank, world)
    parts, images = options.accumulate, 0
    if first == 0 and (found := validation.run()):
        accelerator.log(found, step=0)
        validated = 0
    with Stop() as stop:
        while progress.fraction(options) < 1.0 and progress.step - first != max_steps:
            for part in range(parts):
                batch = {name: tensor.to(stage.device, non_blocking=True) for name, tensor in next(batches).items()}
                images = stage.batch_images(batch) * world
                stage.begin_part(part, parts)
                means.add(stage.step(batch))
            progress.step += 1
            progress.images += images * parts
            progress.batches += parts * world
            stage.update_averages(images * parts)
            progress.seconds = reduce_number(stage, earlier + time.monotonic() - began)

            piece = progress.seconds - earlier
            over = bool(reduce_number(stage, float(stop.asked)))
            over |= max_minutes is not None and piece > 60 * max_minutes
            if validation.due(progress.step):
                found, validated = validation.run(), progress.step
            now = found if validated == progress.step else {}
            if progress.step % options.log_every == 0 or progress.step == first + 1 or now:
                write_log(stage, means, images, began + piece - logged, now)
                logged = began + piece
            if progress.step % options.sample_every == 0:
                write_samples(output, stage)
            due = began + piece - saved > 60 * options.save_minutes
            if due or progress.step % options.save_every == 0:
                check_finite(stage, means)
                save(output, stage)
                saved = began + piece
            if over:
                break
        last = validation.run() if validated != progress.step else {}
        if means.steps or last:
            write_log(stage, means, images, time.monotonic() - logged, last)
    batches.close()
    check_finite(stage, means)
    write_samples(output, stage)
    return last or found
