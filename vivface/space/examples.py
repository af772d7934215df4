"""Results made from the examples alone: kept, so that they are made once, and made before somebody asks for them."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from vivface.reenactment.result import Report
from vivface.space.jobs import Outputs
from vivface.space.options import Options

if TYPE_CHECKING:
    from vivface.space.service import ReenactmentService

PATIENCE_SECONDS = 5.0  # between two looks whether visitors still wait
EXAMPLES = "examples"  # in whose name portraits of the examples are remembered, for everybody


class ResultCache:
    """Files of finished runs by key; the least recently used are deleted.

    Args:
        capacity (`int`, *optional*, defaults to 32): Runs that are kept.
    """

    def __init__(self, capacity: int = 32):
        self.capacity = capacity
        self._folder = tempfile.TemporaryDirectory(prefix="vivface-examples-")
        self._runs: OrderedDict[Hashable, tuple[Path, Outputs, Report]] = OrderedDict()
        self._count = 0
        self._lock = threading.Lock()

    def fetch(self, key: Hashable, folder: Path) -> tuple[Outputs, Report] | None:
        """Copy the files of a run into a folder; None if it is not kept."""
        with self._lock:
            if key not in self._runs:
                return None
            self._runs.move_to_end(key)
            _, outputs, report = self._runs[key]
            return _copied(outputs, folder), report

    def keep(self, key: Hashable, outputs: Outputs, report: Report) -> None:
        """Copy the files of a run to where they stay."""
        with self._lock:
            if key in self._runs:
                return
            folder = Path(self._folder.name) / str(self._count)
            self._count += 1
            folder.mkdir()
            self._runs[key] = (folder, _copied(outputs, folder), report)
            while len(self._runs) > self.capacity:
                _, (old, _, _) = self._runs.popitem(last=False)
                shutil.rmtree(old, ignore_errors=True)

    def __len__(self) -> int:
        return len(self._runs)

    @property
    def nbytes(self) -> int:
        """Bytes on the disk."""
        return sum(path.stat().st_size for path in Path(self._folder.name).rglob("*") if path.is_file())


def find_examples(folder: Path) -> tuple[list[Path], list[Path]]:
    """Portraits and videos of a folder, by name."""
    portraits = sorted(path for suffix in ("png", "jpg", "webp") for path in folder.glob(f"*.{suffix}"))
    return portraits, sorted(folder.glob("*.mp4"))


def example_pairs(portraits: list[Path], clips: list[Path]) -> list[tuple[Path, Path]]:
    """What visitors see by one click: every example portrait under the first example video."""
    return [(portrait, clip) for clip in clips[:1] for portrait in portraits]


def prepare_examples(service: ReenactmentService, pairs: list[tuple[Path, Path]]) -> None:
    """Make what visitors try first, as the page is set at first.

    Visitors go first: where one waits, the work is given up and begun again later.

    Args:
        service (`ReenactmentService`): Keeps the results.
        pairs (list of `tuple[Path, Path]`): Portraits and their videos, from `example_pairs`.
    """
    for portrait, clip in pairs:
        while not _prepared(service, portrait, clip):
            time.sleep(PATIENCE_SECONDS)


def _prepared(service: ReenactmentService, portrait: Path, clip: Path) -> bool:
    if len(service.queue):
        return False
    updates = service.reenact(EXAMPLES, service.admit(str(portrait), False), str(clip), Options())
    for update in updates:
        if update.result is None and len(service.queue) > 1:
            updates.close()  # which stops it
            return False
    return True


def _copied(outputs: Outputs, folder: Path) -> Outputs:
    paths = {item.name: getattr(outputs, item.name) for item in fields(outputs)}
    existing = {name: path for name, path in paths.items() if path is not None and path.is_file()}
    return Outputs(**{name: Path(shutil.copy2(path, folder)) for name, path in existing.items()})
