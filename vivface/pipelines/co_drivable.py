"""The share of every pipeline that takes pose and expression from different drivers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from vivface.errors import OptionError
from vivface.hub.index import find_file
from vivface.reenactment.co_driving import (
    POSE_FILE,
    CoDrivenMotion,
    PoseSubspace,
    check_pose,
    check_strengths,
    with_source_pose,
)
from vivface.reenactment.codes import IdentityCode, MotionCodes
from vivface.reenactment.rendering import RenderOptions


class CoDrivable:
    """A checkpoint with the pose subspace of its motion codes; mixed into `ReenactmentPipeline` before `Editable`.

    Attributes:
        pose_subspace (`PoseSubspace`, *optional*): None if the checkpoint holds none.
    """

    pose_subspace: PoseSubspace | None = None

    def load_extras(self, checkpoint: str | os.PathLike, **hub: Any) -> None:
        """As `Editable.load_extras`, and the checkpoint's pose subspace."""
        super().load_extras(checkpoint, **hub)
        if (path := find_file(checkpoint, POSE_FILE, **hub)) is not None:
            self.pose_subspace = PoseSubspace.load(path)

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """As `Editable.save_pretrained`, with the pose subspace."""
        super().save_pretrained(save_directory, **kwargs)
        if self.pose_subspace is not None:
            self.pose_subspace.save(Path(save_directory) / POSE_FILE)

    def checked(self, options: RenderOptions) -> RenderOptions:
        """The options, unless they ask for parts in strengths that the generator's codes cannot have.

        Raises:
            OptionError: What, and what to do instead.
        """
        if options.parts.changes and not options.detail:
            check_strengths(options.parts, self.pose_subspace)
        return options

    def co_drive(
        self,
        motion: MotionCodes,
        co_driving: str | os.PathLike | MotionCodes | None = None,
        pose: str | None = None,
        identity: IdentityCode | None = None,
    ) -> MotionCodes:
        """The motion of a video with the pose of another video, or of the portrait; see `CoDrivenMotion`.

        Args:
            motion (`MotionCodes`): Of the driving video, which keeps its expression, times and audio.
            co_driving (`str`, `os.PathLike` or `MotionCodes`, *optional*): A second video, a motion file, or codes.
                Times of both count from their beginnings; after its end the last pose is held.
            pose (`str`, *optional*): Where the pose comes from: `"driving"`, `"co_driving"`, or `"source"`, the
                portrait; by default the second video if there is one.
            identity (`IdentityCode`, *optional*): The portrait, for `"source"`.

        Raises:
            OptionError: If the options contradict one another, or this checkpoint has no pose subspace.
            MediaError: If the second video cannot be opened, or its codes belong to another checkpoint.
        """
        pose = check_pose(pose, co_driving)
        if pose == "driving":
            return motion
        if self.pose_subspace is None:
            raise OptionError(
                f"`pose` is {pose!r}, but this checkpoint does not know which part of its motion codes is pose: make "
                f"{POSE_FILE} with `python -m training.tools.fit_pose_subspace`, or take the bundled checkpoint."
            )
        if self.pose_subspace.directions.shape[1:] != self.code_shape:
            raise OptionError(f"The {POSE_FILE} of this checkpoint belongs to another encoder: make it again.")
        if pose == "source":
            if identity is None:
                raise OptionError("`pose` is 'source', which needs the portrait: give its identity code.")
            return with_source_pose(motion, identity, self.pose_subspace)
        second = co_driving if isinstance(co_driving, MotionCodes) else self._motion(co_driving)
        self._check_origin(second.name, second.code_shape, second.fingerprint)
        return CoDrivenMotion(motion, second, self.pose_subspace)
