"""What is next: portraits are read before their clips, each once, and a worker keeps the portrait that it has."""

from __future__ import annotations

from collections import deque
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

    @property
    def is_done(self) -> bool:
        """Whether nothing is left, and nobody works."""
        return not (self._waiting or self._ready or self._running)

    def next(self, last: Portrait | None) -> Task | None:
        """What a worker should do that has the portrait `last`; None where it has to wait, or all is handed out."""
        if self._ready:
            portrait = last if last in self._ready else next(iter(self._ready))
            clip = self._ready[portrait].popleft()
            if not self._ready[portrait]:
                del self._ready[portrait]
            self._running += 1
            return Task("clip", clip)
        if self._unread:
            self._running += 1
            return Task("portrait", self._waiting[self._unread.popleft()][0])
        return None

    def finish(self, task: Task, failed: bool = False) -> list[Clip]:
        """Tell that a task is done. Where a portrait failed, the clips that cannot be made."""
        self._running -= 1
        if task.kind == "clip":
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
            self._ready.setdefault(task.clip.portrait, deque()).appendleft(task.clip)
