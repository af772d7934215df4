"""Clips made by processes of this machine.

The parent hands out one task at a time over a pipe. A worker that ends, whatever ended it, is replaced, and its task is
handed out again.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import connection
from pathlib import Path

from vivface.batch.clips import Clip
from vivface.batch.maker import MAX_ATTEMPTS, BatchSettings, ClipMaker, work_folder, write_failure
from vivface.batch.plan import Plan, Portrait, Task
from vivface.batch.records import Record
from vivface.errors import BackendError, VivFaceError

LEAVE_SECONDS = 5.0
MAX_LOST_STARTS = 3  # workers that end one after the other before any of them has loaded its pipeline

OnRecord = Callable[[Record], None]


@dataclass
class _Worker:
    number: int
    process: multiprocessing.process.BaseProcess
    pipe: connection.Connection
    ready: bool = False
    task: Task | None = None
    portrait: Portrait | None = None


class LocalPool:
    """Worker processes for one run; a context manager that ends them on the way out.

    Args:
        settings (`BatchSettings`): How clips are made.
        output (`pathlib.Path`): Folder of the results.
        workers (`int`): Processes.
        shard (`str`, *optional*): Names the folder of unfinished files.
    """

    def __init__(self, settings: BatchSettings, output: Path, workers: int, shard: str | None = None):
        threads = settings.threads or max(1, (os.cpu_count() or 1) // workers)
        self._settings = replace(settings, threads=threads)
        self._output, self._shard = output, shard
        self._workers: list[_Worker] = []
        self._lost_starts = 0
        self._losses: Counter[Task] = Counter()
        self._context = multiprocessing.get_context("spawn")
        self._count = workers

    def __enter__(self) -> LocalPool:
        self._workers = [self._start(number) for number in range(self._count)]
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for worker in self._workers:
            worker.pipe.close()  # a worker that has nothing to do ends by itself
            if kind is not None:
                worker.process.kill()
        for worker in self._workers:
            worker.process.join(LEAVE_SECONDS)
            worker.process.kill()
            worker.process.join()
        shutil.rmtree(work_folder(self._output, self._shard), ignore_errors=True)

    @property
    def process_ids(self) -> list[int]:
        """Of the workers that are there now."""
        return [worker.process.pid for worker in self._workers]

    def run(self, clips: Sequence[Clip], on_record: OnRecord) -> None:
        """Make clips.

        Args:
            clips (sequence of `Clip`): Which.
            on_record (callable): Told of every clip, done or failed; may raise to stop.

        Raises:
            VivFaceError: If no worker can load the checkpoint.
        """
        plan = Plan(clips)
        while not plan.is_done:
            for worker in self._workers:
                if worker.ready and worker.task is None:
                    self._hand_out(worker, plan)
            pipes = {worker.pipe: worker for worker in self._workers}
            for pipe in connection.wait(list(pipes)):
                worker = pipes[pipe]
                try:
                    message = pipe.recv()
                except (EOFError, OSError):
                    self._replace(worker, plan)
                else:
                    self._receive(worker, message, plan, on_record)

    def _hand_out(self, worker: _Worker, plan: Plan) -> None:
        task = plan.next(worker.portrait)
        if task is None:
            return
        worker.task, worker.portrait = task, task.clip.portrait
        with suppress(OSError):  # it has ended; the next wait tells
            worker.pipe.send(task)

    def _receive(self, worker: _Worker, message: object, plan: Plan, on_record: OnRecord) -> None:
        if isinstance(message, VivFaceError):  # the pipeline cannot be loaded, here or anywhere
            raise message
        if message == "ready":
            worker.ready, self._lost_starts = True, 0
            return
        task, worker.task = worker.task, None
        if isinstance(message, Record):
            plan.finish(task)
            on_record(message)
            return
        error: str | None = message[1]  # ("portrait", None or why not)
        for clip in plan.finish(task, failed=error is not None):
            on_record(write_failure(clip, error, self._settings, self._output, self._work("parent")))

    def _replace(self, worker: _Worker, plan: Plan) -> None:
        worker.process.join()
        worker.pipe.close()
        shutil.rmtree(self._work(worker.number), ignore_errors=True)
        ending = _ending(worker.process.exitcode)
        if worker.task is not None:
            self._losses[worker.task] += 1
            if self._losses[worker.task] > MAX_ATTEMPTS + 1:  # not even a record of its failure can be written
                raise BackendError(
                    f"Workers end at '{worker.task.clip.name}' again and again ({ending}): is the disk full?"
                )
            plan.again(worker.task)
        if not worker.ready:
            self._lost_starts += 1
            if self._lost_starts >= MAX_LOST_STARTS:
                raise BackendError(f"Workers end while they load ({ending}): give fewer workers or more memory.")
        self._workers[self._workers.index(worker)] = self._start(worker.number)

    def _start(self, number: int) -> _Worker:
        ours, theirs = self._context.Pipe()
        arguments = (theirs, self._settings, self._output, self._work(number), number)
        process = self._context.Process(target=serve, args=arguments, name=f"vivface-batch-{number}", daemon=True)
        process.start()
        theirs.close()
        return _Worker(number, process, ours)

    def _work(self, worker: int | str) -> Path:
        return work_folder(self._output, self._shard, str(worker))


def serve(pipe: connection.Connection, settings: BatchSettings, output: Path, work: Path, number: int) -> None:
    """The life of a worker: load, then do what the parent sends; ends with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from vivface.runtime import keep_freed_memory

    keep_freed_memory()
    try:
        maker = ClipMaker(_on_device(settings, number), output, work, f"{platform.node()}:{os.getpid()}")
    except VivFaceError as error:
        pipe.send(error)
        return
    pipe.send("ready")
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        if task.kind == "portrait":
            pipe.send(("portrait", maker.read_portrait(task.clip)))
        else:
            pipe.send(maker.make(task.clip))


def _on_device(settings: BatchSettings, number: int) -> BatchSettings:
    """Workers share the GPUs of the machine in turn."""
    if settings.device not in ("auto", "cuda"):
        return settings
    import torch

    count = torch.cuda.device_count()
    return replace(settings, device=f"cuda:{number % count}") if count else settings


def _end_with_parent() -> None:
    """A worker whose parent was killed does not go on: another run may do its work already."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _ending(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"status {code}"
