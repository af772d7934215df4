"""What is remembered of a visitor while the page is open."""

import hashlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from vivface.errors import MediaError

T = TypeVar("T")

REMEMBERED = 3  # of each kind: encoded portraits, pictures that were looked at


class Session:
    """The encoded portraits, the running job and the live stream of one visitor."""

    def __init__(self) -> None:
        self.used = time.monotonic()
        self.lock = threading.Lock()
        self.job: Any = None
        self.live: Any = None
        self._kept: dict[str, OrderedDict[Hashable, Any]] = {}

    def keep(self, kind: str, key: Hashable, make: Callable[[], T]) -> T:
        """What was made for a key before, or made now; the least recently used are forgotten."""
        with self.lock:
            kept = self._kept.setdefault(kind, OrderedDict())
            if key in kept:
                kept.move_to_end(key)
                return kept[key]
        value = make()
        with self.lock:
            kept[key] = value
            while len(kept) > REMEMBERED:
                kept.popitem(last=False)
        return value

    def knows(self, kind: str, key: Hashable) -> bool:
        """Whether something was kept for a key and is still there."""
        with self.lock:
            return key in self._kept.get(kind, ())

    def close(self) -> None:
        """Stop what is running and forget everything."""
        if self.job is not None:
            self.job.cancel()
        self.job = self.live = None
        with self.lock:
            self._kept.clear()


class SessionStore:
    """All visitors, by the key that the page knows them by.

    Args:
        capacity (`int`, *optional*): so many are remembered; who was away longest is forgotten first.
        idle_seconds (`float`, *optional*): who was away for longer is forgotten.
    """

    def __init__(self, capacity: int = 64, idle_seconds: float = 1800.0):
        self.capacity = capacity
        self.idle_seconds = idle_seconds
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str | None) -> Session:
        """The session of a key; a passing one for None."""
        if key is None:
            return Session()
        now = time.monotonic()
        with self._lock:
            session = self._sessions.setdefault(key, Session())
            session.used = now
            self._sessions.move_to_end(key)
            gone = []
            for other, candidate in list(self._sessions.items())[:-1]:
                too_many = len(self._sessions) - len(gone) > self.capacity
                idle = now - candidate.used > self.idle_seconds
                if (too_many or idle) and not _is_busy(candidate):
                    gone.append(other)
            closed = [self._sessions.pop(other) for other in gone]
        for other in closed:
            other.close()
        return session

    def close(self, key: str | None) -> None:
        """Forget one visitor."""
        with self._lock:
            session = self._sessions.pop(key, None)
        if session is not None:
            session.close()

    def __len__(self) -> int:
        return len(self._sessions)


def _is_busy(session: Session) -> bool:
    return session.job is not None and session.job.is_running


def file_key(path: str | os.PathLike) -> str:
    """A file's content as a short key.

    Raises:
        MediaError: If an upload was deleted meanwhile.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "blake2b").hexdigest()[:32]
    except FileNotFoundError as error:
        name = os.path.basename(os.fspath(path))
        raise MediaError(
            f"'{name}' is not here any more, as uploads are deleted after a while: give it again."
        ) from error
