"""Two drivers at once: the pose of one video, the expression of another.

A checkpoint may hold the subspace of its motion codes in which pose lives, found from rendered people whose pose and
expression are known (`python -m training.tools.fit_pose_subspace`): K directions, and K linear readers that tell how
far a code goes along each and do not see expressions. With readers R and directions L, the projection of a code S on
the subspace is L R S, and

    S' = S_expression + L R (S_pose - S_expression)

has the pose of one code and the expression of the other. Co-driving is the idea of Video2StyleGAN (sec. 4.3); there it
is done with position and W+ codes of StyleGAN3.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vivface.errors import CheckpointError, OptionError
from vivface.files import check_output, complete_file
from vivface.reenactment.codes import BATCH_SIZE, MotionBatch, MotionCodes
from vivface.reenactment.progress import OnProgress

POSE_FILE = "pose_subspace.safetensors"
POSE_FORMAT = "vivface-pose-1"
POSES = ("driving", "co_driving", "source")


@dataclass(frozen=True)
class PoseSubspace:
    """The part of motion codes that is pose.

    Attributes:
        names (`tuple[str, ...]`): Of the K directions.
        directions (`torch.Tensor` of shape `(K, *code_shape)`): Step of one unit of each.
        readers (`torch.Tensor` of shape `(K, *code_shape)`): Inner products with a code are its units of each, up to a
            constant.
    """

    names: tuple[str, ...]
    directions: Tensor
    readers: Tensor

    def read(self, codes: Tensor) -> Tensor:
        """How far codes go along each direction, up to a constant.

        Args:
            codes (`torch.Tensor` of shape `(batch, *code_shape)`): Motion codes.

        Returns:
            `torch.Tensor` of shape `(batch, K)`.
        """
        return codes.flatten(1) @ self.readers.to(codes).flatten(1).T

    def with_pose(self, codes: Tensor, pose: Tensor) -> Tensor:
        """Codes with the pose of other codes.

        Args:
            codes, pose (`torch.Tensor` of shape `(batch, *code_shape)`): Motion codes; a batch of one serves all.

        Returns:
            `torch.Tensor` of shape `(batch, *code_shape)`.
        """
        step = self.read(pose.to(codes)) - self.read(codes)  # (batch, K)
        return codes + (step @ self.directions.to(codes).flatten(1)).view(-1, *codes.shape[1:])

    def save(self, path: str | os.PathLike) -> Path:
        """Write a safetensors file, in half precision.

        Raises:
            MediaError: If the file cannot be written.
        """
        path = check_output(path, (".safetensors",))
        tensors = {"directions": self.directions, "readers": self.readers}
        tensors = {name: tensor.detach().cpu().half().contiguous() for name, tensor in tensors.items()}
        with complete_file(path) as temporary:
            save_file(tensors, temporary, metadata={"format": POSE_FORMAT, "names": ",".join(self.names)})
        return path

    @classmethod
    def load(cls, path: str | os.PathLike) -> PoseSubspace:
        """Read a file that `save` wrote.

        Raises:
            CheckpointError: If it is missing, damaged, or something else.
        """
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                directions, readers = (file.get_tensor(name).float() for name in ("directions", "readers"))
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"The pose subspace '{path}' cannot be read ({error}): copy it again.") from error
        names = tuple(metadata.get("names", "").split(","))
        fits = directions.shape == readers.shape and len(directions) == len(names) and directions.ndim >= 2
        finite = bool(torch.isfinite(directions).all() and torch.isfinite(readers).all())
        if metadata.get("format") != POSE_FORMAT or not fits or not finite:
            raise CheckpointError(f"'{path}' is a safetensors file but holds no pose subspace: copy it again.")
        return cls(names, directions, readers)


class CoDrivenMotion(MotionCodes):
    """The motion of one video with the pose of another, or one pose, frame by frame, as lazy as both.

    Frames, times and audio are those of the driving video. Codes of the pose's video are taken at the same time since
    its beginning, between two of its frames in proportion; after its end its last pose is held. There are no points of
    a face: those of the driver show its own pose.

    Args:
        driving (`MotionCodes`): Gives the expression.
        pose (`MotionCodes`, or `torch.Tensor` of shape `(1, *code_shape)`): Gives the pose; of the same checkpoint.
        subspace (`PoseSubspace`): Of that checkpoint.
    """

    def __init__(self, driving: MotionCodes, pose: MotionCodes | Tensor, subspace: PoseSubspace):
        vars(self).update({name: value for name, value in vars(driving).items() if not name.startswith("_")})
        self.has_points = False
        self._driving, self._pose, self._subspace = driving, pose, subspace

    def batches(
        self, batch_size: int = BATCH_SIZE, images: bool = False, on_progress: OnProgress | None = None
    ) -> Iterator[MotionBatch]:
        """Read both streams side by side."""
        one = isinstance(self._pose, Tensor)
        track = None if one else _Track(self._pose.batches(batch_size, on_progress=on_progress))
        held = False
        for batch in self._driving.batches(batch_size, images, on_progress):
            pose = self._pose if one else torch.stack([track.at(float(time)) for time in batch.times])
            held |= not one and track.ended_before(float(batch.times[-1]))
            yield replace(batch, codes=self._subspace.with_pose(batch.codes, pose), points=None)
        notes = [] if one else list(self._pose.warnings)
        if held:
            notes.append(f"'{self._pose.name}' ends before '{self.name}': its last pose was held from there on.")
        self.warnings += [note for note in notes if note not in self.warnings]

    def crops(self, most: int, on_progress: Callable[[], None] | None = None) -> list[np.ndarray]:
        """Faces of the driving video, see `MotionCodes.crops`."""
        return self._driving.crops(most, on_progress)


def check_pose(pose: str | None, co_driving: object | None, detail: bool | None = None) -> str:
    """Where the pose is taken from: by default the co-driving video if there is one, else the driving video.

    Raises:
        OptionError: If `pose` is unknown, or contradicts `co_driving` or `detail`.
    """
    pose = pose or ("driving" if co_driving is None else "co_driving")
    if pose not in POSES:
        raise OptionError(f"`pose` is {pose!r}; expected {', '.join(map(repr, POSES[:-1]))} or {POSES[-1]!r}.")
    if (pose == "co_driving") != (co_driving is not None):
        given = "no `co_driving` video was given" if co_driving is None else "a `co_driving` video was given"
        raise OptionError(f"`pose` is {pose!r}, and {given}: the pose of a second video needs both.")
    if detail and pose != "driving":
        raise OptionError(
            f"`detail` moves the photograph as the driver's face moves, and `pose` is {pose!r}: leave one of them out."
        )
    return pose


class _Track:
    """Codes of a stream at any time, asked for in rising order; few frames are held."""

    def __init__(self, batches: Iterator[MotionBatch]):
        self._frames = (
            (float(time), code) for batch in batches for time, code in zip(batch.times, batch.codes, strict=True)
        )
        self._before = self._after = next(self._frames)  # a stream has at least one frame
        self._end: float | None = None

    def at(self, seconds: float) -> Tensor:
        """The code at a time `(*code_shape)`; the first or last one outside the stream."""
        while self._end is None and self._after[0] < seconds:
            following = next(self._frames, None)
            if following is None:
                self._end = self._after[0]
                self._before = self._after
            else:
                self._before, self._after = self._after, following
        (start, before), (end, after) = self._before, self._after
        if end <= start or seconds >= end:
            return after
        return torch.lerp(before, after, max(seconds - start, 0.0) / (end - start))

    def ended_before(self, seconds: float) -> bool:
        """Whether the stream ended more than a quarter of a second before a time that was asked for."""
        return self._end is not None and seconds > self._end + 0.25
