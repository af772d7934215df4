"""Time `vivface batch`: with one worker, with several, and with one again."""

import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vivface.cli.together import last_line
from vivface.errors import BackendError
from vivface.media.video import VideoReader

PAIRS, SECONDS = 20, 2.0  # how many clips, and how long each of them is at most


@dataclass
class BatchTime:
    """What one run took.

    Args:
        workers (`int`): Processes that made clips.
        clips (`int`): How many were made.
        seconds (`float`): From its start to its end.
        processor_seconds (`float`): Of all its processes on all cores; 0 where the system does not tell.
    """

    workers: int
    clips: int
    seconds: float
    processor_seconds: float


def measure_batch(
    portraits: Sequence[Path], driving: Path, workers: int, options: Sequence[str | Path]
) -> list[BatchTime]:
    """Time `vivface batch` on every portrait under several parts of a video.

    Args:
        portraits (sequence of `Path`): Images with a face.
        driving (`Path`): A video.
        workers (`int`): Of the run in the middle; the others have one.
        options (sequence of `str` or `Path`): Of `vivface batch`.

    Returns:
        list of `BatchTime`: Of the three runs, one after the other.

    Raises:
        BackendError: If a run fails.
        MediaError: If the video cannot be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        pairs = Path(folder) / "pairs.csv"
        count = write_pairs(pairs, portraits, driving)
        runs = enumerate((1, workers, 1))
        return [_timed(pairs, count, Path(folder) / str(number), each, options) for number, each in runs]


def write_pairs(path: Path, portraits: Sequence[Path], driving: Path, count: int = PAIRS) -> int:
    """A list of every portrait under as many parts of a video as make about `count` pairs; how many pairs it has."""
    with VideoReader(driving) as reader:
        duration = float(reader.duration or 0)
    parts = max(count // len(portraits), 1)
    spare = max(duration - SECONDS, duration / 2)
    with open(path, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["source", "driving", "start", "duration"])
        for portrait in portraits:
            for part in range(parts):
                start = spare * part / parts
                rows.writerow([portrait.resolve(), driving.resolve(), round(start, 3), SECONDS])
    return parts * len(portraits)


def _timed(pairs: Path, clips: int, output: Path, workers: int, options: Sequence[str | Path]) -> BatchTime:
    command = [sys.executable, "-m", "vivface.cli.main", "batch", str(pairs), "-o", str(output)]
    before, began = _children(), time.perf_counter()
    run = subprocess.run(
        [*command, "--workers", str(workers), *map(str, options)], capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - began
    if run.returncode:
        raise BackendError(f"A run to be measured failed ({last_line(run.stderr)}).")
    return BatchTime(workers, clips, seconds, _children() - before)


def _children() -> float:
    """Processor seconds of all programs that this one has started and that have ended."""
    times = os.times()
    return times.children_user + times.children_system
