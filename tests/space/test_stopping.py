"""A run is stopped in every phase, and other visitors notice nothing of it."""

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file

from tests.clips import write_face_clip
from tests.space.conftest import Server, serve
from vivface.faces.landmarks import Effort, Face, LandmarkBackend
from vivface.space.detection import SharedBackend

ANSWER_SECONDS = 0.5  # in which other visitors are answered (the typical one; a busy machine may be late once)
LATE_SECONDS = 3.0
PHASES = ("opening", "searching", "adapting", "rendering", "writing")


class SlowBackend:
    """A backend that takes its time with some of its work.

    Attributes:
        slow_effort (`str`, *optional*): A search of this effort takes three seconds, and cannot be interrupted.
        seconds (`float`): What every other call takes.
    """

    def __init__(self, backend: LandmarkBackend):
        self.name = backend.name
        self.slow_effort: Effort | None = None
        self.seconds = 0.0
        self._backend = backend

    def detect(self, image: np.ndarray, *, effort: Effort = "normal", near: Face | None = None) -> list[Face]:
        """See `LandmarkBackend`."""
        time.sleep(3 if effort == self.slow_effort else self.seconds)
        return self._backend.detect(image, effort=effort, near=near)

    def refine(self, image: np.ndarray, face: Face) -> Face | None:
        """See `LandmarkBackend`."""
        return self._backend.refine(image, face)


@pytest.fixture(scope="module")
def server(space_checkpoint: Path, examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from serve(space_checkpoint, examples, tmp_path_factory.mktemp("files"))


@pytest.fixture
def slow(server: Server) -> Iterator[SlowBackend]:
    """The page's detector, to be slowed down; all is as before at the end, and no run is left."""
    pipeline = server.demo.service.pipeline
    usual, steps = pipeline.backend, pipeline.config.adapt_steps
    backend = SlowBackend(usual)
    pipeline.use_detector(SharedBackend(backend))
    yield backend
    backend.slow_effort, backend.seconds = None, 0.0
    wait_until(lambda: len(server.demo.service.queue) == 0)
    pipeline.use_detector(usual)
    pipeline.register_to_config(adapt_steps=steps)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    return {
        "long": write_face_clip(folder / "long.mp4", frames=450),
        "empty": write_face_clip(folder / "empty.mp4", frames=450, hidden=range(450)),
        "short": write_face_clip(folder / "short.mp4", frames=24),
    }


def wait_until(condition: Callable[[], object], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Visitor:
    """Somebody else, who asks for something small again and again."""

    def __init__(self, url: str):
        self._url = url
        self.seconds: list[float] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> "Visitor":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._end.set()
        self._thread.join()

    def _ask(self) -> None:
        with httpx.Client(timeout=30) as client:
            while not self._end.is_set():
                began = time.monotonic()
                assert client.get(f"{self._url}/config").status_code == 200
                self.seconds.append(time.monotonic() - began)
                time.sleep(0.05)


def connect(server: Server, tmp_path: Path) -> Client:
    return Client(server.url, verbose=False, download_files=str(tmp_path), httpx_kwargs={"timeout": 120})


@pytest.mark.parametrize("phase", PHASES)
def test_every_phase(phase, server, slow, clips, uploaded, tmp_path):
    service, clip, options, words = server.demo.service, "long", {}, "Making frames"
    if phase == "opening":
        slow.slow_effort, words = "high", "Reading the portrait"
    elif phase == "searching":
        slow.seconds, clip, words = 0.1, "empty", "Searching for a face"
    elif phase == "adapting":
        service.pipeline.register_to_config(adapt_steps=3000)
        words = "Learning the portrait"
    elif phase == "writing":
        clip, words, options = "short", "Writing the file", {"height": 1080, "compare": True}
    with closing(connect(server, tmp_path)) as client:
        files = handle_file(str(uploaded)), handle_file(str(clips[clip]))
        run = client.submit(*files, consent=True, api_name="/reenact", **options)
        wait_until(lambda: any(words in update[3] for update in run.outputs()) or run.done())
        assert not run.done()
        with Visitor(server.url) as other:
            began = time.monotonic()
            run.cancel()
            wait_until(run.done, 20)
            stopped = time.monotonic() - began
            time.sleep(0.7)
    assert stopped < 1 + LATE_SECONDS
    assert len(other.seconds) >= 3, "others wait for the run's end"
    assert statistics.median(other.seconds) < ANSWER_SECONDS and max(other.seconds) < LATE_SECONDS

    # The work itself ends, too: at once, with the one search that cannot be interrupted, or once files are closed
    longest = {"opening": 3 + LATE_SECONDS, "writing": 20}  # files are closed: how soon is the machine's affair
    wait_until(lambda: len(service.queue) == 0, longest.get(phase, 1 + LATE_SECONDS))
    wait_until(lambda: server.work_names() == [], 5)


def test_the_next_run_waits_for_the_stopped_one(server, slow, clips, uploaded, face_clip, tmp_path):
    """Stopped in the middle of a search that cannot be interrupted; meanwhile others are answered."""
    slow.slow_effort = "high"
    with closing(connect(server, tmp_path)) as first, closing(connect(server, tmp_path / "second")) as second:
        portrait, clip = handle_file(str(uploaded)), handle_file(str(clips["short"]))
        stopped = first.submit(portrait, clip, consent=True, api_name="/reenact")
        wait_until(lambda: any("Reading" in update[3] for update in stopped.outputs()))
        stopped.cancel()
        wait_until(stopped.done, 5)
        with Visitor(server.url) as other:
            following = second.submit(portrait, clip, consent=True, api_name="/reenact")
            wait_until(lambda: any("Waiting for 1 other run" in update[3] for update in following.outputs()))
            slow.slow_effort = None
            assert following.result(timeout=120)[3].startswith("24 frames")
    assert statistics.median(other.seconds) < ANSWER_SECONDS and max(other.seconds) < LATE_SECONDS
