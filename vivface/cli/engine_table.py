"""`vivface bench --engines`: every engine that is installed, in a process of its own, in one table."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from vivface.errors import BackendError

ENGINES = ("torch", "torch:channels-last", "torch:bf16", "onnxruntime", "openvino", "auto")
SHORT = {
    "track the face": "track",
    "encode motion (E)": "E",
    "adapt motion (T)": "T",
    "generate (G)": "G",
    "refine (R)": "R",
    "generate again, from R on": "G again",
    "encode the video": "write",
}


@dataclass
class EngineRow:
    """What was measured of one engine.

    Attributes:
        engine (`str`): Its name.
        milliseconds, processor_milliseconds (`dict[str, float]`): A frame, by part; the second of all processors.
        frames_per_second (`float`): End to end.
        memory_mb (`float`): Most resident memory of the process.
        start_seconds (`float`): Of a command that makes one batch of frames, from its start to its end.
    """

    engine: str
    milliseconds: dict[str, float]
    processor_milliseconds: dict[str, float]
    frames_per_second: float
    memory_mb: float
    start_seconds: float


def installed() -> list[str]:
    """Engines that can be measured here."""
    return [name for name in ENGINES if name.startswith("torch") or name == "auto" or find_spec(name) is not None]


def measure(engine: str, options: list[str], source: Path, driving: Path, checkpoint: str | None) -> EngineRow:
    """Measure an engine in fresh processes.

    Args:
        engine (`str`): One of `ENGINES`.
        options (list of `str`): Of `vivface bench`.
        source, driving (`pathlib.Path`): The inputs.
        checkpoint (`str`, *optional*): For the command that is timed from its start.

    Raises:
        BackendError: If a process fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        numbers = Path(folder) / "numbers.json"
        inputs = ["--source", str(source), "--driving", str(driving)]
        _run(["bench", *options, *inputs, "--engine", engine, "--json", str(numbers)])
        result = json.loads(numbers.read_text(encoding="utf-8"))
        command = ["reenact", str(source), str(driving), "-o", str(Path(folder) / "out.mp4"), "--adapt", "0"]
        command += ["--duration", "0.3", "--engine", engine, *(["--checkpoint", checkpoint] if checkpoint else [])]
        began = time.perf_counter()
        _run(command)
        seconds = time.perf_counter() - began
    timings = [timing for timing in result["timings"] if timing["name"] in SHORT]
    wall, processor = (
        {SHORT[timing["name"]]: timing[kind] for timing in timings if timing[kind] is not None}
        for kind in ("milliseconds", "processor_milliseconds")
    )
    return EngineRow(engine, wall, processor, result["frames_per_second"], result["memory_mb"], seconds)


def engine_table(rows: list[EngineRow]):
    """The rows as a table of rich."""
    from rich.table import Table

    parts = list(dict.fromkeys(part for row in rows for part in row.milliseconds))
    table = Table(title="milliseconds a frame, each part alone (and processor time)")
    for column in ("engine", *parts, "frames/s end to end", "memory, MB", "command of 0.3 s of video, s"):
        table.add_column(column, justify="left" if column == "engine" else "right")
    for row in rows:
        numbers = [f"{row.milliseconds[part]:.1f}" if part in row.milliseconds else "" for part in parts]
        used = [row.processor_milliseconds.get(part) for part in parts]
        numbers = [number if ms is None else f"{number} ({ms:.1f})" for number, ms in zip(numbers, used, strict=True)]
        rate, memory, start = f"{row.frames_per_second:.1f}", f"{row.memory_mb:.0f}", f"{row.start_seconds:.1f}"
        table.add_row(row.engine, *numbers, rate, memory, start)
    return table


def _run(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "vivface.cli.main", *arguments], capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        raise BackendError(f"`vivface {' '.join(arguments[:1])}` failed while an engine was measured: {last}")
