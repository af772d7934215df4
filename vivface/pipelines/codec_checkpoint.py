"""What a checkpoint of the codec holds beside its networks: both bases, and what turns heads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

from vivface.editing import AttributeDirections
from vivface.editing.codec_basis import CHANNELS_FILE, COMPONENTS_FILE, Basis, Channels, Components, digest
from vivface.editing.head_pose import DirectionPose, FlowPose, HeadPose, MotionPose
from vivface.errors import CheckpointError, OptionError
from vivface.hub.loading import HUB_OPTIONS, bundled_checkpoint, find_file, read_index
from vivface.pipelines.vivface import VivFacePipeline
from vivface.reenactment.coded_video import BASES


class CodecCheckpoint:
    """Loading and saving of bases; mixed into `ExpressiveCodecPipeline` before its base.

    Attributes:
        channels (`Channels`, *optional*): Channels of StyleSpace.
        components_basis (`Components`, *optional*): Components of deformation codes.
    """

    channels: Channels | None = None
    components_basis: Components | None = None

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike | None = None, **kwargs: Any) -> Self:
        """Load a pipeline; without an argument, from the checkpoint that comes with the package.

        A checkpoint of `VivFacePipeline` serves too if it holds `codec/components.safetensors` (made by
        `training.tools.fit_components`); `codec/channels.safetensors` (`training.tools.select_channels`) is needed for
        the basis `"channels"` only.

        Args:
            pretrained_model_name_or_path, kwargs: As for `VivFacePipeline.from_pretrained`.

        Raises:
            CheckpointError: If the checkpoint is missing, incomplete, damaged, or of another system.
        """
        checkpoint = pretrained_model_name_or_path or bundled_checkpoint()
        hub = {name: kwargs[name] for name in HUB_OPTIONS if kwargs.get(name) is not None}
        if read_index(checkpoint, **hub)["_class_name"] == VivFacePipeline.__name__:
            own = {name: kwargs.pop(name) for name in ("basis", "head_pose", "flow") if name in kwargs}
            donor = VivFacePipeline.from_pretrained(checkpoint, **{"refinement": None, **kwargs})
            pipeline = cls(
                donor.generator,
                donor.encoder,
                donor.transformer,
                donor.recognizer,
                image_size=donor.config.image_size,
                crop="ffhq",
                **{"basis": "components", **own},
            )
            pipeline.directions = AttributeDirections(donor.directions.of("w_plus"))
        else:
            pipeline = super().from_pretrained(checkpoint, **kwargs)
        for file, kind, attribute in (
            (CHANNELS_FILE, Channels, "channels"),
            (COMPONENTS_FILE, Components, "components_basis"),
        ):
            if (path := find_file(checkpoint, file, **hub)) is not None:
                setattr(pipeline, attribute, kind.load(path))
        return pipeline

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """As `Checkpoint.save_pretrained`, with both bases."""
        super().save_pretrained(save_directory, **kwargs)
        for file, basis in ((CHANNELS_FILE, self.channels), (COMPONENTS_FILE, self.components_basis)):
            if basis is not None:
                basis.save(Path(save_directory) / file)

    def basis(self, kind: str) -> Basis:
        """The basis of a kind.

        Raises:
            OptionError: If there is no such kind.
            CheckpointError: If the checkpoint lacks it.
        """
        if kind not in BASES:
            raise OptionError(f"`basis` is {kind!r}; expected {' or '.join(map(repr, BASES))}.")
        basis = self.channels if kind == "channels" else self.components_basis
        if basis is None:
            file, tool = {
                "channels": (CHANNELS_FILE, "select_channels"),
                "components": (COMPONENTS_FILE, "fit_components"),
            }[kind]
            raise CheckpointError(f"The checkpoint has no {file}: make it with `python -m training.tools.{tool}`.")
        return basis

    @property
    def turner(self) -> HeadPose:
        """What turns heads.

        Raises:
            CheckpointError: If the checkpoint lacks it.
        """
        if self.config.head_pose == "motion":
            return MotionPose(self.basis("components"))
        if self.config.head_pose == "directions":
            return DirectionPose.of(self.directions)
        if self.flow is None:
            raise CheckpointError("The checkpoint has no StyleFlow: make it with `vivface convert styleflow`.")
        return FlowPose(self.flow)

    def digest(self, basis: str) -> str:
        """Recognises basis and head pose model."""
        return digest([*self.basis(basis).tensors(), *self.turner.tensors()])
