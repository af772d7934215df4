"""Opening the clips that options name, and preparing batches ahead in threads or processes."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import cv2
import torch
from torch import Tensor

from training.arguments import DataOptions
from training.data.clips import Clips, ImageFolder, ShardClips
from training.data.shards import GroupShards
from training.data.videos import VideoFolder


def open_clips(options: DataOptions) -> Clips:
    """The clips that `options.kind` and `options.folders` name.

    Raises:
        OptionError: If nothing is there.
    """
    if options.kind == "shards":
        return ShardClips(GroupShards(options.folders, cache_gigabytes=options.cache_gigabytes))
    if options.kind == "videos":
        return VideoFolder(options.folders, options.frames_per_video, options.size, options.align)
    return ImageFolder(options.folders)


class Batches(Protocol):
    """A dataset whose item `i` is batch `i`, a dict of tensors."""

    def __getitem__(self, index: int) -> dict[str, Tensor]: ...


class _Indices:
    def __init__(self, start: int, stride: int):
        self.start, self.stride = start, stride

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self.start, self.stride)


def _one_thread(worker: int) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def stream(dataset: Batches, options: DataOptions, start: int = 0, stride: int = 1) -> Iterator[dict[str, Tensor]]:
    """Items `start`, `start + stride`, ... of a dataset, in order, prepared ahead.

    Args:
        dataset (`Batches`): Gives the items.
        options (`DataOptions`): `workers`, `worker_kind` and `prefetch`.
        start (`int`, *optional*, defaults to 0): Index of the first item.
        stride (`int`, *optional*, defaults to 1): Distance between two items.
    """
    indices = iter(_Indices(start, stride))
    if options.workers <= 0:
        for index in indices:
            yield dataset[index]
    elif options.worker_kind == "process":
        cv2.setNumThreads(1)  # its pool of threads does not survive the fork: workers would wait for it forever
        yield from torch.utils.data.DataLoader(
            dataset,
            batch_size=None,
            sampler=_Indices(start, stride),
            num_workers=options.workers,
            prefetch_factor=options.prefetch,
            worker_init_fn=_one_thread,
            multiprocessing_context="fork",
        )
    else:
        pool = ThreadPoolExecutor(options.workers)
        try:
            waiting = deque(pool.submit(dataset.__getitem__, next(indices)) for _ in range(options.prefetch))
            while True:
                item = waiting.popleft().result()
                waiting.append(pool.submit(dataset.__getitem__, next(indices)))
                yield item
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
