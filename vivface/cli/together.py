"""Time whole commands: until the first frame, and how runs that share a machine slow each other down."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vivface.errors import BackendError

_COMMAND = (sys.executable, "-m", "vivface.cli.main", "reenact")


@dataclass
class Together:
    """What was measured.

    Args:
        runs (`int`): How many were started at once.
        alone (`list[float]`): Seconds of one by itself, before and after the others.
        together (`list[float]`): Seconds of each, from their common start to its own end.
        ratio (`float`): The slowest of them over the mean of one alone.
    """

    runs: int
    alone: list[float]
    together: list[float]
    ratio: float


def measure_together(options: Sequence[str | Path], runs: int = 2) -> Together:
    """Time `vivface reenact` alone, then several times at once, then alone again.

    Args:
        options (sequence of `str` or `Path`): Of `vivface reenact`, without `-o`.
        runs (`int`, *optional*, defaults to 2): How many at once.

    Raises:
        BackendError: If a run fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        before = _seconds(options, 1, Path(folder))
        together = _seconds(options, runs, Path(folder))
        after = _seconds(options, 1, Path(folder))
    alone = before + after
    return Together(runs, alone, together, max(together) / (sum(alone) / len(alone)))


def measure_first_frame(options: Sequence[str | Path], runs: int = 3) -> list[float]:
    """Seconds from the start of `vivface reenact` to its first frame as a file, run after run.

    Args:
        options (sequence of `str` or `Path`): Of `vivface reenact`, without `-o`.
        runs (`int`, *optional*, defaults to 3): How many.

    Raises:
        BackendError: If a run fails.
    """
    seconds = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder, open(Path(folder) / "errors", "w+", encoding="utf-8") as errors:
            command = [*_COMMAND, *map(str, options), "-o", str(Path(folder) / "frames" / "%05d.png")]
            began = time.perf_counter()
            run = subprocess.Popen(command, stdout=errors, stderr=errors)
            try:
                while not any(Path(folder).rglob("*.png")):  # in a folder of another name until all are there
                    if run.poll() is not None:
                        errors.seek(0)
                        raise BackendError(f"A run to be measured failed ({last_line(errors.read())}).")
                    time.sleep(0.01)
                seconds.append(time.perf_counter() - began)
            finally:
                run.kill()
                run.wait()
    return seconds


def _seconds(options: Sequence[str | Path], runs: int, folder: Path) -> list[float]:
    """Seconds until each of some commands that start at once has ended."""
    began, started, seconds = time.perf_counter(), [], {}
    try:
        for number in range(runs):
            command = [*_COMMAND, *map(str, options), "-o", str(folder / f"{number}.mp4")]
            errors = open(folder / f"{number}.txt", "w+", encoding="utf-8")  # not a pipe, which would fill up
            started.append((subprocess.Popen(command, stdout=errors, stderr=errors), errors))
        while len(seconds) < runs:
            for number, (run, errors) in enumerate(started):
                if number not in seconds and run.poll() is not None:
                    seconds[number] = time.perf_counter() - began
                    if run.returncode:
                        errors.seek(0)
                        raise BackendError(f"A run to be measured failed ({last_line(errors.read())}).")
            time.sleep(0.01)
    finally:
        for run, errors in started:
            run.kill()
            run.wait()
            errors.close()
    return [seconds[number] for number in range(runs)]


def last_line(text: str) -> str:
    """What a program said last, without the word that makes it an error."""
    return (text.strip().splitlines() or ["it said nothing"])[-1].removeprefix("Error: ").rstrip(".")
