"""Batches drawn from clips: single images with their identity, and the triples of the papers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from training.arguments import DataOptions
from training.augment import degrade, sample_appearance
from training.data.clips import Clips, Move
from training.data.crops import (
    SkipUnreadable,
    check_crop,
    driving_ranges,
    item_rng,
    source_ranges,
    stack_images,
    stack_labels,
)
from training.data.quads import jitter
from training.data.regions import feature_mask
from vivface.errors import MediaError, OptionError
from vivface.faces.alignment import from_crop
from vivface.faces.voxceleb import voxceleb_quad

IMAGES = ("source", "same", "other")  # of a triple
FINE = 1024  # pixels of a crop in which the VoxCeleb square, which has whole pixels, is laid


class ImageBatches:
    """Single crops of faces: `image` (B, 3, S, S) in [-1, 1] and `label` (B,), the index of the identity.

    Every identity is as likely as every other. Crops move by `augment.source_jitter`, or with `strong_augmentation` by
    the wider ranges of driving frames; `augment.appearance` applies, degradation only with `strong_augmentation`.

    Args:
        clips (`Clips`): Source of the crops.
        options (`DataOptions`): Batch size B, image size S and augmentation.
        seed (`int`, *optional*, defaults to 0): Of all choices.
        strong_augmentation (`bool`, *optional*, defaults to False): See above.
    """

    def __init__(self, clips: Clips, options: DataOptions, seed: int = 0, strong_augmentation: bool = False):
        self.clips, self.options, self.seed, self.strong = clips, options, seed, strong_augmentation
        self._of_label: dict[int, list[int]] = {}
        for clip, label in enumerate(clips.labels):
            self._of_label.setdefault(label, []).append(clip)
        self._skip = SkipUnreadable()

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = item_rng(self.seed, index)
        drawn = rng.integers(self.clips.classes, size=self.options.batch)

        def sample(label: int, attempt: int) -> tuple[np.ndarray, int]:
            label = int(rng.integers(self.clips.classes)) if attempt else label
            return self._image(rng, label), label

        samples = [self._skip(lambda attempt, label=label: sample(int(label), attempt)) for label in drawn]
        images, labels = zip(*samples, strict=True)
        return {"image": stack_images(images), "label": torch.tensor(labels)}

    def _image(self, rng: np.random.Generator, label: int) -> np.ndarray:
        options, augment = self.options, self.options.augment
        ranges = driving_ranges(augment) if self.strong else source_ranges(augment)
        clip = int(rng.choice(self._of_label[label]))
        frame = int(rng.integers(self.clips.length(clip)))
        crop = self.clips.crop(clip, frame, options.size, move=lambda quad: jitter(rng, quad, *ranges))
        image = sample_appearance(rng, options.size, augment.appearance)(crop)
        if self.strong and rng.random() < augment.degrade_driving:
            image = degrade(rng, image, augment)
        return image


class PairBatches:
    """Training triples of the papers: `source` and `same` from one clip, `other` of another identity, (B, 3, S, S).

    Source and same share crop jitter and appearance; with `options.crop` "source" both are cropped by the source's quad
    (where the clips have quads), with "ffhq" each by its own, with "voxceleb" each by its VoxCeleb square. With
    `masks`, `source_mask` and `same_mask` (B, 1, S, S) are 1 at their mouths, eyes and brows, else 0. With `landmarks`,
    `source_landmarks`, `same_landmarks` and `other_landmarks` (B, 68, 2) are in fractions of the crops.

    With `options.order` "random" every source is drawn anew; with "epochs" each frame of each clip is the source once
    an epoch, in an order of its own every epoch. Item `i` is the same whenever it is made, so a run resumes in the
    middle of an epoch.

    Args:
        clips (`Clips`): Source of the crops.
        options (`DataOptions`): Batch size B, image size S and augmentation.
        seed (`int`, *optional*, defaults to 0): Of all choices.
        masks, landmarks (`bool`, *optional*, default to False): See above; images are the same with and without.

    Raises:
        OptionError: If `options.crop` is another, the clips show a single identity, or masks, landmarks or the crop
            "voxceleb" are asked of clips without landmarks.
    """

    def __init__(self, clips: Clips, options: DataOptions, seed: int = 0, masks: bool = False, landmarks: bool = False):
        check_crop(options, "source", "ffhq", "voxceleb")
        if clips.classes < 2:
            raise OptionError(f"data.folders {options.folders} show a single person, expected at least 2")
        self.clips, self.options, self.seed, self.masks = clips, options, seed, masks
        self.with_landmarks = landmarks
        epochs = options.order == "epochs"
        self._labels = np.asarray(clips.labels)
        self._epochs = EpochOrder([_length(clips, k) for k in range(len(self._labels))], seed) if epochs else None
        self._skip = SkipUnreadable()

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = item_rng(self.seed, index)
        first = index * self.options.batch
        triples = [
            self._skip(lambda attempt, n=n: self._triple(rng, None if attempt else n))
            for n in range(first, first + self.options.batch)
        ]
        batch = {name: stack_images([triple[name] for triple in triples]) for name in IMAGES}
        for name in (name for name in triples[0] if name not in IMAGES):
            batch[name] = stack_labels([triple[name] for triple in triples])
        return batch

    def _triple(self, rng: np.random.Generator, number: int | None) -> dict[str, np.ndarray]:
        """Sample `number` of the run, or any."""
        if self._epochs is None or number is None:
            clip = int(rng.integers(len(self._labels)))
            length = self.clips.length(clip)
            first, second = (int(k) for k in rng.choice(length, 2, replace=length < 2))
        else:
            clip, first = self._epochs[number]
            others = max(self.clips.length(clip) - 1, 1)
            second = (first + 1 + int(rng.integers(others))) % self.clips.length(clip)
        pair, points = self._crops(rng, clip, first, second)
        stranger = int(rng.choice(np.flatnonzero(self._labels != self._labels[clip])))
        third = int(rng.integers(self.clips.length(stranger)))
        other, points_of_other = self._crops(rng, stranger, third)
        triple = dict(zip(IMAGES, [*pair, *other], strict=True))
        if self.masks:
            for name, each in zip(IMAGES, points, strict=False):
                triple[f"{name}_mask"] = feature_mask(each, self.options.size)[None]
        if self.with_landmarks:
            triple |= {f"{name}_landmarks": x for name, x in zip(IMAGES, points + points_of_other, strict=True)}
        return triple

    def _crops(self, rng: np.random.Generator, clip: int, *frames: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Frames of a clip, and where their faces are in them, if anything asks for that."""
        options, augment = self.options, self.options.augment
        seed = int(rng.integers(2**31))
        appearance = sample_appearance(rng, options.size, augment.appearance)

        def move(quad: np.ndarray) -> np.ndarray:  # the same for all frames
            return jitter(np.random.default_rng(seed), quad, *source_ranges(augment))

        anchor = frames[0] if options.crop == "source" else None
        moves = [self._voxceleb(clip, k, move) if options.crop == "voxceleb" else move for k in frames]
        images = [
            appearance(self.clips.crop(clip, k, options.size, anchor, m)) for k, m in zip(frames, moves, strict=True)
        ]
        if not (self.masks or self.with_landmarks):
            return images, []
        return images, [self.clips.landmarks(clip, k, anchor, m) for k, m in zip(frames, moves, strict=True)]

    def _voxceleb(self, clip: int, frame: int, move: Move) -> Move:
        """From a frame's own quad to the VoxCeleb square around its face, then as `move`."""
        points = self.clips.landmarks(clip, frame)
        square = (voxceleb_quad(points * FINE - 0.5) + 0.5) / FINE

        def moved(quad: np.ndarray) -> np.ndarray:
            return move(from_crop(square, quad))

        return moved


def _length(clips: Clips, clip: int) -> int:
    """Frames of a clip, none if it cannot be read."""
    try:
        return clips.length(clip)
    except MediaError:
        return 0


class EpochOrder:
    """Which frame the n-th sample of a run starts from: all frames once an epoch, shuffled anew every epoch.

    Args:
        lengths (`list[int]`): Frames of every clip.
        seed (`int`, *optional*, defaults to 0): Of the order.
    """

    def __init__(self, lengths: list[int], seed: int = 0):
        self.ends, self.seed = np.cumsum(lengths), seed
        self._orders: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        """Frames of an epoch."""
        return int(self.ends[-1])

    def __getitem__(self, number: int) -> tuple[int, int]:
        """Clip and frame of sample `number`."""
        epoch, place = divmod(number, len(self))
        order = self._orders.get(epoch)
        if order is None:
            order = np.random.default_rng((self.seed, 77, epoch)).permutation(len(self))
            self._orders = {**{k: v for k, v in self._orders.items() if k >= epoch - 1}, epoch: order}
        frame = int(order[place])
        clip = int(np.searchsorted(self.ends, frame, side="right"))
        return clip, frame - (int(self.ends[clip - 1]) if clip else 0)
