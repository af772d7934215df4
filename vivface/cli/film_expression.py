"""`vivface edit FILM`: an expression for every frame of a film."""

from pathlib import Path
from typing import TYPE_CHECKING

from vivface.cli.console import progress_bar, show_notes
from vivface.cli.options import check_output
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
    with progress_bar() as bar:
        task = bar.add_task("Searching for a face", total=None, rate="")

        def show(progress) -> None:
            title = "Rendering frames" if progress.stage == "rendering" else "Searching for a face"
            bar.update(task, description=title, completed=progress.done, total=progress.total)

        result.save(output, provenance=marks.provenance, on_progress=show)
    show_notes(result.report.warnings)
    frames = "1 frame" if result.report.frames == 1 else f"{result.report.frames} frames"
    print(f"{output}: {frames} in {result.report.seconds:.1f} s, {wanted.words}")
