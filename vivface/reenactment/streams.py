"""Threads with bounded queues: reading ahead of the networks and writing behind them.

Decoding, tracking and encoding release the interpreter's lock, so they run beside the networks. Both queues
are short: memory does not grow with the length of a video.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

_POLL_SECONDS = 0.1


class _End:
    """Marks the end of a stream; carries the error that ended it, if one did."""

    def __init__(self, error: BaseException | None = None):
        self.error = error


class _Channel(Generic[T]):
    """A bounded queue whose waiting sides give up once it is closed."""

    def __init__(self, depth: int):
        self._queue: queue.Queue[T | _End] = queue.Queue(depth)
        self._closed = threading.Event()

    def put(self, item: T | _End) -> bool:
        """Wait for room and add an item; False when the channel was closed instead."""
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=_POLL_SECONDS)
                return True
            except queue.Full:
                continue
        return False

    def get(self) -> T | _End:
        """Wait for an item; an end mark when the channel was closed instead."""
        while not self._closed.is_set():
            try:
                return self._queue.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
        return _End()

    def close(self) -> None:
        self._closed.set()


class ReadAhead(Generic[T]):
    """Run an iterator in a thread, at most `depth` items ahead of its reader.

    An error of the iterator is raised in the reader. Leaving the `with` block stops the thread and closes the
    iterator, wherever it stands.
    """

    def __init__(self, items: Iterable[T], depth: int):
        self._channel: _Channel[T] = _Channel(depth)
        self._thread = threading.Thread(target=self._work, args=(items,), name="vivface-read-ahead", daemon=True)

    def __enter__(self) -> "ReadAhead[T]":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._channel.close()
        self._thread.join()

    def __iter__(self) -> Iterator[T]:
        while not isinstance(item := self._channel.get(), _End):
            yield item
        if item.error is not None:
            raise item.error

    def _work(self, items: Iterable[T]) -> None:
        iterator = iter(items)
        try:
            for item in iterator:
                if not self._channel.put(item):
                    return
            self._channel.put(_End())
        except BaseException as error:  # noqa: BLE001 - handed over to the reader
            self._channel.put(_End(error))
        finally:
            if hasattr(iterator, "close"):
                iterator.close()


class WriteBehind(Generic[T]):
    """Call `write(item)` in a thread, at most `depth` items behind the giver.

    Leaving the `with` block normally waits until all is written; leaving it by an error drops what is waiting.
    An error of `write` is raised in the giver, at the next item or at the end.
    """

    def __init__(self, write: Callable[[T], None], depth: int):
        self._write = write
        self._channel: _Channel[T] = _Channel(depth)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="vivface-write-behind", daemon=True)

    def __enter__(self) -> "WriteBehind[T]":
        self._thread.start()
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            self._channel.put(_End())
        else:
            self._channel.close()
        self._thread.join()
        if kind is None and self._error is not None:
            raise self._error

    def put(self, item: T) -> None:
        if not self._channel.put(item):
            raise self._error or RuntimeError("the stream was closed while it was being written")

    def _work(self) -> None:
        try:
            while not isinstance(item := self._channel.get(), _End):
                self._write(item)
        except BaseException as error:  # noqa: BLE001 - raised again in the giver
            self._error = error
            self._channel.close()
