"""Batches for dense motion: a portrait, what a generator would imagine, landmarks, and the true flow between them.

No generator is needed: a second light and background of the same frames, softened, stand for its images. They err as
its images do: the self-reconstruction may have another expression than the portrait, both may show another person, and
the driven image may show too little of the motion; then the landmarks tell the truth, up to their own errors.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from training.arguments import DataOptions
from training.augment import Appearance, degrade, sample_appearance
from training.data.quads import jitter
from training.synthetic.correspondence import BACKGROUND
from training.synthetic.motion_shards import MotionShard
from vivface.errors import OptionError
from vivface.faces.alignment import crop_quad, crop_to_image_matrix, ffhq_quad, from_crop, to_crop

OTHER_PERSON, OTHER_EXPRESSION, LITTLE_MOTION = 0.15, 0.5, 0.15  # probabilities of the errors of a generator
WITHOUT_IMAGES, WITHOUT_LANDMARKS = 0.2, 0.1  # probabilities that a batch lacks a cue
MOST_TURN = 12.0  # degrees between two frames that count as turned alike
JAW = 17  # first landmarks, which detectors slide along the outline


class MotionShards:
    """The shards of some folders, by group; those used last stay in memory.

    Args:
        folders (`list[str]`): Written by `training.synthetic.render_motion`.
        gigabytes (`float`): Memory.

    Raises:
        OptionError: If there are no shards.
    """

    def __init__(self, folders: list[str], gigabytes: float):
        self.groups: dict[tuple[int, str], list[Path]] = {}
        for number, folder in enumerate(folders):
            for path in sorted(Path(folder).glob("g*_p*.npz")):
                self.groups.setdefault((number, path.stem.partition("_")[0]), []).append(path)
        self.paths = [path for paths in self.groups.values() for path in paths]
        if not self.paths:
            raise OptionError(f"data.folders {folders} hold no shards g*_p*.npz: render them with render_motion.")
        self.limit, self.used = gigabytes * 1e9, 0
        self._lock = threading.Lock()
        self._cache: OrderedDict[Path, MotionShard] = OrderedDict()

    def relatives(self, path: Path) -> list[Path]:
        """All people who perform the motions of this one."""
        return next(paths for paths in self.groups.values() if path in paths)

    def load(self, path: Path) -> MotionShard:
        """A person, from memory if possible."""
        with self._lock:
            if path in self._cache:
                self._cache.move_to_end(path)
                return self._cache[path]
        shard = MotionShard.load(path)
        with self._lock:
            if path not in self._cache:
                self._cache[path] = shard
                self.used += shard.nbytes
            while self.used > self.limit and len(self._cache) > 1:
                self.used -= self._cache.popitem(last=False)[1].nbytes
        return shard


@dataclass
class Pair:
    """One example; positions from -1 to 1 over a crop of `size` pixels, images uint8 RGB.

    Attributes:
        portrait (`np.ndarray` of shape `(size, size, 3)`): The source frame.
        self_reconstruction (`np.ndarray` of shape `(size, size, 3)`): What a generator would make of it.
        driven (`np.ndarray` of shape `(size, size, 3)`): What a generator would imagine under the target's motion.
        portrait_landmarks (`np.ndarray` of shape `(68, 2)`): Of the source.
        landmarks (`np.ndarray` of shape `(68, 2)`): Of the target.
        flow (`np.ndarray` of shape `(size, size, 2)`): Source position minus target position.
        visible (`np.ndarray` of shape `(size, size)`): Whether the portrait shows what belongs here.
        parts (`np.ndarray` of shape `(size, size)`): See `training.synthetic.correspondence.PARTS`.
    """

    portrait: np.ndarray
    self_reconstruction: np.ndarray
    driven: np.ndarray
    portrait_landmarks: np.ndarray
    landmarks: np.ndarray
    flow: np.ndarray
    visible: np.ndarray
    parts: np.ndarray


class MotionPairs:
    """Batches of pairs; item `i` depends on the seed, `i` and the files alone.

    Args:
        shards (`MotionShards`): The people.
        data (`DataOptions`): `size`, `batch` and `augment`.
        seed (`int`): Of everything that is drawn.
        plain (`bool`, *optional*, defaults to False): For evaluation: no augmentation, no errors but softness, both
            cues, and every person in turn.
    """

    def __init__(self, shards: MotionShards, data: DataOptions, seed: int, plain: bool = False):
        self.shards, self.data, self.seed, self.plain = shards, data, seed, plain

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Batch `index`: the fields of `Pair` as tensors, images in [-1, 1], and which cues the network may use."""
        rng = np.random.default_rng([self.seed, index])
        count, paths = self.data.batch, self.shards.paths
        if self.plain:
            chosen = [paths[(index * count + k) % len(paths)] for k in range(count)]
        else:
            chosen = [paths[k] for k in rng.integers(len(paths), size=count)]
        missing = rng.random()
        without_images = not self.plain and missing < WITHOUT_IMAGES
        without_landmarks = not self.plain and missing > 1 - WITHOUT_LANDMARKS
        pairs = [self._pair(rng, path, certain=without_landmarks) for path in chosen]
        batch = {name: np.stack([getattr(pair, name) for pair in pairs]) for name in Pair.__dataclass_fields__}
        batch = {name: torch.from_numpy(array) for name, array in batch.items()}
        for name in ("portrait", "self_reconstruction", "driven"):
            batch[name] = batch[name].permute(0, 3, 1, 2).float() / 127.5 - 1
        batch["flow"] = batch["flow"].permute(0, 3, 1, 2)
        batch["visible"], batch["parts"] = batch["visible"][:, None].float(), batch["parts"][:, None]
        batch["has_images"] = torch.tensor(not without_images)
        batch["has_landmarks"] = torch.tensor(not without_landmarks)
        return batch

    def _pair(self, rng: np.random.Generator, path: Path, certain: bool) -> Pair:
        """One example; `certain`: the driven image is the only cue, so it must not lie about the expression."""
        shard, augment, size = self.shards.load(path), self.data.augment, self.data.size
        first, second, target = (int(k) for k in rng.choice(shard.frames, 3, replace=False))
        source = min(first, second, key=lambda k: abs(shard.pose[k, 0]))  # portraits look at the camera more often
        quads = self._quads(rng, shard, source, target)
        portrait = crop_quad(shard.image(source), quads[0], size)
        if not self.plain:
            portrait = _photograph(rng, portrait, sample_appearance(rng, size, augment.appearance), augment)
        imagined = self._imagine(rng, shard, path, source, target, quads, certain)
        own, moved = (
            to_crop(shard.landmarks[k] - 0.5, q) * 2 - 1 for k, q in zip((source, target), quads, strict=True)
        )
        if not self.plain:
            own, moved = _detect(rng, own, moved)
        flow, visible, parts = _crop_correspondence(shard, source, target, quads, size)
        return Pair(portrait, *imagined, own.astype(np.float32), moved.astype(np.float32), flow, visible, parts)

    def _quads(self, rng: np.random.Generator, shard: MotionShard, source: int, target: int) -> list[np.ndarray]:
        """Crops of both frames: the target's is the source's, or follows the face, as the pipeline's crops do."""
        own = ffhq_quad(shard.landmarks[source] - 0.5)
        if self.plain:
            return [own, own]
        own = jitter(rng, own, 0.03, 0.05, 3.0, 0.03)
        if rng.random() < 0.5:
            return [own, own]
        follow = rng.choice([1.0, 0.6, 0.25])
        face, neutral = ffhq_quad(shard.landmarks[target] - 0.5), ffhq_quad(shard.neutral_landmarks - 0.5)
        return [own, jitter(rng, follow * face + (1 - follow) * neutral, 0.03, 0.05, 3.0, 0.03)]

    def _imagine(
        self, rng: np.random.Generator, shard: MotionShard, path: Path, source: int, target: int, quads, certain: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """What a generator would make of the portrait in its own and in the target's motion."""
        size, softness, frames, shown = self.data.size, self.data.size // 2, [source, target], shard
        if not self.plain:
            softness = int(rng.uniform(0.25, 0.75) * size)
            if rng.random() < OTHER_EXPRESSION:
                frames[0] = _alike_pose(shard.pose, source)
            if rng.random() < LITTLE_MOTION and not certain:
                frames[1] = _alike_pose(shard.pose, target)
            if rng.random() < OTHER_PERSON:
                relatives = self.shards.relatives(path)
                shown = self.shards.load(relatives[rng.integers(len(relatives))])
        images = []
        for frame, original, quad in zip(frames, (source, target), quads, strict=True):
            if frame != original or shown is not shard:
                quad = _transfer_quad(quad, shard.landmarks[original], shown.landmarks[frame])
            images.append(_soften(crop_quad(shown.image(frame, light=1), quad, size), softness))
        if not self.plain:
            look = sample_appearance(rng, size, self.data.augment.appearance)
            images = [(look(image) * 255).round().astype(np.uint8) for image in images]
        return images[0], images[1]


def _photograph(rng: np.random.Generator, image: np.ndarray, look: Appearance, augment) -> np.ndarray:
    """Colour, light, and half the time noise, blur, compression or something in front of the face."""
    image = look(image)
    if rng.random() < augment.degrade_source:
        image = degrade(rng, image, augment)
    return (image * 255).round().astype(np.uint8)


def _soften(image: np.ndarray, size: int) -> np.ndarray:
    small = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_CUBIC)


