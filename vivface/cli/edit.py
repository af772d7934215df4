"""`vivface edit`: a portrait with another age, expression, pose ..."""

from pathlib import Path
from typing import Annotated

import typer

from vivface.cli.console import progress_bar, show_notes
from vivface.cli.options import (
    Adapt,
    Checkpoint,
    Detail,
    Detector,
    Device,
    Edit,
    Label,
    LabelText,
    Manifest,
    Mark,
    Overwrite,
    Size,
    System,
    check_output,
    load,
    pixels,
    provenance,
)


def edit(
    source: Annotated[
        Path, typer.Argument(help="The portrait: an image with a face, or a file of `reenact --save-identity`.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The image to write (.png, .jpg or .webp).")],
    edit: Edit = None,
    refine: Annotated[bool, typer.Option(help="Second stage: restore detail of the portrait.")] = True,
    detail: Detail = None,
    size: Size = "auto",
    paste_back: Annotated[bool, typer.Option(help="Put the face back into the whole photo.")] = False,
    seed: Annotated[int, typer.Option(help="Of the tuning to the portrait.")] = 0,
    face: Annotated[int | None, typer.Option(min=0, help="Which face of the portrait, 0 the largest.")] = None,
    adapt: Adapt = None,
    mark: Mark = True,
    manifest: Manifest = True,
    label: Label = False,
    label_text: LabelText = None,
    overwrite: Overwrite = True,
    checkpoint: Checkpoint = None,
    system: System = None,
    device: Device = "auto",
    detector: Detector = "auto",
) -> None:
    """Edit a portrait: another age, expression or pose, as the directions of the checkpoint allow."""
    from vivface.editing import parse_edits
    from vivface.media import save_image
    from vivface.media.images import WRITE_SUFFIXES
    from vivface.provenance import Ingredient, Stamp, number_of
    from vivface.reenactment.codes import IDENTITY_SUFFIX, IdentityCode

    check_output(output, WRITE_SUFFIXES, overwrite, inputs=(source,))
    edits, marks = parse_edits(edit or []), provenance(mark, manifest, label, label_text)
    pipeline = load(checkpoint, device, detector, system)
    pipeline.directions.check_names(edits)  # before the work
    with progress_bar() as bar:
        task = bar.add_task("Tuning to the portrait", total=None, rate="")

        def show(progress) -> None:
            bar.update(task, completed=progress.done, total=progress.total)

        if source.suffix == IDENTITY_SUFFIX:
            identity = IdentityCode.load(source)
        else:
            shown = pipeline.offers_detail if detail is None else detail
            identity = pipeline.encode_identity(source, face, 0 if shown and adapt is None else adapt, seed, show)
        options = dict(refine=refine, paste_back=paste_back, detail=detail, size=pixels(size))
        image = pipeline.edit(identity, edits, **options)
    portrait = [] if identity.file is None else [Ingredient("portrait", identity.file)]
    stamp = Stamp(marks, number_of(identity.photo, edit, sorted(options.items())), paste_back, portrait)
    save_image(output, stamp.picture(image), stamp.finish)
    show_notes([*identity.warnings, *stamp.warnings])
    listed = ", ".join(edit or []) or "no edits"
    print(f"{output}: {image.shape[1]} x {image.shape[0]} pixels, {listed}")
