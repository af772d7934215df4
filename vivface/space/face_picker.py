"""Faces that were found in an upload, to choose one from: the same for the portrait and for the driving video."""

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
from gradio.components import Component

from vivface.errors import VivFaceError
from vivface.space.components import RenderedImage, option_component
from vivface.space.previews import FaceDetections
from vivface.space.text import error_line, note_line

Detect = Callable[..., FaceDetections | str | None]


class FacePicker:
    """A note, the image with numbered faces, the chosen crop, and a choice; must be made inside a `gr.Blocks`.

    Faces are counted from 0; the numbers on the screen start at 1.

    Args:
        name (`str`): Start of the components' ids.
        option (`str`): The option that holds the number of the face.
        detect (callable): The visitor and the values of the inputs to the faces, to a remark, or to None for nothing.
        alt_text (`str`): What the image with numbered faces shows.
        crop_alt_text (`str`): What the crop shows.
        height (`int`): Of both images in pixels.
        hint (`str`, *optional*): Added to the note.

    Attributes:
        face (`gr.Number`): The number of the chosen face; not visible.
    """

    def __init__(
        self, name: str, option: str, detect: Detect, alt_text: str, crop_alt_text: str, height: int, hint: str = ""
    ):
        self._detect = detect
        self._hint = hint
        self.note = gr.HTML(elem_id=f"{name}-note", elem_classes="note")
        with gr.Row(visible=False, elem_classes="found", elem_id=f"{name}-found") as self._row:
            self._faces = RenderedImage(
                label="Faces found", show_label=False, elem_id=f"{name}-faces", alt_text=alt_text, height=height
            )
            self._crop = RenderedImage(
                label="Aligned face", show_label=False, elem_id=f"{name}-crop", alt_text=crop_alt_text, height=height
            )
        self._choice = gr.Radio([("1", 0)], value=0, label="Which face", visible=False, elem_id=f"{name}-choice")
        self.face = option_component(option, visible=False)

    def connect(
        self, triggers: Sequence[Callable], visitor: gr.State, inputs: Sequence[Component]
    ) -> gr.events.Dependency:
        """Look for faces when one of the triggers fires; returns the event of a new choice."""
        quiet = dict(api_visibility="private", show_progress="hidden")
        shown = dict(api_visibility="private", show_progress="minimal")
        gr.on(
            list(triggers),
            self._show,
            [visitor, *inputs],
            [self.note, self._row, self._faces, self._crop, self._choice, self.face],
            trigger_mode="always_last",
            **shown,
        )
        self._faces.select(self._tap, [visitor, *inputs], [self._choice], **quiet)
        return self._choice.change(
            self._choose, [self._choice, visitor, *inputs], [self._faces, self._crop, self.face], **shown
        )

    def _show(self, visitor: str, *values: Any) -> tuple:
        nothing = (gr.Row(visible=False), None, None, gr.Radio(visible=False), 0)
        try:
            found = self._detect(visitor, *values)
        except VivFaceError as error:
            return (error_line(str(error)), *nothing)
        if not isinstance(found, FaceDetections):
            return ("" if found is None else note_line(found), *nothing)
        count = len(found.faces)
        where = f" at {found.time:.1f} seconds" if found.time > 0.2 else ""
        words = f"1 face found{where}." if count == 1 else f"{count} faces found{where}: tap one to choose it."
        choices = gr.Radio([(str(face + 1), face) for face in range(count)], value=0, visible=count > 1)
        return note_line(f"{words} {self._hint}"), gr.Row(visible=True), found.annotated(), found.crop(0), choices, 0

    def _choose(self, choice: int | None, visitor: str, *values: Any) -> tuple:
        found = self._found(visitor, values)
        if found is None or choice is None or not 0 <= choice < len(found.faces):
            return None, None, 0
        return found.annotated(choice), found.crop(choice), choice

    def _tap(self, event: gr.SelectData, visitor: str, *values: Any) -> Any:
        found = self._found(visitor, values)
        face = None if found is None else found.face_at(*event.index)
        return gr.skip() if face is None else face

    def _found(self, visitor: str, values: tuple) -> FaceDetections | None:
        try:
            found = self._detect(visitor, *values)
        except VivFaceError:  # the note says it already
            return None
        return found if isinstance(found, FaceDetections) else None
