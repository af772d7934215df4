"""The page: a portrait and a driving video in, a speaking portrait out.

    python app.py

`VIVFACE_CHECKPOINT` names another checkpoint than the bundled one (a folder or a Hub id). The page is in
`vivface.space`.
"""

import os
import sys
from pathlib import Path

import gradio as gr

if os.environ.get("SPACES_ZERO_GPU"):
    import spaces  # noqa: F401 - lends GPUs; it has to come before any import that asks torch for one

from vivface import VivFaceError, load_pipeline
from vivface.editing import AttributeDirections
from vivface.hub.index import locate
from vivface.runtime import choose_device
from vivface.space.api import Endpoints
from vivface.space.codec_service import load_codec
from vivface.space.codec_tab import add_codec
from vivface.space.events import Events
from vivface.space.examples import find_examples
from vivface.space.expression_tab import add_expressions
from vivface.space.film_tab import add_films
from vivface.space.launching import launch, launch_options  # noqa: F401 - for those who launch the page themselves
from vivface.space.limits import Limits
from vivface.space.page import Page
from vivface.space.renderer import Renderer
from vivface.space.service import ReenactmentService
from vivface.space.zerogpu import LentRenderer, on_zerogpu

EXAMPLES = Path(__file__).parent / "examples"


def create_demo(
    checkpoint: str | os.PathLike | None = None,
    limits: Limits | None = None,
    examples: Path = EXAMPLES,
    file_seconds: int = 3600,
    device: str = "auto",
) -> gr.Blocks:
    """Build the page.

    Args:
        checkpoint (`str` or `os.PathLike`, *optional*): Folder or Hub id; by default `VIVFACE_CHECKPOINT`, else the
            bundled checkpoint.
        limits (`Limits`, *optional*): Of uploads, runs and memory.
        examples (`Path`, *optional*): Folder of example portraits and videos.
        file_seconds (`int`, *optional*, defaults to 3600): How long uploads and results are kept.
        device (`str`, *optional*, defaults to `"auto"`): Where networks run.

    Raises:
        CheckpointError: If the checkpoint cannot be loaded.
    """
    checkpoint = locate(checkpoint or os.environ.get("VIVFACE_CHECKPOINT"))
    pipeline = load_pipeline(checkpoint).to(choose_device(device))
    portraits, clips = find_examples(examples)
    directions = AttributeDirections.of_checkpoint(checkpoint)
    lent = on_zerogpu()  # there the codec, which takes its time, is not offered
    renderer, codec = (LentRenderer, None) if lent else (Renderer, load_codec(pipeline, checkpoint))
    service = ReenactmentService(pipeline, directions, limits, [*portraits, *clips], renderer, codec)
    every = max(1, min(file_seconds, 300))
    with gr.Blocks(title="vivface", analytics_enabled=False, delete_cache=(every, file_seconds)) as demo:
        page = Page(service, portraits, clips)
        Events(page)
        Endpoints(service, page.visitor)
        add_codec(page)
        add_films(page, clips)
        add_expressions(page)
    demo.queue(max_size=64, default_concurrency_limit=4)
    demo.service = service
    return demo


def main() -> None:
    """Open the page; a checkpoint that cannot be loaded ends it with one sentence."""
    try:
        demo = create_demo()
    except VivFaceError as error:
        sys.exit(f"Error: {error}")
    launch(demo, EXAMPLES)


if __name__ == "__main__":
    main()
