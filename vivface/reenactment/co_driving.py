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
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vivface.errors import OptionError
from vivface.reenactment.codes import BATCH_SIZE, IdentityCode, MotionBatch, MotionCodes
from vivface.reenactment.progress import OnProgress
from vivface.tensor_files import TensorFile
from vivface.warping.mesh import with_pose_of
from vivface.warping.parts import Parts

POSE_FILE = "pose_subspace.safetensors"
FILE = TensorFile("vivface-pose-1", "a pose subspace")
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
        tensors = {"directions": self.directions.half(), "readers": self.readers.half()}
        return FILE.save(path, tensors, {"names": ",".join(self.names)})

    @classmethod
    def load(cls, path: str | os.PathLike) -> PoseSubspace:
        """Read a file that `save` wrote.

        Raises:
            CheckpointError: If it is missing, damaged, or something else.
        """

        def decode(tensors: dict[str, Tensor], metadata: dict[str, str]) -> PoseSubspace:
            directions, readers = tensors["directions"].float(), tensors["readers"].float()
            names = tuple(metadata["names"].split(","))
            if directions.shape != readers.shape or len(directions) != len(names) or directions.ndim < 2:
                raise ValueError("it has not one direction and one reader for each name")
            return cls(names, directions, readers)

        return FILE.load(path, decode)


def with_strengths(codes: Tensor, own: Tensor, parts: Parts, subspace: PoseSubspace | None) -> Tensor:
    """Motion codes whose expression and pose are as strong as asked.

    Args:
        codes (`torch.Tensor` of shape `(batch, *code_shape)`): Of the driver.
        own (`torch.Tensor` of shape `(1, *code_shape)`): The portrait's own code, strength 0.
        parts (`Parts`): `mouth`, `eyes` and `brows` must be equal: codes hold an expression whole.
        subspace (`PoseSubspace`, *optional*): Of the checkpoint; needed where pose and expression differ in strength.

    Raises:
        OptionError: If something is asked that codes cannot do.
    """
    check_strengths(parts, subspace)
    moved = own + parts.expression * (codes - own)
    return moved if parts.pose == parts.expression else subspace.with_pose(moved, own + parts.pose * (codes - own))


def check_strengths(parts: Parts, subspace: PoseSubspace | None) -> None:
    """Refuse what the generator's codes cannot do, see `with_strengths`.

    Raises:
        OptionError: What, and what to do instead.
    """
    if parts.expression is None:
        raise OptionError(
            "The generator's codes hold an expression whole: give mouth, eyes and brows the same strength and leave "
            "out keep_lips_shut, eye_contact and blink_rate, or show the photograph itself (detail)."
        )
    if parts.pose != parts.expression and subspace is None:
        raise OptionError(
            f"This checkpoint has no {POSE_FILE}, so pose and expression of the generator's codes have one strength: "
            "give all parts the same, or show the photograph itself (detail)."
        )


