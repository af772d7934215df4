"""Which video drives what in Video2StyleGAN: position, pose, local expression and residual motion (sec. 4.3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vivface.errors import OptionError
from vivface.faces.position import position_of, still_square
from vivface.reenactment.co_driving import POSES, Track
from vivface.reenactment.codes import BATCH_SIZE, IdentityCode, MotionBatch, MotionCodes
from vivface.reenactment.composition import RESIDUAL_MODES, ResidualMode, residual_motion
from vivface.reenactment.frame_code import FrameCode
from vivface.reenactment.progress import OnProgress

PARTS = ("position", "pose", "local", "residual")
SMOOTHED = 3  # frames, the least that appendix A names


@dataclass(frozen=True)
class Drivers:
    """Where every part of the motion comes from: `"driving"`, `"co_driving"`, or `"source"`, the portrait.

    Attributes:
        position (`str`): Place and tilt of the face in the picture, eq. 4-6.
        pose (`str`): Head pose, eq. 7.
        local (`str`): Eyes, nose and mouth, eq. 8-9.
        residual (`str`): Everything else that moves, eq. 10.

    Raises:
        OptionError: If a part comes from somewhere else.
    """

    position: str = "driving"
    pose: str = "driving"
    local: str = "driving"
    residual: str = "driving"

    def __post_init__(self) -> None:
        for part, driver in vars(self).items():
            if driver not in POSES:
                raise OptionError(f"`{part}` is {driver!r}; expected {', '.join(map(repr, POSES[:-1]))} or 'source'.")

    @classmethod
    def choose(cls, co_driving: object | None, **parts: str | None) -> Drivers:
        """The drivers that were asked for; without a word a co-driving video gives pose and position.

        Raises:
            OptionError: If a part should come from a co-driving video that was not given, or none comes from one that
                was.
        """
        default = {} if co_driving is None else {"position": "co_driving", "pose": "co_driving"}
        drivers = cls(**{**default, **{part: driver for part, driver in parts.items() if driver is not None}})
        asked = [part for part, driver in vars(drivers).items() if driver == "co_driving"]
        if asked and co_driving is None:
            raise OptionError(f"`{asked[0]}` is 'co_driving', and no `co_driving` video was given: give one.")
        if co_driving is not None and not asked:
            raise OptionError(
                "A `co_driving` video was given that nothing comes from: say 'co_driving' for one of "
                f"{', '.join(PARTS)}."
            )
        return drivers


def read_frames(motion: MotionCodes) -> MotionCodes:
    """The motion of a video with positions and residual motion, which single frames do not show.

    Positions count from the square of the first face, upright. Residual motion is that of eq. 10, steps added up.

    Args:
        motion (`MotionCodes`): What a video is read as, frame by frame.
    """

    def read(batches: Iterator[MotionBatch]) -> Iterator[MotionBatch]:
        square = first = None
        for batch in batches:
            frames = FrameCode.unpack(batch.codes)
            square = still_square(batch.quads[0]) if square is None else square
            places = [position_of(quad, square) for quad in batch.quads]
            position = torch.tensor([[place.right, place.down, place.angle] for place in places])
            first = frames.w_plus[:1] if first is None else first
            residual = residual_motion(frames.w_plus, first, first)
            frames = replace(frames, residual=residual, position=position.to(frames.position))
            yield replace(batch, codes=frames.pack())

    return motion.map(read)


def smooth_positions(motion: MotionCodes, frames: int = SMOOTHED) -> MotionCodes:
    """The same motion, positions passed through a mean filter over time (appendix A); fewer frames at both ends.

    Args:
        motion (`MotionCodes`): With positions.
        frames (`int`, *optional*, defaults to 3): Length of the filter, odd; 1 for none.

    Raises:
        OptionError: If the length is no odd number from 1.
    """
    if isinstance(frames, bool) or not isinstance(frames, int) or frames < 1 or frames % 2 == 0:
        raise OptionError(f"`smooth` is {frames!r}; expected an odd number of frames, 1 for none.")
    return motion if frames == 1 else motion.map(lambda batches: _smoothed(batches, frames // 2))


def _smoothed(batches: Iterator[MotionBatch], reach: int) -> Iterator[MotionBatch]:
    waiting: list[MotionBatch] = []
    past: Tensor | None = None
    ended = False
    while True:
        while not ended and sum(len(batch.times) for batch in waiting[1:]) < reach:
            following = next(batches, None)
            ended = following is None
            waiting += [] if ended else [following]
        if not waiting:
            return
        batch = waiting.pop(0)
        frames = FrameCode.unpack(batch.codes)
        own = frames.position
        past = own[:0] if past is None else past
        future = [FrameCode.unpack(other.codes).position for other in waiting]
        line = torch.cat([past, own, *future])[: len(past) + len(own) + reach]
        means = [line[max(k - reach, 0) : k + reach + 1].mean(0) for k in range(len(past), len(past) + len(own))]
        yield replace(batch, codes=replace(frames, position=torch.stack(means)).pack())
        past = torch.cat([past, own])[-reach:]


class DrivenMotion(MotionCodes):
    """Motion whose parts come from several drivers, as lazy as they are.

    Frames, times and audio are those of the driving video. A co-driving video is read at the same time since its
    beginning; after its end its last frame is held.

    Args:
        driving (`MotionCodes`): With positions and residual motion.
        co_driving (`MotionCodes`, *optional*): The same.
        identity (`IdentityCode`): The portrait.
        drivers (`Drivers`): What comes from where.
        residual_mode (`str`, *optional*, defaults to `"cumulative"`): As for `residual_motion`.

    Raises:
        OptionError: If `residual_mode` is unknown.
    """

    def __init__(
        self,
        driving: MotionCodes,
        co_driving: MotionCodes | None,
        identity: IdentityCode,
        drivers: Drivers,
        residual_mode: ResidualMode = "cumulative",
    ):
        if residual_mode not in RESIDUAL_MODES:
            raise OptionError(f"`residual_mode` is {residual_mode!r}; expected 'cumulative' or 'printed'.")
        vars(self).update({name: value for name, value in vars(driving).items() if not name.startswith("_")})
        self._driving, self._co_driving, self._identity = driving, co_driving, identity
        self._drivers, self._residual_mode = drivers, residual_mode
        self.has_points = driving.has_points and set(vars(drivers).values()) == {"driving"}

    def batches(
        self, batch_size: int = BATCH_SIZE, images: bool = False, on_progress: OnProgress | None = None
    ) -> Iterator[MotionBatch]:
        """Read both streams side by side."""
        second = self._co_driving
        track = None if second is None else Track(second.codes_only().batches(batch_size, on_progress=on_progress))
        before: Tensor | None = None
        for batch in self._driving.batches(batch_size, images, on_progress):
            own = FrameCode.unpack(batch.codes)
            sources = {"driving": own, "source": FrameCode.unpack(self._identity.motion.to(batch.codes))}
            if track is not None:
                at = torch.stack([track.at(float(time))[0] for time in batch.times])
                sources["co_driving"] = FrameCode.unpack(at.to(batch.codes))
            frames = own.taking(**{part: sources[driver] for part, driver in vars(self._drivers).items()})
            if self._residual_mode == "printed":
                before, steps = frames.residual[-1:], _steps(frames.residual, before)
                frames = replace(frames, residual=-steps)
            yield replace(batch, codes=frames.pack(), points=batch.points if self.has_points else None)
        if track is not None:
            notes = list(second.warnings)
            if track.ended_before(float(batch.times[-1])):
                notes.append(f"'{second.name}' ends before '{self.name}': its last frame was held from there on.")
            self.warnings += [note for note in notes if note not in self.warnings]

    def crops(self, most: int, on_progress=None) -> list:
        """Faces of the driving video, see `MotionCodes.crops`."""
        return self._driving.crops(most, on_progress)


def _steps(values: Tensor, before: Tensor | None) -> Tensor:
    """Differences of consecutive values `(batch, ...)`, the first to the last one of the batch before."""
    return values - torch.cat([values[:1] if before is None else before, values[:-1]])
