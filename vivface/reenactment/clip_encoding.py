"""A clip to 35 numbers a frame: the stages of the codec, one after the other.

Expressive Talking Head Video Encoding in StyleGAN2 Latent Space, sec. 3.1, Fig. 2:

    1. every frame is found, registered and cut upright (`CodecFrames`); the angle taken away is the roll
    2. some frames are inverted; the one whose inversion looks most like itself gives the identity latent (eq. 1)
    3. [ours] the identity latent is fitted to several frames at once, as no tuned generator is sent along
    4. yaw and pitch (eq. 2), then the 32 values (eq. 3) of every frame

The paper starts every frame from the one before (eq. 7). Here a clip is cut into short lanes that are encoded side by
side; within a lane every frame starts from the one before, and what is stored is absolute, so that every frame decodes
alone. What is done so far can be kept in a file and taken up again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vivface.errors import OptionError
from vivface.faces.regions import attribute_maps
from vivface.files import complete_file
from vivface.reenactment.coded_frames import CodecFrame, CodecFrames, held
from vivface.reenactment.coded_video import NUMBERS, VALUES, crop_row
from vivface.reenactment.frame_fitting import Before, FrameFitter, Targets
from vivface.reenactment.progress import OnProgress, Progress, ignore_progress
from vivface.runtime import compute_slot

CANDIDATES = 48  # frames among which the identity latent is chosen
IDENTITY_FRAMES = 6  # frames that it is fitted to
FRONTAL = 15.0  # degrees of yaw and pitch within which a head looks ahead
LANES, LANE_LENGTH = 8, 16
FIRST_FACTOR = 2  # times as many steps for the first frame of a lane
TARGETS = ("frames", "inversion")


@dataclass(frozen=True)
class EncodingOptions:
    """How a clip is encoded.

    Attributes:
        steps (`int`): Of Adam for the 32 values of a frame; 0 keeps what is read off its deformation.
        pose_steps (`int`): Of Adam for yaw and pitch; 0 keeps what is read off its deformation.
        identity_steps (`int`): Of Adam for the identity latent.
        target (`str`): What frames are fitted to: `"frames"`, or `"inversion"`, the system's own pictures of them, as
            the paper does.
        crop_track (`bool`): Also store where the face was in the clip.
        register (`bool`): Register frames to key frames against jitter.

    Raises:
        OptionError: If a value is out of its range.
    """

    steps: int
    pose_steps: int
    identity_steps: int = 60
    target: str = "frames"
    crop_track: bool = False
    register: bool = True

    def __post_init__(self) -> None:
        for name in ("steps", "pose_steps", "identity_steps"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise OptionError(f"`{name}` is {value!r}; expected a whole number, 0 or more.")
        if self.target not in TARGETS:
            raise OptionError(f"`target` is {self.target!r}; expected {' or '.join(map(repr, TARGETS))}.")


@dataclass
class Inversion:
    """What the system reads of aligned faces.

    Attributes:
        w_plus (`torch.Tensor` of shape `(batch, num_latents, style_dim)`): Identity latents.
        numbers (`torch.Tensor` of shape `(batch, 34)`): Yaw and pitch in degrees and 32 values, as far as they can be
            read off; else zeros.
        images (`torch.Tensor` of shape `(batch, 3, size, size)`): The system's own pictures of them.
        memory (`torch.Tensor` of shape `(batch, ...)`, *optional*): Of the source, for a system with a transformer.
        deformation (`torch.Tensor` of shape `(batch, motion_codes, style_dim)`, *optional*): For a system with motion
            codes.
    """

    w_plus: Tensor
    numbers: Tensor
    images: Tensor
    memory: Tensor | None = None
    deformation: Tensor | None = None


class Coder(Protocol):
    """A system, as far as clips are encoded with it."""

    device: torch.device

    def faces(self, crops: list[np.ndarray]) -> Tensor:
        """uint8 crops as images `(batch, 3, size, size)` of the size at which pictures are compared."""

    def invert(self, images: Tensor, w_plus: Tensor | None = None, memory: Tensor | None = None) -> Inversion:
        """Read faces; with an identity latent and memory, as frames of that person."""

    def similarity(self, images: Tensor, others: Tensor) -> Tensor:
        """Cosine `(batch,)` of the identity of images."""

    def fit_identity(self, inversion: Inversion, images: Tensor, steps: int, on_step) -> Tensor:
        """The identity latent `(1, num_latents, style_dim)` that shows several frames best."""

    def fitter(self, w_plus: Tensor) -> FrameFitter:
        """Fits the numbers of frames of an identity latent."""

    def carry(self, w_plus: Tensor, pose: Tensor, values: Tensor, new_pose: Tensor) -> Tensor:
        """Values `(batch, 32)` at a new pose that hold what the old ones held (eq. 7)."""


@dataclass
class EncodedClip:
    """What came out.

    Attributes:
        w_plus (`torch.Tensor` of shape `(num_latents, style_dim)`): float16.
        numbers (`torch.Tensor` of shape `(frames, 35)`): float16.
        crop (`torch.Tensor` of shape `(frames, 4)`): float16.
        times, durations (lists of `Fraction`): Seconds.
        missing (list of `int`): Frames without a face.
    """

    w_plus: Tensor
    numbers: Tensor
    crop: Tensor
    times: list[Fraction]
    durations: list[Fraction]
    missing: list[int]


class ClipEncoding:
    """One run.

    Args:
        coder (`Coder`): The system.
        frames (`CodecFrames`): The clip.
        options (`EncodingOptions`): How.
        key (`str`): Of clip, system and options: what was kept is taken up only if it is the same.
        work (`pathlib.Path`, *optional*): Where what is done so far is kept; removed at the end.
        on_progress (callable, *optional*): Told of every stage; may raise to stop.
        w_plus (`torch.Tensor` of shape `(1, num_latents, style_dim)`, *optional*): The identity latent, if it is known.
    """

    def __init__(
        self,
        coder: Coder,
        frames: CodecFrames,
        options: EncodingOptions,
        key: str,
        work: Path | None = None,
        on_progress: OnProgress | None = None,
        w_plus: Tensor | None = None,
    ):
        self._coder, self._frames, self._options, self._given = coder, frames, options, w_plus
        self._key = json.dumps([key, asdict(options)])
        self._work = work
        self._tell = on_progress or ignore_progress

    @torch.no_grad()
    def run(self) -> EncodedClip:
        """All stages.

        Raises:
            MediaError: If the clip cannot be read.
            NoFaceError: If no frame shows a face.
        """
        times, durations, rows, kept, missing = self._survey()
        found = len(times) - len(missing)
        state = self._resumed()
        if state is None:
            w_plus, memory = self._identity(kept)
            state = {"w_plus": w_plus, "numbers": torch.zeros(0, NUMBERS - 1)}
            state |= {} if memory is None else {"memory": memory}
            self._keep(state)
        coder, device = self._coder, self._coder.device
        w_plus = state["w_plus"].to(device)
        memory = state["memory"].to(device) if "memory" in state else None
        fitter = coder.fitter(w_plus)
        done = len(state["numbers"])
        faces = islice((frame for frame in self._frames if frame.crop is not None), done, None)
        while chunk := list(islice(faces, LANES * LANE_LENGTH)):
            numbers = self._encode(chunk, w_plus, memory, fitter, done, found)
            state["numbers"] = torch.cat([state["numbers"], numbers.float().cpu()])
            done += len(chunk)
            self._keep(state)
        numbers = self._spread(state["numbers"], rows, len(times), missing)
        if self._work is not None:
            self._work.unlink(missing_ok=True)
        crop = torch.from_numpy(np.stack([row[1] for row in held(rows, len(times), missing)]))
        return EncodedClip(w_plus[0].half().cpu(), numbers, crop, times, durations, missing)

    # 1. Survey -------------------------------------------------------------------------------------------------------

    def _survey(self) -> tuple[list[Fraction], list[Fraction], list[tuple[float, np.ndarray]], list, list[int]]:
        """Times, roll and crop row of frames with a face, some of these frames, numbers of those without."""
        times, durations, rows, kept, missing, stride = [], [], [], [], [], 1
        size = self._frames.reader.size
        for number, frame in enumerate(self._frames):
            times.append(frame.time)
            durations.append(frame.duration)
            if frame.crop is None:
                missing.append(number)
            else:
                if len(rows) % stride == 0:
                    kept.append(frame)
                rows.append((frame.roll, crop_row(frame.quad, size)))
                if len(kept) == 2 * CANDIDATES:  # thin out, and keep that spacing from now on
                    kept, stride = kept[::2], 2 * stride
            self._tell(Progress("analysing", number + 1, self._frames.reader.frames_estimate))
        return times, durations, rows, kept, missing

    # 2. and 3. Identity latent ---------------------------------------------------------------------------------------

    def _identity(self, kept: list[CodecFrame]) -> tuple[Tensor, Tensor | None]:
        """L_ID (eq. 1): the frame whose inversion looks most like it, among those that look ahead if there are any."""
        coder = self._coder
        parts, scores = [], []
        for start in range(0, len(kept), LANES):
            with compute_slot(coder.device):
                images = coder.faces([frame.crop for frame in kept[start : start + LANES]])
                parts.append(coder.invert(images))
                scores.append(coder.similarity(images, parts[-1].images))
            self._tell(Progress("analysing", start, len(kept)))
        numbers, scores = torch.cat([part.numbers for part in parts]), torch.cat(scores)
        ahead = numbers[:, :2].abs().amax(1) <= FRONTAL
        chosen = int((scores + 10.0 * ahead).argmax())
        w_plus = torch.cat([part.w_plus for part in parts])[chosen : chosen + 1]
        memory = None if parts[0].memory is None else torch.cat([p.memory for p in parts])[chosen : chosen + 1]
        steps = self._options.identity_steps
        if self._given is not None:
            w_plus = self._given
        elif steps:
            places = np.linspace(0, len(kept) - 1, min(IDENTITY_FRAMES, len(kept))).round().astype(int)
            images = coder.faces([kept[place].crop for place in places])
            inversion = coder.invert(images, w_plus, memory)

            def tell(step: int) -> None:
                self._tell(Progress("adapting", step, steps))

            w_plus = coder.fit_identity(inversion, images, steps, tell)
        return w_plus.half().to(w_plus.dtype), memory

    # 4. Numbers ------------------------------------------------------------------------------------------------------

    def _encode(
        self, chunk: list[CodecFrame], w_plus: Tensor, memory: Tensor | None, fitter: FrameFitter, done: int, found: int
    ) -> Tensor:
        """Yaw, pitch and values `(frames, 34)` of consecutive frames."""
        read, targets = [], []
        for start in range(0, len(chunk), LANES):
            with compute_slot(self._coder.device):
                part = chunk[start : start + LANES]
                images = self._coder.faces([frame.crop for frame in part])
                inversion = self._coder.invert(images, w_plus, memory)
                read.append(inversion.numbers)
                targets.append(images if self._options.target == "frames" else inversion.images)
            self._tell(Progress("encoding", done, found))
        numbers = torch.cat(read)
        if not (self._options.steps or self._options.pose_steps):
            return numbers
        images = torch.cat(targets)
        maps = np.stack([attribute_maps(frame.landmarks, images.shape[-1]) for frame in chunk])
        blink = torch.tensor([frame.blink for frame in chunk], device=images.device)
        whole = Targets(images, torch.from_numpy(maps).to(images), blink)
        lanes = [range(start, min(start + LANE_LENGTH, len(chunk))) for start in range(0, len(chunk), LANE_LENGTH)]
        previous: list[int] = []
        for place in range(LANE_LENGTH):
            rows = [lane[place] for lane in lanes if place < len(lane)]
            if not rows:
                break
            with compute_slot(self._coder.device):
                numbers[rows] = self._fit(whole, numbers, rows, previous[: len(rows)], w_plus, fitter)
            previous = rows
            self._tell(Progress("encoding", done + (place + 1) * len(chunk) // LANE_LENGTH, found))
        return numbers

    def _fit(
        self, targets: Targets, numbers: Tensor, rows: list[int], before: list[int], w_plus: Tensor, fitter: FrameFitter
    ) -> Tensor:
        """Numbers `(batch, 34)` of one frame of every lane."""
        options, start = self._options, numbers[rows]
        factor, last = (1, numbers[before]) if before else (FIRST_FACTOR, None)
        own = targets.at(rows)
        pose = start[:, :2]
        if options.pose_steps:
            if last is not None and not fitter.reads_pose:
                pose = last[:, :2]
            pose = fitter.fit_pose(own, pose, options.pose_steps * factor)
        values = start[:, 2:]
        if last is not None and not fitter.reads_values:
            values = self._coder.carry(w_plus, last[:, :2], last[:, 2:], pose)  # eq. 7
        if options.steps:
            context = None
            if before:
                made = fitter.render(last[:, :2], last[:, 2:])
                context = Before(targets.images[before], made, torch.ones(len(rows)).to(made))
            values = fitter.fit_values(own, pose, values, options.steps * factor, context)
        return torch.cat([pose, values], dim=1)

    # What is kept ----------------------------------------------------------------------------------------------------

    def _keep(self, state: dict[str, Tensor]) -> None:
        if self._work is not None:
            with complete_file(self._work) as temporary:
                save_file({k: v.contiguous().cpu() for k, v in state.items()}, temporary, {"key": self._key})

    def _resumed(self) -> dict[str, Tensor] | None:
        """What an earlier run of the same work kept."""
        if self._work is None or not self._work.is_file():
            return None
        try:
            with safe_open(self._work, framework="pt") as file:
                if (file.metadata() or {}).get("key") != self._key:
                    return None
                return {name: file.get_tensor(name) for name in file.keys()}
        except (SafetensorError, OSError):
            return None

    # Frames without a face -------------------------------------------------------------------------------------------

    def _spread(self, numbers: Tensor, rows: list, count: int, missing: list[int]) -> Tensor:
        """Numbers `(frames, 35)` of all frames; one without a face repeats the one before, or the first."""
        roll = torch.tensor([row[0] for row in rows])[:, None]
        own = torch.cat([numbers[:, :2], roll, numbers[:, 2:]], dim=1).half()
        assert own.shape[1] == 3 + VALUES
        return torch.stack(list(held(list(own), count, missing)))
