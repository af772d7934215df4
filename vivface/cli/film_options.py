"""Options for several faces of a picture, and for films as the source."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, ClassVar

import typer


class FitChoice(StrEnum):
    """What follows the end of a driver that is shorter than the film."""

    TRIM = "trim"
    LOOP = "loop"
    HOLD = "hold"
    MIRROR = "mirror"


class HeadChoice(StrEnum):
    """How the head of a film moves."""

    KEEP = "keep"
    REPLACE = "replace"


class SoundChoice(StrEnum):
    """Whose sound a film's result has."""

    SOURCE = "source"
    DRIVING = "driving"


@dataclass
class Films:
    """Which faces of a picture move, and how a film is driven."""

    PANEL: ClassVar[str] = "Several faces, and films as the source"

    faces: Annotated[
        str | None,
        typer.Option(
            metavar="FACE:DRIVER,...",
            help="Several faces of the picture at once, each with a face of DRIVING (0:0,1:1), another clip "
            "(1:other.mp4) or a face of that (1:other.mp4:1); all for one driver of all. 0 is the largest face.",
        ),
    ] = None
    fit: Annotated[
        FitChoice,
        typer.Option(
            help="After the end of a driver shorter than the film: end, begin again, hold its last frame, go back."
        ),
    ] = FitChoice.TRIM
    head: Annotated[
        HeadChoice, typer.Option(help="A film's head moves as it does (keep) or turns as the driver's.")
    ] = HeadChoice.KEEP
    sound: Annotated[
        SoundChoice | None, typer.Option(help="Of a film's result: the film's own (source), or the driver's.")
    ] = None

    @property
    def arguments(self) -> dict[str, str | None]:
        """As arguments of a pipeline."""
        sound = None if self.sound is None else self.sound.value
        return {"faces": self.faces, "fit": self.fit.value, "head": self.head.value, "sound": sound}
