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
from training.data.clips import Clips, ClipSubset, ImageFolder, ShardClips
from training.data.prepared import PreparedClips
from training.data.shards import GroupShards
from training.data.videos import VideoFolder
from vivface.errors import OptionError


def open_clips(options: DataOptions, split: str = "train", seed: int = 0) -> Clips:
    """The clips that `options.kind` and `options.folders` name.

    Args:
        options (`DataOptions`): See there.
        split (`str`, *optional*, defaults to `"train"`): `"train"` or `"validation"`: of prepared clips the split of
            that name, else the people that `options.held_out` leaves or takes.
        seed (`int`, *optional*, defaults to 0): Of the frames that are drawn of prepared videos.

    Raises:
        OptionError: If nothing is there.
    """
    if options.kind == "prepared":
        return PreparedClips(options.folders, split, options.frames_per_video, seed)
    if options.kind == "shards":
        clips: Clips = ShardClips(GroupShards(options.folders, cache_gigabytes=options.cache_gigabytes))
    elif options.kind == "videos":
        clips = VideoFolder(options.folders, options.frames_per_video, options.size, options.align)
    else:
        clips = ImageFolder(options.folders)
    if options.held_out <= 0 and split == "train":
        return clips
    held = held_out_people(clips.classes, options.held_out)
    wanted = held if split == "validation" else sorted(set(range(clips.classes)) - set(held))
    if not wanted:
        raise OptionError(
            f"data.held_out is {options.held_out:g}, which leaves nobody for {split}: change it or give data.validation"
        )
    return ClipSubset(clips, wanted)


def held_out_people(classes: int, share: float) -> list[int]:
    """Labels of the people kept from training: a share of all, spread evenly; at least two where there is a share."""
    if share <= 0:
        return []
    count = min(classes, max(2, round(share * classes)))
    return sorted({int((k + 0.5) * classes / count) for k in range(count)})


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
