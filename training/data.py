"""Batches of pictures: synthetic people with their truth, and real videos.

Sources of pictures:

- `GroupShards`: synthetic people, one npz a person; people of one group perform the same motions, frame by frame.
- `Clips`: anything that gives crops of faces clip by clip: `ShardClips` (the same people), `VideoFolder` (real
  videos, as files or as folders of frames), `ImageFolder` (single pictures).

Batches are data sets whose item `i` is batch `i`, made from nothing but the seed and `i`, so a run resumes where it
stopped. `GridBatches` serves the supervised stage, `PairBatches` the papers' stages, `ImageBatches` the generator
and the identity network. `stream` prepares items ahead in threads or processes.

Coordinates: quads and landmarks of a frame are in pixels with pixel centres at whole numbers, as dlib gives them; in
a crop of side S they are fractions u of the side, pixel k covering [k/S, (k+1)/S].
"""

from __future__ import annotations

import itertools
import os
import shutil
import threading
import time
import zipfile
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from training.arguments import AugmentOptions, DataOptions
from training.augment import degrade, sample_appearance
from training.ground_truth import truth_vector
from vivface.errors import MediaError, OptionError
from vivface.faces.alignment import align_ffhq, crop_quad, ffhq_quad, make_quad, quad_angle, quad_center, quad_size

REGIONS = ("face", "eyes", "brows", "mouth")

# ---------------------------------------------------------------- geometry


def adjust_quad(
    quad: np.ndarray,
    shift: np.ndarray | tuple[float, float] = (0.0, 0.0),
    scale: float = 1.0,
    degrees: float = 0.0,
    stretch: tuple[float, float] = (1.0, 1.0),
) -> np.ndarray:
    """Move, scale, turn and stretch a quad about its centre.

    Args:
        quad (`np.ndarray` of shape `(4, 2)`): Corners top-left, bottom-left, bottom-right, top-right.
        shift (pair of `float`): Of the centre, in fractions of the quad's own width and height.
        scale (`float`): Of both sides.
        degrees (`float`): Clockwise on the screen.
        stretch (pair of `float`): Further factors of width and height.
    """
    center = quad.mean(axis=0)
    right, down = (quad[3] - quad[0]) / 2, (quad[1] - quad[0]) / 2
    center = center + 2 * (shift[0] * right + shift[1] * down)
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[cos, -sin], [sin, cos]])
    right, down = turn @ right * (scale * stretch[0]), turn @ down * (scale * stretch[1])
    return np.stack([center - right - down, center - right + down, center + right + down, center + right - down])


def to_crop(points: np.ndarray, quad: np.ndarray) -> np.ndarray:
    """Points (..., 2) of a frame, in pixels -> fractions (..., 2) of the crop that `quad` cuts out."""
    axes = np.stack([quad[3] - quad[0], quad[1] - quad[0]], axis=1)  # columns: right, down
    return (points - quad[0]) @ np.linalg.inv(axes).T


