"""Reading ahead and writing behind: order, bounds, errors, early ends."""

import threading
import time

import pytest

from vivface.reenactment.streams import ReadAhead, WriteBehind


def threads_named(name: str) -> int:
    return sum(thread.name == name for thread in threading.enumerate())


class TestReadAhead:
    def test_order_is_kept(self):
        with ReadAhead(iter(range(100)), depth=3) as ahead:
            assert list(ahead) == list(range(100))

    def test_runs_at_most_depth_ahead(self):
        produced = []

        def items():
            for number in range(50):
                produced.append(number)
                yield number

        with ReadAhead(items(), depth=4) as ahead:
            for read, _ in enumerate(ahead, start=1):
                time.sleep(0.002)
                assert len(produced) <= read + 4 + 1  # queued, and one in the thread's hand

    def test_error_reaches_the_reader_after_the_items_before_it(self):
        def items():
            yield 1
            raise ValueError("broken")

        seen = []
        with pytest.raises(ValueError, match="broken"), ReadAhead(items(), depth=2) as ahead:
            for item in ahead:
                seen.append(item)
        assert seen == [1]

    def test_leaving_early_stops_the_thread_and_closes_the_iterator(self):
        closed = threading.Event()

        def items():
            try:
                while True:
                    yield 0
            finally:
                closed.set()

        with ReadAhead(items(), depth=2) as ahead:
            next(iter(ahead))
        assert closed.is_set()
        assert threads_named("vivface-read-ahead") == 0


class TestWriteBehind:
    def test_all_is_written_in_order(self):
        written = []
        with WriteBehind(written.append, depth=2) as behind:
            for number in range(50):
                behind.put(number)
        assert written == list(range(50))

    def test_error_of_the_writer_is_raised(self):
        def write(item):
            raise OSError("disk full")

        with pytest.raises(OSError, match="disk full"), WriteBehind(write, depth=1) as behind:
            for number in range(100):
                behind.put(number)

    def test_error_at_the_last_item_is_raised(self):
        def write(item):
            time.sleep(0.05)
            raise OSError("disk full")

        with pytest.raises(OSError, match="disk full"), WriteBehind(write, depth=1) as behind:
            behind.put(0)

    def test_error_of_the_giver_drops_what_waits(self):
        written = []

        def write(item):
            time.sleep(0.05)
            written.append(item)

        with pytest.raises(KeyboardInterrupt), WriteBehind(write, depth=8) as behind:
            for number in range(8):
                behind.put(number)
            raise KeyboardInterrupt
        assert len(written) <= 2
        assert threads_named("vivface-write-behind") == 0
