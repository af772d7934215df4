"""Crops of faces clip by clip: synthetic people and single images (real videos: `training.data.videos`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np

from training.data.quads import central_square
from training.data.shards import GroupShards, ShardRecord
from vivface.errors import MediaError, OptionError
from vivface.faces.alignment import crop_quad, ffhq_quad, to_crop

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")

Move = Callable[[np.ndarray], np.ndarray]  # changes a quad, see `jitter`


class Clips(ABC):
    """Crops of faces, clip by clip. A clip shows one person under one light.

    Attributes:
        labels (`list[int]`): Index of the identity of each clip, from 0.
    """

    labels: list[int]

    @property
    def classes(self) -> int:
        """Number of identities."""
        return max(self.labels) + 1

    @abstractmethod
    def length(self, clip: int) -> int:
        """Frames in a clip.

        Raises:
            MediaError: If the clip cannot be read.
        """

    @abstractmethod
    def crop(self, clip: int, frame: int, size: int, anchor: int | None = None, move: Move | None = None) -> np.ndarray:
        """One frame as a square crop.

        Args:
            clip (`int`): Index of the clip.
            frame (`int`): Index of the frame in the clip.
            size (`int`): Size of the crop, pixels.
            anchor (`int`, *optional*): Frame whose quad is used instead of the frame's own, where there are quads.
            move (callable, *optional*): Changes the quad, see `jitter`.

        Returns:
            `np.ndarray` of shape `(size, size, 3)`: uint8 RGB.

        Raises:
            MediaError: If the frame cannot be read.
        """

    def landmarks(self, clip: int, frame: int, anchor: int | None = None, move: Move | None = None) -> np.ndarray:
        """Where the face is in what `crop` gives for the same arguments.

        Args:
            clip, frame, anchor, move: As for `crop`.

        Returns:
            `np.ndarray` of shape `(68, 2)`: In fractions of the crop.

        Raises:
            OptionError: If these clips have no landmarks.
        """
        raise OptionError(
            "The data have no landmarks, which the reconstruction of features needs: take shards or aligned videos, or "
            "set options.regions=0."
        )


class ClipSubset(Clips):
    """The clips of some identities, labelled from 0.

    Args:
        clips (`Clips`): All of them.
        labels (`list[int]`): Identities to keep.
    """

    def __init__(self, clips: Clips, labels: list[int]):
        index = {label: k for k, label in enumerate(labels)}
        self.clips = clips
        self.chosen = [k for k, label in enumerate(clips.labels) if label in index]
        self.labels = [index[clips.labels[k]] for k in self.chosen]

    def length(self, clip: int) -> int:
        return self.clips.length(self.chosen[clip])

    def crop(self, clip: int, frame: int, size: int, anchor: int | None = None, move: Move | None = None) -> np.ndarray:
        return self.clips.crop(self.chosen[clip], frame, size, anchor, move)

    def landmarks(self, clip: int, frame: int, anchor: int | None = None, move: Move | None = None) -> np.ndarray:
        return self.clips.landmarks(self.chosen[clip], frame, anchor, move)


class ShardClips(Clips):
    """The clips of synthetic people; the list is fixed when it is made.

    Args:
        shards (`GroupShards`): The people.
    """

    def __init__(self, shards: GroupShards):
        self.shards = shards
        self.clips: list[tuple[ShardRecord, np.ndarray]] = []
        records = shards.records()
        index = {seed: k for k, seed in enumerate(sorted({record.seed for record in records}))}
        self.labels = []
        for record in records:
            for number in np.unique(record.clip):
                self.clips.append((record, np.flatnonzero(record.clip == number)))
                self.labels.append(index[record.seed])

    def length(self, clip: int) -> int:
        return len(self.clips[clip][1])

    def crop(self, clip: int, frame: int, size: int, anchor: int | None = None, move: Move | None = None) -> np.ndarray:
        record, frames = self.clips[clip]
        return crop_quad(self.shards.image(record, frames[frame]), self._quad(clip, frame, anchor, move), size)

    def landmarks(self, clip: int, frame: int, anchor: int | None = None, move: Move | None = None) -> np.ndarray:
        record, frames = self.clips[clip]
        return to_crop(record.landmarks[frames[frame]], self._quad(clip, frame, anchor, move))

    def _quad(self, clip: int, frame: int, anchor: int | None, move: Move | None) -> np.ndarray:
        record, frames = self.clips[clip]
        quad = ffhq_quad(record.landmarks[frames[frame if anchor is None else anchor]])
        return move(quad) if move else quad


class ImageFolder(Clips):
    """Single images; those of one folder show one identity (which matters to the recognizer only).

    Args:
        folders (`Iterable[str | Path]`): Searched with their subfolders.

    Raises:
        OptionError: If there is no such folder or no image.
    """

    def __init__(self, folders: Iterable[str | Path]):
        self.files = find_files(folders, IMAGE_SUFFIXES)
        if not self.files:
            raise OptionError(f"data.folders {list(map(str, folders))} hold no images")
        index = {parent: k for k, parent in enumerate(sorted({p.parent for p in self.files}))}
        self.labels = [index[p.parent] for p in self.files]

    def length(self, clip: int) -> int:
        return 1

    def crop(self, clip: int, frame: int, size: int, anchor: int | None = None, move: Move | None = None) -> np.ndarray:
        return crop_file(self.files[clip], size, move)


def find_files(folders: Iterable[str | Path], suffixes: tuple[str, ...]) -> list[Path]:
    """Files with one of the suffixes in the folders and their subfolders, sorted.

    Raises:
        OptionError: If a folder does not exist.
    """
    for folder in folders:
        if not Path(folder).is_dir():
            raise OptionError(f"data.folders has {str(folder)!r}, which is no folder")
    return sorted(p for f in folders for p in Path(f).rglob("*") if p.suffix.lower() in suffixes and p.is_file())


def crop_file(path: Path, size: int, move: Move | None) -> np.ndarray:
    """The central square of an image file, moved by `move`: uint8 RGB `(size, size, 3)`.

    Raises:
        MediaError: If the file cannot be read.
    """
    packed = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if packed is None:
        raise MediaError(f"{path} is no readable image: remove it from the folder")
    image = cv2.cvtColor(packed, cv2.COLOR_BGR2RGB)
    quad = central_square(image)
    return crop_quad(image, move(quad) if move else quad, size)
