"""The tab of expressions: sliders of the photograph itself, presets, a strip of variants, files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from vivface.errors import VivFaceError
from vivface.media import save_image
from vivface.provenance import Provenance, Stamp
from vivface.reenactment.expressive_photo import ExpressivePhoto, load_preset, save_preset
from vivface.space.components import PAGE_MARK, ImageUpload, NumberInput, RenderedImage, SliderInput
from vivface.space.options import check_value
from vivface.space.page import Page
from vivface.space.result_panel import PRIVATE, user_errors
from vivface.space.service import new_visitor
from vivface.space.text import EXPRESSION_HINT, error_line, note_line
from vivface.warping.controls import CONTROLS, PRESETS

ALL_TOGETHER = "all"
SHOWN = dict(trigger_mode="always_last", concurrency_limit=2, concurrency_id="still", show_progress="hidden", **PRIVATE)


def add_expressions(page: Page) -> None:
    """Fill the tab of expressions, and add the endpoints; must be called inside the page's `gr.Blocks`."""
    with page.expression_tab:
        ExpressionTab(page)
    ExpressionEndpoints(page)


class ExpressionTab:
    """Components and events; must be made inside a tab of the page.

    Args:
        page (`Page`): Its portrait, consent and visitor are used.
    """

    def __init__(self, page: Page):
        self.page, self.service = page, page.service
        self.sliders: dict[str, gr.Slider] = {}
        gr.HTML(note_line(EXPRESSION_HINT))
        with gr.Row(elem_classes="expression-row"):
            with gr.Column(min_width=280, scale=3):
                self._add_picture()
            with gr.Column(min_width=280, scale=2):
                self._add_sliders()
        self._connect()

    def _add_picture(self) -> None:
        self.image = RenderedImage(
            label="Portrait with your expression",
            elem_id="expression",
            alt_text="The portrait with your expression",
            signed=True,
        )
        self.note = gr.HTML(elem_id="expression-note", elem_classes="note")
        self.whole = gr.Checkbox(False, label="Show the whole photo", elem_id="expression-whole")
        with gr.Row():
            self.save = gr.Button("Prepare downloads", variant="primary", elem_id="save-expression")
            self.reset = gr.Button("Reset to the photo", elem_id="reset-expression")
        with gr.Row():
            self.png = gr.DownloadButton("Download PNG", visible=False, elem_id="expression-png")
            self.preset_file = gr.DownloadButton("Download preset", visible=False, elem_id="expression-preset")
        with gr.Accordion("Strip of variants", open=False, elem_id="strip-options"):
            choices = [("The whole expression, starting from the photo", ALL_TOGETHER)]
            choices += [(control.label, control.name) for control in CONTROLS.values()]
            self.vary = gr.Dropdown(
                choices, value=ALL_TOGETHER, label="What changes from image to image", elem_id="vary"
            )
            self.make_strip = gr.Button("Make the strip", elem_id="make-strip")
            self.strip = RenderedImage(
                label="Variants", elem_id="strip", alt_text="Variants of the portrait side by side", signed=True
            )
            self.strip_png = gr.DownloadButton("Download the strip", visible=False, elem_id="strip-png")

    def _add_sliders(self) -> None:
        with gr.Row():
            self.preset = gr.Dropdown(list(PRESETS), value=None, label="Preset", elem_id="preset", min_width=140)
            self.load = gr.UploadButton("Load a preset", file_types=[".json"], elem_id="load-preset", min_width=140)
        for group, controls in groupby(CONTROLS.values(), lambda control: control.group):
            with gr.Accordion(group, open=True):
                for control in controls:
                    self.sliders[control.name] = SliderInput(
                        control.low,
                        control.high,
                        0,
                        step=control.step,
                        label=control.label,
                        elem_id=f"express-{control.name.replace('_', '-')}",
                    )

    def _connect(self) -> None:
        page, sliders = self.page, list(self.sliders.values())
        portrait = [page.visitor, page.portrait, page.consent, page.options["face"]]
        inputs, outputs = [*portrait, self.whole, *sliders], [self.image, self.note]
        events = [*(slider.input for slider in sliders), page.portrait.change, page.consent.change]
        events += [page.options["face"].change, self.whole.change]
        gr.on(events, self._show, inputs, outputs, **SHOWN)
        for event, function, given in (
            (self.preset.input, self._preset, [self.preset]),
            (self.load.upload, self._loaded, [self.load]),
            (self.reset.click, lambda: [0] * len(sliders), None),
        ):
            event(function, given, sliders, queue=False, **PRIVATE).then(self._show, inputs, outputs, **SHOWN)
        made = dict(concurrency_limit=2, concurrency_id="still", show_progress="minimal", **PRIVATE)
        self.save.click(self._files, inputs, [self.png, self.preset_file, self.note], **made)
        self.make_strip.click(
            self._strip, [*portrait, self.whole, self.vary, *sliders], [self.strip, self.strip_png, self.note], **made
        )

    def _show(
        self, visitor: str, portrait: str | None, consent: bool, face: Any, whole: Any, *amounts: float
    ) -> tuple[np.ndarray | None, str]:
        try:
            photo = _photo(self.service, visitor, portrait, consent, face, whole)
            return photo(self._values(amounts)), ""
        except VivFaceError as error:
            return None, error_line(str(error)) if portrait is not None else note_line(str(error))

    def _preset(self, name: str | None) -> list[float]:
        with user_errors():
            values = load_preset(name) if name else {}
        return [values.get(control, 0) for control in self.sliders]

    def _loaded(self, path: str) -> list[float]:
        with user_errors():
            values = load_preset(path)
        return [values.get(control, 0) for control in self.sliders]

    def _files(
        self, visitor: str, portrait: str | None, consent: bool, face: Any, whole: Any, *amounts: float
    ) -> Iterator[tuple]:
        with user_errors(), tempfile.TemporaryDirectory(prefix="vivface-") as folder:
            values = self._values(amounts)
            image = _photo(self.service, visitor, portrait, consent, face, whole)(values)
            png = _saved(Path(folder) / "vivface-expression.png", image)
            preset = save_preset(values, Path(folder) / "vivface-expression.json")
            words = note_line(f"{image.shape[1]} x {image.shape[0]} pixels.")
            yield *(gr.DownloadButton(value=str(path), visible=True) for path in (png, preset)), words

    def _strip(
        self, visitor: str, portrait: str | None, consent: bool, face: Any, whole: Any, vary: str, *amounts: float
    ) -> Iterator[tuple]:
        with user_errors(), tempfile.TemporaryDirectory(prefix="vivface-") as folder:
            photo = _photo(self.service, visitor, portrait, consent, face, whole)
            image = photo.strip(self._values(amounts), None if vary == ALL_TOGETHER else vary)
            png = _saved(Path(folder) / "vivface-strip.png", image)
            yield image, gr.DownloadButton(value=str(png), visible=True), ""

    def _values(self, amounts: tuple[float, ...]) -> dict[str, float]:
        return dict(zip(self.sliders, amounts, strict=True))


