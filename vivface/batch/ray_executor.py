"""The same work as a Ray Data pipeline, on one machine or a cluster.

    portraits -> read_portrait (few actors) -> their clips -> make (as many actors as workers) -> records

Both stages stream: clips of the first portraits are made while the next portraits are read. Ray starts an actor that
has ended again and gives it its rows; what was done by then is recognised by its record.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from vivface.batch.clips import Clip
from vivface.batch.maker import BatchSettings, ClipMaker, work_folder, write_failure
from vivface.batch.records import Record
from vivface.errors import BackendError, first_line
from vivface.hub.index import locate, read_index

Row = dict[str, str]
STORE_BYTES = 200 * 1024**2  # rows are short texts; videos and codes go through files


def run_ray(
    clips: Sequence[Clip],
    settings: BatchSettings,
    output: Path,
    workers: int,
    shard: str | None,
    on_record: Callable[[Record], None],
) -> None:
    """Make clips with Ray Data; arguments as in `run_batch`.

    Raises:
        BackendError: If Ray is not installed, or gives up.
        CheckpointError: If the checkpoint cannot be loaded.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise BackendError("Ray is not installed: pip install 'vivface[ray]', or leave --executor at local.") from error

    read_index(locate(settings.checkpoint))  # an actor would fail far less clearly
    settings = replace(settings, threads=settings.threads or 1)
    started = not ray.is_initialized()
    if started:
        _start_ray(workers * settings.threads)
    ray.data.DataContext.get_current().enable_progress_bars = False
    gpus = ray.cluster_resources().get("GPU", 0) > 0 and settings.device in ("auto", "cuda")
    arguments = (settings, str(output), shard)
    groups: dict[tuple[str, int | None], list[dict]] = {}
    for clip in clips:
        groups.setdefault(clip.portrait, []).append(clip.as_dict())
    rows = [{"clips": json.dumps(group)} for group in groups.values()]  # text: Arrow would want columns of one type
    try:
        records = (
            ray.data.from_items(rows, override_num_blocks=len(rows))
            .flat_map(
                PortraitReader,
                fn_constructor_args=arguments,
                compute=_pool(min(max(1, workers // 4), len(groups))),
                num_cpus=0,  # waits most of the time: the stage of the clips is the one that is counted
                num_gpus=0.01 if gpus else None,
            )
            .repartition(target_num_rows_per_block=1)  # clips of one portrait go to several actors
            .map(
                Maker,
                fn_constructor_args=arguments,
                compute=_pool(min(workers, len(clips))),
                num_cpus=settings.threads,
                num_gpus=0.99 if gpus else None,
            )
        )
        for row in records.iter_rows():
            on_record(Record(**json.loads(row["record"])))
    except ray.exceptions.RayError as error:
        raise BackendError(f"Ray gave up ({first_line(error)}): start the run again, it goes on from there.") from error
    finally:
        if started:
            ray.shutdown()


def _start_ray(processors: int) -> None:
    """Join the cluster of `RAY_ADDRESS`, or start one on this machine that tells nobody about it."""
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address, own = os.environ.get("RAY_ADDRESS"), {}
    if address is None:
        own = {"object_store_memory": STORE_BYTES, "include_dashboard": False}
        own["num_cpus"] = max(processors, os.cpu_count() or 1)
    try:
        ray.init(log_to_driver=False, logging_level="error", **own)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        where = f"at RAY_ADDRESS={address}" if address else "on this machine"
        raise BackendError(
            f"No Ray cluster {where} ({first_line(error)}): start one, or take --executor local."
        ) from error


class _Stage:
    """An actor with a pipeline."""

    def __init__(self, settings: BatchSettings, output: str, shard: str | None):
        self._settings, self._output = settings, Path(output)
        name = f"{platform.node()}-{type(self).__name__}-{os.getpid()}"
        self._work = work_folder(self._output, shard, name)
        shutil.rmtree(self._work, ignore_errors=True)
        self._maker = ClipMaker(settings, self._output, self._work, name)


class PortraitReader(_Stage):
    """A portrait's clips -> the same clips, each with why its portrait cannot be read, if it cannot."""

    def __call__(self, row: Row) -> list[Row]:
        clips = [Clip(**values) for values in json.loads(row["clips"])]
        error = self._maker.read_portrait(clips[0])
        return [{"clip": json.dumps(clip.as_dict()), "error": error or ""} for clip in clips]


class Maker(_Stage):
    """A clip -> its record."""

    def __call__(self, row: Row) -> Row:
        clip = Clip(**json.loads(row["clip"]))
        if row["error"]:
            record = write_failure(clip, row["error"], self._settings, self._output, self._work)
        else:
            record = self._maker.make(clip)
        return {"record": json.dumps(asdict(record))}


def _pool(size: int):
    import ray.data

    return ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=1)
