"""Gradio components with other habits: inputs reach the program as they were given, images made here are marked."""

import base64
import io
import re
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from gradio.data_classes import ImageData
from PIL import Image

from vivface.media.provenance import picture_options
from vivface.provenance import Provenance, Stamp, number_of
from vivface.space.options import option_fields

JPEG_QUALITY = 92
PAGE_MARK = number_of("vivface", "pictures of the page")  # the number that stills, Live and first frames carry


class ImageUpload(gr.Image):
    """A `gr.Image` that hands over the path of the upload, untouched.

    `gr.Image` itself opens the image, with every decoder that Pillow has, before any function sees it; what is no
    image, or is huge, then ends in an error of Pillow. Here limits and messages are those of `vivface`.
    """

    is_template = True  # looks like its base class

    def __init__(self, **options: Any):
        super().__init__(type="filepath", image_mode=None, interactive=True, **options)

    def get_config(self, cls: type | None = None) -> dict[str, Any]:
        """What the browser is told: everything that `gr.Image` has, not only what the constructor here names."""
        return super().get_config(cls or gr.Image)

    def preprocess(self, payload: ImageData | None) -> str | None:
        """The path of the upload."""
        return None if payload is None or payload.path is None else str(Path(payload.path))


class RenderedImage(gr.Image):
    """A `gr.Image` for images that the program makes: sent inside the page, without a file, marked as synthetic.

    Args:
        signed (`bool`, *optional*, defaults to False): Whether the image carries a manifest, which takes 10 ms.
        options: As for `gr.Image`.
    """

    is_template = True

    def __init__(self, signed: bool = False, **options: Any):
        self._provenance = Provenance(manifest=signed)
        super().__init__(type="numpy", interactive=False, buttons=["fullscreen"], **options)

    def get_config(self, cls: type | None = None) -> dict[str, Any]:
        """What the browser is told: everything that `gr.Image` has, not only what the constructor here names."""
        return super().get_config(cls or gr.Image)

    def postprocess(self, value: np.ndarray | None) -> ImageData | None:
        """uint8 RGB `(height, width, 3)` to a data URL."""
        if value is None:
            return None
        buffer, stamp = io.BytesIO(), Stamp(self._provenance, PAGE_MARK)
        Image.fromarray(stamp.picture(value)).save(buffer, "JPEG", quality=JPEG_QUALITY, **picture_options(".jpg"))
        data = stamp.encoded(buffer.getvalue(), "image/jpeg")
        return ImageData(url="data:image/jpeg;base64," + base64.b64encode(data).decode())


class NumberInput(gr.Number):
    """A `gr.Number` that hands over whatever was given, so that what is no number is refused in one sentence."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        """What was given."""
        return payload


class SliderInput(gr.Slider):
    """A `gr.Slider` that hands over whatever was given."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        """What was given."""
        return payload


class FacePairs(gr.Textbox):
    """A `gr.Textbox` for pairs of faces, which count from 1 on the page and from 0 everywhere else."""

    is_template = True

    def preprocess(self, payload: str | None) -> str | None:
        """The text with every number lowered by 1; one below is refused later, as everything that is not understood."""
        return None if payload is None else re.sub(r"\d{1,6}", lambda number: str(int(number[0]) - 1), payload)


def option_component(name: str, **changes: Any) -> gr.components.Component:
    """The control of an option, from what the option says about itself."""
    item = option_fields()[name]
    about = item.metadata
    looks = dict(label=about["label"]) | ({"info": about["info"]} if about["info"] else {}) | changes
    if about["kind"] is dict:
        return gr.JSON({}, **looks)
    if about["kind"] is bool:
        return gr.Checkbox(item.default, **looks)
    if name == "faces":
        return FacePairs(item.default, max_lines=1, **looks)
    if "longest" in about:
        return gr.Textbox(item.default, lines=2, max_lines=8, **looks)
    if about["kind"] is str:
        return gr.Radio(about["choices"], value=item.default, **looks)
    if "choices" in about:
        return gr.Dropdown(about["choices"], value=item.default, **looks)
    if "step" in about:
        return SliderInput(about["low"], about["high"], item.default, step=about["step"], **looks)
    return NumberInput(item.default, minimum=about["low"], maximum=about.get("high"), **looks)


def option_parameter(name: str) -> gr.components.Component:
    """The input of an option in an endpoint: takes anything, and `Options` checks it."""
    item = option_fields()[name]
    kind = item.metadata["kind"]
    if kind is dict:
        return gr.JSON({}, label=name)
    if kind is bool:
        return gr.Checkbox(item.default, label=name)
    return gr.Textbox(item.default, label=name) if kind is str else NumberInput(item.default, label=name)
