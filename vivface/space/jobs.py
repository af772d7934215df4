"""Work that runs beside the page: it can be watched, waits its turn, and can be stopped at any step."""

import contextvars
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vivface.reenactment.progress import Progress
from vivface.reenactment.result import Report

POLL_SECONDS = 0.1
STEPS = {
    "adapting": "Learning the portrait",
    "searching": "Searching for a face in the video",
    "rendering": "Making frames",
    "analysing": "Following the face",
    "encoding": "Encoding frames",
}


class Cancelled(Exception):
    """The visitor stopped the job."""


@dataclass(frozen=True)
class Outputs:
    """Files that a run writes, and the first frames as a moving image, which appear early."""

    video: Path
    comparison: Path | None = None
    motion: Path | None = None
    preview: Path | None = None


@dataclass(frozen=True)
class Update:
    """How far a job is; the last update carries the result.

    Attributes:
        step (`str`): What is going on, for people.
        done, total (`int`): Units of the step that are done and that there are; total is None while unknown.
        unit (`str`): Of these, `"frames"` or `"steps"`.
        seconds_left (`float`, *optional*): Estimate.
        preview (`pathlib.Path`, *optional*): The first frames, once they are there.
        result (*optional*): What the work returned, in the last update: for a run its `Outputs`.
        report (`Report`, *optional*): What happened, in the last update of a run.
        kept (`bool`): Whether the result was made before, and this is a copy.
    """

    step: str
    done: int = 0
    total: int | None = None
    unit: str = "frames"
    seconds_left: float | None = None
    preview: Path | None = None
    result: Any = None
    report: Report | None = None
    kept: bool = False


class JobQueue:
    """Jobs run one at a time, in the order in which they came."""

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()  # the first one runs
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, job: "Job") -> Iterator[None]:
        """Wait for the end of all earlier jobs, however they end.

        Raises:
            Cancelled: If the job was stopped while it waited.
        """
        with self._changed:
            self._jobs.append(job)
        try:
            with self._changed:
                while self._jobs[0] is not job:
                    ahead = self._jobs.index(job)
                    job.step = f"Waiting for {ahead} other run{'s' * (ahead > 1)} to end"
                    job.check()
                    self._changed.wait(POLL_SECONDS)
            job.check()
            yield
        finally:
            with self._changed:
                self._jobs.remove(job)
                self._changed.notify_all()

    def __len__(self) -> int:
        return len(self._jobs)


class Job:
    """Runs `work(job)` in a thread, with a folder of its own.

    The folder is deleted once the job has ended and nobody watches it any more.

    Args:
        work (callable `Job -> result`): The work; it calls `check` or `on_progress` several times a second.
        queue (`JobQueue`): Where it waits for its turn.
        on_end (callable `Job -> None`, *optional*): Called when the thread ends, however it does.

    Attributes:
        folder (`pathlib.Path`): For the files of the job.
        step (`str`): What is going on, for people.
        result: What the work returned.
        report (`Report`, *optional*): What a run was told at its end.
        error (`BaseException`, *optional*): What ended the work instead.
    """

    def __init__(
        self, work: Callable[["Job"], Any], queue: JobQueue, on_end: Callable[["Job"], None] = lambda job: None
    ):
        self.folder = Path(tempfile.mkdtemp(prefix="vivface-"))
        self.step = "Starting"
        self.preview: Path | None = None
        self.result: Any = None
        self.report: Report | None = None
        self.error: BaseException | None = None
        self._work = work
        self._queue = queue
        self._on_end = on_end
        self._progress: Progress | None = None
        self._began = 0.0  # when the present stage did
        self._stop, self._ended = threading.Event(), threading.Event()
        self._news = threading.Event()  # set when whoever watches should not wait longer
        self._watched = True
        self._lock = threading.Lock()
        context = contextvars.copy_context()  # ZeroGPU reads there who is asking
        self._thread = threading.Thread(target=context.run, args=(self._run,), name="vivface-job", daemon=True)

    def start(self) -> "Job":
        """Begin, or wait for the turn."""
        self._thread.start()
        return self

    def cancel(self) -> None:
        """Ask for the end; does not wait for it."""
        self._stop.set()
        self._news.set()

    def check(self) -> None:
        """Called by the work.

        Raises:
            Cancelled: If the end was asked for.
        """
        if self._stop.is_set():
            raise Cancelled

    def on_progress(self, progress: Progress) -> None:
        """Called by the work: remember how far it is.

        Raises:
            Cancelled: If the end was asked for.
        """
        self.check()
        if self._progress is None or self._progress.stage != progress.stage:
            self._began = time.monotonic()
        self._progress = progress
        self.step = STEPS[progress.stage]
        if progress.stage == "rendering" and progress.total and progress.done >= progress.total:
            self.step = "Writing the file"

    @property
    def is_running(self) -> bool:
        """Whether the thread has not ended yet."""
        return not self._ended.is_set()

    def wait(self, seconds: float | None = None) -> bool:
        """Whether the job has ended, after at most so many seconds."""
        return self._ended.wait(seconds)

    def updates(self, seconds: float) -> Iterator[Update]:
        """Tell how far the job is until it ends or is stopped; the last update carries the result.

        A stopped job is not waited for: it ends by itself, and the next one in the queue waits for that. Closing the
        iterator stops the job, too, and takes no time.

        Args:
            seconds (`float`): Between two updates.

        Raises:
            Cancelled: If the job was stopped.
            BaseException: What ended the work.
        """
        try:
            while not self._news.wait(seconds):
                yield self._update()
            self.check()
            if self.error is not None:
                raise self.error
            yield Update("Done", result=self.result, report=self.report)
        finally:
            self.cancel()
            self._leave()

    def _update(self) -> Update:
        progress, step = self._progress, self.step
        preview = self.preview if self.preview is not None and self.preview.exists() else None
        if progress is None or progress.done == 0:
            return Update(step, preview=preview)
        unit = "steps" if progress.stage == "adapting" else "frames"
        left = None
        if progress.total and progress.stage != "searching":
            left = (time.monotonic() - self._began) / progress.done * max(progress.total - progress.done, 0)
        return Update(step, progress.done, progress.total, unit, left, preview)

    def _run(self) -> None:
        try:
            with self._queue.turn(self):
                self.step = "Starting"
                self.result = self._work(self)
        except BaseException as error:  # noqa: BLE001 - raised again where the job is watched
            self.error = error
        finally:
            self._on_end(self)
            self._ended.set()
            self._news.set()
            self._clean()

    def _leave(self) -> None:
        with self._lock:
            self._watched = False
        self._clean()

    def _clean(self) -> None:
        with self._lock:
            if self._ended.is_set() and not self._watched:
                shutil.rmtree(self.folder, ignore_errors=True)
