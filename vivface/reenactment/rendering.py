"""Frames of a re-enactment, one after the other, with their times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from vivface.errors import OptionError
from vivface.faces.paste import PasteBack
from vivface.media.tensors import to_images
from vivface.reenactment.codes import IdentityCode, MotionCodes
from vivface.reenactment.motion_file import MotionRecorder
from vivface.reenactment.progress import OnProgress, Progress, ignore_progress
from vivface.runtime import compute_slot

MotionMode = Literal["absolute", "relative"]
MAX_STRENGTH = 3.0


@dataclass(frozen=True)
class RenderOptions:
    """How frames are made.

    Attributes:
        refine (`bool`): Second stage, if the system has one.
        paste_back (`bool`): Put the face back into the photo.
        motion_mode (`str`): `"absolute"` takes over pose and expression of the driving video; `"relative"` adds its
            changes since its first frame to the source's own.
        strength (`float`): How much of the motion, 0 to 3; 1 is the driver's own.
        batch_size (`int`, *optional*): Frames computed at once; as suits device and size if None.

    Raises:
        OptionError: If a value is out of its range.
    """

    refine: bool = True
    paste_back: bool = False
    motion_mode: MotionMode = "absolute"
    strength: float = 1.0
    batch_size: int | None = None

    def __post_init__(self) -> None:
        if self.motion_mode not in ("absolute", "relative"):
            raise OptionError(f"`motion_mode` is {self.motion_mode!r}; expected 'absolute' or 'relative'.")
        if not _is_number(self.strength) or not 0 <= self.strength <= MAX_STRENGTH:
            raise OptionError(
                f"`strength` is {self.strength!r}; expected 0 to {MAX_STRENGTH:g}, 1 for the driver's own motion."
            )
        if self.batch_size is not None and (not isinstance(self.batch_size, int) or self.batch_size < 1):
            raise OptionError(f"`batch_size` is {self.batch_size!r}; expected 1 or more frames.")


@dataclass
class RenderedFrame:
    """A frame of the result.

    Attributes:
        image (`numpy.ndarray` of shape `(height, width, 3)`): uint8 RGB.
        time, duration (`Fraction`): When it is shown and for how long, seconds.
        found (`bool`): Whether the driving frame showed a face.
        driving (`numpy.ndarray`, *optional*): The driving frame, uint8 RGB, if it was asked for.
    """

    image: np.ndarray
    time: Fraction
    duration: Fraction
    found: bool
    driving: np.ndarray | None = None


class FrameMaker(Protocol):
    """A system, as far as it makes frames."""

    device: torch.device
    output_size: int
    default_batch_size: int

    def generate(self, identity: IdentityCode, motion: Tensor, refine: bool) -> Tensor:
        """Motion codes `(batch, *code_shape)` to images `(batch, 3, size, size)`, RGB, about [-1, 1]."""


class FrameEdits(Protocol):
    """Edits of a run, applied to the person once and to every batch of frames."""

    def prepare(self, identity: IdentityCode) -> IdentityCode:
        """What stays the same in every frame."""

    def __call__(self, identity: IdentityCode, motion: Tensor, times: list[Fraction]) -> tuple[IdentityCode, Tensor]:
        """Identity and motion codes `(batch, *code_shape)` of the frames at these times."""


def render_frames(
    system: FrameMaker,
    identity: IdentityCode,
    motion: MotionCodes,
    options: RenderOptions,
    *,
    edits: FrameEdits | None = None,
    images: bool = False,
    recorder: MotionRecorder | None = None,
    on_progress: OnProgress | None = None,
) -> Iterator[RenderedFrame]:
    """Show an identity under a motion.

    Args:
        system (`FrameMaker`): Makes the images.
        identity (`IdentityCode`), motion (`MotionCodes`): Whose face and whose motion.
        options (`RenderOptions`): How.
        edits (`FrameEdits`, *optional*): Of the person and the motion; strength and motion mode leave them alone.
        images (`bool`, *optional*, defaults to False): Whether to return the driving frames, too.
        recorder (`MotionRecorder`, *optional*): Receives the motion codes.
        on_progress (callable, *optional*): Told while the first face is searched and after every batch; may raise.
    """
    on_progress = on_progress or ignore_progress
    paste = PasteBack(identity.photo, identity.quad, system.output_size, harmonize=True) if options.paste_back else None
    batch_size = options.batch_size or system.default_batch_size
    identity = identity if edits is None else edits.prepare(identity)
    first = None  # the driver's first code, which relative motion counts from
    done = 0
    for batch in motion.batches(batch_size, images, on_progress):
        if recorder is not None:
            recorder.add(batch)
        codes = batch.codes.to(identity.motion)
        first = codes[:1] if first is None else first

        # 1. Where the source's own motion should go.
        change = codes - first if options.motion_mode == "relative" else codes - identity.motion
        moved = options.strength != 1 or options.motion_mode == "relative"
        target = identity.motion + options.strength * change if moved else codes

        # 2. Edits.
        shown, target = (identity, target) if edits is None else edits(identity, target, batch.times)

        # 3. The system's images.
        with compute_slot(system.device):
            made = to_images(system.generate(shown, target, options.refine))

        # 4. Back into the photo.
        for number, image in enumerate(made):
            yield RenderedFrame(
                image if paste is None else paste(image),
                batch.times[number],
                batch.durations[number],
                batch.found[number],
                batch.images[number] if batch.images else None,
            )
        done += len(made)
        on_progress(Progress("rendering", done, motion.frames))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
