"""Gradio components with two habits changed: inputs are not opened before they are checked, outputs are marked."""

import base64
import io
from pathlib import Path

import gradio as gr
import numpy as np
from gradio.data_classes import ImageData
from PIL import Image

from vivface.media.provenance import picture_options

JPEG_QUALITY = 92


def picture_input(**options) -> gr.Image:
    """A `gr.Image` that hands over the path of the upload, untouched.

    `gr.Image` itself opens the picture, with every decoder that Pillow has, before any function sees it; what is no
    picture, or is huge, then ends in an error of Pillow. Here limits and messages are those of `vivface`.
    """
    component = gr.Image(type="filepath", image_mode=None, interactive=True, **options)

    def preprocess(payload: ImageData | None) -> str | None:
        if payload is None or payload.path is None:
            return None
        return str(Path(payload.path))

    component.preprocess = preprocess
    return component


def rendered_picture(**options) -> gr.Image:
    """A `gr.Image` for pictures that the program makes: sent inside the page, without a file, marked as synthetic."""
    component = gr.Image(type="numpy", interactive=False, buttons=["fullscreen"], **options)

    def postprocess(value: np.ndarray | None) -> ImageData | None:
        if value is None:
            return None
        buffer = io.BytesIO()
        Image.fromarray(value).save(buffer, "JPEG", quality=JPEG_QUALITY, **picture_options(".jpg"))
        return ImageData(url="data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode())

    component.postprocess = postprocess
    return component
