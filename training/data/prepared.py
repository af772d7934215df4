"""Aligned clips of real videos, as `training.tools.prepare` writes them: read from anywhere in the tar files."""

from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from training.data.clips import Clips, Move
from training.data.quads import central_square
from vivface.errors import MediaError, OptionError
from vivface.faces.alignment import crop_quad, to_crop

FORMAT = "vivface-clips-1"  # of `training.preparation.shards`
TEST_FRAMES = 500  # the first frames of a video that are used outside of training


class PreparedClips(Clips):
    """The videos of one split; what was cut out of one video is one clip, whose person is its label.

    In training, `frames_per_video` frames of every video are drawn at random, once for a seed, as in the papers; of the
    other splits the first 500 are used.

    Args:
        folders (`Iterable[str | Path]`): Outputs of `training.tools.prepare`.
        split (`str`, *optional*, defaults to `"train"`): `"train"`, `"validation"`, `"test"` or `"all"`.
        frames_per_video (`int`, *optional*, defaults to 50): See above; 0 for all.
        seed (`int`, *optional*, defaults to 0): Of the frames that are drawn.

    Raises:
        OptionError: If a folder does not exist, is no output of the tool, or nothing of the split is there.
    """

    def __init__(self, folders: Iterable[str | Path], split: str = "train", frames_per_video: int = 50, seed: int = 0):
        folders = [Path(folder) for folder in folders]
        self.names: list[str] = []
        self._parts: list[list[dict]] = []  # of every video: what was cut out of it
        self._frames: list[np.ndarray] = []  # of every video, (frames, 4): part, number in it, offset and bytes
        people: list[str] = []
        for folder in folders:
            if not folder.is_dir():
                raise OptionError(f"data.folders has {str(folder)!r}, which is no folder: prepare videos there")
            for path in sorted(folder.glob("*-[0-9]*.json")):
                index = _read_index(path)
                if split not in ("all", index["split"]):
                    continue
                for parts in _by_video(index["clips"]):
                    frames = np.concatenate([_places(number, part) for number, part in enumerate(parts)])
                    frames = _choose(frames, split == "train", frames_per_video, (seed, 50, len(self.names)))
                    self._frames.append(frames)
                    self._parts.append([_kept(part, path, index["bytes"]) for part in parts])
                    self.names.append(parts[0]["video"])
                    people.append(parts[0]["person"])
        if not people:
            raise OptionError(
                f"data.folders {list(map(str, folders))} hold no clips of the split {split!r}: run "
                "training.tools.prepare, or with another --split"
            )
        numbers = {person: k for k, person in enumerate(sorted(set(people)))}
        self.labels = [numbers[person] for person in people]
        self._files: dict[Path, int] = {}
        self._lock = threading.Lock()

    def length(self, clip: int) -> int:
        return len(self._frames[clip])

    def crop(self, clip: int, frame: int, size: int, anchor: int | None = None, move: Move | None = None) -> np.ndarray:
        number, k, *place = self._frames[clip][frame].tolist()
        part = self._parts[clip][number]
        packed = np.frombuffer(self._read(part, place), np.uint8)
        image = cv2.imdecode(packed, cv2.IMREAD_COLOR)
        if image is None:
            raise MediaError(f"frame {k} of {part['key']} in {part['file']} is damaged: prepare this shard again")
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        if move is None and image.shape[0] == size:
            return image
        quad = central_square(image)
        return crop_quad(image, move(quad) if move else quad, size)

    def landmarks(self, clip: int, frame: int, anchor: int | None = None, move: Move | None = None) -> np.ndarray:
        number, k = self._frames[clip][frame, :2].tolist()
        part = self._parts[clip][number]
        try:
            points = np.load(io.BytesIO(self._read(part, part["landmarks"])))[k]
        except (ValueError, IndexError, EOFError) as error:
            raise MediaError(f"the landmarks of {part['key']} in {part['file']} are damaged ({error})") from error
        if move is None:
            return points
        size = part["size"]
        return to_crop(points * size - 0.5, move(central_square(np.empty((size, size, 3), np.uint8))))

    def _read(self, part: dict, place: list[int]) -> bytes:
        """Bytes of a shard; reading at a place needs no lock, so threads and forks share the open file."""
        path = part["file"]
        try:
            with self._lock:
                if path not in self._files:
                    if os.stat(path).st_size != part["bytes"]:
                        raise MediaError(f"{path} is not the file of its index: prepare this shard again")
                    self._files[path] = os.open(path, os.O_RDONLY)
            content = os.pread(self._files[path], place[1], place[0])
        except OSError as error:
            raise MediaError(f"{path} cannot be read ({error}): prepare this shard again") from error
        if len(content) != place[1]:
            raise MediaError(f"{path} ends too early: prepare this shard again")
        return content

    def __del__(self) -> None:
        for file in getattr(self, "_files", {}).values():
            os.close(file)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_files": {}, "_lock": None}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state, _lock=threading.Lock())


def _by_video(clips: list[dict]) -> list[list[dict]]:
    """The clips of a shard, video by video: a video is in one shard only."""
    videos: dict[str, list[dict]] = {}
    for clip in clips:
        videos.setdefault(clip["video"], []).append(clip)
    return list(videos.values())


def _places(number: int, part: dict) -> np.ndarray:
    """Rows of `PreparedClips._frames` of one part."""
    places = np.array(part["images"], np.int64).reshape(-1, 2)
    head = np.stack([np.full(len(places), number), np.arange(len(places))], axis=1)
    return np.concatenate([head, places], axis=1)


def _kept(part: dict, index: Path, size: int) -> dict:
    """What of a part is needed to read it: the places of all its frames would be gigabytes for a large data set."""
    kept = {name: part[name] for name in ("key", "landmarks", "size")}
    return {**kept, "file": index.with_suffix(".tar"), "bytes": size}


def _choose(frames: np.ndarray, at_random: bool, count: int, seed: tuple[int, ...]) -> np.ndarray:
    if not at_random:
        return frames[:TEST_FRAMES]
    if count <= 0 or count >= len(frames):
        return frames
    picks = np.random.default_rng(seed).choice(len(frames), count, replace=False)
    return frames[np.sort(picks)]


def _read_index(path: Path) -> dict:
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        if index["format"] != FORMAT:
            raise ValueError(f"format {index['format']!r}")
        return index
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OptionError(f"{path} is no index of clips ({error}): prepare this shard again") from error
