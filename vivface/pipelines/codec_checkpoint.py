"""What a checkpoint of the codec holds beside its networks: both bases, and what turns heads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

import torch

from vivface.editing import AttributeDirections
from vivface.editing.codec_basis import CHANNELS_FILE, COMPONENTS_FILE, Basis, Channels, Components, digest
from vivface.editing.head_pose import DirectionPose, FlowPose, HeadTurner, MotionPose
from vivface.errors import CheckpointError, OptionError
from vivface.hub.index import find_file, hub_options
from vivface.pipelines.vivface import VivFacePipeline
from vivface.reenactment.coded_video import FITTED_BASES, POINTS
from vivface.warping.components import components


class CodecCheckpoint:
    """Loading and saving of bases; mixed into `ExpressiveCodecPipeline` before its base.

    Attributes:
        channels (`Channels`, *optional*): Channels of StyleSpace.
        components_basis (`Components`, *optional*): Components of deformation codes.
    """

    SERVED_BY_MAIN = True
    channels: Channels | None = None
    components_basis: Components | None = None

    @classmethod
    def from_main(
        cls, checkpoint: str | os.PathLike, settings: dict[str, Any], loading: dict[str, Any], **components: Any
    ) -> Self:
        """Build the pipeline of a checkpoint of `VivFacePipeline` that holds `codec/components.safetensors`.

        `training.tools.fit_components` makes that file; `codec/channels.safetensors`
        (`training.tools.select_channels`) is needed for the basis `"channels"` only.
        """
        flow = components.pop("flow", None)
        donor = VivFacePipeline.from_pretrained(checkpoint, **loading, **{"refinement": None, **components})
        networks = donor.generator, donor.encoder, donor.transformer, donor.recognizer, flow
        kept = {name: getattr(donor.config, name) for name in ("image_size", "adapt_steps")}
        kept |= {"crop": "ffhq", "basis": "components"}
        pipeline = cls(*networks, **{**kept, **settings})
        pipeline.directions = AttributeDirections(donor.directions.of("w_plus"))
        pipeline._load_bases(checkpoint, **hub_options(loading))
        return pipeline

    def load_extras(self, checkpoint: str | os.PathLike, **hub: Any) -> None:
        """As every pipeline, and both bases."""
        super().load_extras(checkpoint, **hub)
        self._load_bases(checkpoint, **hub)

    def _load_bases(self, checkpoint: str | os.PathLike, **hub: Any) -> None:
        if (path := find_file(checkpoint, CHANNELS_FILE, **hub)) is not None:
            self.channels = Channels.load(path)
        if (path := find_file(checkpoint, COMPONENTS_FILE, **hub)) is not None:
            self.components_basis = Components.load(path)

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
        if kind not in FITTED_BASES:
            raise OptionError(f"`basis` is {kind!r}; expected {' or '.join(map(repr, FITTED_BASES))}.")
        basis = self.channels if kind == "channels" else self.components_basis
        if basis is None:
            file, tool = {
                "channels": (CHANNELS_FILE, "select_channels"),
                "components": (COMPONENTS_FILE, "fit_components"),
            }[kind]
            raise CheckpointError(f"The checkpoint has no {file}: make it with `python -m training.tools.{tool}`.")
        return basis

    @property
    def turner(self) -> HeadTurner:
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
        """Recognises basis and head pose model; points are moved by neither."""
        if basis == POINTS:
            return digest([torch.from_numpy(components())])
        return digest([*self.basis(basis).tensors(), *self.turner.tensors()])