def _alike_pose(pose: np.ndarray, frame: int) -> int:
    """The other frame whose head is turned most alike; the frame itself if none is turned nearly alike."""
    distance = np.linalg.norm(pose - pose[frame], axis=1)
    distance[frame] = MOST_TURN
    return int(distance.argmin())


def _transfer_quad(quad: np.ndarray, face: np.ndarray, other_face: np.ndarray) -> np.ndarray:
    """The crop that lies to another face as `quad` lies to a face; landmarks `(68, 2)` in pixels of a shard."""
    place = to_crop(quad, ffhq_quad(face - 0.5))
    return from_crop(place, ffhq_quad(other_face - 0.5))


def _detect(rng: np.random.Generator, own: np.ndarray, moved: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks as a tracker finds and a retargeting moves them: biased alike, too small or large a motion, noise."""
    bias = rng.normal(0, 0.012, (68, 2))
    bias[:JAW] = rng.normal(0, 0.03, (JAW, 2))
    gain = 1 + rng.normal(0, 0.12, (1, 2))
    noise = rng.uniform(0, 0.008)
    start = own + bias + rng.normal(0, noise, (68, 2))
    end = own + bias + (moved - own) * gain + rng.normal(0, noise, (68, 2)) + rng.normal(0, 0.006, (1, 2))
    return start, end


def _crop_correspondence(
    shard: MotionShard, source: int, target: int, quads: list[np.ndarray], size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Flow, visibility and parts of a crop of the target; see `Pair`."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float64)
    matrix = crop_to_image_matrix(quads[1], size)
    positions = np.stack([x, y], -1) @ matrix[:, :2].T + matrix[:, 2]
    truth = shard.maps.correspondence(source, target, positions + 0.5)  # the centre of pixel 0 lies at 0.5 there
    found = to_crop(positions + truth.flow, quads[0]) * 2 - 1
    here = (np.stack([x, y], -1) + 0.5) / size * 2 - 1
    inside = (np.abs(found) <= 1).all(-1)
    visible = truth.visible & inside & (truth.parts != BACKGROUND)
    return (found - here).astype(np.float32), visible, truth.parts
