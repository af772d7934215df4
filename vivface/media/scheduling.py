"""Threads keep their priority whatever an encoder does to it.

SVT-AV1 asks for real-time threads where it is allowed to, as in a container that runs as root. The thread that opens it
becomes one, too, and so does every process that it starts from then on: other programs would hardly get a core.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.codec.context import CodecContext

_TASKS = Path("/proc/self/task")


def open_encoder(context: CodecContext) -> None:
    """Open an encoder whose settings are complete, and leave the priority of all threads as it is."""
    with keeping_priority():
        context.open()


@contextmanager
def keeping_priority() -> Iterator[None]:
    """Undo what happens in the block to the scheduling of this process's threads; those that it starts are ordinary.

    Where the operating system does not tell (anywhere but on Linux), nothing is done.
    """
    before = _policies()
    yield
    for thread, policy in _policies().items():
        if policy != before.get(thread, os.SCHED_OTHER):
            with suppress(OSError):  # it has ended
                os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))


def _policies() -> dict[int, int]:
    """Scheduling policy of every thread."""
    found = {}
    with suppress(OSError):
        for task in _TASKS.iterdir():
            with suppress(OSError):
                found[int(task.name)] = os.sched_getscheduler(int(task.name))
    return found