class ExpressionEndpoints:
    """The same for programs; must be made inside the page's `gr.Blocks`.

    Args:
        page (`Page`): Whose service and visitor are used.
    """

    def __init__(self, page: Page):
        self.service = page.service
        with gr.Row(visible=False):
            portrait = ImageUpload(label="portrait")
            consent, whole = gr.Checkbox(False, label="consent"), gr.Checkbox(False, label="paste_back")
            expression, face = gr.JSON({}, label="expression"), NumberInput(0, label="face")
            image, listing, call = gr.Image(), gr.JSON(), gr.Button()
        call.click(
            self.express_portrait,
            [portrait, consent, expression, face, whole, page.visitor],
            [image],
            api_name="express_portrait",
            api_visibility="public",
            concurrency_limit=2,
            concurrency_id="still",
        )
        call.click(self.list_expressions, None, [listing], api_name="list_expressions", api_visibility="public")

    def express_portrait(
        self,
        portrait: str,
        consent: bool = False,
        expression: dict | None = None,
        face: int = 0,
        paste_back: bool = False,
        visitor: str = "",
    ) -> Iterator[str]:
        """Give the photograph of a portrait another expression, gaze or pose of the head.

        Args:
            portrait: An image with a face.
            consent: True if the person in the portrait agreed, or you have the right to use the image.
            expression: Amounts by name, such as {"smile": 0.6, "yaw": 10}; `list_expressions` has the names.
            face: Face of the portrait, 0 the largest.
            paste_back: True for the whole photo, else the face's square.

        Returns:
            The image.
        """
        with user_errors(), tempfile.TemporaryDirectory(prefix="vivface-") as folder:
            photo = _photo(self.service, visitor or new_visitor(), portrait, consent, face, paste_back)
            yield str(_saved(Path(folder) / "vivface.png", photo({} if expression is None else expression)))

    def list_expressions(self) -> list[dict[str, Any]]:
        """List the controls of an expression.

        Returns:
            For each its name, label, range and what its ends are; 0 leaves the portrait as it is.
        """
        return [
            {"name": item.name, "label": item.label, "low": item.low, "high": item.high, "help": item.help}
            for item in CONTROLS.values()
        ]


def _photo(service, visitor: str, portrait: str | None, consent: object, face: Any, whole: Any) -> ExpressivePhoto:
    """The prepared photograph of somebody's portrait.

    Raises:
        VivFaceError: If there is no portrait, no consent, or no such face.
    """
    return service.expressive_photo(
        visitor, service.admit(portrait, consent), check_value("face", face), check_value("paste_back", whole)
    )


def _saved(path: Path, image: np.ndarray) -> Path:
    """An image written with its marks."""
    stamp = Stamp(Provenance(), PAGE_MARK)
    save_image(path, stamp.picture(image), stamp.finish)
    return path
