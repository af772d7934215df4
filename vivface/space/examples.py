"""Results made from the examples alone: kept, so that they are made once."""

import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import fields
from pathlib import Path

from vivface.reenactment.result import Report
from vivface.space.jobs import Outputs


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


def _copied(outputs: Outputs, folder: Path) -> Outputs:
    paths = {item.name: getattr(outputs, item.name) for item in fields(outputs)}
    existing = {name: path for name, path in paths.items() if path is not None and path.is_file()}
    return Outputs(**{name: Path(shutil.copy2(path, folder)) for name, path in existing.items()})
