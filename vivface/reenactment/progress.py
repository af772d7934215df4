"""How long work tells how far it is, and how it is stopped."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Progress:
    """How far a piece of work is.

    Attributes:
        stage (`str`): `"adapting"` (steps of tuning to the portrait), `"searching"` (driving frames without a face so
            far), `"rendering"` (frames made); and of the codec `"analysing"` (frames read) and `"encoding"` (frames
            encoded).
        done (`int`): Units of the stage that are done.
        total (`int`, *optional*): Units in all, an estimate for videos; None while it is unknown.
    """

    stage: Literal["adapting", "searching", "rendering", "analysing", "encoding"]
    done: int
    total: int | None = None


#: Called several times a second, always from the thread that asked for the work. An exception that it raises stops the
#: work, removes what was half-written, and reaches the caller.
OnProgress = Callable[[Progress], None]


def ignore_progress(progress: Progress) -> None:
    """The `OnProgress` of those who do not want to know."""
