"""Frames of a re-enactment, one after the other, with their times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from typing import Literal, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from vivface.errors import MediaError, OptionError
from vivface.faces.paste import PasteBack
from vivface.media.images import load_image
from vivface.media.tensors import to_images
from vivface.reenactment.co_driving import PoseSubspace, with_strengths
from vivface.reenactment.codes import IdentityCode, MotionBatch, MotionCodes
from vivface.reenactment.motion_file import MotionRecorder
from vivface.reenactment.progress import OnProgress, Progress, ignore_progress
from vivface.runtime import compute_slot
from vivface.warping.background import KEEP, TRANSPARENT, Background, check_background, is_picture
from vivface.warping.framing import WHOLE, Framing, enlarged, frame_size
from vivface.warping.head_window import inside
from vivface.warping.moving_photo import PASTED, MovingPhoto, reached
from vivface.warping.parts import AS_DRIVEN, Parts
from vivface.warping.photo_edit import PhotoEdit
from vivface.warping.retargeting import MOST_REST_FRAMES, REST_FRAMES, Rest, rest_is_seen

MotionMode = Literal["absolute", "relative"]
MAX_STRENGTH = 3.0
_NO_POINTS = (
    "The {} has no points of a face, by which a photograph is moved: read it again, or ask for frames without detail."
)


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
        detail (`bool`): Move the photograph itself; the generator's images are not shown.
        size (`int`, *optional*): Width and height of a frame in pixels; as the system makes it, or with detail as
            large as the face is in the photo, 512 to 1024, if None.
        background (optional): With detail, what lies behind the person: `"keep"`, `"transparent"` (frames are RGBA), a
            colour, or a picture, see `vivface.warping.background`.
        parts (`Parts`): Strengths of mouth, eyes, brows and pose.

    Raises:
        OptionError: If a value is out of its range.
    """

    refine: bool = True
    paste_back: bool = False
    motion_mode: MotionMode = "absolute"
    strength: float = 1.0
    batch_size: int | None = None
    detail: bool = False
    size: int | None = None
    background: Background = KEEP
    parts: Parts = AS_DRIVEN

    def __post_init__(self) -> None:
        if self.motion_mode not in ("absolute", "relative"):
            raise OptionError(f"`motion_mode` is {self.motion_mode!r}; expected 'absolute' or 'relative'.")
        if not _is_number(self.strength) or not 0 <= self.strength <= MAX_STRENGTH:
            raise OptionError(
                f"`strength` is {self.strength!r}; expected 0 to {MAX_STRENGTH:g}, 1 for the driver's own motion."
            )
        if self.batch_size is not None and (not isinstance(self.batch_size, int) or self.batch_size < 1):
            raise OptionError(f"`batch_size` is {self.batch_size!r}; expected 1 or more frames.")
        if self.size is not None and (not isinstance(self.size, int) or not 64 <= self.size <= 2048 or self.size % 2):
            raise OptionError(f"`size` is {self.size!r}; expected an even number of pixels, 64 to 2048.")
        check_background(self.background)
        if is_picture(self.background):
            object.__setattr__(self, "background", load_image(self.background))
        if not self.keeps_background and (self.paste_back or not self.detail):
            what = "the photograph around a face that is pasted back" if self.paste_back else "the generator's images"
            raise OptionError(f"Another background was asked for, but that of {what} cannot be told from the person.")

    @property
    def keeps_background(self) -> bool:
        """Whether the photograph's own background is shown."""
        return isinstance(self.background, str) and self.background == KEEP

    @property
    def is_transparent(self) -> bool:
        """Whether frames have a fourth channel, their opacity."""
        return isinstance(self.background, str) and self.background == TRANSPARENT

    def frame_size(self, system: FrameMaker, identity: IdentityCode) -> int:
        """Width and height in pixels of the frames of a portrait, before they are pasted back."""
        if self.size is not None:
            return self.size
        return frame_size(identity.quad, self.framing(identity)) if self.detail else system.output_size

    def framing(self, identity: IdentityCode) -> Framing:
        """What of a portrait's crop frames show: no more than the photograph, unless they are pasted back."""
        if not self.detail or self.paste_back or identity.points is None:
            return WHOLE
        return Framing.within(identity.photo, identity.quad, identity.points)


