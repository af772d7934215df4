"""A running page with a tiny checkpoint of random weights."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import gradio as gr
import numpy as np
import pytest
import torch

from tests.clips import portrait as portrait_picture
from tests.processes import free_port
from tests.tiny_codec import make_components
from vivface.editing import AttributeDirections, Direction
from vivface.media import save_image
from vivface.space.limits import Limits

LIMITS = Limits(image_bytes=3_000_000, video_bytes=4_000_000, motion_bytes=4_000_000, seconds=20)


@dataclass
class Server:
    """A page that is being served.

    Attributes:
        url (`str`): where.
        demo (`gr.Blocks`): the page; `demo.service` does its work.
        files (`Path`): where it keeps uploads and results.
    """

    url: str
    demo: gr.Blocks
    files: Path

    def file_names(self) -> list[str]:
        """Uploads and results that are kept now."""
        return [str(path) for path in (self.files / "gradio").rglob("*") if path.is_file()]

    def work_names(self) -> list[str]:
        """Files of work that is going on; results of examples, which are kept on purpose, do not count."""
        found = (self.files / "work").glob("vivface-*/**/*")
        return [str(path) for path in found if path.is_file() and "vivface-examples-" not in str(path)]


@pytest.fixture(scope="session")
def space_checkpoint(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint with directions to edit along and components for the codec."""
    folder = tmp_path_factory.mktemp("space") / "checkpoint"
    shutil.copytree(tiny_checkpoint, folder)
    random = torch.Generator().manual_seed(0)
    latents = 10  # of a 64 x 64 generator
    AttributeDirections(
        [
            Direction("smile", "Smile", "motion", 3 * torch.randn(10, 32, generator=random)),
            Direction("age", "Age", "w_plus", 3 * torch.randn(latents, 32, generator=random), reach=2.0),
        ]
    ).save(folder / "directions.safetensors")
    make_components().save(folder / "codec" / "components.safetensors")
    return folder


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory, face_clip: Path) -> Path:
    """A folder with an example portrait and an example clip."""
    folder = tmp_path_factory.mktemp("examples")
    save_image(folder / "portrait.png", portrait_picture())
    (folder / "driving.mp4").write_bytes(face_clip.read_bytes())
    return folder


@pytest.fixture(scope="module")
def server(space_checkpoint: Path, examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The page, served on a free port of this machine."""
    yield from serve(space_checkpoint, examples, tmp_path_factory.mktemp("files"))


def serve(checkpoint: Path, examples: Path, files: Path, file_seconds: int = 3600) -> Iterator[Server]:
    """Serve until the generator is closed; all temporary files go to `files`."""
    import tempfile

    import app

    folders = {"GRADIO_TEMP_DIR": files / "gradio", "TMPDIR": files / "work"}
    before = {name: os.environ.get(name) for name in folders}
    for name, folder in folders.items():
        folder.mkdir(parents=True, exist_ok=True)
        os.environ[name] = str(folder)
    tempfile.tempdir = None  # so that TMPDIR is read again
    try:
        demo = app.create_demo(checkpoint, LIMITS, examples, file_seconds)
        options = app.launch_options(LIMITS)
        _, url, _ = demo.launch(
            prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", server_port=free_port(), **options
        )
        try:
            yield Server(url.rstrip("/"), demo, files)
        finally:
            demo.close(verbose=False)
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        tempfile.tempdir = None


@pytest.fixture(scope="module")
def browser() -> Iterator:
    from docs.browser import open_browser
    from tests.space.browsing import playwright

    with playwright.sync_playwright() as started:
        browser = open_browser(started)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, server: Server) -> Iterator:
    """The page in a browser window of its own; no script of it may fail."""
    from tests.space.browsing import PATIENCE

    context = browser.new_context(viewport={"width": 1280, "height": 1000}, permissions=["camera", "microphone"])
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(server.url)
    page.locator("#run").wait_for()
    yield page
    context.close()
    assert not errors, errors


@pytest.fixture(scope="session")
def two_faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of two people, the larger one on the right."""
    person = portrait_picture()[:400, 20:420]
    small = cv2.resize(person, (280, 280), interpolation=cv2.INTER_AREA)
    canvas = np.full((400, 700, 3), 200, np.uint8)
    canvas[60:340, 10:290] = small
    canvas[:, 300:] = person
    path = tmp_path_factory.mktemp("two") / "two.png"
    save_image(path, canvas)
    return path


@pytest.fixture(scope="session")
def uploaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A portrait that is none of the examples."""
    path = tmp_path_factory.mktemp("uploaded") / "uploaded.png"
    save_image(path, np.ascontiguousarray(portrait_picture()[:, ::-1]))
    return path
