"""Options that several commands share, singly and in groups, and what they lead to.

A group is a dataclass that a command takes as one parameter, see `vivface.cli.grouping`.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from vivface.cli.console import console
from vivface.errors import OptionError

if TYPE_CHECKING:
    from vivface.editing import Amount
    from vivface.pipelines.base import ReenactmentPipeline
    from vivface.pipelines.photograph import PhotographPipeline
    from vivface.provenance import Provenance
    from vivface.warping.parts import Parts


class MotionMode(StrEnum):
    """How the driving video's motion is taken over."""

    ABSOLUTE = "absolute"
    RELATIVE = "relative"


Checkpoint = Annotated[
    str | None,
    typer.Option(
        help="Folder or Hub id of a checkpoint, or stylegan3, a small one that comes with vivface; default: its own."
    ),
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
BatchSize = Annotated[int | None, typer.Option(min=1, help="Frames computed at once.")]
Seed = Annotated[int, typer.Option(help="Of what is random: the tuning to the portrait, the times of blinks.")]
Face = Annotated[int | None, typer.Option(min=0, help="Which face of the portrait, 0 the largest.")]
Refine = Annotated[bool, typer.Option(help="Second stage: restore detail of the portrait.")]
PasteBack = Annotated[bool, typer.Option(help="Put the face back into the whole photo.")]
Strength = Annotated[float, typer.Option(help="How much of the motion, 0 to 3; 1 is the driver's own.")]
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
Overwrite = Annotated[bool, typer.Option(help="Replace files that are there already.")]


@dataclass
class Loading:
    """Which checkpoint of a command's own system, and where it runs."""

    PANEL: ClassVar[str] = "Checkpoint and device"

    checkpoint: Checkpoint = None
    device: Device = "auto"
    detector: Detector = "auto"

    def load(self, system: str | None = None) -> "ReenactmentPipeline":
        """The pipeline on its device."""
        return load(self.checkpoint, self.device, self.detector, system)


@dataclass
class SystemLoading:
    """Which system, of which checkpoint, and what computes it."""

    PANEL: ClassVar[str] = Loading.PANEL

    checkpoint: Checkpoint = None
    system: System = None
    device: Device = "auto"
    engine: Engine = "torch"
    detector: Detector = "auto"

    def load(self) -> "ReenactmentPipeline":
        """The pipeline on its device."""
        return load(self.checkpoint, self.device, self.detector, self.system, self.engine)

    def load_photograph(self, source: Path, driving: Path, detail: bool | None) -> "PhotographPipeline | None":
        """What moves the photograph without loading the checkpoint's networks, seconds sooner.

        None where they are needed: for saved identities and motions, which belong to a checkpoint, for films, for
        another system, and where the checkpoint shows its own images.
        """
        if self.system is not None:
            return None
        with console.status("Loading ..."):
            from vivface.media.images import is_film
            from vivface.pipelines.photograph import PhotographPipeline
            from vivface.reenactment.codes import IDENTITY_SUFFIX, MOTION_SUFFIX
            from vivface.reenactment.motion_library import find_motion
            from vivface.runtime import choose_device

            if source.suffix == IDENTITY_SUFFIX or find_motion(driving).suffix == MOTION_SUFFIX or is_film(source):
                return None
            how = dict(device=str(choose_device(self.device)), engine=self.engine, detector=self.detector)
            return PhotographPipeline.for_checkpoint(self.checkpoint, detail=detail, **how)


@dataclass
class Look:
    """What a result shows."""

    PANEL: ClassVar[str] = "What the result shows"

    refine: Refine = True
    detail: Annotated[
        bool | None,
        typer.Option(
            help="Move the photograph itself, or show the generator's images; default as the checkpoint says."
        ),
    ] = None
    size: Annotated[
        str,
        typer.Option(help="Width and height of the result in pixels; auto: as large as the face is in the photo."),
    ] = "auto"
    paste_back: PasteBack = False

    @property
    def pixels(self) -> int | None:
        """The number of pixels of `--size`; None for auto.

        Raises:
            OptionError: If it is neither.
        """
        if self.size == "auto":
            return None
        if not self.size.isascii() or not self.size.isdigit():
            raise OptionError(f"--size is '{self.size}'; expected auto or a number of pixels.")
        return int(self.size)


@dataclass
class VideoLook(Look):
    """What a video shows."""

    background: Annotated[
        str,
        typer.Option(
            help="What lies behind the person: keep (the photo's own), transparent (.mov, .webm, .webp, "
            "frames/%05d.png), a colour such as white or #00b140, or a picture."
        ),
    ] = "keep"


@dataclass
class MotionOptions:
    """What is taken over of a driver's motion, and how strongly."""

    PANEL: ClassVar[str] = "Motion"

    motion_mode: Annotated[MotionMode, typer.Option(help="Take over pose and expression, or only their changes.")] = (
        MotionMode.ABSOLUTE
    )
    strength: Strength = 1.0
    mouth: Annotated[
        float, typer.Option(help="Strength of mouth and jaw: 0 the portrait's own, 1 the driver's, up to 3.")
    ] = 1.0
    eyes: Annotated[float, typer.Option(help="Strength of lids and gaze, as for --mouth.")] = 1.0
    brows: Annotated[float, typer.Option(help="Strength of the brows, as for --mouth.")] = 1.0
    pose: Annotated[
        str | None,
        typer.Option(
            help="Where the pose comes from: driving, co_driving, or source (the portrait keeps its own); or a "
            "strength: 0 the portrait's own, 1 the driver's, up to 3."
        ),
    ] = None
    keep_lips_shut: Annotated[bool, typer.Option("--keep-lips-shut", help="Lips stay shut.")] = False
    eye_contact: Annotated[
        bool, typer.Option("--eye-contact", help="The eyes look into the camera however the head turns.")
    ] = False
    blink_rate: Annotated[
        float | None,
        typer.Option(help="Blinks a minute, 0 to 60, instead of the driver's short ones; --seed chooses their times."),
    ] = None

    def parts(self, seed: int) -> tuple["Parts", str | None]:
        """The parts of the motion, and where the pose comes from if `--pose` says that and no strength.

        Raises:
            OptionError: If a value is out of its range.
        """
        from vivface.warping.parts import Parts

        try:
            strength, where = (1.0, None) if self.pose is None else (float(self.pose), None)
        except ValueError:
            strength, where = 1.0, self.pose
        strengths = self.mouth, self.eyes, self.brows, strength
        return Parts(*strengths, self.keep_lips_shut, self.eye_contact, self.blink_rate, max(seed, 0)), where


@dataclass
class Marks:
    """What results say about themselves."""

    PANEL: ClassVar[str] = "Provenance"

    mark: Annotated[
        bool,
        typer.Option("--mark/--no-mark", help="Put an imperceptible mark into every picture, see `vivface verify`."),
    ] = True
    manifest: Annotated[
        bool, typer.Option("--manifest/--no-manifest", help="Sign a C2PA manifest with the key of this machine.")
    ] = True
    label: Annotated[
        bool,
        typer.Option("--label", help='Write "AI-generated" visibly into a corner; --label-text for other words.'),
    ] = False
    label_text: Annotated[str | None, typer.Option(help="Write this visibly into a corner.")] = None

    @property
    def provenance(self) -> "Provenance":
        """What results say about themselves.

        Raises:
            OptionError: If the label cannot be drawn.
        """
        from vivface.provenance import Provenance

        return Provenance(self.mark, self.manifest, self.label if self.label_text is None else self.label_text)


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


def read_edits(texts: list[str] | None) -> "dict[str, Amount] | None":
    """The edits of `--edit`, None if there are none.

    Raises:
        OptionError: If one is malformed.
    """
    if not texts:
        return None
    from vivface.editing import parse_edits

    return parse_edits(texts)


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