@dataclass
class RenderedFrame:
    """A frame of the result.

    Attributes:
        image (`numpy.ndarray` of shape `(height, width, 3)`): uint8 RGB; RGBA with a transparent background.
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
    crops: tuple[str, str]
    pose_subspace: PoseSubspace | None

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
    size = options.frame_size(system, identity)
    paste = paste_back(identity, size, options.detail) if options.paste_back else None
    batch_size = options.batch_size or system.default_batch_size
    done = 0
    if recorder is None:
        motion = motion.points_only() if options.detail else motion.codes_only()
    batches = motion.batches(batch_size, images, on_progress)
    if options.detail:
        edit = None if edits is None else photo_edit(system, identity, edits, options.refine)
        batches, moving = _moving_photo(batches, identity, options, size, system.crops, edit, motion.rest)
    else:
        generated = _Generated(system, identity, options, edits)
    for batch in batches:
        if recorder is not None:
            recorder.add(batch)

        # 1. The photograph's images, or the system's.
        if options.detail:
            made = map(moving, _points(batch), map(float, batch.times))
        else:
            made = (resized(image, (size, size)) for image in generated(batch))

        # 2. Back into the photo.
        for number, image in enumerate(made):
            yield RenderedFrame(
                image if paste is None else paste(image),
                batch.times[number],
                batch.durations[number],
                batch.found[number],
                batch.images[number] if batch.images else None,
            )
        done += len(batch.times)
        on_progress(Progress("rendering", done, motion.frames))


class _Generated:
    """The system's images of batch after batch."""

    def __init__(self, system: FrameMaker, identity: IdentityCode, options: RenderOptions, edits: FrameEdits | None):
        self._system, self._options, self._edits = system, options, edits
        self._identity = identity if edits is None else edits.prepare(identity)
        self._first: Tensor | None = None  # the driver's first code, which relative motion counts from

    def __call__(self, batch: MotionBatch) -> np.ndarray:
        """Images `(batch, size, size, 3)`, uint8 RGB."""
        identity, options = self._identity, self._options
        codes = batch.codes.to(identity.motion)
        self._first = codes[:1] if self._first is None else self._first

        # 1. Where the source's own motion should go.
        change = codes - self._first if options.motion_mode == "relative" else codes - identity.motion
        moved = options.strength != 1 or options.motion_mode == "relative"
        target = identity.motion + options.strength * change if moved else codes
        if options.parts.changes:
            target = with_strengths(target, identity.motion, options.parts, self._system.pose_subspace)

        # 2. Edits.
        shown, target = (identity, target) if self._edits is None else self._edits(identity, target, batch.times)

        # 3. The system's images.
        with compute_slot(self._system.device):
            return to_images(self._system.generate(shown, target, options.refine))


def paste_back(identity: IdentityCode, size: int, detail: bool) -> PasteBack:
    """How frames are put back into the photo: a moving photograph with its surroundings, up to where nothing moves."""
    if not detail:
        return PasteBack(identity.photo, identity.quad, size, harmonize=True)
    size = reached(size, PASTED)
    return PasteBack(identity.photo, enlarged(identity.quad, PASTED), size, mask=inside(size))


def _moving_photo(
    batches: Iterator[MotionBatch],
    identity: IdentityCode,
    options: RenderOptions,
    size: int,
    crops: tuple[str, str],
    edit: PhotoEdit | None,
    rest: Rest | None = None,
) -> tuple[Iterator[MotionBatch], MovingPhoto]:
    """The photograph that is moved, once the first frames have shown the driver's face at rest, if it is not given.

    Raises:
        MediaError: If the portrait or the motion has no points of a face.
    """
    begun = list(islice(batches, 1))  # the driver is read on while the photograph is prepared
    if identity.points is None:
        raise MediaError(_NO_POINTS.format("portrait"))
    relative = options.motion_mode == "relative"
    moving = MovingPhoto(
        identity.photo,
        identity.quad,
        identity.points,
        size,
        Rest.of(identity.points[None]),
        relative,
        options.strength,
        crops,
        edit,
        Framing.around(PASTED) if options.paste_back else options.framing(identity),
        options.background,
        options.parts,
    )
    if rest is not None:
        return chain(begun, batches), moving.with_rest(rest)
    first, seen = frames_at_rest(chain(begun, batches))
    if not seen:
        raise MediaError(_NO_POINTS.format("driving motion"))
    return chain(first, batches), moving.with_rest(Rest.of(np.concatenate(seen)[:MOST_REST_FRAMES]))


def frames_at_rest(batches: Iterator[MotionBatch]) -> tuple[list[MotionBatch], list[np.ndarray]]:
    """The first batches, and the points of those that have any, read until the lips have met, within limits."""
    first: list[MotionBatch] = []
    seen: list[np.ndarray] = []
    for batch in batches:
        first.append(batch)
        if batch.points is not None:
            seen.append(batch.points)
        count = sum(len(batch.times) for batch in first)
        if count >= MOST_REST_FRAMES or (count >= REST_FRAMES and (not seen or rest_is_seen(np.concatenate(seen)))):
            break
    return first, seen


def edited_photo(
    system: FrameMaker, identity: IdentityCode, edits: FrameEdits | None, options: RenderOptions
) -> np.ndarray:
    """The photograph itself with edits, in its own pose and expression: uint8 RGB `(height, width, 3)`."""
    edit = None if edits is None else photo_edit(system, identity, edits, options.refine)
    return photo_with(edit, system, identity, options)


def photo_with(
    edit: PhotoEdit | None, system: FrameMaker, identity: IdentityCode, options: RenderOptions
) -> np.ndarray:
    """The same with an edit that is known: uint8 RGB `(height, width, 3)`."""
    size, rest = options.frame_size(system, identity), Rest.of(identity.points[None])
    how = {"crops": system.crops, "edit": edit, "framing": options.framing(identity)}
    image = MovingPhoto(identity.photo, identity.quad, identity.points, size, rest, **how)(None)
    return PasteBack(identity.photo, identity.quad, size)(image) if options.paste_back else image


def photo_edit(system: FrameMaker, person: IdentityCode, edits: FrameEdits, refine: bool) -> PhotoEdit:
    """What edits that stay the same do to the generator's image of the portrait, to be done to the photograph."""
    edited, motion = edits(edits.prepare(person), person.motion, [Fraction(0)])
    with compute_slot(system.device):
        before, after = (
            to_images(system.generate(who, what, refine))[0]
            for who, what in ((person, person.motion), (edited, motion))
        )
    return PhotoEdit.between(before, after)


def _points(batch: MotionBatch) -> list[np.ndarray | None]:
    return [None] * len(batch.times) if batch.points is None else list(batch.points)


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image at another width and height in pixels."""
    if image.shape[1::-1] == size:
        return image
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if size[1] < image.shape[0] else cv2.INTER_CUBIC)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
