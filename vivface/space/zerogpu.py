"""ZeroGPU: a GPU is lent for the length of one call, in a forked process, where the package `spaces` says so.

Functions that need the GPU take and return plain values. What they tell on the way, and errors of users, come back as
values too, since only `gr.Error` would survive the way; visitors, their jobs and what is remembered of them stay here.
"""

import os
import queue
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from vivface.errors import OptionError, VivFaceError
from vivface.reenactment.codes import MOTION_SUFFIX, IdentityCode
from vivface.reenactment.progress import OnProgress, Progress
from vivface.reenactment.result import Report
from vivface.space.jobs import Cancelled, Outputs
from vivface.space.live import LiveDriver
from vivface.space.options import Options
from vivface.space.renderer import Renderer
from vivface.space.text import NO_LIVE
from vivface.warping.parts import Parts

START_SECONDS = 20.0  # opening files, first calls on a new device
STEP_SECONDS = 0.1  # one step of tuning
FRAMES_PER_SECOND = 15.0  # made, written and sent, on the slow side
LONGEST_SECONDS = 300.0
POLL_SECONDS = 0.2  # how often a worker says that it is alive, and hears that it should stop
LEAVE_SECONDS = 5.0  # how long a worker waits for the work that it has stopped


def on_zerogpu() -> bool:
    """Whether this program runs where GPUs are lent."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def gpu_seconds(frames: float = 0, steps: int = 0) -> int:
    """How long a GPU is needed.

    Args:
        frames (`float`, *optional*, defaults to 0): Frames to make.
        steps (`int`, *optional*, defaults to 0): Steps of tuning to a portrait.

    Returns:
        `int`: Seconds, at most 300.
    """
    return round(min(LONGEST_SECONDS, START_SECONDS + STEP_SECONDS * steps + frames / FRAMES_PER_SECOND))


@dataclass(frozen=True)
class Done:
    """The last thing that a lent function tells."""

    value: Any


def tell(work: Callable[[OnProgress], Any]) -> Iterator[Progress | Done | VivFaceError | None]:
    """Run work in a thread and yield what it tells: its progress, None while there is nothing new, and its end.

    An error that a user can cause is yielded, not raised. Closing the iterator stops the work and waits for its end, a
    few seconds at most.
    """
    told: queue.Queue[Progress | Done | BaseException] = queue.Queue()
    stop = threading.Event()

    def on_progress(progress: Progress) -> None:
        if stop.is_set():
            raise Cancelled
        told.put(progress)

    def run() -> None:
        try:
            told.put(Done(work(on_progress)))
        except BaseException as error:  # noqa: BLE001 - handed over below
            told.put(error)

    thread = threading.Thread(target=run, name="vivface-lent", daemon=True)
    thread.start()
    try:
        while True:
            try:
                item = told.get(timeout=POLL_SECONDS)
            except queue.Empty:
                yield None
                continue
            if isinstance(item, BaseException) and not isinstance(item, VivFaceError):
                raise item
            yield item
            if not isinstance(item, Progress):
                return
    finally:
        stop.set()
        thread.join(LEAVE_SECONDS)


def follow(events: Iterator[Progress | Done | VivFaceError | None], on_progress: OnProgress) -> Any:
    """Follow what a lent function tells, to its end.

    Raises:
        VivFaceError: What it told.
        BaseException: What `on_progress` raised; the function is stopped first.
    """
    last = Progress("rendering", 0)
    with closing(events):
        for event in events:
            if isinstance(event, VivFaceError):
                raise event
            if isinstance(event, Done):
                return event.value
            last = event or last
            on_progress(last)
    raise RuntimeError("the GPU's worker ended without a result")


class LentRenderer(Renderer):
    """A renderer whose work runs where ZeroGPU lends a GPU; same functions, same errors."""

    offers_live = False

    def __init__(self, *args: Any):
        super().__init__(*args)
        import spaces

        self._home = os.getpid()
        cv2.setNumThreads(0)  # OpenCV's threads do not survive a fork, and a worker would wait for them
        self._encode = spaces.GPU(duration=lambda _, __, steps, ___: gpu_seconds(steps=steps))(self._encode_there)
        self._still = spaces.GPU(duration=gpu_seconds())(self._still_there)
        self._render = spaces.GPU(duration=lambda *args: gpu_seconds(args[-1]))(self._render_there)
        self._render_film = spaces.GPU(duration=lambda *args: gpu_seconds(args[-1]))(self._render_film_there)
        self._save_motion = spaces.GPU(duration=lambda *args: gpu_seconds(args[-1]))(self._save_motion_there)

    # Here ------------------------------------------------------------------------------------------------------------

    def encode(self, portrait: str, face: int, steps: int, on_progress: OnProgress) -> IdentityCode:
        """See `Renderer.encode`; the code comes back on the CPU."""
        with tempfile.TemporaryDirectory(prefix="vivface-") as folder:
            file = f"{folder}/identity.safetensors"
            follow(self._encode(portrait, face, steps, file), on_progress)
            return IdentityCode.load(file)

    def edited_still(self, identity: IdentityCode, edits: dict[str, float], refine: bool) -> np.ndarray:
        """See `Renderer.edited_still`."""
        with tempfile.TemporaryDirectory(prefix="vivface-") as folder:
            file = str(identity.save(f"{folder}/identity.safetensors"))
            return follow(self._still(file, edits, refine), _ignore)

    def render(
        self,
        identity: IdentityCode,
        driving: str,
        options: Options,
        outputs: Outputs,
        on_progress: OnProgress,
        co_driving: str | None = None,
    ) -> Report:
        """See `Renderer.render`."""
        with tempfile.TemporaryDirectory(prefix="vivface-") as folder:
            file = str(identity.save(f"{folder}/identity.safetensors"))
            frames = self._frames(driving, options)
            return follow(self._render(file, driving, options, outputs, co_driving, frames), on_progress)

    def render_film(
        self, film: str, driving: str, options: Options, outputs: Outputs, on_progress: OnProgress
    ) -> Report:
        """See `Renderer.render_film`."""
        with self.limits.open_film(film, options.film_start, options.film_duration) as reader:
            frames = reader.frames_estimate or self.limits.frames
        return follow(self._render_film(film, driving, options, outputs, frames), on_progress)

    def save_motion(self, driving: str, options: Options, path: Path, on_progress: OnProgress) -> Path:
        """See `Renderer.save_motion`."""
        return follow(self._save_motion(driving, options, path, self._frames(driving, options)), on_progress)

    def live(
        self,
        identity: IdentityCode,
        edits: dict[str, float],
        refine: bool,
        motion_mode: str,
        parts: Parts | None = None,
    ) -> LiveDriver:
        """Not offered.

        Raises:
            OptionError: Always.
        """
        raise OptionError(NO_LIVE)

    def _frames(self, driving: str, options: Options) -> int:
        """An estimate that needs no network: these are not here."""
        if Path(driving).suffix == MOTION_SUFFIX:
            return self.limits.open_motion_file(driving).frames or 0
        with self.limits.open_video(driving, options.start) as reader:
            frames = reader.frames_estimate or self.limits.frames
            return min(frames, round(options.duration * reader.fps)) if options.duration else frames

    # There, in the process that has the GPU --------------------------------------------------------------------------

    def _encode_there(self, portrait: str, face: int, steps: int, file: str) -> Iterator:
        self._enter()

        def work(on_progress: OnProgress) -> None:
            Renderer.encode(self, portrait, face, steps, on_progress).save(file)

        yield from tell(work)

    def _still_there(self, file: str, edits: dict[str, float], refine: bool) -> Iterator:
        self._enter()
        yield from tell(lambda _: Renderer.edited_still(self, self._load(file), edits, refine))

    def _render_there(
        self, file: str, driving: str, options: Options, outputs: Outputs, co_driving: str | None, frames: int
    ) -> Iterator:
        self._enter()

        def work(on_progress: OnProgress) -> Report:
            return Renderer.render(self, self._load(file), driving, options, outputs, on_progress, co_driving)

        yield from tell(work)

    def _render_film_there(self, film: str, driving: str, options: Options, outputs: Outputs, frames: int) -> Iterator:
        self._enter()
        yield from tell(lambda told: Renderer.render_film(self, film, driving, options, outputs, told))

    def _save_motion_there(self, driving: str, options: Options, path: Path, frames: int) -> Iterator:
        self._enter()
        yield from tell(lambda on_progress: Renderer.save_motion(self, driving, options, path, on_progress))

    def _load(self, file: str) -> IdentityCode:
        device, dtype = self.pipeline.device, self.pipeline.dtype
        return IdentityCode.load(file).to(device, dtype)

    def _enter(self) -> None:
        """In a forked process: torch's threads and the locks of the old one are of no use."""
        if os.getpid() != self._home:
            torch.set_num_threads(1)
            self.pipeline.backend.renew_lock()


def _ignore(progress: Progress) -> None:
    """Nobody stops a still."""
