"""How the page is served: its look, and the limits of what is sent to it."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from vivface.space.limits import MEGA, Limits
from vivface.space.look import CSS, JS, theme
from vivface.space.uploads import BodyLimit


def launch_options(limits: Limits | None = None) -> dict[str, Any]:
    """What `demo.launch` needs besides the page itself: its look and the limits of uploads."""
    largest, folder = (limits or Limits()).upload_bytes, Path(gr.utils.get_upload_folder())
    return dict(
        theme=theme(),
        css=CSS,
        js=JS,
        max_file_size=largest,
        app_kwargs={"middleware": [Middleware(BodyLimit, upload_bytes=largest + MEGA, folder=folder)]},
        footer_links=["api"],
        mcp_server=find_spec("mcp") is not None,
    )
