"""What is next: portraits are read before their clips, each once, and a worker keeps the portrait that it has.

A driver that somebody is reading for the first time is left alone, as long as there is anything else to do: what is
read of it serves all its clips.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vivface.batch.clips import Clip

Portrait = tuple[str, int | None]


@dataclass(frozen=True)
class Task:
    """A piece of work: read the portrait of a clip, or make the clip."""

    kind: Literal["portrait", "clip"]
    clip: Clip


class Plan:
    """The tasks of a run, handed out one by one.

    Args:
        clips (sequence of `Clip`): What is to be made.
    """

    def __init__(self, clips: Sequence[Clip]):
        self._waiting: dict[Portrait, deque[Clip]] = {}  # their portrait is not read yet
        for clip in clips:
            self._waiting.setdefault(clip.portrait, deque()).append(clip)
        self._unread = deque(self._waiting)
        self._ready: dict[Portrait, deque[Clip]] = {}
        self._running = 0
        self._driving: Counter[tuple] = Counter()  # how many clips of a driver are being made
        self._read: set[tuple] = set()  # drivers of which a clip is done

    @property
    def is_done(self) -> bool:
        """Whether nothing is left, and nobody works."""
        return not (self._waiting or self._ready or self._running)

    def next(self, last: Portrait | None) -> Task | None:
        """What a worker should do that has the portrait `last`; None where it has to wait, or all is handed out."""
        clip = self._clip(last)
        if clip is None and self._unread:
            self._running += 1
            return Task("portrait", self._waiting[self._unread.popleft()][0])
        if clip is None and self._ready:  # one of a driver that is being read: better read twice than wait
            clip = self._ready[last if last in self._ready else next(iter(self._ready))][0]
        if clip is None:
            return None
        self._ready[clip.portrait].remove(clip)
        if not self._ready[clip.portrait]:
            del self._ready[clip.portrait]
        self._running += 1
        self._driving[clip.driver] += 1
        return Task("clip", clip)

    def finish(self, task: Task, failed: bool = False) -> list[Clip]:
        """Tell that a task is done. Where a portrait failed, the clips that cannot be made."""
        self._running -= 1
        if task.kind == "clip":
            self._driving[task.clip.driver] -= 1
            self._read.add(task.clip.driver)
            return []
        clips = self._waiting.pop(task.clip.portrait)
        if failed:
            return list(clips)
        self._ready[task.clip.portrait] = clips
        return []

    def again(self, task: Task) -> None:
        """Hand a task out once more, because who had it has ended."""
        self._running -= 1
        if task.kind == "portrait":
            self._unread.appendleft(task.clip.portrait)
        else:
            self._driving[task.clip.driver] -= 1
            self._ready.setdefault(task.clip.portrait, deque()).appendleft(task.clip)

    def _clip(self, last: Portrait | None) -> Clip | None:
        """A clip whose driver nobody is reading for the first time, of the portrait `last` if there is one."""
        portraits = sorted(self._ready, key=lambda portrait: portrait != last)  # stable: the others in their order
        return next((clip for portrait in portraits for clip in self._ready[portrait] if self._is_free(clip)), None)

    def _is_free(self, clip: Clip) -> bool:
        return clip.driver in self._read or not self._driving[clip.driver]
