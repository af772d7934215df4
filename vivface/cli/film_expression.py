"""`vivface edit FILM`: an expression for every frame of a film."""

from pathlib import Path
from typing import TYPE_CHECKING

from vivface.cli.options import check_output
from vivface.cli.rendering import save_with_progress
from vivface.errors import OptionError

if TYPE_CHECKING:
    from vivface.cli.expressions import ExpressionRequest
    from vivface.cli.options import Marks, SystemLoading


def express_film(
    film: Path,
    output: Path,
    wanted: "ExpressionRequest",
    face: int | None,
    loading: "SystemLoading",
    marks: "Marks",
    overwrite: bool,
) -> None:
    """Write the film with an expression added to that of its face.

    Raises:
        OptionError: If no expression, or a strip, was asked for, or the output is no film.
        MediaError: If the film cannot be read, or the output not be written.
    """
    from vivface.media.output import OUTPUT_SUFFIXES

    if wanted.strip:
        raise OptionError("A strip shows variants of a photograph: leave out --strip for a film.")
    if not wanted.values:
        raise OptionError("A film's face takes an expression: give --expression NAME=AMOUNT, or --preset.")
    check_output(output, OUTPUT_SUFFIXES, overwrite, inputs=(film,))
    result = loading.load().express_film(film, wanted.values, faces=None if face is None else [face])
    save_with_progress(result, output, "searching", f", {wanted.words}", provenance=marks.provenance)
