"""Options of `vivface reenact` for systems in which every part of the motion has a driver of its own."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from vivface.errors import OptionError

if TYPE_CHECKING:
    from vivface.pipelines.base import ReenactmentPipeline


@dataclass
class PartDrivers:
    """Options of `--system video2stylegan`."""

    PANEL: ClassVar[str] = "Drivers of parts"

    position: Annotated[
        str | None, typer.Option(help="video2stylegan: where place and tilt of the face come from; as --pose.")
    ] = None
    local: Annotated[
        str | None,
        typer.Option(help="video2stylegan: where eyes, nose and mouth come from; driving by default."),
    ] = None
    residual: Annotated[
        str | None, typer.Option(help="video2stylegan: where all other motion comes from; driving by default.")
    ] = None
    weight: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="video2stylegan: alpha, beta, gamma or zeta of eq. 1-3. May be repeated."
        ),
    ] = None

    def arguments(self, pipeline: "ReenactmentPipeline") -> dict[str, Any]:
        """What was asked for, as arguments of the pipeline; empty if nothing was.

        Raises:
            OptionError: If another system was loaded, or a weight is malformed.
        """
        if self == PartDrivers():
            return {}
        from vivface.pipelines.video2stylegan import WEIGHTS, Video2StyleGANPipeline

        parts = {"position": self.position, "local": self.local, "residual": self.residual}
        given: dict[str, Any] = {name: value for name, value in parts.items() if value is not None}
        for text in self.weight or []:
            name, equals, value = text.partition("=")
            if not equals or name not in WEIGHTS:
                raise OptionError(f"--weight is '{text}'; expected NAME=VALUE, NAME being one of {', '.join(WEIGHTS)}.")
            try:
                given[name] = float(value)
            except ValueError:
                raise OptionError(f"--weight is '{text}'; expected a number after '='.") from None
        if given and not isinstance(pipeline, Video2StyleGANPipeline):
            option = "--weight" if next(iter(given)) in WEIGHTS else f"--{next(iter(given))}"
            raise OptionError(f"{option} is an option of --system video2stylegan: name it, or leave {option} out.")
        return given
