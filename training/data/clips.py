"""Crops of faces clip by clip: synthetic people, real videos, single images."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from training.arguments import DataOptions
from training.data.quads import central_square
from training.data.shards import GroupShards, ShardRecord
from vivface.errors import MediaError, OptionError
from vivface.faces.alignment import align_ffhq, crop_quad, ffhq_quad
from vivface.files import complete_folder

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi")

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
    def crop(
        self, clip: int, frame: int, size: int, anchor: int | None = None, move: Move | None = None
    ) -> np.ndarray:
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

    def crop(
        self, clip: int, frame: int, size: int, anchor: int | None = None, move: Move | None = None
    ) -> np.ndarray:
        return self.clips.crop(self.chosen[clip], frame, size, anchor, move)


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

    def crop(
        self, clip: int, frame: int, size: int, anchor: int | None = None, move: Move | None = None
    ) -> np.ndarray:
        record, frames = self.clips[clip]
        quad = ffhq_quad(record.landmarks[frames[frame if anchor is None else anchor]])
        return crop_quad(self.shards.image(record, frames[frame]), move(quad) if move else quad, size)


class VideoFolder(Clips):
    """Real videos: every video file, and every folder that directly holds images, is a clip and an identity.

    Of a video file, evenly spaced frames are decoded at first use and kept as JPEG in `.frames-SIZE` beside it. Video
    files whose first frame cannot be read are left out with a warning when the list is made; those that turn out to be
    damaged later raise `MediaError` whenever they are asked for.

    Args:
        folders (`Iterable[str | Path]`): Searched with their subfolders.
        frames_per_video (`int`): Frames used of each clip.
        size (`int`): Size of the kept frames of video files, pixels.
        align (`bool`, *optional*, defaults to False): Find the face in every frame of video files and align it; else
            the frames are taken as aligned squares.

    Raises:
        OptionError: If there is no such folder or no readable clip.
    """

    def __init__(self, folders: Iterable[str | Path], frames_per_video: int, size: int, align: bool = False):
        self.frames_per_video, self.size, self.align = frames_per_video, size, align
        found = _find_files(folders, (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES))
        found = [p for p in found if not any(part.startswith(".frames-") for part in p.parts)]
        videos = {p for p in found if p.suffix.lower() in VIDEO_SUFFIXES}
        readable = self._readable(sorted(videos))
        self.clips = sorted(readable | {p.parent for p in found if p not in videos})
        if not self.clips:
            fault = f" that can be read (of {len(videos)} video files)" if videos else ""
            raise OptionError(f"data.folders {list(map(str, folders))} hold no videos and no folders of images{fault}")
        self.labels = list(range(len(self.clips)))
        self._frames: dict[int, list[Path] | MediaError] = {}

    def length(self, clip: int) -> int:
        return len(self.frames(clip))

    def crop(
        self, clip: int, frame: int, size: int, anchor: int | None = None, move: Move | None = None
    ) -> np.ndarray:
        return _crop_file(self.frames(clip)[frame], size, move)

    def frames(self, clip: int) -> list[Path]:
        """The image files of a clip.

        Raises:
            MediaError: If the video cannot be read or gives fewer than two frames; the same error at every call.
        """
        if clip not in self._frames:
            try:
                self._frames[clip] = self._find_frames(self.clips[clip])
            except MediaError as error:
                self._frames[clip] = error
        found = self._frames[clip]
        if isinstance(found, MediaError):
            raise found
        return found

    def _kept(self, video: Path) -> Path:
        return video.parent / f".frames-{self.size}" / video.stem

    def _readable(self, videos: list[Path]) -> set[Path]:
        from vivface.media.video import VideoReader

        def fault(video: Path) -> MediaError | None:
            if self._kept(video).is_dir():
                return None
            try:
                VideoReader(video).close()
            except MediaError as error:
                return error
            return None

        with ThreadPoolExecutor() as pool:
            faults = dict(zip(videos, pool.map(fault, videos), strict=True))
        for error in filter(None, faults.values()):
            warnings.warn(f"left out: {error}", stacklevel=4)
        return {video for video, error in faults.items() if error is None}

    def _find_frames(self, place: Path) -> list[Path]:
        if place.is_dir():
            files = sorted(p for p in place.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
            picks = np.linspace(0, len(files) - 1, min(self.frames_per_video, len(files)))
            return [files[round(k)] for k in picks]
        if not self._kept(place).is_dir():
            self._extract(place)
        return sorted(self._kept(place).glob("*.jpg"))

    def _extract(self, video: Path) -> None:
        from vivface.faces.backends import get_backend
        from vivface.faces.tracking import FaceTracker
        from vivface.media.video import VideoReader

        tracker = FaceTracker(get_backend("auto")) if self.align else None
        folder, count = self._kept(video), 0
        folder.parent.mkdir(exist_ok=True)
        with complete_folder(folder, overwrite=True) as work, VideoReader(video) as reader:
            spacing = max(1.0, (reader.frames_estimate or 500) / self.frames_per_video)
            for index, frame in enumerate(reader):
                tracked = tracker.update(frame.image) if tracker else None
                if index < count * spacing or count >= self.frames_per_video or (tracked and not tracked.found):
                    continue
                if tracked:
                    image = align_ffhq(frame.image, tracked.landmarks, self.size)
                else:
                    image = crop_quad(frame.image, central_square(frame.image), self.size)
                packed = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
                cv2.imwrite(str(work / f"{count:04d}.jpg"), packed, [cv2.IMWRITE_JPEG_QUALITY, 95])
                count += 1
            if count < 2:
                raise MediaError(f"{video} gives {count} usable frames, expected at least 2: remove it from the folder")


class ImageFolder(Clips):
    """Single images; those of one folder show one identity (which matters to the recognizer only).

    Args:
        folders (`Iterable[str | Path]`): Searched with their subfolders.

    Raises:
        OptionError: If there is no such folder or no image.
    """

    def __init__(self, folders: Iterable[str | Path]):
        self.files = _find_files(folders, IMAGE_SUFFIXES)
        if not self.files:
            raise OptionError(f"data.folders {list(map(str, folders))} hold no images")
        index = {parent: k for k, parent in enumerate(sorted({p.parent for p in self.files}))}
        self.labels = [index[p.parent] for p in self.files]

    def length(self, clip: int) -> int:
        return 1

    def crop(
        self, clip: int, frame: int, size: int, anchor: int | None = None, move: Move | None = None
    ) -> np.ndarray:
        return _crop_file(self.files[clip], size, move)


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


def _find_files(folders: Iterable[str | Path], suffixes: tuple[str, ...]) -> list[Path]:
    for folder in folders:
        if not Path(folder).is_dir():
            raise OptionError(f"data.folders has {str(folder)!r}, which is no folder")
    return sorted(p for f in folders for p in Path(f).rglob("*") if p.suffix.lower() in suffixes and p.is_file())


def _crop_file(path: Path, size: int, move: Move | None) -> np.ndarray:
    packed = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if packed is None:
        raise MediaError(f"{path} is no readable image: remove it from the folder")
    image = cv2.cvtColor(packed, cv2.COLOR_BGR2RGB)
    quad = central_square(image)
    return crop_quad(image, move(quad) if move else quad, size)
