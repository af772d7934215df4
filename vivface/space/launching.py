"""How the page is served: its look, its examples, and the limits of what is sent to it."""

import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from vivface.space.examples import example_pairs, find_examples, prepare_examples
from vivface.space.limits import MEGA, Limits
from vivface.space.look import CSS, JS, theme
from vivface.space.uploads import BodyLimit
from vivface.space.zerogpu import on_zerogpu


def launch(demo: gr.Blocks, examples: Path) -> None:
    """Serve the page until the program ends; results of the examples are made meanwhile.

    Args:
        demo (`gr.Blocks`): From `create_demo`.
        examples (`Path`): The folder of examples that it was given.
    """
    if not on_zerogpu():  # a lent GPU is for visitors
        work = (demo.service, example_pairs(*find_examples(examples)))
        threading.Thread(target=prepare_examples, args=work, name="vivface-examples", daemon=True).start()
    demo.launch(**launch_options())


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
