"""Synthetic people on disk: one npz file per identity, in groups that perform the same motions."""

from __future__ import annotations

import threading
import time
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from vivface.errors import MediaError, OptionError
from vivface.faces.alignment import ffhq_quad, quad_size

Group = tuple[Path, int]  # the folder and the group's number in it: each rendering counts from 0
UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, KeyError)


@dataclass(frozen=True)
class ShardRecord:
    """Everything in the shard of one synthetic identity but the images.

    Attributes:
        path (`Path`): The shard.
        group (`Group`): Identities of one group perform the same motions.
        seed (`int`): The identity.
        size (`int`): Size of the frames, pixels.
        landmarks (`np.ndarray` of shape `(T, 68, 2)`): Pixels.
        controls (`np.ndarray` of shape `(T, K)`): Expression, named by `control_names`, about 0 to 1.
        control_names (`tuple[str, ...]`): Names of the K controls.
        pose (`np.ndarray` of shape `(T, 3)`): Yaw, pitch and roll as rendered, degrees.
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
        """Number of frames T."""
        return len(self.landmarks)

    @cached_property
    def face_size(self) -> float:
        """Size of the FFHQ square, pixels: median over all frames, a measure of the head's size."""
        return float(np.median([quad_size(ffhq_quad(points)) for points in self.landmarks]))


class GroupShards:
    """The synthetic people in one or more folders of npz files.

    Args:
        folders (`Iterable[str | Path]`): Searched with their subfolders.
        rescan_seconds (`float`, *optional*, defaults to 0): How often `groups()` looks for new files; 0 = never. With
            rescanning, what a batch holds depends on when files arrive.
        cache_gigabytes (`float`, *optional*, defaults to 4): Memory for compressed images.

    Raises:
        OptionError: If a folder does not exist, no folder holds a readable shard, or shards have different controls.
    """

    def __init__(self, folders: Iterable[str | Path], rescan_seconds: float = 0.0, cache_gigabytes: float = 4.0):
        self.folders = [Path(folder) for folder in folders]
        if missing := [folder for folder in self.folders if not folder.is_dir()]:
            raise OptionError(
                f"data.folders has {str(missing[0])!r}, which is no folder: render synthetic people there"
            )
        self.rescan_seconds = rescan_seconds
        self.cache_bytes = int(cache_gigabytes * 1e9)
        self._records: dict[Path, ShardRecord] = {}
        self._groups: dict[Group, list[ShardRecord]] = {}
        self._images: OrderedDict[Path, tuple[np.ndarray, np.ndarray]] = OrderedDict()
        self._cached = 0
        self._scanned = 0.0
        self._lock = threading.Lock()
        self.scan()
        if not self._records:
            raise OptionError(f"data.folders {[str(f) for f in self.folders]} hold no synthetic people (npz files)")

    def scan(self) -> None:
        """Read the headers of new files; files that cannot be read (still being written) wait for the next scan.

        Raises:
            OptionError: If a shard has other controls than those before it.
        """
        with self._lock:
            self._scanned = time.monotonic()
            records = dict(self._records)
            for path in sorted(p for folder in self.folders for p in folder.rglob("*.npz")):
                if path in records:
                    continue
                try:
                    record = _read_record(path)
                except UNREADABLE:
                    continue
                if records and record.control_names != next(iter(records.values())).control_names:
                    raise OptionError(
                        f"{path} has other controls than the shards before it: use renders of one version"
                    )
                records[path] = record
            groups: dict[Group, list[ShardRecord]] = {}
            for path in sorted(records):
                groups.setdefault(records[path].group, []).append(records[path])
            self._records, self._groups = records, groups  # swapped whole: other threads may be reading the old ones

    def groups(self) -> dict[Group, list[ShardRecord]]:
        """Records by group; looks for new files when `rescan_seconds` are over."""
        if self.rescan_seconds > 0 and time.monotonic() - self._scanned > self.rescan_seconds:
            self.scan()
        return self._groups

    def records(self) -> list[ShardRecord]:
        """All records, in the order of groups and files."""
        groups = self.groups()
        return [record for group in sorted(groups) for record in groups[group]]

    @property
    def control_names(self) -> tuple[str, ...]:
        """Names of the controls, in the order of their columns."""
        return next(iter(self._records.values())).control_names

    @property
    def cached_bytes(self) -> int:
        """Memory that compressed images take at present."""
        return self._cached

    def __len__(self) -> int:
        return len(self._records)

    def image(self, record: ShardRecord, frame: int) -> np.ndarray:
        """One frame.

        Args:
            record (`ShardRecord`): Whose.
            frame (`int`): Index of the frame in the shard.

        Returns:
            `np.ndarray` of shape `(size, size, 3)`: uint8 RGB.

        Raises:
            MediaError: If the shard or the frame in it cannot be read.
        """
        try:
            data, offsets = self._load(record.path)
            image = cv2.imdecode(data[offsets[frame] : offsets[frame + 1]], cv2.IMREAD_COLOR)
        except (*UNREADABLE, cv2.error) as error:
            raise MediaError(f"{record.path} cannot be read ({error}): render it again or remove it") from error
        if image is None:
            raise MediaError(f"frame {frame} of {record.path} is no readable image: render it again or remove it")
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    def _load(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        with self._lock:
            if path in self._images:
                self._images.move_to_end(path)
                return self._images[path]
        with np.load(path) as shard:
            data, offsets = shard["jpeg_bytes"], shard["jpeg_offsets"].astype(np.int64)
            if len(offsets) == len(shard["landmarks"]):  # starts only
                offsets = np.append(offsets, len(data))
        with self._lock:
            if path not in self._images:
                self._images[path] = (data, offsets)
                self._cached += data.nbytes
            while self._cached > self.cache_bytes and len(self._images) > 1:
                self._cached -= self._images.popitem(last=False)[1][0].nbytes
        return data, offsets


def _read_record(path: Path) -> ShardRecord:
    with np.load(path) as shard:
        landmarks = shard["landmarks"].astype(np.float32)
        frames = len(landmarks)
        controls = shard["controls"].astype(np.float32).reshape(frames, -1)
        return ShardRecord(
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
