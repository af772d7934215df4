"""Which clips are to be made: pairs from a CSV file or from two folders, each with a name, and shards of them."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

from vivface.errors import MediaError, OptionError
from vivface.media.output import OUTPUT_SUFFIXES

PORTRAIT_SUFFIXES = tuple(".png .jpg .jpeg .webp .bmp .tif .tiff .avif .heic .heif".split())
DRIVING_SUFFIXES = tuple(".mp4 .mov .mkv .webm .avi .m4v .gif .safetensors".split())
REQUIRED = ("source", "driving")
OPTIONAL = {"output": str, "face": int, "driving_face": int, "start": float, "duration": float}


@dataclass(frozen=True)
class Clip:
    """One clip to be made.

    Attributes:
        name (`str`): File name of the result in the output folder, different for every clip of a list.
        source (`str`): The portrait, or the file of an identity code; an absolute path.
        driving (`str`): The driving video, or the file of its motion codes; an absolute path.
        face, driving_face (`int`, *optional*): Which face, 0 the largest.
        start (`float`), duration (`float`, *optional*): The part of the video to use, seconds.
    """

    name: str
    source: str
    driving: str
    face: int | None = None
    driving_face: int | None = None
    start: float = 0.0
    duration: float | None = None

    @property
    def portrait(self) -> tuple[str, int | None]:
        """What the clip's identity code depends on."""
        return self.source, self.face

    @property
    def driver(self) -> tuple[str, int | None, float, float | None]:
        """What is read of the driving video, whatever the portrait."""
        return self.driving, self.driving_face, self.start, self.duration

    def as_dict(self) -> dict[str, object]:
        """Plain values, for files and for other processes."""
        return asdict(self)


