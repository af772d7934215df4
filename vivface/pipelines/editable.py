"""The share of every pipeline that edits people: directions that belong to its checkpoint."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL.Image
import torch

from vivface.editing import AttributeDirections, Edits, TimedEdits
from vivface.editing.directions import DIRECTIONS_FILE
from vivface.errors import OptionError
from vivface.hub.checkpoint import Checkpoint
from vivface.hub.index import find_file
from vivface.reenactment.codes import IdentityCode, StillMotion
from vivface.reenactment.expressive_photo import ExpressivePhoto
from vivface.reenactment.progress import OnProgress
from vivface.reenactment.rendering import RenderOptions, edited_photo, photo_edit, render_frames
from vivface.warping.controls import Expression, check_expression

Image = str | os.PathLike | PIL.Image.Image | np.ndarray | BinaryIO


class Editable(Checkpoint):
    """A checkpoint with directions, and edits by them; mixed into `ReenactmentPipeline`.

    Attributes:
        directions (`AttributeDirections`): What faces of this checkpoint can be edited by.
    """

    #: Where a checkpoint keeps its directions.
    DIRECTIONS = DIRECTIONS_FILE

    directions: AttributeDirections

    def load_extras(self, checkpoint: str | os.PathLike, **hub: Any) -> None:
        """As `Checkpoint.load_extras`: the checkpoint's directions."""
        super().load_extras(checkpoint, **hub)
        if (path := find_file(checkpoint, DIRECTIONS_FILE, **hub)) is not None:
            self.directions = AttributeDirections.load(path)

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
        options = RenderOptions(refine, paste_back, detail=self.shows_photograph(identity, detail), size=size)
        if options.detail:
            return edited_photo(self, identity, edits, options)
        return next(render_frames(self, identity, StillMotion(identity), options, edits=edits)).image

    def express(
        self,
        source: Image | IdentityCode,
        expression: Expression,
        *,
        edits: Edits | None = None,
        paste_back: bool = False,
        face: int | None = None,
        size: int | None = None,
    ) -> np.ndarray:
        """Show a portrait's photograph with another expression, gaze or pose of the head.

        Args:
            source, face: As for `__call__`.
            expression (mapping): Amounts by name of `vivface.warping.controls.CONTROLS`, as `{"smile": 0.6}`.
            edits (mapping, *optional*): As for `render`, at 0 seconds, done before.
            paste_back (`bool`, *optional*, defaults to False): Show the whole photo.
            size (`int`, *optional*): As for `render`.

        Returns:
            `numpy.ndarray` of shape `(height, width, 3)`: uint8 RGB.

        Raises:
            VivFaceError: As for `__call__`.
        """
        check_expression(expression)
        return self.expressive_photo(source, edits=edits, paste_back=paste_back, face=face, size=size)(expression)

    @torch.no_grad()
    def expressive_photo(
        self,
        source: Image | IdentityCode,
        *,
        edits: Edits | None = None,
        paste_back: bool = False,
        face: int | None = None,
        size: int | None = None,
    ) -> ExpressivePhoto:
        """The photograph of a portrait, prepared once for any number of expressions; arguments as for `express`.

        Raises:
            VivFaceError: As for `__call__`.
        """
        options = RenderOptions(paste_back=paste_back, detail=True, size=size)
        edits = self._edits(edits or None)
        identity = self._own(source) if isinstance(source, IdentityCode) else self.encode_identity(source, face, 0)
        edit = None if edits is None else photo_edit(self, identity, edits, options.refine)
        return ExpressivePhoto(identity, self.crops, size, paste_back, edit)

    @property
    def offers_detail(self) -> bool:
        """Whether the photograph itself is shown unless asked otherwise."""
        return bool(self.config.get("detail", False))

    def shows_photograph(self, identity: IdentityCode, detail: bool | None = None) -> bool:
        """Whether an edited image of a portrait is its photograph; `detail` as for `edit`."""
        return self.offers_detail and identity.points is not None if detail is None else detail

    def shows_detail(self, detail: bool | None = None, edits: Edits | None = None) -> bool:
        """Whether frames show the photograph itself, if portrait and motion have points of a face.

        Args:
            detail (`bool`, *optional*), edits (mapping, *optional*): As for `render`.

        Raises:
            OptionError: If the photograph is asked for and edits change over time.
        """
        return self._may_show_detail(detail, self._edits(edits))

    def _may_show_detail(self, detail: bool | None, edits: TimedEdits | None) -> bool:
        constant = edits is None or edits.constant
        if detail and not constant:
            raise OptionError("`detail` shows the photograph, which is edited once: give edits that stay the same.")
        return self.offers_detail and constant if detail is None else detail

    def _edits(self, edits: Edits | TimedEdits | None) -> TimedEdits | None:
        if edits is None or isinstance(edits, TimedEdits):
            return edits
        return TimedEdits(self.directions, edits, self.generator)
