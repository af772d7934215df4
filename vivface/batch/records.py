"""What became of each clip: a record a clip, written when it is done, and the report of all of them.

A record is the proof that a clip is complete: a run that is repeated makes only what has none. Shards on other machines
write into the same folder; nobody writes another's record.
"""

from __future__ import annotations

import csv
import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from vivface.batch.clips import Clip
from vivface.errors import OptionError
from vivface.files import complete_file

RECORDS = "records"
DONE, FAILED = "done", "failed"


@dataclass
class Record:
    """What became of a clip.

    Attributes:
        name, source, driving (`str`): As of the clip.
        status (`str`): `"done"` or `"failed"`.
        error (`str`): Why it failed, one sentence.
        frames, missing (`int`): Frames made, and how many of them had no face in the driving video.
        seconds (`float`): Time it took, without the portrait's.
        attempts (`int`): How often it was begun: more than one after the end of a worker.
        worker (`str`): Who made it.
        warnings (list of `str`): What a user should know.
        made_of (`dict`): What the result depends on, see `recipe`.
        finished (`float`): When, seconds since 1970.
    """

    name: str
    source: str
    driving: str
    status: str
    error: str = ""
    frames: int = 0
    missing: int = 0
    seconds: float = 0.0
    attempts: int = 1
    worker: str = ""
    warnings: list[str] = field(default_factory=list)
    made_of: dict = field(default_factory=dict)
    finished: float = field(default_factory=time.time)


def recipe(clip: Clip, settings: dict[str, object]) -> dict:
    """Everything that a result depends on: the clip, its files as they are now, and the settings of the run."""
    files = {path: file_stamp(path) for path in (clip.source, clip.driving)}
    return json.loads(json.dumps({"clip": clip.as_dict(), "files": files, "settings": settings}))


def file_stamp(path: str | os.PathLike) -> list[int] | None:
    """Size and time of the last change of a file; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


class Records:
    """The records of an output folder.

    Args:
        folder (`pathlib.Path`): The output folder; made with its `records` if it is not there.

    Raises:
        OptionError: If it cannot be made or written to.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        try:
            (folder / RECORDS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OptionError(f"Cannot write to '{folder}': {error.strerror or error}.") from error

    def path(self, name: str) -> Path:
        """The record's file of the clip of that name."""
        return self.folder / RECORDS / f"{name}.json"

    def write(self, record: Record, work: Path) -> None:
        """Write a record, whole or not at all; what is half-written lies in the folder `work`."""
        temporary = work / "record.json"
        temporary.write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")
        os.replace(temporary, self.path(record.name))

    def read(self, name: str) -> Record | None:
        """The record of a clip; None where there is none that can be read."""
        try:
            values = json.loads(self.path(name).read_text(encoding="utf-8"))
            known = {item.name for item in fields(Record)}
            return Record(**{key: value for key, value in values.items() if key in known})
        except (OSError, ValueError, TypeError, AttributeError):
            return None

    def is_done(self, clip: Clip, settings: dict[str, object]) -> bool:
        """Whether the clip's result is there and was made of these files and settings."""
        record = self.read(clip.name)
        if record is None or record.status != DONE or not (self.folder / clip.name).is_file():
            return False
        return record.made_of == recipe(clip, settings)


def write_report(folder: Path, clips: Sequence[Clip], shard: str | None, seconds: float, workers: int) -> dict:
    """Write `report.json` and `report.csv` of the clips, or `report-i-of-n` of a shard.

    Args:
        folder (`pathlib.Path`): The output folder.
        clips (sequence of `Clip`): Those of this run, in order.
        shard (`str`, *optional*): As in `shard_of`.
        seconds (`float`): Time that the run took.
        workers (`int`): How many worked.

    Returns:
        `dict`: What the JSON file holds: `clips`, `done`, `failed`, `open`, `frames`, `seconds`, `workers`, `records`.
    """
    records = Records(folder)
    found = [records.read(clip.name) for clip in clips]
    counts = Counter("open" if record is None else record.status for record in found)
    rows = [_row(clip, record) for clip, record in zip(clips, found, strict=True)]
    report = {
        "clips": len(clips),
        DONE: counts[DONE],
        FAILED: counts[FAILED],
        "open": counts["open"],
        "frames": sum(record.frames for record in found if record is not None),
        "seconds": round(seconds, 3),
        "workers": workers,
        "records": rows,
    }
    stem = "report" if shard is None else "report-" + shard.replace("/", "-of-")
    with complete_file(folder / f"{stem}.json") as temporary:
        temporary.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    with complete_file(folder / f"{stem}.csv") as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["name"])
        writer.writeheader()
        writer.writerows({**row, "warnings": " | ".join(row["warnings"])} for row in rows)
    return report


def _row(clip: Clip, record: Record | None) -> dict:
    record = record or Record(clip.name, clip.source, clip.driving, "open", attempts=0, finished=0.0)
    row = asdict(record)
    del row["made_of"], row["finished"]
    return row
