"""Options that several commands share, and what they lead to: a loaded pipeline, a file that can be written."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vivface.cli.console import console
from vivface.errors import OptionError

if TYPE_CHECKING:
    from vivface.pipelines.base import ReenactmentPipeline
    from vivface.provenance import Provenance
    from vivface.warping.parts import Parts

Checkpoint = Annotated[
    str | None, typer.Option(help="Folder or Hub id of a checkpoint; by default the one that comes with vivface.")
]
System = Annotated[
    str | None,
    typer.Option(
        help="Which system to build from the checkpoint: vivface, hybrid, hyperreenact, codec or video2stylegan; "
        "default as it says."
    ),
]
Adapt = Annotated[
    str | None,
    typer.Option(
        help="Tuning to the portrait: steps of the checkpoint's own, or portrait, pti or cma (source and driver "
        "together), with or without steps, as cma:50; default as the checkpoint says."
    ),
]
Edit = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=AMOUNT",
        help="Edit the face, as age=1; over time by key frames, seconds:amount, as smile=0:0,2.5:1. May be repeated.",
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps ...")]
Detector = Annotated[
    str,
    typer.Option(
        help="What finds faces: auto or mesh (Apache-2.0), dlib (its landmark file excludes commercial use), "
        "face-alignment or face-alignment:DETECTOR (weights of other authors)."
    ),
]
Detail = Annotated[
    bool | None,
    typer.Option(help="Move the photograph itself, or show the generator's images; default as the checkpoint says."),
]
Size = Annotated[
    str, typer.Option(help="Width and height of the video in pixels; auto: as large as the face is in the photo.")
]
Background = Annotated[
    str,
    typer.Option(
        help="What lies behind the person: keep (the photo's own), transparent (.mov, .webm, .webp, frames/%05d.png), "
        "a colour such as white or #00b140, or a picture."
    ),
]
Engine = Annotated[
    str,
    typer.Option(
        help="What computes the networks on a CPU: torch; onnxruntime or openvino (extras); auto: the fastest of those "
        "that are installed, measured at the first use."
    ),
]
DrivingFace = Annotated[
    int | None, typer.Option(min=0, help="Which face of the driving video, 0 the largest of its first frame.")
]
Start = Annotated[float, typer.Option(min=0, help="Where in the driving video to begin, seconds.")]
Duration = Annotated[float | None, typer.Option(help="How much of the driving video to use, seconds; default all.")]
Pose = Annotated[
    str | None,
    typer.Option(
        help="Where the pose comes from: driving, co_driving, or source (the portrait keeps its own); or a strength: 0 "
        "the portrait's own, 1 the driver's, up to 3."
    ),
]
Mouth = Annotated[float, typer.Option(help="Strength of mouth and jaw: 0 the portrait's own, 1 the driver's, up to 3.")]
Eyes = Annotated[float, typer.Option(help="Strength of lids and gaze, as for --mouth.")]
Brows = Annotated[float, typer.Option(help="Strength of the brows, as for --mouth.")]
KeepLipsShut = Annotated[bool, typer.Option("--keep-lips-shut", help="Lips stay shut.")]
EyeContact = Annotated[
    bool, typer.Option("--eye-contact", help="The eyes look into the camera however the head turns.")
]
BlinkRate = Annotated[
    float | None,
    typer.Option(help="Blinks a minute, 0 to 60, instead of the driver's short ones; --seed chooses their times."),
]
Overwrite = Annotated[bool, typer.Option(help="Replace files that are there already.")]

Mark = Annotated[
    bool, typer.Option("--mark/--no-mark", help="Put an imperceptible mark into every picture, see `vivface verify`.")
]
Manifest = Annotated[
    bool, typer.Option("--manifest/--no-manifest", help="Sign a C2PA manifest with the key of this machine.")
]
Label = Annotated[
    bool, typer.Option("--label", help='Write "AI-generated" visibly into a corner; --label-text for other words.')
]
LabelText = Annotated[str | None, typer.Option(help="Write this visibly into a corner.")]


def provenance(mark: bool, manifest: bool, label: bool, label_text: str | None) -> "Provenance":
    """What results say about themselves.

    Raises:
        OptionError: If the label cannot be drawn.
    """
    from vivface.provenance import Provenance

    return Provenance(mark, manifest, label if label_text is None else label_text)


def load(
    checkpoint: str | None, device: str, detector: str, system: str | None = None, engine: str = "torch"
) -> "ReenactmentPipeline":
    """The pipeline on its device, with third-party logging silenced."""
    with console.status("Loading ..."):
        from diffusers.utils import logging

        from vivface.pipelines import load_pipeline
        from vivface.runtime import choose_device

        logging.set_verbosity_error()
        pipeline = load_pipeline(checkpoint, system=system, engine=engine).to(choose_device(device))
        pipeline.use_detector(detector)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def read_parts(
    mouth: float,
    eyes: float,
    brows: float,
    pose: str | None,
    keep_lips_shut: bool,
    eye_contact: bool,
    blink_rate: float | None,
    seed: int,
) -> tuple["Parts", str | None]:
    """The parts of a motion, and where the pose comes from if `--pose` says that and no strength.

    Raises:
        OptionError: If a value is out of its range.
    """
    from vivface.warping.parts import Parts

    try:
        strength, where = (1.0, None) if pose is None else (float(pose), None)
    except ValueError:
        strength, where = 1.0, pose
    return Parts(mouth, eyes, brows, strength, keep_lips_shut, eye_contact, blink_rate, max(seed, 0)), where


def pixels(size: str) -> int | None:
    """The number of pixels of `--size`; None for auto.

    Raises:
        OptionError: If it is neither.
    """
    if size == "auto":
        return None
    if not size.isascii() or not size.isdigit():
        raise OptionError(f"--size is '{size}'; expected auto or a number of pixels.")
    return int(size)


def check_output(path: Path, suffixes: tuple[str, ...], overwrite: bool, inputs: tuple[Path, ...]) -> None:
    """Refuse, before any work, what could not be written at the end."""
    from vivface import files

    files.check_output(path, suffixes)
    if not path.exists():
        return
    if any(given.exists() and path.samefile(given) for given in inputs):
        raise OptionError(f"'{path}' is an input: give the result another name.")
    if not overwrite:
        raise OptionError(f"'{path}' is there already: give another name or leave out --no-overwrite.")
