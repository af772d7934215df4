"""`vivface reenact`: animate a portrait with the motion of a video."""

import time
from pathlib import Path
from typing import Annotated

import typer

from vivface.cli.console import progress_bar, show_notes
from vivface.cli.drivers import PartDrivers
from vivface.cli.film_options import Films
from vivface.cli.grouping import grouped
from vivface.cli.options import (
    Adapt,
    BatchSize,
    DrivingFace,
    Duration,
    Edit,
    Face,
    Marks,
    MotionOptions,
    Overwrite,
    Seed,
    Start,
    SystemLoading,
    VideoLook,
    check_output,
    read_edits,
)
from vivface.cli.rendering import TITLES, frames_made
from vivface.errors import OptionError


@grouped
def reenact(
    source: Annotated[
        Path,
        typer.Argument(
            help="The portrait: an image with a face, or a file of an earlier --save-identity; or a film whose face is "
            "to wear the driver's expression."
        ),
    ],
    driving: Annotated[
        Path, typer.Argument(help="The driving video, a file saved by `vivface motion`, or a name, as nod.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="The video to write (.mp4, .mov, .mkv, .webm, .webp or .gif), or images (frames/%05d.png).",
        ),
    ],
    look: VideoLook,
    motion: MotionOptions,
    films: Films,
    drivers: PartDrivers,
    marks: Marks,
    loading: SystemLoading,
    face: Face = None,
    driving_face: DrivingFace = None,
    start: Start = 0.0,
    duration: Duration = None,
    co_driving: Annotated[
        Path | None,
        typer.Option(help="A second driving video, or motion file, that gives the pose; DRIVING keeps the expression."),
    ] = None,
    adapt: Adapt = None,
    edit: Edit = None,
    seed: Seed = 0,
    batch_size: BatchSize = None,
    codec: Annotated[
        str, typer.Option(help="h264, av1, vp9 or prores, as the format takes it; auto for its usual one.")
    ] = "auto",
    quality: Annotated[float, typer.Option(min=0, max=100, help="Of the video, 0 to 100 (lossless).")] = 80,
    side_by_side: Annotated[bool, typer.Option(help="Show portrait, driving video and result in a row.")] = False,
    save_motion: Annotated[
        Path | None, typer.Option(help="Also write the motion codes to this file (.safetensors).")
    ] = None,
    save_identity: Annotated[
        Path | None,
        typer.Option(help="Also write the portrait's code, tuned or not, to this file (.safetensors); a SOURCE later."),
    ] = None,
    overwrite: Overwrite = True,
) -> None:
    """Animate a portrait, or the face of a film, with the motion of a video."""
    from vivface.media.coding import MUXERS, choose_coding
    from vivface.media.output import OUTPUT_SUFFIXES, check_film
    from vivface.media.sequence import is_sequence
    from vivface.reenactment.codes import IDENTITY_SUFFIX, IdentityCode

    inputs = (source, driving) if co_driving is None else (source, driving, co_driving)
    if is_sequence(output):
        check_film(output)
    else:
        check_output(output, OUTPUT_SUFFIXES, overwrite, inputs=inputs)
    if output.suffix.lower() in MUXERS:
        choose_coding(output.suffix.lower(), codec, quality, alpha=look.background == "transparent")
    if save_motion is not None:
        check_output(save_motion, (".safetensors",), overwrite, inputs=inputs)
    if save_identity is not None:
        check_output(save_identity, (IDENTITY_SUFFIX,), overwrite, inputs=inputs)
    edits = read_edits(edit)
    parts, pose = motion.parts(seed)
    provenance = marks.provenance
    others = edit, adapt, co_driving, pose, save_motion, save_identity
    plain = not any(others) and films == Films() and drivers == PartDrivers()
    photograph = loading.load_photograph(source, driving, look.detail) if plain else None
    if photograph is None:
        pipeline = loading.load()
        by_part = drivers.arguments(pipeline)
        portrait = IdentityCode.load(source) if source.suffix == IDENTITY_SUFFIX else source
    with progress_bar() as bar:
        task = bar.add_task("Reading the source", total=None, rate="")
        began = time.perf_counter()

        def show(progress) -> None:
            rate = ""
            if progress.stage == "rendering" and result is not None:
                rate = f"{result.report.fps:.1f} frames/s"
            bar.update(
                task, description=TITLES[progress.stage], completed=progress.done, total=progress.total, rate=rate
            )

        result = None
        common = dict(
            refine=look.refine,
            paste_back=look.paste_back,
            motion_mode=motion.motion_mode.value,
            strength=motion.strength,
            batch_size=batch_size,
            size=look.pixels,
            background=look.background,
            parts=parts,
            face=face,
            driving_face=driving_face,
            start=start,
            duration=duration,
        )
        if photograph is not None:
            result = photograph(source, driving, **common)
        else:
            result = pipeline(
                portrait,
                driving,
                **common,
                detail=look.detail,
                seed=seed,
                adapt=adapt,
                edits=edits,
                co_driving=co_driving,
                pose=pose,
                **by_part,
                **films.arguments,
                on_progress=show,
            )
        if save_identity is not None:
            if result.identity is None or films.faces is not None:
                raise OptionError("--save-identity is for a portrait with one face, not for films and --faces.")
            result.identity.save(save_identity)
        prepared = time.perf_counter() - began
        result.save(
            output,
            side_by_side=side_by_side,
            save_motion=save_motion,
            provenance=provenance,
            on_progress=show,
            codec=codec,
            quality=quality,
        )
    report = result.report
    show_notes(report.warnings)
    print(
        f"{output}: {frames_made(report)} ({report.fps:.1f} frames per second), after {prepared:.1f} s for the source"
    )