def read_pairs(path: Path, suffix: str = ".mp4") -> list[Clip]:
    """The clips of a CSV file.

    Its first line names the columns: `source` and `driving`, and where wanted `output` (file name of the result),
    `face`, `driving_face`, `start` and `duration`. Paths are relative to the file's own folder.

    Args:
        path (`pathlib.Path`): The file, UTF-8.
        suffix (`str`, *optional*, defaults to `".mp4"`): Of results without a name of their own.

    Raises:
        MediaError: If the file cannot be read.
        OptionError: If a column is missing or unknown, or a value is none.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = [str(name).strip() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            _check_columns(path, columns)
            rows = [(reader.line_num, row) for row in reader if any(row.values())]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise MediaError(f"The list of pairs '{path}' cannot be read ({reason}): give a CSV file in UTF-8.") from error
    if not rows:
        raise OptionError(f"The list of pairs '{path}' holds no pairs: write one line for each clip.")
    clips = []
    for line, row in rows:
        values = {name: (row.get(name) or "").strip() for name in columns}
        if None in row or not all(values[name] for name in REQUIRED):
            raise OptionError(f"Line {line} of '{path}' does not fit the columns {','.join(columns)}: mend it.")
        options = {name: _value(path, line, name, values[name]) for name in OPTIONAL if values.get(name)}
        source, driving = (str((path.parent / values[name]).resolve()) for name in REQUIRED)
        clips.append(Clip(str(options.pop("output", "")), source, driving, **options))
    return _named(clips, suffix)


def pair_folders(portraits: Path, drivings: Path, suffix: str = ".mp4", match: str = "all") -> list[Clip]:
    """Clips of the portraits in a folder and the driving videos or motion files in another.

    Args:
        portraits, drivings (`pathlib.Path`): The folders.
        suffix (`str`, *optional*, defaults to `".mp4"`): Of the results.
        match (`str`, *optional*, defaults to `"all"`): `"all"` pairs every portrait with every video, `"name"` those
            whose names differ in the ending only.

    Raises:
        MediaError: If a folder cannot be read or holds nothing of its kind.
        OptionError: If no names are the same.
    """
    sources = _files(portraits, PORTRAIT_SUFFIXES, "portraits")
    videos = _files(drivings, DRIVING_SUFFIXES, "driving videos")
    pairs = [(a, b) for a in sources for b in videos if match == "all" or a.stem == b.stem]
    if not pairs:
        raise OptionError(f"No portrait in '{portraits}' is named as a video in '{drivings}': take --match all.")
    return _named([Clip("", str(a), str(b)) for a, b in pairs], suffix)


def shard_of(clips: Sequence[Clip], shard: str | None) -> list[Clip]:
    """A part of the clips, the clips of one portrait together.

    The shards of a list are disjoint, cover it, and differ by at most one clip in size.

    Args:
        clips (sequence of `Clip`): All of them.
        shard (`str`, *optional*): `"i/n"`, i from 1 to n; None for all clips.

    Raises:
        OptionError: If the shard is written differently.
    """
    order = {portrait: number for number, portrait in enumerate(dict.fromkeys(clip.portrait for clip in clips))}
    clips = sorted(clips, key=lambda clip: order[clip.portrait])
    if shard is None:
        return clips
    number, _, count = shard.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise OptionError(f"The shard is {shard!r}; expected i/n with i from 1 to n, such as 1/8.")
    number, count = int(number), int(count)
    return clips[(number - 1) * len(clips) // count : number * len(clips) // count]


def check_inputs(clips: Iterable[Clip], output: Path) -> None:
    """Refuse a list whose result would replace one of its inputs.

    Raises:
        OptionError: If there is such a clip.
    """
    clips = list(clips)
    inputs = {path for clip in clips for path in (clip.source, clip.driving)}
    for clip in clips:
        if str((output / clip.name).resolve()) in inputs:
            raise OptionError(f"'{output / clip.name}' is an input: choose another folder for the results.")


def _check_columns(path: Path, columns: list[str]) -> None:
    missing = [name for name in REQUIRED if name not in columns]
    unknown = [name for name in columns if name not in (*REQUIRED, *OPTIONAL)]
    if missing or unknown or len(set(columns)) < len(columns):
        found = ",".join(columns) or "nothing"
        raise OptionError(
            f"The first line of '{path}' is {found!r}; expected the columns source,driving and any of "
            f"{','.join(OPTIONAL)}."
        )


def _value(path: Path, line: int, name: str, text: str) -> object:
    try:
        value = OPTIONAL[name](text)
        if name == "output":
            if (
                Path(text).name != text
                or text.startswith(".")
                or Path(text).suffix.lower() not in ("", *OUTPUT_SUFFIXES)
            ):
                raise ValueError
        elif value < 0:
            raise ValueError
        if name in ("start", "duration"):
            Fraction(value)  # refuses NaN and infinity
    except (ValueError, OverflowError) as error:
        endings = " ".join(OUTPUT_SUFFIXES)
        kind = {
            str: f"the name of a file that ends in one of {endings}",
            int: "a whole number, 0 or more",
            float: "seconds, 0 or more",
        }[OPTIONAL[name]]
        raise OptionError(f"{name} is {text!r} in line {line} of '{path}'; expected {kind}.") from error
    return value


def _files(folder: Path, suffixes: Sequence[str], what: str) -> list[Path]:
    try:
        found = sorted(path.resolve() for path in folder.iterdir() if path.suffix.lower() in suffixes)
    except OSError as error:
        raise MediaError(f"The folder '{folder}' cannot be read ({error.strerror or error}).") from error
    if not found:
        raise MediaError(f"The folder '{folder}' holds no {what}: expected files that end in {' '.join(suffixes)}.")
    return found


def _named(clips: list[Clip], suffix: str) -> list[Clip]:
    """The clips with names: given ones, else of portrait and video, numbered where they would be the same.

    Raises:
        OptionError: If a name is given twice.
    """
    given = Counter(_plain(clip.name) for clip in clips if clip.name)
    if twice := [name for name, count in given.items() if count > 1]:
        raise OptionError(f"The output '{twice[0]}' is given {given[twice[0]]} times: give every clip its own name.")
    taken, named = set(given), []
    for clip in clips:
        name = clip.name
        if not name:
            stem, number = f"{Path(clip.source).stem}--{Path(clip.driving).stem}", 1
            name = f"{stem}{suffix}"
            while _plain(name) in taken:
                number += 1
                name = f"{stem}-{number}{suffix}"
            taken.add(_plain(name))
        elif not Path(name).suffix:
            name += suffix
        named.append(Clip(**{**clip.as_dict(), "name": name}))
    return named


def _plain(name: str) -> str:
    """Names that differ in case or ending only are one: some file systems do not tell them apart, records neither."""
    return Path(name).stem.casefold() if Path(name).suffix else name.casefold()
