"""What all batches share: crops with their augmentation, stacking, and skipping what cannot be read."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from training.arguments import AugmentOptions, DataOptions
from training.augment import degrade, sample_appearance
from training.data.quads import jitter
from training.data.shards import GroupShards, ShardRecord
from vivface.errors import MediaError, OptionError
from vivface.faces.alignment import crop_quad, to_crop

Item = TypeVar("Item")
ATTEMPTS = 1000  # draws of one item before the data count as unreadable


def check_crop(options: DataOptions, *known: str) -> None:
    """Make sure that a batch class knows the crop of the options.

    Raises:
        OptionError: If `options.crop` is none of `known`.
    """
    if options.crop not in known:
        raise OptionError(f"data.crop is {options.crop!r}, expected {' or '.join(map(repr, known))}")


def source_ranges(augment: AugmentOptions) -> tuple[float, float, float, float]:
    """Arguments of `jitter` for source frames: centre, scale, degrees, stretch."""
    return (augment.source_jitter, augment.source_jitter, 50 * augment.source_jitter, augment.stretch)


def driving_ranges(augment: AugmentOptions) -> tuple[float, float, float, float]:
    """Arguments of `jitter` for driving frames: centre, scale, degrees, stretch."""
    return (augment.driving_center, augment.driving_scale, augment.driving_rotation, augment.stretch)


def driving_frame(
    rng: np.random.Generator,
    shards: GroupShards,
    record: ShardRecord,
    frame: int,
    quad: np.ndarray,
    options: DataOptions,
) -> tuple[np.ndarray, np.ndarray]:
    """A driving frame, with crop jitter, appearance and degradation of its own.

    Args:
        rng (`np.random.Generator`): Random numbers.
        shards (`GroupShards`): Gives the image.
        record (`ShardRecord`): Whose frame.
        frame (`int`): Index of the frame in the shard.
        quad (`np.ndarray` of shape `(4, 2)`): Crop before the jitter, pixels.
        options (`DataOptions`): Size S and augmentation.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: float32 `(S, S, 3)` in [0, 1]; landmarks `(68, 2)` in fractions of the crop.

    Raises:
        MediaError: If the frame cannot be read.
    """
    augment = options.augment
    quad = jitter(rng, quad, *driving_ranges(augment))
    strength = augment.appearance if augment.driving_appearance is None else augment.driving_appearance
    appearance = sample_appearance(rng, options.size, strength)
    image = appearance(crop_quad(shards.image(record, frame), quad, options.size))
    image = degrade(rng, image, augment) if rng.random() < augment.degrade_driving else image
    return image, to_crop(record.landmarks[frame], quad)


def stack_images(images: Sequence[np.ndarray]) -> Tensor:
    """Augmented images as a batch.

    Args:
        images (sequence of `np.ndarray` of shape `(S, S, 3)`): float32 RGB in [0, 1].

    Returns:
        `torch.Tensor` of shape `(batch, 3, S, S)`: RGB in [-1, 1], channels-last in memory.
    """
    return torch.from_numpy(np.stack(images) * 2.0 - 1.0).permute(0, 3, 1, 2)


def stack_labels(values: Sequence[np.ndarray]) -> Tensor:
    """Arrays of one shape `(...)` as a float32 tensor `(count, ...)`."""
    return torch.from_numpy(np.stack(values).astype(np.float32))


class SkipUnreadable:
    """Draws items again when their data cannot be read, and warns once per fault.

    What is drawn depends on the seed, the index and the files alone: a bad file fails whenever it is drawn.
    """

    def __init__(self) -> None:
        self._reported: set[str] = set()

    def __call__(self, make: Callable[[int], Item]) -> Item:
        """The first item that can be made.

        Args:
            make (callable): Takes the number of the attempt, from 0; may raise `MediaError`.

        Raises:
            MediaError: If no attempt gives an item.
        """
        faults: list[MediaError] = []
        for attempt in range(ATTEMPTS):
            try:
                return make(attempt)
            except MediaError as fault:
                faults.append(fault)
                if str(fault) not in self._reported:
                    self._reported.add(str(fault))
                    warnings.warn(f"skipped: {fault}", stacklevel=2)
        raise MediaError(f"data.folders hold nothing that can be read; the last fault: {faults[-1]}") from faults[-1]


def item_rng(seed: int, index: int, attempt: int = 0) -> np.random.Generator:
    """Random numbers of item `index` of a dataset, at an attempt to make it."""
    return np.random.default_rng((seed, index, attempt) if attempt else (seed, index))
