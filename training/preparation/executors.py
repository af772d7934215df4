"""Who makes the shards: processes of this machine, or a Ray cluster."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

from training.preparation.clips import Filters
from training.preparation.layouts import Video
from training.preparation.shards import Shard, make_shard
from vivface.errors import BackendError, VivFaceError

EXECUTORS = ("processes", "ray")


def run_processes(
    folder: Path, output: Path, shards: Sequence[Shard], filters: Filters, workers: int
) -> Iterator[tuple[str, dict]]:
    """Make shards in processes of this machine; with one worker, in this process.

    Args:
        folder, output (`Path`): Of videos and shards.
        shards (sequence of `Shard`): What to make.
        filters (`Filters`): What is left out.
        workers (`int`): Processes.

    Yields:
        `tuple[str, dict]`: Name and index of every shard, as they are finished.
    """
    if workers <= 1 or len(shards) == 1:
        for shard in shards:
            yield shard.name, make_shard(folder, output, shard, filters)
        return
    context = multiprocessing.get_context("spawn")  # a fork does not survive the threads of torch and OpenCV
    with ProcessPoolExecutor(min(workers, len(shards)), mp_context=context) as pool:
        waiting = {pool.submit(make_shard, folder, output, shard, filters): shard for shard in shards}
        try:
            for future in as_completed(waiting):
                yield waiting[future].name, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def run_ray(
    folder: Path, output: Path, shards: Sequence[Shard], filters: Filters, workers: int, address: str | None = None
) -> Iterator[tuple[str, dict]]:
    """Make shards with Ray Data; all machines of the cluster have to see both folders under the same path.

    Args:
        folder, output (`Path`): Of videos and shards.
        shards (sequence of `Shard`): What to make.
        filters (`Filters`): What is left out.
        workers (`int`): Tasks at a time; with a local Ray also its CPUs.
        address (`str`, *optional*): Of a running cluster; by default a Ray of this machine is started and ended.

    Yields:
        `tuple[str, dict]`: Name and index of every shard, as they are finished.

    Raises:
        BackendError: If Ray is not installed or there is no cluster.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise BackendError('--executor ray needs Ray: pip install "vivface[ray]"') from error
    local = {} if address else {"num_cpus": workers, "include_dashboard": False}
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **local)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise BackendError(f"there is no Ray cluster at {address or 'this machine'} ({error})") from error
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        items = [{"shard": asdict(shard)} for shard in shards]
        places = (str(folder.resolve()), str(output.resolve()), asdict(filters))
        made = ray.data.from_items(items, override_num_blocks=len(items)).map(
            _ray_task, fn_args=places, num_cpus=1, compute=ray.data.TaskPoolStrategy(workers)
        )
        for row in made.iter_rows():
            if row["error"]:
                raise VivFaceError(row["error"])
            yield row["name"], {"clips": row["clips"], "frames": row["frames"]}
    finally:
        ray.shutdown()


def _ray_task(row: dict, folder: str, output: str, filters: dict) -> dict:
    """In a worker of Ray. Shards are files already; what goes back is small and plain."""
    shard = Shard(row["shard"]["name"], row["shard"]["split"], [Video(**video) for video in row["shard"]["videos"]])
    try:
        index = make_shard(Path(folder), Path(output), shard, Filters(**filters))
    except VivFaceError as error:
        return {"name": shard.name, "clips": 0, "frames": 0, "error": str(error)}
    frames = sum(clip["frames"] for clip in index["clips"])
    return {"name": shard.name, "clips": len(index["clips"]), "frames": frames, "error": ""}