class CoDrivenMotion(MotionCodes):
    """The motion of one video with the pose of another, frame by frame, as lazy as both.

    Frames, times and audio are those of the driving video. Codes of the pose's video are taken at the same time since
    its beginning, between two of its frames in proportion; after its end its last pose is held.

    Args:
        driving (`MotionCodes`): Gives the expression.
        pose (`MotionCodes`): Gives the pose; of the same checkpoint.
        subspace (`PoseSubspace`): Of that checkpoint.
    """

    def __init__(self, driving: MotionCodes, pose: MotionCodes, subspace: PoseSubspace):
        vars(self).update({name: value for name, value in vars(driving).items() if not name.startswith("_")})
        self._driving, self._pose, self._subspace = driving, pose, subspace
        self.has_points = driving.has_points and pose.has_points

    def batches(
        self, batch_size: int = BATCH_SIZE, images: bool = False, on_progress: OnProgress | None = None
    ) -> Iterator[MotionBatch]:
        """Read both streams side by side."""
        track = Track(self._pose.batches(batch_size, on_progress=on_progress))
        held = False
        for batch in self._driving.batches(batch_size, images, on_progress):
            found = [track.at(float(time)) for time in batch.times]
            held |= track.ended_before(float(batch.times[-1]))
            codes = self._subspace.with_pose(batch.codes, torch.stack([code for code, _ in found]))
            points = None
            if self.has_points and batch.points is not None and found[0][1] is not None:
                pairs = zip(batch.points, found, strict=True)
                points = np.stack([with_pose_of(own, other) for own, (_, other) in pairs])
            yield replace(batch, codes=codes, points=points)
        notes = list(self._pose.warnings)
        if held:
            notes.append(f"'{self._pose.name}' ends before '{self.name}': its last pose was held from there on.")
        self.warnings += [note for note in notes if note not in self.warnings]

    def crops(self, most: int, on_progress=None) -> list:
        """Faces of the driving video, see `MotionCodes.crops`."""
        return self._driving.crops(most, on_progress)


def with_source_pose(driving: MotionCodes, identity: IdentityCode, subspace: PoseSubspace) -> MotionCodes:
    """The motion of a video with the portrait's own pose in every frame, as lazy as it was.

    Args:
        driving (`MotionCodes`): Gives the expression.
        identity (`IdentityCode`): Its own motion gives the pose.
        subspace (`PoseSubspace`): Of their checkpoint.
    """

    def posed(batches: Iterator[MotionBatch]) -> Iterator[MotionBatch]:
        for batch in batches:
            points = batch.points
            if points is not None and identity.points is not None:
                points = np.stack([with_pose_of(own, identity.points) for own in points])
            yield replace(batch, codes=subspace.with_pose(batch.codes, identity.motion), points=points)

    return driving.map(posed)


def check_pose(pose: str | None, co_driving: object | None) -> str:
    """Where the pose is taken from: by default the co-driving video if there is one, else the driving video.

    Raises:
        OptionError: If `pose` is unknown, or contradicts `co_driving`.
    """
    pose = pose or ("driving" if co_driving is None else "co_driving")
    if pose not in POSES:
        raise OptionError(f"`pose` is {pose!r}; expected {', '.join(map(repr, POSES[:-1]))} or {POSES[-1]!r}.")
    if (pose == "co_driving") != (co_driving is not None):
        given = "no `co_driving` video was given" if co_driving is None else "a `co_driving` video was given"
        raise OptionError(f"`pose` is {pose!r}, and {given}: the pose of a second video needs both.")
    return pose


class Track:
    """Codes and points of a stream at any time, asked for in rising order; few frames are held."""

    def __init__(self, batches: Iterator[MotionBatch]):
        self._frames = (
            (float(time), code, None if batch.points is None else batch.points[number])
            for batch in batches
            for number, (time, code) in enumerate(zip(batch.times, batch.codes, strict=True))
        )
        self._before = self._after = next(self._frames)  # a stream has at least one frame
        self._end: float | None = None

    def at(self, seconds: float) -> tuple[Tensor, np.ndarray | None]:
        """The code `(*code_shape)` and the points `(478, 3)` at a time; the first or last ones outside the stream."""
        while self._end is None and self._after[0] < seconds:
            following = next(self._frames, None)
            if following is None:
                self._end = self._after[0]
                self._before = self._after
            else:
                self._before, self._after = self._after, following
        (start, before, first), (end, after, last) = self._before, self._after
        if end <= start or seconds >= end:
            return after, last
        share = max(seconds - start, 0.0) / (end - start)
        between = None if first is None or last is None else first + share * (last - first)
        return torch.lerp(before, after, share), between

    def ended_before(self, seconds: float) -> bool:
        """Whether the stream ended more than a quarter of a second before a time that was asked for."""
        return self._end is not None and seconds > self._end + 0.25
