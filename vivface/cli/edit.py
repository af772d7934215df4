"""`vivface edit`: a portrait with another age, expression, pose ..."""

from pathlib import Path
from typing import Annotated

import typer

from vivface.cli.console import progress_bar, show_notes
from vivface.cli.grouping import grouped
from vivface.cli.options import Adapt, Edit, Face, Look, Marks, Overwrite, Seed, SystemLoading, check_output
from vivface.errors import OptionError


@grouped
def edit(
    source: Annotated[
        Path,
        typer.Argument(
            help="The portrait: an image with a face, or a file of `reenact --save-identity`. A film, for --expression."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The image to write (.png, .jpg or .webp); of a film a video.")
    ],
    look: Look,
    marks: Marks,
    loading: SystemLoading,
    edit: Edit = None,
    expression: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=AMOUNT",
            help="Move the photograph's own face, as smile=0.6 or yaw=10 (degrees); in a film also over time, as "
            "smile=0:0,2.5:0.6. May be repeated. Mouth: smile, "
            "grin, mouth_open, pucker, funnel, stretch; eyes: lids, wink_left, wink_right, gaze_x, gaze_y; brows: "
            "brows, brow_left, brow_right, worry; head: yaw, pitch, roll.",
        ),
    ] = None,
    preset: Annotated[
        list[str] | None,
        typer.Option(help="An expression by name, as laugh, or from a file (.json); --expression changes it."),
    ] = None,
    save_preset: Annotated[Path | None, typer.Option(help="Also write the expression to this file (.json).")] = None,
    strip: Annotated[
        bool, typer.Option("--strip", help="A row of variants, from the photograph to the expression.")
    ] = False,
    vary: Annotated[
        str | None, typer.Option(help="With --strip: the control that goes through its range while the others stay.")
    ] = None,
    face: Face = None,
    adapt: Adapt = None,
    seed: Seed = 0,
    overwrite: Overwrite = True,
) -> None:
    """Edit a portrait: another age, expression or pose, as the directions of the checkpoint allow."""
    from vivface.cli.expressions import ExpressionRequest
    from vivface.cli.film_expression import express_film
    from vivface.editing import parse_edits
    from vivface.media import save_image
    from vivface.media.images import WRITE_SUFFIXES, is_film
    from vivface.provenance import Ingredient, Stamp, number_of
    from vivface.reenactment.codes import IDENTITY_SUFFIX, IdentityCode
    from vivface.reenactment.expressive_photo import save_preset as write_preset

    if film := is_film(source):
        refuse_for_films(edit, adapt, save_preset, look)
        wanted = ExpressionRequest.read(expression or [], preset or [], strip, vary, look.detail, film)
        express_film(source, output, wanted, face, loading, marks, overwrite)
        return
    check_output(output, WRITE_SUFFIXES, overwrite, inputs=(source,))
    edits, provenance, detail = parse_edits(edit or []), marks.provenance, look.detail
    wanted = ExpressionRequest.read(expression or [], preset or [], strip, vary, detail)
    if save_preset is not None:
        check_output(save_preset, (".json",), overwrite, inputs=(source, *map(Path, preset or [])))
    pipeline = loading.load()
    pipeline.directions.check_names(edits)  # before the work
    with progress_bar() as bar:
        task = bar.add_task("Tuning to the portrait", total=None, rate="")

        def show(progress) -> None:
            bar.update(task, completed=progress.done, total=progress.total)

        if source.suffix == IDENTITY_SUFFIX:
            identity = IdentityCode.load(source)
        else:
            shown = wanted.given or (pipeline.offers_detail if detail is None else detail)
            identity = pipeline.encode_identity(source, face, 0 if shown and adapt is None else adapt, seed, show)
        options = dict(refine=look.refine, paste_back=look.paste_back, detail=detail, size=look.pixels)
        if wanted.given:
            del options["refine"], options["detail"]
            image = wanted.show(pipeline.expressive_photo(identity, edits=edits, **options))
        else:
            image = pipeline.edit(identity, edits, **options)
    portrait = [] if identity.file is None else [Ingredient("portrait", identity.file)]
    photograph = look.paste_back or wanted.given or pipeline.shows_photograph(identity, detail)
    stamp = Stamp(provenance, number_of(identity.photo, edit, wanted.values, options), photograph, portrait)
    save_image(output, stamp.picture(image), stamp.finish)
    if save_preset is not None:
        write_preset(wanted.values, save_preset)
    show_notes([*identity.warnings, *stamp.warnings])
    shown = [*(edit or []), *(f"{name}={amount:g}" for name, amount in wanted.values.items())]
    listed = ", ".join(shown) or "no edits"
    print(f"{output}: {image.shape[1]} x {image.shape[0]} pixels, {listed}")


def refuse_for_films(edit: list[str] | None, adapt: object, save_preset: Path | None, look: Look) -> None:
    """Raise an OptionError for what a film's face does not take."""
    given = {
        "--edit": edit,
        "--adapt": adapt,
        "--save-preset": save_preset,
        "--size": look.pixels,
        "--paste-back": look.paste_back,
    }
    for name, value in given.items():
        if value:
            raise OptionError(f"A film keeps its picture, and its face takes an expression alone: leave out {name}.")
