"""Which source is driven by which video: the protocols of the papers, on a folder of videos or a list of pairs."""

from __future__ import annotations

import csv
import random
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vivface.errors import OptionError

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")
FRAMES = 500  # the first frames of a test video that ViVFace scores
EXTREME = 15.0  # degrees from the source's pose: HyperReenact's extreme pairs


class Protocol(StrEnum):
    """What is measured.

    `same`: the first frame is driven by its own video, whose frames are the truth (ViVFace, table 1).
    `cross`: every video drives another person, drawn by the seed (ViVFace, table 1).
    `robustness`: k videos, each driving k of its own frames (ViVFace, table 4): mean and spread over source frames.
    `extreme`: as `cross`, and only frames turned more than 15 degrees from the source count (HyperReenact).
    `reverse`: as `same`, and once more with the video played backwards (Video2StyleGAN, appendix E).
    """

    SAME = "same"
    CROSS = "cross"
    ROBUSTNESS = "robustness"
    EXTREME = "extreme"
    REVERSE = "reverse"


@dataclass(frozen=True)
class Pair:
    """A source and the video that drives it.

    Attributes:
        name (`str`): Of its files.
        source, driving (`Path`): An image or a video, and a video.
        at (`float`, *optional*, defaults to 0.0): Where in a source video the source frame lies, in [0, 1).
        run (`int`, *optional*, defaults to 0): Pairs of a run are averaged first (`robustness`, `reverse`).
        backwards (`bool`, *optional*, defaults to `False`): Whether the driving video is played backwards.
        truth (`bool`, *optional*, defaults to `False`): Whether the driving frames are what the result should be.
    """

    name: str
    source: Path
    driving: Path
    at: float = 0.0
    run: int = 0
    backwards: bool = False
    truth: bool = False


def make_pairs(
    protocol: Protocol, media: Path, sources: Path | None = None, seed: int = 0, count: int = 5
) -> list[Pair]:
    """The pairs of a protocol.

    Args:
        protocol (`Protocol`): Which.
        media (`Path`): A folder of videos, or a CSV file with a source and a driving video a line (`cross`, `extreme`).
        sources (`Path`, *optional*): Folder of portraits for `cross` and `extreme`; by default first frames of the
            other videos.
        seed (`int`, *optional*, defaults to 0): Of what is drawn.
        count (`int`, *optional*, defaults to 5): Videos and source frames of `robustness`, most sources a video of
            `extreme`.

    Raises:
        OptionError: If a folder or file lacks what the protocol needs.
    """
    crosses = protocol in (Protocol.CROSS, Protocol.EXTREME)
    if sources is not None and not crosses:
        raise OptionError(f"--sources was given, but `{protocol}` takes sources from the videos: leave it out.")
    if media.is_file():
        if not crosses:
            raise OptionError(
                f"'{media}' is a list of pairs, which `{protocol}` does not take: give a folder of videos."
            )
        return _unique(read_pairs(media))
    videos = _files(media, VIDEOS, "videos")
    draw = random.Random(seed)
    if crosses:
        return _cross(videos, sources, draw, 1 if protocol is Protocol.CROSS else count)
    if protocol is Protocol.ROBUSTNESS:
        chosen = sorted(draw.sample(videos, min(count, len(videos))))
        return _unique([Pair(f"{v.stem}_{k}", v, v, k / count, k, truth=True) for v in chosen for k in range(count)])
    pairs = [Pair(video.stem, video, video, truth=True) for video in videos]
    if protocol is Protocol.REVERSE:
        back = [Pair(f"{v.stem}_reverse", v, v, run=1, backwards=True, truth=True) for v in videos]
        pairs = [pair for both in zip(pairs, back, strict=True) for pair in both]
    return _unique(pairs)


def read_pairs(file: Path) -> list[Pair]:
    """Pairs of a CSV file: source, driving video; paths are relative to the file. A line `source,driving` is a heading.

    Raises:
        OptionError: If the file cannot be read, has no pairs, or a path is missing.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            rows = [(number, [cell.strip() for cell in row]) for number, row in enumerate(csv.reader(lines), 1) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise OptionError(f"'{file}' cannot be read as a list of pairs ({error}): give a CSV file in UTF-8.") from error
    pairs = []
    for number, row in rows:
        if [cell.lower() for cell in row] == ["source", "driving"]:
            continue
        if len(row) != 2:
            raise OptionError(f"Line {number} of '{file}' has {len(row)} cells; expected a source and a driving video.")
        paths = [file.parent / cell for cell in row]
        for path in paths:
            if not path.is_file():
                raise OptionError(f"Line {number} of '{file}' names '{path}', which is no file: correct the line.")
        pairs.append(Pair(f"{paths[0].stem}__{paths[1].stem}", *paths))
    if not pairs:
        raise OptionError(f"'{file}' holds no pairs: write a source and a driving video on each line.")
    return pairs


def _cross(videos: list[Path], sources: Path | None, draw: random.Random, most: int) -> list[Pair]:
    portraits = _files(sources, IMAGES, "images") if sources is not None else videos
    pairs = []
    if most == 1 and sources is None:  # everybody is a source once
        order = draw.sample(videos, len(videos))
        chosen = {driving: [order[(i + 1) % len(order)]] for i, driving in enumerate(order)}
    else:
        chosen = {v: _drawn(draw, [p for p in portraits if p != v], most) for v in videos}
    for driving in videos:
        for source in chosen[driving]:
            if source != driving:
                pairs.append(Pair(f"{source.stem}__{driving.stem}", source, driving))
    if not pairs:
        raise OptionError("There is one video only, and nobody else to drive: give more videos or --sources.")
    return _unique(pairs)


def _drawn(draw: random.Random, files: list[Path], most: int) -> list[Path]:
    return draw.sample(files, min(most, len(files)))


def _unique(pairs: list[Pair]) -> list[Pair]:
    """Refuse pairs whose files would have one name."""
    names = set()
    for pair in pairs:
        if pair.name.lower() in names:
            raise OptionError(f"Two pairs would be called '{pair.name}': give files of different names.")
        names.add(pair.name.lower())
    return pairs


def _files(folder: Path, suffixes: tuple[str, ...], kind: str) -> list[Path]:
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes) if folder.is_dir() else []
    if not found:
        raise OptionError(f"'{folder}' is no folder with {kind} ({', '.join(suffixes)}): give one.")
    return found
