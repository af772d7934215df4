"""What the programs that render shards share: renderers, files that appear when complete, and worker processes."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from training.synthetic.assets import load_kit
from training.synthetic.kit import Kit
from training.synthetic.renderer import Renderer
from vivface.errors import BackendError

FULL_CHROMA = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]


@lru_cache(1)
def shared_kit(assets: str | None, cache: str | None) -> Kit:
    """The kit of this process; arguments as in `load_kit`."""
    return load_kit(assets, cache)


@lru_cache(4)
def shared_renderer(assets: str | None, cache: str | None, size: int, supersample: int) -> Renderer:
    """A renderer of this process for images of `size` pixels; arguments as in `load_kit` and `Renderer`."""
    return Renderer(shared_kit(assets, cache), size, supersample)


def encode_jpegs(frames: np.ndarray, quality: int) -> tuple[np.ndarray, np.ndarray]:
    """Compress images.

    Args:
        frames (`np.ndarray` of shape `(T, H, W, 3)`): uint8 RGB.
        quality (`int`): Of JPEG, 1 to 100; colour keeps its full resolution.

    Returns:
        All files in a row `(bytes,)` uint8, and where each begins and ends `(T + 1,)` int64.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, *FULL_CHROMA]
    coded = [cv2.imencode(".jpg", frame[..., ::-1], options)[1].ravel() for frame in frames]
    return np.concatenate(coded), np.cumsum([0, *map(len, coded)]).astype(np.int64)


def write_arrays(path: Path, arrays: dict[str, np.ndarray], compressed: bool = False) -> None:
    """Write an `.npz` file, which appears under its name only when it is complete."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part")  # not .npz: readers of the folder pass it over
    try:
        with open(temporary, "wb") as file:
            (np.savez_compressed if compressed else np.savez)(file, **arrays)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def is_missing(path: Path) -> bool:
    """Whether a shard has to be written; removes what a run that was killed left of it."""
    for left in path.parent.glob(f".{path.stem}.*.part"):
        left.unlink()
    return not path.exists()


def in_processes(function: Callable[..., None], tasks: list[tuple], workers: int) -> None:
    """Call a function for every task, in several processes.

    Software OpenGL crashes once in some thousand people, and takes the whole pool of processes with it. New ones
    continue with the tasks that were not finished.

    Args:
        function (`Callable`): Called with the entries of a task.
        tasks (`list[tuple]`): Arguments of each call.
        workers (`int`): Processes, each with one thread.

    Raises:
        BackendError: If the processes crash without having finished a task.
    """
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    while tasks:
        left = []
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            futures = [(task, pool.submit(function, *task)) for task in tasks]
            for task, future in futures:
                try:
                    future.result()
                except BrokenProcessPool:
                    left.append(task)
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
        if len(left) == len(tasks):
            raise BackendError(
                f"The processes that render crashed at the first of {len(tasks)} people: try --workers 1, which shows "
                "where, and another graphics driver."
            )
        if left:
            print(f"a process crashed; continuing with the remaining {len(left)} people", flush=True)
        tasks = left
