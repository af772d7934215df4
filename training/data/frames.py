"""Frames of synthetic people one by one, with their ground truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.arguments import DataOptions
from training.data.crops import (
    SkipUnreadable,
    check_crop,
    driving_frame,
    item_rng,
    stack_images,
    stack_labels,
)
from training.data.quads import sample_drift
from training.data.regions import region_maps
from training.data.shards import Group, GroupShards, ShardRecord
from training.ground_truth import motion_labels
from vivface.faces.alignment import crop_quad, ffhq_quad, to_crop
from vivface.media.tensors import to_tensor


class FrameBatches:
    """Frames of synthetic people in fixed crops, with their ground truth: P identities and J frames of each.

    A clip is cropped by the mean of its frames' FFHQ quads, so the labels say exactly where a face is. Crops are kept
    in memory: `size`^2 x 3 bytes per frame.

    Item `n` is a dict: `image` (P, J, 3, S, S) in [-1, 1]; `regions` (P, J, 4, S, S) in [0, 1]; `controls` (P, J, K);
    `pose` (P, J, 3); `landmarks` (P, J, 68, 2) in fractions of the crop, averaged over the identities of a group;
    `identity_seed` (P,).

    Args:
        options (`DataOptions`): Folders, size, identities and motions; nothing is augmented.
        seed (`int`, *optional*, defaults to 0): Of all choices.

    Raises:
        OptionError: If there are no shards.
    """

    def __init__(self, options: DataOptions, seed: int = 0):
        self.options, self.seed = options, seed
        self.shards = GroupShards(options.folders, cache_gigabytes=options.cache_gigabytes)
        self.records = self.shards.records()
        self._quads = {(r.path, c): self._mean_quad(r, c) for r in self.records for c in np.unique(r.clip)}
        self._points = {  # landmarks of every frame, in its crop
            r.path: np.stack([to_crop(r.landmarks[k], self._quad(r, k)) for k in range(r.frames)]) for r in self.records
        }
        self._landmarks: dict[Group, np.ndarray] = {}  # of a group, averaged
        for group, records in self.shards.groups().items():
            frames = min(record.frames for record in records)
            self._landmarks[group] = np.mean([self._points[record.path][:frames] for record in records], axis=0)
        self._crops: dict[tuple[Path, int], np.ndarray] = {}
        self._skip = SkipUnreadable()

    def seeds(self) -> list[int]:
        """Seeds of all identities."""
        return [record.seed for record in self.records]

    def labels(self) -> Tensor:
        """Labels of every frame of every group, see `motion_labels`: `(frames, labels)`."""
        found = []
        for group, points in self._landmarks.items():
            record = self.shards.groups()[group][0]
            known = (record.controls[: len(points)], record.pose[: len(points)], points)
            found.append(motion_labels(*(torch.from_numpy(x.astype(np.float32)) for x in known)))
        return torch.cat(found)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self._skip(lambda attempt: self._make(item_rng(self.seed, index, attempt)))

    def _make(self, rng: np.random.Generator) -> dict[str, Tensor]:
        records, pairs = self._choose(rng)
        grid = (len(records), self.options.motions)
        regions = [region_maps(self._points[record.path][k], self.options.size) for record, k in pairs]
        return {
            "image": to_tensor([self._crop(record, k) for record, k in pairs]).unflatten(0, grid),
            "regions": (torch.from_numpy(np.stack(regions)).float() / 255.0).unflatten(0, grid),
            **self._labels(records, pairs),
        }

    def _choose(self, rng: np.random.Generator) -> tuple[list[ShardRecord], list[tuple[ShardRecord, int]]]:
        """Identities, and frames of each of them."""
        records = [self.records[k] for k in rng.permutation(len(self.records))[: self.options.identities]]
        frames = [rng.integers(len(self._landmarks[record.group]), size=self.options.motions) for record in records]
        return records, [(record, int(k)) for record, each in zip(records, frames, strict=True) for k in each]

    def _labels(self, records: list[ShardRecord], pairs: list[tuple[ShardRecord, int]]) -> dict[str, Tensor]:
        """The ground truth of frames."""
        values = {
            "controls": [record.controls[k] for record, k in pairs],
            "pose": [record.pose[k] for record, k in pairs],
            "landmarks": [self._landmarks[record.group][k] for record, k in pairs],
        }
        grid = (len(records), self.options.motions)
        labels = {name: stack_labels(each).unflatten(0, grid) for name, each in values.items()}
        return labels | {"identity_seed": torch.tensor([record.seed for record in records])}

    @staticmethod
    def _mean_quad(record: ShardRecord, clip: int) -> np.ndarray:
        return np.mean([ffhq_quad(record.landmarks[k]) for k in np.flatnonzero(record.clip == clip)], axis=0)

    def _quad(self, record: ShardRecord, frame: int) -> np.ndarray:
        return self._quads[record.path, record.clip[frame]]

    def _crop(self, record: ShardRecord, frame: int) -> np.ndarray:
        if (record.path, frame) not in self._crops:
            crop = crop_quad(self.shards.image(record, frame), self._quad(record, frame), self.options.size)
            self._crops[record.path, frame] = crop
        return self._crops[record.path, frame]


class DrivingFrameBatches(FrameBatches):
    """The same frames, cropped and augmented as the driving frames of `GridBatches` are.

    Item `n` is a dict as there, without `regions`, and with `points` (P, J, 68, 2): every frame's own landmarks in its
    own crop. A crop is that of another frame of the clip ("source"), or around the face ("stable").

    Args:
        options (`DataOptions`): As for `FrameBatches`, and the augmentation of driving frames.
        seed (`int`, *optional*, defaults to 0): Of all choices.

    Raises:
        OptionError: If `options.crop` is neither "source" nor "stable", or there are no shards.
    """

    def __init__(self, options: DataOptions, seed: int = 0):
        check_crop(options, "source", "stable")
        super().__init__(options, seed)

    def _make(self, rng: np.random.Generator) -> dict[str, Tensor]:
        records, pairs = self._choose(rng)
        grid = (len(records), self.options.motions)
        images, points = [], []
        for record, k in pairs:
            if self.options.crop == "stable":
                quad = sample_drift(rng, self.options.augment).quad(record, k)
            else:
                quad = ffhq_quad(record.landmarks[rng.choice(np.flatnonzero(record.clip == record.clip[k]))])
            image, landmarks = driving_frame(rng, self.shards, record, k, quad, self.options)
            images.append(image)
            points.append(landmarks)
        return {
            "image": stack_images(images).unflatten(0, grid),
            "points": stack_labels(points).unflatten(0, grid),
            **self._labels(records, pairs),
        }
