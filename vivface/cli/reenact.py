"""`vivface reenact`: animate a portrait with the motion of a video."""

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vivface.cli.console import progress_bar, show_notes
from vivface.cli.drivers import Local, Position, Residual, Weight, driver_options
from vivface.cli.film_options import Faces, Fit, FitChoice, Head, HeadChoice, Sound
from vivface.cli.options import (
    Adapt,
    Background,
    BlinkRate,
    Brows,
    Checkpoint,
    Detail,
    Detector,
    Device,
    DrivingFace,
    Duration,
    Edit,
    Engine,
    EyeContact,
    Eyes,
    KeepLipsShut,
    Label,
    LabelText,
    Manifest,
    Mark,
    Mouth,
    Overwrite,
    Pose,
    Size,
    Start,
    System,
    check_output,
    load,
    pixels,
    provenance,
    read_parts,
)
from vivface.errors import OptionError


class MotionMode(StrEnum):
    """How the driving video's motion is taken over."""

    ABSOLUTE = "absolute"
    RELATIVE = "relative"


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
    refine: Annotated[bool, typer.Option(help="Second stage: restore detail of the portrait.")] = True,
    detail: Detail = None,
    size: Size = "auto",
    background: Background = "keep",
    paste_back: Annotated[bool, typer.Option(help="Put the face back into the whole photo.")] = False,
    motion_mode: Annotated[
        MotionMode, typer.Option(help="Take over pose and expression, or only their changes.")
    ] = MotionMode.ABSOLUTE,
    strength: Annotated[float, typer.Option(help="How much of the motion, 0 to 3; 1 is the driver's own.")] = 1.0,
    mouth: Mouth = 1.0,
    eyes: Eyes = 1.0,
    brows: Brows = 1.0,
    keep_lips_shut: KeepLipsShut = False,
    eye_contact: EyeContact = False,
    blink_rate: BlinkRate = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Frames computed at once.")] = None,
    seed: Annotated[int, typer.Option(help="Of the tuning to the portrait, and of blinks.")] = 0,
    face: Annotated[int | None, typer.Option(min=0, help="Which face of the portrait, 0 the largest.")] = None,
    driving_face: DrivingFace = None,
    faces: Faces = None,
    fit: Fit = FitChoice.TRIM,
    head: Head = HeadChoice.KEEP,
    sound: Sound = None,
    adapt: Adapt = None,
    edit: Edit = None,
    start: Start = 0.0,
    duration: Duration = None,
    co_driving: Annotated[
        Path | None,
        typer.Option(help="A second driving video, or motion file, that gives the pose; DRIVING keeps the expression."),
    ] = None,
    pose: Pose = None,
    position: Position = None,
    local: Local = None,
    residual: Residual = None,
    weight: Weight = None,
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
    mark: Mark = True,
    manifest: Manifest = True,
    label: Label = False,
    label_text: LabelText = None,
    overwrite: Overwrite = True,
    checkpoint: Checkpoint = None,
    system: System = None,
    device: Device = "auto",
    engine: Engine = "torch",
    detector: Detector = "auto",
) -> None:
    """Animate a portrait, or the face of a film, with the motion of a video."""
    from vivface.editing import parse_edits
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
        choose_coding(output.suffix.lower(), codec, quality, alpha=background == "transparent")
    if save_motion is not None:
        check_output(save_motion, (".safetensors",), overwrite, inputs=inputs)
    if save_identity is not None:
        check_output(save_identity, (IDENTITY_SUFFIX,), overwrite, inputs=inputs)
    edits = parse_edits(edit) if edit else None
    parts, pose = read_parts(mouth, eyes, brows, pose, keep_lips_shut, eye_contact, blink_rate, seed)
    marks = provenance(mark, manifest, label, label_text)
    pipeline = load(checkpoint, device, detector, system, engine)
    drivers = driver_options(pipeline, position, local, residual, weight)
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
        result = pipeline(
            portrait,
            driving,
            refine=refine,
            detail=detail,
            size=pixels(size),
            background=background,
            paste_back=paste_back,
            motion_mode=motion_mode.value,
            strength=strength,
            parts=parts,
            batch_size=batch_size,
            seed=seed,
            face=face,
            driving_face=driving_face,
            adapt=adapt,
            edits=edits,
            start=start,
            duration=duration,
            co_driving=co_driving,
            pose=pose,
            **drivers,
            faces=faces,
            fit=fit.value,
            head=head.value,
            sound=None if sound is None else sound.value,
            on_progress=show,
        )
        if save_identity is not None:
            if result.identity is None or faces is not None:
                raise OptionError("--save-identity is for a portrait with one face, not for films and --faces.")
            result.identity.save(save_identity)
        prepared = time.perf_counter() - began
        result.save(
            output,
            side_by_side=side_by_side,
            save_motion=save_motion,
            provenance=marks,
            on_progress=show,
            codec=codec,
            quality=quality,
        )
    report = result.report
    show_notes(report.warnings)
    frames = "1 frame" if report.frames == 1 else f"{report.frames} frames"
    print(
        f"{output}: {frames} in {report.seconds:.1f} s ({report.fps:.1f} frames per second), "
        f"after {prepared:.1f} s for the source"
    )


TITLES = {"adapting": "Tuning to the portrait", "searching": "Searching for a face", "rendering": "Rendering frames"}
