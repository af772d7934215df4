"""What is remembered of visitors: bounded in bytes over all of them, and forgotten when it was not used for a while."""

import hashlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from vivface.errors import MediaError

IDLE_SECONDS = 3600.0
REMEMBERED_FILES = 1000


class Sized(Protocol):
    """A value that knows its size."""

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it holds."""


T = TypeVar("T", bound=Sized)


@dataclass
class _Entry:
    value: Sized
    nbytes: int
    used: float


class VisitorMemory:
    """Encoded portraits, found faces and live drivers by visitor; the least recently used of all go first.

    Args:
        max_bytes (`int`): Most bytes that all values hold together; what is larger by itself is not kept.
        idle_seconds (`float`, *optional*, defaults to 3600): What was not used for longer is forgotten.
    """

    def __init__(self, max_bytes: int, idle_seconds: float = IDLE_SECONDS):
        self.max_bytes = max_bytes
        self.idle_seconds = idle_seconds
        self.nbytes = 0
        self._entries: OrderedDict[tuple[str, Hashable], _Entry] = OrderedDict()  # the least recently used first
        self._lock = threading.Lock()

    def get(self, visitor: str, key: Hashable) -> Sized | None:
        """What was kept for a key, if it is still there."""
        with self._lock:
            self._sweep()
            entry = self._entries.get((visitor, key))
            if entry is None:
                return None
            entry.used = time.monotonic()
            self._entries.move_to_end((visitor, key))
            return entry.value

    def put(self, visitor: str, key: Hashable, value: Sized) -> None:
        """Keep a value; others are forgotten to make room."""
        size = value.nbytes
        with self._lock:
            self._drop((visitor, key))
            self._sweep()
            if size > self.max_bytes:
                return
            while self.nbytes + size > self.max_bytes:
                self._drop(next(iter(self._entries)))
            self._entries[visitor, key] = _Entry(value, size, time.monotonic())
            self.nbytes += size

    def get_or_create(self, visitor: str, key: Hashable, create: Callable[[], T]) -> T:
        """What was kept for a key, or made now and kept."""
        value = self.get(visitor, key)
        if value is None:
            value = create()
            self.put(visitor, key, value)
        return value

    def forget(self, visitor: str) -> None:
        """Forget everything about one visitor."""
        with self._lock:
            for key in [key for key in self._entries if key[0] == visitor]:
                self._drop(key)

    def __len__(self) -> int:
        return len(self._entries)

    def _sweep(self) -> None:
        oldest = time.monotonic() - self.idle_seconds
        while self._entries and next(iter(self._entries.values())).used < oldest:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: tuple[str, Hashable]) -> None:
        if (entry := self._entries.pop(key, None)) is not None:
            self.nbytes -= entry.nbytes


class FileKeys:
    """Files' contents as short keys; a file is read again only after it has changed."""

    def __init__(self) -> None:
        self._keys: OrderedDict[tuple[str, int, int], str] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, path: str | os.PathLike) -> str:
        """The key of a file.

        Raises:
            MediaError: If an upload was deleted meanwhile.
        """
        path = os.fspath(path)
        try:
            status = os.stat(path)
            known = (path, status.st_mtime_ns, status.st_size)
            with self._lock:
                if known in self._keys:
                    self._keys.move_to_end(known)
                    return self._keys[known]
            with open(path, "rb") as file:
                key = hashlib.file_digest(file, "blake2b").hexdigest()[:32]
        except FileNotFoundError as error:
            raise MediaError(
                f"'{os.path.basename(path)}' is not here any more, as uploads are deleted after a while: give it again."
            ) from error
        with self._lock:
            self._keys[known] = key
            while len(self._keys) > REMEMBERED_FILES:
                self._keys.popitem(last=False)
        return key
