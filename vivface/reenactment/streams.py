"""Threads with bounded queues: reading ahead of the networks and writing behind them.

Decoding, tracking and encoding release the interpreter's lock, so they run beside the networks. Both queues are
short: memory does not grow with the length of a video.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.1
LEAVE_SECONDS = 0.5  # how long a reading thread is waited for before it is left to end by itself


class _End:
    """The end of a stream, with the error that ended it, if one did."""

    def __init__(self, error: BaseException | None = None):
        self.error = error


class _Channel(Generic[T]):
    """A bounded queue whose waiting ends give up once it is closed."""

    def __init__(self, depth: int):
        self._queue: queue.Queue[T | _End] = queue.Queue(depth)
        self.closed = threading.Event()

    def put(self, item: T | _End) -> bool:
        """Wait for room and add an item; False when the channel was closed instead."""
        while not self.closed.is_set():
            try:
                self._queue.put(item, timeout=POLL_SECONDS)
                return True
            except queue.Full:
                continue
        return False

    def get(self, on_wait: Callable[[], None] | None = None) -> T | _End:
        """Wait for an item, calling `on_wait` meanwhile; an end mark when the channel was closed instead."""
        while not self.closed.is_set():
            try:
                return self._queue.get(timeout=POLL_SECONDS)
            except queue.Empty:
                if on_wait is not None:
                    on_wait()
        return _End()


class ReadAhead(Generic[T]):
    """Run an iterator in a thread, at most `depth` items ahead of its reader.

    An error of the iterator is raised in the reader. Leaving the `with` block asks the thread to end: the iterator is
    closed at its next item, or sooner if it watches the event that it was opened with. The block does not wait for it
    longer than half a second.

    Args:
        open_items (callable `threading.Event -> iterator`): Opens the iterator; the event is set when it should end.
        depth (`int`): Items that may wait.
        on_wait (callable, *optional*): Called about ten times a second while the reader waits; may raise.
    """

    def __init__(
        self,
        open_items: Callable[[threading.Event], Iterator[T]],
        depth: int,
        on_wait: Callable[[], None] | None = None,
    ):
        self._channel: _Channel[T] = _Channel(depth)
        self._on_wait = on_wait
        self._thread = threading.Thread(target=self._work, args=(open_items,), name="vivface-read-ahead", daemon=True)

    def __enter__(self) -> "ReadAhead[T]":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.closed.set()
        self._thread.join(LEAVE_SECONDS)

    def __iter__(self) -> Iterator[T]:
        while not isinstance(item := self._channel.get(self._on_wait), _End):
            yield item
        if item.error is not None:
            raise item.error

    def _work(self, open_items: Callable[[threading.Event], Iterator[T]]) -> None:
        iterator: Iterator[T] = iter(())
        try:
            iterator = iter(open_items(self._channel.closed))
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
    """Call `write(item)` in a thread, at most `depth` items behind the producer.

    Leaving the `with` block normally waits until all is written; leaving it by an error drops what is waiting.
    An error of `write` is raised in the producer, at the next item or at the end.

    Args:
        write (callable): Called with one item after the other.
        depth (`int`): Items that may wait.
    """

    def __init__(self, write: Callable[[T], None], depth: int):
        self._write = write
        self._channel: _Channel[T] = _Channel(depth)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="vivface-write-behind", daemon=True)

    def __enter__(self) -> "WriteBehind[T]":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._channel.put(_End())
        else:
            self._channel.closed.set()
        self._thread.join()
        if kind is None and self._error is not None:
            raise self._error

    def put(self, item: T) -> None:
        """Hand over an item, waiting for room.

        Raises:
            BaseException: What `write` raised for an earlier item.
        """
        if not self._channel.put(item):
            raise self._error or RuntimeError("the stream was closed while it was being written")

    def _work(self) -> None:
        try:
            while not isinstance(item := self._channel.get(), _End):
                self._write(item)
        except BaseException as error:  # noqa: BLE001 - raised again in the producer
            self._error = error
            self._channel.closed.set()


def with_neighbours(items: Iterable[T], most: int) -> Iterator[tuple[list[T], int]]:
    """Every item with those before and after it, as lazy as it can be.

    Args:
        items (iterable): A stream of any length.
        most (`int`): How many before, and how many after.

    Returns:
        iterator of `tuple[list, int]`: The items around one, in order, and which of them it is; fewer at both ends.
    """
    near: deque[T] = deque()
    middle = 0  # of `near`
    ahead = iter(items)
    while True:
        near.extend(islice(ahead, middle + most + 1 - len(near)))
        if middle == len(near):
            return
        yield list(near), middle
        if middle == most:
            near.popleft()
        else:
            middle += 1
