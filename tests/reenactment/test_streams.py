"""Reading ahead and writing behind: order, bounds, errors, early ends."""

import threading
import time

import pytest

from vivface.reenactment.streams import ReadAhead, WriteBehind, with_neighbours


def threads_named(name: str) -> int:
    return sum(thread.name == name for thread in threading.enumerate())


class TestReadAhead:
    def test_order_is_kept(self):
        with ReadAhead(lambda stop: iter(range(100)), depth=3) as ahead:
            assert list(ahead) == list(range(100))

    def test_runs_at_most_depth_ahead(self):
        produced = []

        def items():
            for number in range(50):
                produced.append(number)
                yield number

        with ReadAhead(lambda stop: items(), depth=4) as ahead:
            for read, _ in enumerate(ahead, start=1):
                time.sleep(0.002)
                assert len(produced) <= read + 4 + 1  # queued, and one in the thread's hand

    def test_error_reaches_the_reader_after_the_items_before_it(self):
        def items():
            yield 1
            raise ValueError("broken")

        seen = []
        with pytest.raises(ValueError, match="broken"), ReadAhead(lambda stop: items(), depth=2) as ahead:
            for item in ahead:
                seen.append(item)
        assert seen == [1]

    def test_leaving_early_stops_the_thread_and_closes_the_iterator(self):
        closed = threading.Event()
        before = threads_named("vivface-read-ahead")  # of other tests

        def items():
            try:
                while True:
                    yield 0
            finally:
                closed.set()

        with ReadAhead(lambda stop: items(), depth=2) as ahead:
            next(iter(ahead))
        assert closed.is_set()
        assert threads_named("vivface-read-ahead") <= before

    def test_a_thread_that_watches_the_event_ends_between_items(self):
        """As while a face is searched: nothing is produced for long."""
        ended = threading.Event()

        def search(stop):
            yield 0
            stop.wait(60)
            ended.set()

        began = time.monotonic()
        with ReadAhead(search, depth=2) as ahead:
            next(iter(ahead))
        assert ended.wait(5) and time.monotonic() - began < 5

    def test_leaving_does_not_wait_for_a_thread_that_is_busy(self):
        release = threading.Event()

        def busy(stop):
            yield 0
            release.wait(60)

        began = time.monotonic()
        with ReadAhead(busy, depth=2) as ahead:
            next(iter(ahead))
        assert time.monotonic() - began < 5
        release.set()

    def test_a_waiting_reader_is_heard_and_can_give_up(self):
        class GiveUpError(Exception):
            pass

        def on_wait():
            raise GiveUpError

        release = threading.Event()
        with pytest.raises(GiveUpError), ReadAhead(lambda stop: iter(lambda: stop.wait(60), True), 2, on_wait) as ahead:
            list(ahead)
        release.set()


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


class TestWithNeighbours:
    @pytest.mark.parametrize("count", [0, 1, 2, 3, 9])
    @pytest.mark.parametrize("most", [0, 1, 3])
    def test_every_item_with_those_around_it(self, count, most):
        for place, (near, middle) in enumerate(with_neighbours(range(count), most)):
            assert near == list(range(max(place - most, 0), min(place + most + 1, count)))
            assert near[middle] == place
        assert count == 0 or place == count - 1

    def test_reads_no_farther_than_it_must(self):
        items = iter(range(10))
        near, _ = next(with_neighbours(items, 2))
        assert near == [0, 1, 2]
        assert next(items) == 3
