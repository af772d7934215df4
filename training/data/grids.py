"""Grids: several identities performing the same motions, with the ground truth of every pair."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

from training.arguments import DataOptions
from training.augment import degrade, sample_appearance
from training.data.crops import (
    SkipUnreadable,
    check_crop,
    driving_frame,
    item_rng,
    source_ranges,
    stack_images,
    stack_labels,
)
from training.data.quads import jitter, sample_drift
from training.data.regions import region_maps
from training.data.shards import GroupShards, ShardRecord
from vivface.faces.alignment import crop_quad, ffhq_quad, to_crop


class GridBatches:
    """P identities by J motions of one group, with the ground truth for every pair (see the fields below).

    One source frame index i is shared by the whole batch. With `options.crop` "source", sources, targets and driving
    frames are all cropped by quads of frame i, so rotation, scale and position inside the crop mean the same for all of
    them. With "stable" only sources are; every other frame is cropped around its own face, as the pipeline's stable
    crop follows a head, off by a `Drift` that all images of a motion share.

    Item `n` is a dict; images are float32 RGB in [-1, 1], stored channels-last, S = options.size:

    - `source` (P, 3, S, S): frame i of each identity, cropped by its FFHQ quad with a little jitter and stretch; its
      appearance (colour, light) drawn once per identity; some of them degraded.
    - `target` (P, J, 3, S, S): frame j of each identity in the appearance of its source ("source": and by the source's
      quad), not degraded.
    - `driving` (D, J, 3, S, S): frame j of some identity of the group, with jitter, appearance and degradation of its
      own.
    - `regions` (P, J, 4, S, S): soft maps of face, eyes, brows and mouth of the targets, in [0, 1]; see
      `region_weights`.
    - `source_landmarks` (P, 68, 2), `target_landmarks` (P, J, 68, 2), `driving_landmarks` (D, J, 68, 2): in fractions
      of the crop.
    - `source_controls` (P, K), `target_controls` (P, J, K), `driving_controls` (D, J, K); likewise `*_pose` (..., 3).
    - `identity_seed` (P,), `driving_identity_seed` (D, J); `motion` (J,) frame indices; `source_motion` ().

    Args:
        options (`DataOptions`): Folders, sizes and augmentation.
        seed (`int`, *optional*, defaults to 0): Of all choices.
        shards (`GroupShards`, *optional*): People, if they are open already.

    Raises:
        OptionError: If `options.crop` is neither "source" nor "stable", or there are no shards.
    """

    def __init__(self, options: DataOptions, seed: int = 0, shards: GroupShards | None = None):
        check_crop(options, "source", "stable")
        self.options, self.seed = options, seed
        self.shards = shards or GroupShards(options.folders, options.rescan_seconds, options.cache_gigabytes)
        self._skip = SkipUnreadable()

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self._skip(lambda attempt: self._make(item_rng(self.seed, index, attempt)))

    def _make(self, rng: np.random.Generator) -> dict[str, Tensor]:
        options = self.options
        group = self._choose_group(rng)
        order = rng.permutation(len(group))
        records = [group[order[k % len(group)]] for k in range(options.identities)]
        i, motions = self._choose_motions(rng, group)
        quads = {record.path: ffhq_quad(record.landmarks[i]) for record in group}
        drifts = {j: sample_drift(rng, options.augment) for j in motions} if options.crop == "stable" else {}

        def quad(record: ShardRecord, frame: int) -> np.ndarray:
            return drifts[frame].quad(record, frame) if drifts else quads[record.path]

        batch = self._pairs(rng, records, i, motions, quads, drifts)
        driving, driving_points, driving_records = [], [], []
        for _, j in itertools.product(range(options.driving_frames), motions):
            record = group[rng.integers(len(group))]
            image, points = driving_frame(rng, self.shards, record, j, quad(record, j), options)
            driving.append(image)
            driving_points.append(points)
            driving_records.append((record, j))
        shape = (options.driving_frames, len(motions))
        return batch | {
            "driving": stack_images(driving).unflatten(0, shape),
            "driving_landmarks": stack_labels(driving_points).unflatten(0, shape),
            "driving_controls": stack_labels([r.controls[j] for r, j in driving_records]).unflatten(0, shape),
            "driving_pose": stack_labels([r.pose[j] for r, j in driving_records]).unflatten(0, shape),
            "driving_identity_seed": torch.tensor([r.seed for r, _ in driving_records]).unflatten(0, shape),
            "motion": torch.tensor(motions),
            "source_motion": torch.tensor(i),
        }

    def _pairs(
        self,
        rng: np.random.Generator,
        records: list[ShardRecord],
        i: int,
        motions: list[int],
        quads: dict,
        drifts: dict,
    ) -> dict[str, Tensor]:
        """Sources (frame `i`) and targets (frames `motions`) of the identities, with their labels."""
        augment, size = self.options.augment, self.options.size
        source, source_points, target, target_points, regions = [], [], [], [], []
        for record in records:
            quad = jitter(rng, quads[record.path], *source_ranges(augment))
            appearance = sample_appearance(rng, size, augment.appearance)
            image = appearance(crop_quad(self.shards.image(record, i), quad, size))
            source.append(degrade(rng, image, augment) if rng.random() < augment.degrade_source else image)
            source_points.append(to_crop(record.landmarks[i], quad))
            for j in motions:
                place = drifts[j].quad(record, j) if drifts else quad
                target.append(appearance(crop_quad(self.shards.image(record, j), place, size)))
                target_points.append(to_crop(record.landmarks[j], place))
                regions.append(region_maps(target_points[-1], size))
        grid = (len(records), len(motions))
        return {
            "source": stack_images(source),
            "target": stack_images(target).unflatten(0, grid),
            "regions": (torch.from_numpy(np.stack(regions)).float() / 255.0).unflatten(0, grid),
            "source_landmarks": stack_labels(source_points),
            "target_landmarks": stack_labels(target_points).unflatten(0, grid),
            "source_controls": stack_labels([r.controls[i] for r in records]),
            "target_controls": stack_labels([r.controls[motions] for r in records]),
            "source_pose": stack_labels([r.pose[i] for r in records]),
            "target_pose": stack_labels([r.pose[motions] for r in records]),
            "identity_seed": torch.tensor([r.seed for r in records]),
        }

    def _choose_group(self, rng: np.random.Generator) -> list[ShardRecord]:
        groups = self.shards.groups()
        names = sorted(groups)
        counts = np.array([len(groups[name]) for name in names], np.float64)
        return groups[names[rng.choice(len(names), p=counts / counts.sum())]]

    def _choose_motions(self, rng: np.random.Generator, group: list[ShardRecord]) -> tuple[int, list[int]]:
        frames = min(record.frames for record in group)
        drawn = rng.integers(frames, size=self.options.source_candidates)
        i = int(min(drawn, key=lambda k: np.abs(group[0].pose[k, :2]).sum()))
        same = np.flatnonzero(group[0].clip[:frames] == group[0].clip[i])
        repeat = len(same) < self.options.motions
        return i, [int(j) for j in rng.choice(same, self.options.motions, replace=repeat)]


class StackedGrids:
    """Several grids as one batch: every field gets a first axis of length `count`.

    Args:
        grids (`GridBatches`): Gives the grids; item i stacks its items `i * count` to `(i + 1) * count - 1`.
        count (`int`): Grids per batch.
    """

    def __init__(self, grids: GridBatches, count: int):
        self.grids, self.count = grids, count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        items = [self.grids[index * self.count + k] for k in range(self.count)]
        return {name: torch.stack([item[name] for item in items]) for name in items[0]}
