"""Whose video is it: layouts of data sets, and the split of their people."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from training.data.videos import VIDEO_SUFFIXES
from vivface.errors import OptionError

SPLITS = ("train", "validation", "test")

YOUTUBE_CLIP = re.compile(r"(?P<video>[\w-]{11})_\d+(_\d+)?")  # CelebV-HQ: YouTube id, number of the clip
HDTF_CLIP = re.compile(r"(?P<kind>RD|WDA|WRA)_(?P<who>[^_]+?)(_\d+)*")  # radio guests and politicians
VOXCELEB_PERSON = re.compile(r"id\d{5}")


@dataclass(frozen=True)
class Video:
    """A video of a data set.

    Attributes:
        name (`str`): Its path in the data set's folder, with `/`.
        person (`str`): Videos of one person are never in two splits.
    """

    name: str
    person: str


def _celebv_hq(path: PurePosixPath) -> str | None:
    """The data set does not name people: clips of one YouTube video count as one person."""
    found = YOUTUBE_CLIP.fullmatch(path.stem)
    return found["video"] if found else None


def _hdtf(path: PurePosixPath) -> str | None:
    """`WDA_BarackObama_000.mp4`; numbers behind a politician's name count her or his videos."""
    found = HDTF_CLIP.fullmatch(path.stem)
    if not found:
        return None
    return found["who"] if found["kind"] == "RD" else found["who"].rstrip("0123456789")


def _voxceleb(path: PurePosixPath) -> str | None:
    """`id10001/1zcIwhmdeo4/00001.mp4`, or `id10001#1zcIwhmdeo4#000001#000100.mp4` as FOMM's tools name it."""
    parts = [*path.parts[:-1], path.name.partition("#")[0]]
    return next((part for part in parts if VOXCELEB_PERSON.fullmatch(part)), None)


def _folders(path: PurePosixPath) -> str | None:
    return path.parts[0] if len(path.parts) > 1 else path.stem


def _files(path: PurePosixPath) -> str | None:
    return path.with_suffix("").as_posix()


LAYOUTS: dict[str, Callable[[PurePosixPath], str | None]] = {
    "celebv-hq": _celebv_hq,
    "hdtf": _hdtf,
    "voxceleb": _voxceleb,
    "folders": _folders,  # the first folder of a path is the person
    "files": _files,  # every file shows another person
}


def find_videos(folder: Path, layout: str = "auto") -> tuple[str, list[Video]]:
    """All video files of a folder and its subfolders, in the order of their names.

    Args:
        folder (`Path`): Of the data set.
        layout (`str`, *optional*, defaults to `"auto"`): Key of `LAYOUTS`, or `"auto"`: the first data set whose names
            nine of ten files have; else `"folders"` if two folders hold videos, else `"files"`.

    Returns:
        `tuple[str, list[Video]]`: The layout, and the videos. A file without the layout's name is a person of its own.

    Raises:
        OptionError: If there is no folder, no video or no such layout.
    """
    if not folder.is_dir():
        raise OptionError(f"{folder} is no folder, give one with videos")
    if layout != "auto" and layout not in LAYOUTS:
        raise OptionError(f"--layout is {layout!r}, expected auto or one of: {', '.join(LAYOUTS)}")
    paths = [PurePosixPath(p.relative_to(folder).as_posix()) for p in folder.rglob("*") if _is_video(p, folder)]
    paths.sort(key=str)
    if not paths:
        raise OptionError(f"{folder} holds no videos ({', '.join(VIDEO_SUFFIXES)})")
    if layout == "auto":
        layout = _recognise(paths)
    person = LAYOUTS[layout]
    return layout, [Video(path.as_posix(), person(path) or _files(path)) for path in paths]


def _is_video(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.suffix.lower() in VIDEO_SUFFIXES and not hidden and path.is_file()


def _recognise(paths: list[PurePosixPath]) -> str:
    for name in ("voxceleb", "hdtf", "celebv-hq"):
        if sum(LAYOUTS[name](path) is not None for path in paths) >= 0.9 * len(paths):
            return name
    return "folders" if len({path.parts[0] for path in paths if len(path.parts) > 1}) > 1 else "files"


def split_people(videos: list[Video], shares: tuple[float, float, float], seed: int = 0) -> dict[str, str]:
    """The split of every person: by a hash of the name, so that new videos move nobody.

    Where the hash leaves a split empty that has a share, it takes a person of the largest split, if that has two.

    Args:
        videos (`list[Video]`): Of the data set.
        shares (`tuple[float, float, float]`): Of train, validation and test; their sum is 1.
        seed (`int`, *optional*, defaults to 0): Of the hash.

    Returns:
        `dict[str, str]`: Person -> one of `SPLITS`.

    Raises:
        OptionError: If the shares are no shares.
    """
    if len(shares) != 3 or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise OptionError(f"--split is {list(shares)}, expected three shares with the sum 1")
    draws = {video.person: _draw(video.person, seed) for video in videos}
    found = {}
    for person, draw in draws.items():
        found[person] = "train" if draw < shares[0] else "validation" if draw < shares[0] + shares[1] else "test"
    for split, share in zip(SPLITS, shares, strict=True):
        if share > 0 and split not in found.values():
            sizes = {name: sum(value == name for value in found.values()) for name in SPLITS}
            largest = max(SPLITS, key=sizes.__getitem__)
            if sizes[largest] > 1:
                found[max((p for p in found if found[p] == largest), key=lambda p: (draws[p], p))] = split
    return found


def _draw(person: str, seed: int) -> float:
    """In [0, 1), from a name."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{person}".encode()).digest()[:7], "big") / 2**56
