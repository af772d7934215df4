"""The share of every pipeline that edits people: directions that belong to its checkpoint."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import PIL.Image
import torch

from vivface.editing import AttributeDirections, Edits, TimedEdits
from vivface.editing.directions import DIRECTIONS_FILE
from vivface.hub.checkpoint import Checkpoint
from vivface.hub.loading import HUB_OPTIONS, bundled_checkpoint, find_file
from vivface.reenactment.codes import IdentityCode, StillMotion
from vivface.reenactment.progress import OnProgress
from vivface.reenactment.rendering import RenderOptions, edited_photo, render_frames

Image = str | os.PathLike | PIL.Image.Image | np.ndarray | BinaryIO


class Editable(Checkpoint):
    """A checkpoint with directions, and edits by them; mixed into `ReenactmentPipeline`.

    Attributes:
        directions (`AttributeDirections`): What faces of this checkpoint can be edited by.
    """

    #: Where a checkpoint keeps its directions.
    DIRECTIONS = DIRECTIONS_FILE

    directions: AttributeDirections

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike | None = None, **kwargs: Any) -> Self:
        """As `Checkpoint.from_pretrained`, with the checkpoint's directions."""
        pipeline = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        checkpoint = pretrained_model_name_or_path or bundled_checkpoint()
        hub = {name: kwargs[name] for name in HUB_OPTIONS if kwargs.get(name) is not None}
        if (path := find_file(checkpoint, DIRECTIONS_FILE, **hub)) is not None:
            pipeline.directions = AttributeDirections.load(path)
        return pipeline

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """As `Checkpoint.save_pretrained`, with the directions."""
        super().save_pretrained(save_directory, **kwargs)
        if self.directions:
            self.directions.save(Path(save_directory) / DIRECTIONS_FILE)

    @torch.no_grad()
    def edit(
        self,
        source: Image | IdentityCode,
        edits: Edits | None = None,
        *,
        refine: bool = True,
        paste_back: bool = False,
        face: int | None = None,
        adapt: int | str | None = None,
        seed: int = 0,
        detail: bool | None = None,
        size: int | None = None,
        on_progress: OnProgress | None = None,
    ) -> np.ndarray:
        """Show a portrait in its own pose and expression, with edits (eq. 4 for one image).

        Args:
            source, refine, paste_back, face, adapt, seed, on_progress: As for `__call__`.
            edits (mapping, *optional*): As for `render`, at 0 seconds.
            detail (`bool`, *optional*): Edit the photograph itself, or show the generator's image; by default as the
                checkpoint says.
            size (`int`, *optional*): As for `render`.

        Returns:
            `numpy.ndarray` of shape `(height, width, 3)`: uint8 RGB.

        Raises:
            VivFaceError: As for `__call__`.
        """
        edits = self._edits(edits)
        if isinstance(source, IdentityCode):
            identity = self._own(source)
        else:
            steps = 0 if adapt is None and detail is not False and self.offers_detail else adapt
            identity = self.encode_identity(source, face, steps, seed, on_progress)
        if detail is None:
            detail = self.offers_detail and identity.points is not None
        options = RenderOptions(refine, paste_back, detail=detail, size=size)
        if detail:
            return edited_photo(self, identity, edits, options)
        return next(render_frames(self, identity, StillMotion(identity), options, edits=edits)).image

    @property
    def offers_detail(self) -> bool:
        """Whether the photograph itself is shown unless asked otherwise."""
        return bool(self.config.get("detail", False))

    def _edits(self, edits: Edits | None) -> TimedEdits | None:
        return None if edits is None else TimedEdits(self.directions, edits, self.generator)