def region_maps(landmarks: np.ndarray, size: int) -> np.ndarray:
    """Soft maps of face, eyes, brows and mouth.

    Args:
        landmarks (`np.ndarray` of shape `(68, 2)`): In fractions of the crop.
        size (`int`): Side of the maps.

    Returns:
        `np.ndarray` of shape `(4, size, size)`: uint8, 0..255, in the order of `REGIONS`.
    """
    coarse = max(32, size // 2)
    points = np.rint((landmarks * coarse - 0.5) * 16).astype(np.int32)  # 4 fractional bits
    maps = np.zeros((4, coarse, coarse), np.uint8)

    def hull(index: int, part: slice, grow: float) -> None:
        outline = cv2.convexHull(points[part])
        cv2.fillConvexPoly(maps[index], outline, 255, shift=4)
        cv2.polylines(maps[index], [outline], True, 255, max(1, round(grow * coarse)), shift=4)

    hull(0, slice(0, 68), 0.04)
    hull(1, slice(36, 42), 0.04)
    hull(1, slice(42, 48), 0.04)
    hull(2, slice(17, 22), 0.03)
    hull(2, slice(22, 27), 0.03)
    hull(3, slice(48, 68), 0.04)
    radius = max(3, coarse // 16 | 1)
    return np.stack([cv2.resize(cv2.blur(m, (radius, radius)), (size, size)) for m in maps])


def region_weights(regions: Tensor, base: float = 1.0, **extra: float) -> Tensor:
    """Pixel weights from region maps: `base` everywhere, plus an amount for each named region.

    Args:
        regions (`Tensor` of shape `(..., 4, H, W)`): In [0, 1].
        base (`float`): Weight of the background.
        extra (`float`): `face=1.0, eyes=4.0, brows=1.0, mouth=3.0`.

    Returns:
        `Tensor` of shape `(..., 1, H, W)`, with mean near `base` plus the amounts times the regions' areas.
    """
    amounts = torch.tensor([extra.get(name, 0.0) for name in REGIONS], device=regions.device, dtype=regions.dtype)
    return base + (regions * amounts[:, None, None]).sum(dim=-3, keepdim=True)


# ---------------------------------------------------------------- synthetic people

Group = tuple[Path, int]  # the folder and the group's number there: each rendering counts from 0


@dataclass(frozen=True)
class Person:
    """One synthetic person: everything of its shard but the pictures.

    Attributes:
        path (`Path`): The shard.
        group (`Group`): People of one group perform the same motions.
        seed (`int`): The person's identity.
        size (`int`): Side of the frames, pixels.
        landmarks (`np.ndarray` of shape `(T, 68, 2)`): Pixels.
        controls (`np.ndarray` of shape `(T, K)`): Expression, named by `control_names`.
        pose (`np.ndarray` of shape `(T, 3)`): As rendered.
        clip (`np.ndarray` of shape `(T,)`): Frames of one number share camera, light and background.
    """

    path: Path
    group: Group
    seed: int
    size: int
    landmarks: np.ndarray
    controls: np.ndarray
    control_names: tuple[str, ...]
    pose: np.ndarray
    clip: np.ndarray

    @property
    def frames(self) -> int:
        return len(self.landmarks)

    @cached_property
    def side(self) -> float:
        """Side of the FFHQ square, pixels: median over all frames, so that it says how large the head is."""
        return float(np.median([quad_size(ffhq_quad(points)) for points in self.landmarks]))


class GroupShards:
    """Synthetic people in one or more folders of npz files; new files are found while training goes on.

    Args:
        folders (`Iterable[str | Path]`): Searched with their subfolders.
        rescan_seconds (`float`, *optional*, defaults to 120): How often `people()` looks for new files; 0 = never.
        cache_gigabytes (`float`, *optional*, defaults to 4): Memory for compressed pictures.

    Raises:
        OptionError: If a folder does not exist or no folder holds a readable shard.
    """

    def __init__(self, folders: Iterable[str | Path], rescan_seconds: float = 120.0, cache_gigabytes: float = 4.0):
        self.folders = [Path(folder) for folder in folders]
        if missing := [folder for folder in self.folders if not folder.is_dir()]:
            raise OptionError(
                f"data.folders has {str(missing[0])!r}, which is no folder: render synthetic people there"
            )
        self.rescan_seconds = rescan_seconds
        self.cache_bytes = int(cache_gigabytes * 1e9)
        self._people: dict[Path, Person] = {}
        self._groups: dict[Group, list[Person]] = {}
        self._pictures: OrderedDict[Path, tuple[np.ndarray, np.ndarray]] = OrderedDict()
        self._cached = 0
        self._scanned = 0.0
        self._lock = threading.Lock()
        self.scan()
        if not self._people:
            raise OptionError(f"data.folders {[str(f) for f in self.folders]} hold no synthetic people (npz files)")

    def __getstate__(self) -> dict:
        state = self.__dict__.copy()  # a worker process starts with its own lock and an empty cache
        state.update(_lock=None, _pictures=OrderedDict(), _cached=0)
        return state

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def scan(self) -> None:
        """Read the headers of files that are new."""
        with self._lock:
            self._scanned = time.monotonic()
            people = dict(self._people)
            for path in sorted(p for folder in self.folders for p in folder.rglob("*.npz")):
                if path in people:
                    continue
                try:
                    person = _read_person(path)
                except (zipfile.BadZipFile, EOFError, OSError, ValueError, KeyError):
                    continue  # still being written; the next scan tries again
                if people and person.control_names != next(iter(people.values())).control_names:
                    raise OptionError(f"{path} names other controls than its neighbours: keep renders of one version")
                people[path] = person
            groups: dict[Group, list[Person]] = {}
            for path in sorted(people):
                groups.setdefault(people[path].group, []).append(people[path])
            self._people, self._groups = people, groups  # swapped whole: other threads may be reading the old ones

    def groups(self) -> dict[Group, list[Person]]:
        """People by group; looks for new files when it is time."""
        if self.rescan_seconds > 0 and time.monotonic() - self._scanned > self.rescan_seconds:
            self.scan()
        return self._groups

    def people(self) -> list[Person]:
        """Everybody, in the order of groups and files."""
        groups = self.groups()
        return [person for group in sorted(groups) for person in groups[group]]

    @property
    def control_names(self) -> tuple[str, ...]:
        """Names of the controls, in the order of their columns."""
        return next(iter(self._people.values())).control_names

    def __len__(self) -> int:
        return len(self._people)

    def image(self, person: Person, frame: int) -> np.ndarray:
        """One frame: uint8 (H, W, 3) RGB."""
        data, offsets = self._load(person.path)
        packed = data[offsets[frame] : offsets[frame + 1]]
        return cv2.cvtColor(cv2.imdecode(packed, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)

    def _load(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        with self._lock:
            if path in self._pictures:
                self._pictures.move_to_end(path)
                return self._pictures[path]
        with np.load(path) as shard:
            data, offsets = shard["jpeg_bytes"], shard["jpeg_offsets"].astype(np.int64)
            if len(offsets) == len(shard["landmarks"]):  # starts only
                offsets = np.append(offsets, len(data))
        with self._lock:
            if path not in self._pictures:
                self._pictures[path] = (data, offsets)
                self._cached += data.nbytes
            while self._cached > self.cache_bytes and len(self._pictures) > 1:
                self._cached -= self._pictures.popitem(last=False)[1][0].nbytes
        return data, offsets


def _read_person(path: Path) -> Person:
    with np.load(path) as shard:
        landmarks = shard["landmarks"].astype(np.float32)
        frames = len(landmarks)
        controls = shard["controls"].astype(np.float32).reshape(frames, -1)
        return Person(
            path=path,
            group=(path.parent, int(shard["group"])),
            seed=int(shard["person_seed"]),
            size=int(shard["size"]),
            landmarks=landmarks,
            controls=controls,
            control_names=tuple(str(name) for name in shard["control_names"]),
            pose=shard["pose"].astype(np.float32),
            clip=shard["clip"].astype(np.int64) if "clip" in shard.files else np.zeros(frames, np.int64),
        )


class GridBatches:
    """P people by J motions of one group, with the truth for every pair (see the fields below).

    One source frame index i is shared by the whole batch. With `options.crop` "stable", sources, targets and driving
    frames are all cropped by quads of frame i, so roll, scale and position inside the crop mean the same for all of
    them. With "centred" only sources are; every other frame is cropped around its own face, as the pipeline's stable
    crop follows a head, off by a `Drift` that all pictures of a motion share.

    Item `n` is a dict; images are float32 RGB in [-1, 1], stored channels-last, S = options.size:

    - `source` (P, 3, S, S): frame i of each person, cropped by its FFHQ quad, slightly jittered and stretched; its
      appearance (colour, light) drawn once a person; some of them degraded.
    - `target` (P, J, 3, S, S): frame j of each person by the very quad ("stable") and appearance of its source, not
      degraded.
    - `driver` (D, J, 3, S, S): frame j of some person (in or out of the P) by that person's quad with jitter,
      appearance and degradation of its own.
    - `regions` (P, J, 4, S, S): soft maps of face, eyes, brows and mouth of the targets, in [0, 1]; see
      `region_weights`.
    - `source_landmarks` (P, 68, 2), `target_landmarks` (P, J, 68, 2), `driver_landmarks` (D, J, 68, 2): in fractions
      of the crop.
    - `source_controls` (P, K), `target_controls` (P, J, K), `driver_controls` (D, J, K); likewise `*_pose` (..., 3).
    - `person` (P,), `driver_person` (D, J): identity seeds; `motion` (J,) frame indices; `source_motion` ().

    Args:
        options (`DataOptions`): Folders, sizes and augmentation.
        seed (`int`, *optional*, defaults to 0): Of all choices.
        shards (`GroupShards`, *optional*): People, if they are at hand already.
    """

    def __init__(self, options: DataOptions, seed: int = 0, shards: GroupShards | None = None):
        check_crop(options, "stable", "centred")
        self.options, self.seed = options, seed
        self.shards = shards or GroupShards(options.folders, options.rescan_seconds, options.cache_gigabytes)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        options, augment = self.options, self.options.augment
        rng = np.random.default_rng((self.seed, index))
        group = self._choose_group(rng)
        order = rng.permutation(len(group))
        people = [group[order[k % len(group)]] for k in range(options.people)]
        i, motions = self._choose_motions(rng, group)

        size = options.size
        small = (augment.source_jitter, augment.source_jitter, 50 * augment.source_jitter, augment.stretch)
        quads = {person.path: ffhq_quad(person.landmarks[i]) for person in group}
        drifts = {j: sample_drift(rng, augment) for j in motions} if options.crop == "centred" else {}
        source, target, regions = [], [], []
        source_points, target_points = [], []
        for person in people:
            quad = jitter(rng, quads[person.path], *small)
            appearance = sample_appearance(rng, size, augment.appearance)
            image = appearance(crop_quad(self.shards.image(person, i), quad, size))
            source.append(degrade(rng, image, augment) if rng.random() < augment.degrade_source else image)
            source_points.append(to_crop(person.landmarks[i], quad))
            for j in motions:
                place = drifts[j].quad(person, j) if drifts else quad
                target.append(appearance(crop_quad(self.shards.image(person, j), place, size)))
                target_points.append(to_crop(person.landmarks[j], place))
                regions.append(region_maps(target_points[-1], size))

        driver, driver_points, drivers = [], [], []
        for _, j in itertools.product(range(options.drivers), motions):
            person = group[rng.integers(len(group))]
            place = drifts[j].quad(person, j) if drifts else quads[person.path]
            image, points = driving_picture(rng, self.shards, person, j, place, options)
            driver.append(image)
            driver_points.append(points)
            drivers.append((person, j))

        grid, drives = (len(people), len(motions)), (options.drivers, len(motions))
        return {
            "source": to_tensor(source),
            "target": to_tensor(target).unflatten(0, grid),
            "driver": to_tensor(driver).unflatten(0, drives),
            "regions": (torch.from_numpy(np.stack(regions)).float() / 255.0).unflatten(0, grid),
            "source_landmarks": _floats(source_points),
            "target_landmarks": _floats(target_points).unflatten(0, grid),
            "driver_landmarks": _floats(driver_points).unflatten(0, drives),
            "source_controls": _floats([p.controls[i] for p in people]),
            "target_controls": _floats([p.controls[motions] for p in people]),
            "driver_controls": _floats([p.controls[j] for p, j in drivers]).unflatten(0, drives),
            "source_pose": _floats([p.pose[i] for p in people]),
            "target_pose": _floats([p.pose[motions] for p in people]),
            "driver_pose": _floats([p.pose[j] for p, j in drivers]).unflatten(0, drives),
            "person": torch.tensor([p.seed for p in people]),
            "driver_person": torch.tensor([p.seed for p, _ in drivers]).unflatten(0, drives),
            "motion": torch.tensor(motions),
            "source_motion": torch.tensor(i),
        }

    def _choose_group(self, rng: np.random.Generator) -> list[Person]:
        groups = self.shards.groups()
        names = sorted(groups)
        counts = np.array([len(groups[name]) for name in names], np.float64)
        return groups[names[rng.choice(len(names), p=counts / counts.sum())]]

    def _choose_motions(self, rng: np.random.Generator, group: list[Person]) -> tuple[int, list[int]]:
        frames = min(person.frames for person in group)
        drawn = rng.integers(frames, size=self.options.source_draws)
        i = int(min(drawn, key=lambda k: np.abs(group[0].pose[k, :2]).sum()))
        same = np.flatnonzero(group[0].clip[:frames] == group[0].clip[i])
        repeat = len(same) < self.options.motions
        return i, [int(j) for j in rng.choice(same, self.options.motions, replace=repeat)]


def check_crop(options: DataOptions, *known: str) -> None:
    """Raise OptionError unless `data.crop` is one of the known."""
    if options.crop not in known:
        raise OptionError(f"data.crop is {options.crop!r}, expected {' or '.join(map(repr, known))}")


@dataclass(frozen=True)
class Drift:
    """How a crop that follows a head lies off its face.

    Attributes:
        shift (`np.ndarray` of shape `(2,)`): Of the centre, in fractions of the crop's side.
        scale (`float`): Of the side, as a factor.
        degrees (`float`): Of the crop against the upright face, clockwise.
    """

    shift: np.ndarray
    scale: float
    degrees: float

    def quad(self, person: Person, frame: int) -> np.ndarray:
        """The square around a frame's face, as large as the person's squares are on average, off by the drift."""
        own = ffhq_quad(person.landmarks[frame])
        upright = make_quad(quad_center(own), person.side / 2, quad_angle(own))
        return adjust_quad(upright, self.shift, self.scale, self.degrees)


def sample_drift(rng: np.random.Generator, augment: AugmentOptions) -> Drift:
    """Draw a drift; its spreads are those of the options, and it is at most twice as large."""
    x, y, zoom, turn = rng.normal(size=4).clip(-2, 2)
    shift = np.array([x, y]) * augment.drift_center
    return Drift(shift, 1.0 + zoom * augment.drift_scale, turn * augment.drift_rotation)


def driving_picture(
    rng: np.random.Generator, shards: GroupShards, person: Person, frame: int, quad: np.ndarray, options: DataOptions
) -> tuple[np.ndarray, np.ndarray]:
    """A frame as a driving picture: crop jitter, appearance and degradation of its own.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: float32 (S, S, 3) in [0, 1]; landmarks (68, 2) in fractions of the crop.
    """
    augment = options.augment
    wide = (augment.driver_center, augment.driver_scale, augment.driver_rotation, augment.stretch)
    quad = jitter(rng, quad, *wide)
    strength = augment.appearance if augment.driver_appearance is None else augment.driver_appearance
    appearance = sample_appearance(rng, options.size, strength)
    image = appearance(crop_quad(shards.image(person, frame), quad, options.size))
    image = degrade(rng, image, augment) if rng.random() < augment.degrade_driver else image
    return image, to_crop(person.landmarks[frame], quad)


def jitter(
    rng: np.random.Generator, quad: np.ndarray, center: float, scale: float, degrees: float, stretch: float
) -> np.ndarray:
    """A quad moved at random by up to the given amounts (fractions of its side, degrees)."""
    wide, high = rng.uniform(-1, 1, size=2) * stretch / 2  # the ratio of the sides changes by up to `stretch`
    return adjust_quad(
        quad,
        shift=rng.uniform(-1, 1, size=2) * center,
        scale=1.0 + rng.uniform(-1, 1) * scale,
        degrees=rng.uniform(-1, 1) * degrees,
        stretch=(1.0 + wide, 1.0 + high),
    )


def to_tensor(images: list[np.ndarray]) -> Tensor:
    """float32 (S, S, 3) in [0, 1], N of them -> (N, 3, S, S) in [-1, 1], channels-last in memory."""
    return torch.from_numpy(np.stack(images) * 2.0 - 1.0).permute(0, 3, 1, 2)


def _floats(values: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(values).astype(np.float32))


# ---------------------------------------------------------------- clips


class Clips(ABC):
    """Crops of faces, clip by clip. A clip shows one person under one light.

    Attributes:
        labels (`list[int]`): Index of the person of each clip, from 0.
    """

    labels: list[int]

    @property
    def classes(self) -> int:
        """How many persons there are."""
        return max(self.labels) + 1

    @abstractmethod
    def length(self, clip: int) -> int:
        """Frames in a clip."""

    @abstractmethod
    def crop(self, clip: int, frame: int, size: int, anchor: int | None = None, move=None) -> np.ndarray:
        """One frame as a square crop: uint8 (size, size, 3) RGB.

        Args:
            clip, frame (`int`): Which.
            size (`int`): Side of the crop.
            anchor (`int`, *optional*): Frame whose quad is used instead of the frame's own, where there are quads.
            move (callable, *optional*): Changes the quad, see `jitter`.
        """


class ShardClips(Clips):
    """The clips of synthetic people; the list is fixed when it is made."""

    def __init__(self, shards: GroupShards):
        self.shards = shards
        self.clips: list[tuple[Person, np.ndarray]] = []
        people = shards.people()
        index = {seed: k for k, seed in enumerate(sorted({person.seed for person in people}))}
        self.labels = []
        for person in people:
            for number in np.unique(person.clip):
                self.clips.append((person, np.flatnonzero(person.clip == number)))
                self.labels.append(index[person.seed])

    def length(self, clip: int) -> int:
        return len(self.clips[clip][1])

    def crop(self, clip: int, frame: int, size: int, anchor: int | None = None, move=None) -> np.ndarray:
        person, frames = self.clips[clip]
        quad = ffhq_quad(person.landmarks[frames[frame if anchor is None else anchor]])
        return crop_quad(self.shards.image(person, frames[frame]), move(quad) if move else quad, size)


class VideoFolder(Clips):
    """Real videos: every video file, and every folder that directly holds pictures, is a clip and a person.

    Of a video file, evenly spaced frames are decoded at first use and kept as JPEG in `.frames-SIZE` beside it.

    Args:
        folders (`Iterable[str | Path]`): Searched with their subfolders.
        frames_per_video (`int`): Frames used of each clip.
        size (`int`): Side of the kept frames of video files, pixels.
        align (`bool`, *optional*, defaults to False): Find the face in every frame of video files and align it; else
            the frames are taken as aligned squares.

    Raises:
        OptionError: If there is no such folder or no clip.
    """

    SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi")

    def __init__(self, folders: Iterable[str | Path], frames_per_video: int, size: int, align: bool = False):
        self.frames_per_video, self.size, self.align = frames_per_video, size, align
        found = _files(folders, (*self.SUFFIXES, *PICTURE_SUFFIXES))
        found = [p for p in found if not any(part.startswith(".frames-") for part in p.parts)]
        videos = {p for p in found if p.suffix.lower() in self.SUFFIXES}
        self.clips = sorted(videos | {p.parent for p in found if p not in videos})
        if not self.clips:
            raise OptionError(f"data.folders {list(map(str, folders))} hold no videos and no folders of pictures")
        self.labels = list(range(len(self.clips)))
        self._frames: dict[int, list[Path]] = {}

    def length(self, clip: int) -> int:
        return len(self.frames(clip))

    def crop(self, clip: int, frame: int, size: int, anchor: int | None = None, move=None) -> np.ndarray:
        return _whole(self.frames(clip)[frame], size, move)

    def frames(self, clip: int) -> list[Path]:
        """The picture files of a clip."""
        if clip not in self._frames:
            place = self.clips[clip]
            if place.is_dir():
                files = sorted(p for p in place.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES)
                picks = np.linspace(0, len(files) - 1, min(self.frames_per_video, len(files)))
                self._frames[clip] = [files[round(k)] for k in picks]
            else:
                kept = place.parent / f".frames-{self.size}" / place.stem
                if not kept.is_dir():
                    self._extract(place, kept)
                self._frames[clip] = sorted(kept.glob("*.jpg"))
        return self._frames[clip]

    def _extract(self, video: Path, folder: Path) -> None:
        from vivface.faces.backends import get_backend
        from vivface.faces.tracking import FaceTracker
        from vivface.media.video import VideoReader

        tracker = FaceTracker(get_backend("auto")) if self.align else None
        work = folder.with_name(f"{folder.name}.{os.getpid()}-{threading.get_ident()}")
        work.mkdir(parents=True)
        with VideoReader(video) as reader:
            spacing = max(1.0, (reader.frames_estimate or 500) / self.frames_per_video)
            kept = 0
            for index, frame in enumerate(reader):
                tracked = tracker.update(frame.image) if tracker else None
                if index < kept * spacing or kept >= self.frames_per_video or (tracked and not tracked.found):
                    continue
                if tracked:
                    image = align_ffhq(frame.image, tracked.landmarks, self.size)
                else:
                    image = crop_quad(frame.image, _square(frame.image), self.size)
                packed = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
                cv2.imwrite(str(work / f"{kept:04d}.jpg"), packed, [cv2.IMWRITE_JPEG_QUALITY, 95])
                kept += 1
        if kept < 2:
            shutil.rmtree(work)
            raise MediaError(f"{video} gives {kept} usable frames, expected at least 2: remove it from the folder")
        try:
            work.rename(folder)
        except OSError:  # another worker was faster
            shutil.rmtree(work)


class ImageFolder(Clips):
    """Single pictures; those of one folder show one person (which matters to the identity network only)."""

    def __init__(self, folders: Iterable[str | Path]):
        self.files = _files(folders, PICTURE_SUFFIXES)
        if not self.files:
            raise OptionError(f"data.folders {list(map(str, folders))} hold no pictures")
        index = {parent: k for k, parent in enumerate(sorted({p.parent for p in self.files}))}
        self.labels = [index[p.parent] for p in self.files]

    def length(self, clip: int) -> int:
        return 1

    def crop(self, clip: int, frame: int, size: int, anchor: int | None = None, move=None) -> np.ndarray:
        return _whole(self.files[clip], size, move)


PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def _files(folders: Iterable[str | Path], suffixes: tuple[str, ...]) -> list[Path]:
    for folder in folders:
        if not Path(folder).is_dir():
            raise OptionError(f"data.folders has {str(folder)!r}, which is no folder")
    return sorted(p for f in folders for p in Path(f).rglob("*") if p.suffix.lower() in suffixes and p.is_file())


def _square(image: np.ndarray) -> np.ndarray:
    """The quad of the largest central square of a picture."""
    height, width = image.shape[:2]
    return make_quad(np.array([(width - 1) / 2, (height - 1) / 2]), min(width, height) / 2)


def _whole(path: Path, size: int, move) -> np.ndarray:
    packed = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if packed is None:
        raise MediaError(f"{path} is no readable picture: remove it from the folder")
    image = cv2.cvtColor(packed, cv2.COLOR_BGR2RGB)
    quad = _square(image)
    return crop_quad(image, move(quad) if move else quad, size)


def open_clips(options: DataOptions) -> Clips:
    """The clips that `options.kind` and `options.folders` name.

    Raises:
        OptionError: If the kind is unknown or nothing is there.
    """
    if options.kind == "shards":
        return ShardClips(GroupShards(options.folders, 0.0, options.cache_gigabytes))
    if options.kind == "videos":
        return VideoFolder(options.folders, options.frames_per_video, options.size, options.align)
    if options.kind == "images":
        return ImageFolder(options.folders)
    raise OptionError(f"data.kind is {options.kind!r}, expected 'shards', 'videos' or 'images'")


class ImageBatches:
    """Single crops of faces: `image` (B, 3, S, S) in [-1, 1] and `label` (B,), the person's index.

    Every person is as likely as every other. Crops move by `augment.source_jitter`, or with `hard` by the wider
    ranges of driving frames; `augment.appearance` applies, degradation only with `hard`.
    """

    def __init__(self, clips: Clips, options: DataOptions, seed: int = 0, hard: bool = False):
        self.clips, self.options, self.seed, self.hard = clips, options, seed, hard
        self._of_label: dict[int, list[int]] = {}
        for clip, label in enumerate(clips.labels):
            self._of_label.setdefault(label, []).append(clip)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((self.seed, index))
        options, augment = self.options, self.options.augment
        small = augment.source_jitter
        ranges = (small, small, 50 * small, augment.stretch)
        if self.hard:
            ranges = (augment.driver_center, augment.driver_scale, augment.driver_rotation, augment.stretch)
        images, labels = [], rng.integers(self.clips.classes, size=options.batch)
        for label in labels:
            clip = int(rng.choice(self._of_label[int(label)]))
            frame = int(rng.integers(self.clips.length(clip)))
            crop = self.clips.crop(clip, frame, options.size, move=lambda quad: jitter(rng, quad, *ranges))
            image = sample_appearance(rng, options.size, augment.appearance)(crop)
            if self.hard and rng.random() < augment.degrade_driver:
                image = degrade(rng, image, augment)
            images.append(image)
        return {"image": to_tensor(images), "label": torch.from_numpy(labels)}


class FrameBatches:
    """Frames of synthetic people in fixed crops, with their truth: P people and J frames of each.

    A clip is cropped by the mean of its frames' FFHQ quads, so the truth says all about where a face is. Crops are
    kept in memory: `size`^2 x 3 bytes a frame.

    Item `n` is a dict: `image` (P, J, 3, S, S) in [-1, 1]; `regions` (P, J, 4, S, S) in [0, 1]; `controls` (P, J, K);
    `pose` (P, J, 3); `landmarks` (P, J, 68, 2) in fractions of the crop, averaged over the people of a group;
    `person` (P,), identity seeds.

    Args:
        options (`DataOptions`): Folders, size, people and motions; nothing is augmented.
        seed (`int`, *optional*, defaults to 0): Of all choices.
    """

    def __init__(self, options: DataOptions, seed: int = 0):
        self.options, self.seed = options, seed
        self.shards = GroupShards(options.folders, 0.0, options.cache_gigabytes)
        self.people = self.shards.people()
        self._quads = {(p.path, c): self._mean_quad(p, c) for p in self.people for c in np.unique(p.clip)}
        self._points = {  # landmarks of every frame, in its crop
            p.path: np.stack([to_crop(p.landmarks[k], self._quad(p, k)) for k in range(p.frames)]) for p in self.people
        }
        self._landmarks: dict[Group, np.ndarray] = {}  # of a group, averaged
        for group, people in self.shards.groups().items():
            frames = min(person.frames for person in people)
            self._landmarks[group] = np.mean([self._points[person.path][:frames] for person in people], axis=0)
        self._crops: dict[tuple[Path, int], np.ndarray] = {}

    @staticmethod
    def _mean_quad(person: Person, clip: int) -> np.ndarray:
        return np.mean([ffhq_quad(person.landmarks[k]) for k in np.flatnonzero(person.clip == clip)], axis=0)

    def _quad(self, person: Person, frame: int) -> np.ndarray:
        return self._quads[person.path, person.clip[frame]]

    def _crop(self, person: Person, frame: int) -> np.ndarray:
        if (person.path, frame) not in self._crops:
            crop = crop_quad(self.shards.image(person, frame), self._quad(person, frame), self.options.size)
            self._crops[person.path, frame] = crop
        return self._crops[person.path, frame]

    def seeds(self) -> list[int]:
        """Identity seeds of everybody."""
        return [person.seed for person in self.people]

    def truths(self) -> Tensor:
        """The truth of every frame of every group: `(frames, truths)`."""
        found = []
        for group, points in self._landmarks.items():
            person = self.shards.groups()[group][0]
            known = (person.controls[: len(points)], person.pose[: len(points)], points)
            found.append(truth_vector(*(torch.from_numpy(x.astype(np.float32)) for x in known)))
        return torch.cat(found)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        people, pairs = self._choose(np.random.default_rng((self.seed, index)))
        grid = (len(people), self.options.motions)
        regions = [region_maps(self._points[person.path][k], self.options.size) for person, k in pairs]
        return {
            "image": to_tensor([self._crop(person, k) / 255.0 for person, k in pairs]).float().unflatten(0, grid),
            "regions": (torch.from_numpy(np.stack(regions)).float() / 255.0).unflatten(0, grid),
            **self._known(pairs, grid),
            "person": torch.tensor([person.seed for person in people]),
        }

    def _choose(self, rng: np.random.Generator) -> tuple[list[Person], list[tuple[Person, int]]]:
        """People, and frames of each of them."""
        people = [self.people[k] for k in rng.permutation(len(self.people))[: self.options.people]]
        frames = [rng.integers(len(self._landmarks[person.group]), size=self.options.motions) for person in people]
        return people, [(person, int(k)) for person, each in zip(people, frames, strict=True) for k in each]

    def _known(self, pairs: list[tuple[Person, int]], grid: tuple[int, int]) -> dict[str, Tensor]:
        """The truth of frames."""
        known = {
            "controls": [person.controls[k] for person, k in pairs],
            "pose": [person.pose[k] for person, k in pairs],
            "landmarks": [self._landmarks[person.group][k] for person, k in pairs],
        }
        return {name: _floats(values).unflatten(0, grid) for name, values in known.items()}


class DrivingFrameBatches(FrameBatches):
    """The same frames, cropped and changed as the driving frames of `GridBatches` are.

    Item `n` is a dict as there, without `regions`, and with `points` (P, J, 68, 2): every frame's own landmarks in its
    own crop. A crop is that of another frame of the clip ("stable"), or around the face ("centred").
    """

    def __init__(self, options: DataOptions, seed: int = 0):
        check_crop(options, "stable", "centred")
        super().__init__(options, seed)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((self.seed, index))
        people, pairs = self._choose(rng)
        grid = (len(people), self.options.motions)
        images, points = [], []
        for person, k in pairs:
            if self.options.crop == "centred":
                quad = sample_drift(rng, self.options.augment).quad(person, k)
            else:
                quad = ffhq_quad(person.landmarks[rng.choice(np.flatnonzero(person.clip == person.clip[k]))])
            image, own = driving_picture(rng, self.shards, person, k, quad, self.options)
            images.append(image)
            points.append(own)
        return {
            "image": to_tensor(images).unflatten(0, grid),
            "points": _floats(points).unflatten(0, grid),
            **self._known(pairs, grid),
            "person": torch.tensor([person.seed for person in people]),
        }


class PairBatches:
    """Training triples of the papers: `source` and `same` from one clip, `other` of another person, (B, 3, S, S).

    Source and same share crop jitter and appearance; with `options.crop` "stable" both are cut by the source's quad
    (where the clips have quads), with "ffhq" each by its own.
    """

    def __init__(self, clips: Clips, options: DataOptions, seed: int = 0):
        check_crop(options, "stable", "ffhq")
        if clips.classes < 2:
            raise OptionError(f"data.folders {options.folders} show a single person, expected at least 2")
        self.clips, self.options, self.seed = clips, options, seed

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((self.seed, index))
        images: dict[str, list[np.ndarray]] = {"source": [], "same": [], "other": []}
        labels = np.asarray(self.clips.labels)
        for _ in range(self.options.batch):
            clip = int(rng.integers(len(labels)))
            length = self.clips.length(clip)
            first, second = (int(k) for k in rng.choice(length, 2, replace=length < 2))
            source, same = self._crops(rng, clip, first, second)
            stranger = int(rng.choice(np.flatnonzero(labels != labels[clip])))
            third = int(rng.integers(self.clips.length(stranger)))
            (other,) = self._crops(rng, stranger, third)
            for name, image in (("source", source), ("same", same), ("other", other)):
                images[name].append(image)
        return {name: to_tensor(each) for name, each in images.items()}

    def _crops(self, rng: np.random.Generator, clip: int, *frames: int) -> list[np.ndarray]:
        options, augment = self.options, self.options.augment
        small, seed = augment.source_jitter, int(rng.integers(2**31))
        appearance = sample_appearance(rng, options.size, augment.appearance)

        def move(quad: np.ndarray) -> np.ndarray:  # alike for all frames
            return jitter(np.random.default_rng(seed), quad, small, small, 50 * small, augment.stretch)

        anchor = frames[0] if options.crop == "stable" else None
        return [appearance(self.clips.crop(clip, frame, options.size, anchor, move)) for frame in frames]


# ---------------------------------------------------------------- preparing ahead


class _Indices:
    def __init__(self, start: int, stride: int):
        self.start, self.stride = start, stride

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self.start, self.stride)


def _one_thread(worker: int) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def stream(dataset, options: DataOptions, start: int = 0, stride: int = 1) -> Iterator[dict[str, Tensor]]:
    """Items `start`, `start + stride`, ... of a data set, in order, prepared ahead as `options` say.

    Raises:
        OptionError: If `options.worker_kind` is unknown.
    """
    if options.worker_kind not in ("thread", "process"):
        raise OptionError(f"data.worker_kind is {options.worker_kind!r}, expected 'thread' or 'process'")
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
