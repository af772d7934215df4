"""A run over many clips: what is done already is left alone, the rest is made, and a report says what became of it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

from vivface.batch.clips import Clip, check_inputs, shard_of
from vivface.batch.local import LocalPool
from vivface.batch.maker import BEGUN, IDENTITIES, BatchSettings, identity_path, work_folder
from vivface.batch.records import DONE, Record, Records, write_report
from vivface.errors import OptionError

EXECUTORS = ("local", "ray")


def run_batch(
    clips: Sequence[Clip],
    output: str | os.PathLike,
    settings: BatchSettings | None = None,
    *,
    workers: int = 1,
    shard: str | None = None,
    executor: Literal["local", "ray"] = "local",
    on_begin: Callable[[int, int], None] | None = None,
    on_record: Callable[[Record], None] | None = None,
) -> dict:
    """Make many clips, and go on where an earlier run stopped.

    A clip that is done is not made again unless its portrait, its driving video, the checkpoint or a setting has
    changed; a clip that failed is tried again. Identity codes are read once a portrait. In a script of your own call
    it below `if __name__ == "__main__":`, since workers import the script.

    Args:
        clips (sequence of `Clip`): From `read_pairs` or `pair_folders`, all of them whatever the shard.
        output (`str` or `os.PathLike`): Folder of the results; every machine of a run sees it under this name.
        settings (`BatchSettings`, *optional*): How clips are made.
        workers (`int`, *optional*, defaults to 1): Processes, or actors of Ray.
        shard (`str`, *optional*): `"i/n"`: only this part of the clips.
        executor (`str`, *optional*, defaults to `"local"`): Who runs the workers: `"local"`, processes of this machine,
            or `"ray"`, a Ray Data pipeline on the cluster that `RAY_ADDRESS` names or on this machine.
        on_begin (callable, *optional*): Told how many clips there are and how many of them are done already.
        on_record (callable, *optional*): Told of every clip; may raise to stop.

    Returns:
        `dict`: The report, see `vivface.batch.records.write_report`.

    Raises:
        OptionError: If an option is out of its range, a result would replace an input, or another run works there.
        VivFaceError: If no worker can load the checkpoint.
    """
    if workers < 1:
        raise OptionError(f"`workers` is {workers}; expected 1 or more.")
    if executor not in EXECUTORS:
        raise OptionError(f"`executor` is {executor!r}; expected {' or '.join(map(repr, EXECUTORS))}.")
    settings, output = settings or BatchSettings(), Path(output).resolve()
    if settings.checkpoint is not None and Path(settings.checkpoint).is_dir():  # workers may start elsewhere
        settings = replace(settings, checkpoint=str(Path(settings.checkpoint).resolve()))
    check_inputs(clips, output)
    mine = shard_of(clips, shard)
    records = Records(output)
    began = time.perf_counter()
    with _alone(output, shard):
        results = settings.of_result()
        todo = [clip for clip in mine if not records.is_done(clip, results)]
        _sweep(output, shard, todo)
        if on_begin is not None:
            on_begin(len(mine), len(mine) - len(todo))
        try:
            if todo:
                _make(todo, settings, output, workers, shard, executor, on_record or (lambda record: None))
        finally:
            report = write_report(output, mine, shard, time.perf_counter() - began, workers)
            shutil.rmtree(work_folder(output, shard), ignore_errors=True)
            _tidy(clips, mine, settings, output)
    return report


def _make(
    todo: list[Clip],
    settings: BatchSettings,
    output: Path,
    workers: int,
    shard: str | None,
    executor: str,
    on_record: Callable[[Record], None],
) -> None:
    if executor == "ray":
        from vivface.batch.ray_executor import run_ray

        run_ray(todo, settings, output, workers, shard, on_record)
        return
    with LocalPool(settings, output, min(workers, len(todo)), shard) as pool:
        pool.run(todo, on_record)


def _sweep(output: Path, shard: str | None, todo: Sequence[Clip]) -> None:
    """Remove what an earlier run of the shard left when it was killed, and the records of what will be made anew."""
    shutil.rmtree(work_folder(output, shard), ignore_errors=True)
    records = Records(output)
    for clip in todo:
        for path in (output / BEGUN / f"{clip.name}.clip", records.path(clip.name)):
            path.unlink(missing_ok=True)


def _tidy(clips: Sequence[Clip], mine: Sequence[Clip], settings: BatchSettings, output: Path) -> None:
    """Remove identity codes whose clips are done, those of other shards too, and folders that are empty."""
    records = Records(output)
    groups: dict[tuple[str, int | None], list[Clip]] = {clip.portrait: [] for clip in mine}
    for clip in clips:
        if clip.portrait in groups:
            groups[clip.portrait].append(clip)
    for group in groups.values():
        found = [records.read(clip.name) for clip in group]
        path = identity_path(group[0], settings, output)
        if path.parent == output / IDENTITIES and all(record and record.status == DONE for record in found):
            path.unlink(missing_ok=True)
    for name in (IDENTITIES, BEGUN, work_folder(output, None).parent.name):
        with suppress(OSError):  # others are at work there
            (output / name).rmdir()


@contextmanager
def _alone(output: Path, shard: str | None) -> Iterator[None]:
    """Refuse to work beside another run of the same shard; no protection where files cannot be locked."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    path = output / f".lock-{(shard or 'all').replace('/', '-of-')}"
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OptionError(f"Another run works in '{output}': wait for it, or give another folder.") from error
        except OSError:  # a file system without locks
            pass
        try:
            yield
        finally:
            with suppress(OSError):
                path.unlink()
