"""Small parts of the page: options, memory, kept results, jobs, what a Space installs."""

import inspect
import threading
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from vivface.errors import OptionError
from vivface.reenactment.progress import Progress
from vivface.reenactment.result import Report
from vivface.space.api import Endpoints
from vivface.space.examples import ResultCache
from vivface.space.film_tab import FilmEndpoint
from vivface.space.jobs import Cancelled, Job, JobQueue, Outputs
from vivface.space.memory import VisitorMemory
from vivface.space.options import FILM_OPTIONS, ONLY_FILMS, Options, option_fields

REPOSITORY = Path(__file__).parents[2]


@dataclass
class Block:
    """Something of a size."""

    nbytes: int


class TestOptions:
    @pytest.mark.parametrize(
        "values",
        [
            {"face": -1},
            {"face": 0.5},
            {"face": "1"},
            {"driving_face": True},
            {"strength": -1},
            {"strength": float("nan")},
            {"smoothing": 9},
            {"height": 65},
            {"height": 2000},
            {"start": float("inf")},
            {"start": -0.1},
            {"duration": "all"},
            {"adapt": "yes"},
            {"motion_mode": "none"},
            {"motion_mode": ["absolute"]},
            {"edits": ["smile"]},
            {"edits": {1: 1}},
            {"timeline": 5},
            {"timeline": "x" * 2001},
        ],
    )
    def test_what_is_refused_is_named(self, values):
        with pytest.raises(OptionError, match=f"`{next(iter(values))}` is .*; expected"):
            Options.of(values)

    def test_edits_over_time_are_lines(self):
        options = Options(timeline="smile=0:0,2.5:1\n\n age=1; turn=0.5:0")
        assert options.timed_edits == {"smile": {0.0: 0.0, 2.5: 1.0}, "age": 1.0, "turn": {0.5: 0.0}}
        assert Options().timed_edits == {}
        assert options.key != Options().key
        for text in ("smile", "smile=a:b", "smile=1;smile=2"):
            with pytest.raises(OptionError, match="smile"):
                _ = Options(timeline=text).timed_edits

    def test_nothing_means_the_default(self):
        assert Options.of(dict.fromkeys(option_fields())) == Options()

    def test_whole_numbers_may_come_as_floats(self):
        assert Options(face=1.0, start=2).key == Options(face=1, start=2.0).key

    def test_every_option_is_a_described_parameter(self):
        films = set(ONLY_FILMS)
        for endpoint, names in (
            (Endpoints.reenact, set(option_fields()) - films),
            (FilmEndpoint.reenact_film, set(FILM_OPTIONS)),
        ):
            assert names < set(inspect.signature(endpoint).parameters)
            assert all(f"{name}: " in endpoint.__doc__ for name in names)
        assert films < set(FILM_OPTIONS)


class TestVisitorMemory:
    def test_the_least_recently_used_goes_first(self):
        memory = VisitorMemory(100)
        for name in "abc":
            memory.put(name, "key", Block(30))
        memory.get("a", "key")
        memory.put("d", "key", Block(30))
        assert memory.get("b", "key") is None and memory.get("a", "key") is not None and memory.nbytes == 90

    def test_what_is_too_large_is_not_kept(self):
        memory = VisitorMemory(100)
        memory.put("a", "key", Block(60))
        memory.put("b", "key", Block(101))
        assert memory.nbytes == 60 and memory.get("b", "key") is None

    def test_a_value_is_replaced(self):
        memory = VisitorMemory(100)
        for size in (60, 70, 80):
            memory.put("a", "key", Block(size))
        assert memory.nbytes == 80 and len(memory) == 1

    def test_idle_ones_are_forgotten(self):
        memory = VisitorMemory(100, idle_seconds=0.02)
        memory.put("a", "key", Block(60))
        time.sleep(0.05)
        assert memory.get("a", "key") is None and memory.nbytes == 0

    def test_many_threads(self):
        memory = VisitorMemory(1000)

        def work(visitor: str) -> None:
            for number in range(200):
                memory.get_or_create(visitor, number % 7, lambda: Block(50))
                if number % 50 == 49:
                    memory.forget(visitor)

        threads = [threading.Thread(target=work, args=(str(number),)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for number in range(8):
            memory.forget(str(number))
        assert memory.nbytes == 0 and len(memory) == 0


class TestResultCache:
    def test_old_runs_are_deleted_and_new_ones_kept(self, tmp_path):
        cache = ResultCache(capacity=3)
        (tmp_path / "made.mp4").write_bytes(bytes(1000))
        for number in range(50):
            cache.keep(number, Outputs(tmp_path / "made.mp4"), Report(frames=number))
        assert len(cache) == 3 and cache.nbytes == 3000
        (tmp_path / "out").mkdir()
        assert cache.fetch(0, tmp_path / "out") is None
        outputs, report = cache.fetch(49, tmp_path / "out")
        assert outputs.video.read_bytes() == bytes(1000) and report.frames == 49


class TestJob:
    def test_the_folder_goes_when_all_is_over(self):
        go = threading.Event()
        job = Job(lambda job: go.wait(10), JobQueue()).start()
        updates = job.updates(0.01)
        next(updates)
        updates.close()
        assert job.folder.exists() and job.is_running  # still being written to
        go.set()
        assert job.wait(5)
        time.sleep(0.1)
        assert not job.folder.exists()

    def test_errors_are_raised_where_it_is_watched(self):
        def fail(job: Job) -> None:
            raise KeyError("lost")

        with pytest.raises(KeyError):
            list(Job(fail, JobQueue()).start().updates(0.01))

    def test_progress_is_told(self):
        go = threading.Event()

        def work(job: Job) -> str:
            job.on_progress(Progress("rendering", 0, 10))
            time.sleep(0.02)
            job.on_progress(Progress("rendering", 5, 10))
            go.wait(10)
            return "made"

        updates = Job(work, JobQueue()).start().updates(0.05)
        while (update := next(updates)).done < 5:
            pass
        assert update.total == 10 and update.seconds_left > 0 and update.step == "Making frames"
        go.set()
        assert list(updates)[-1].result == "made"

    def test_one_at_a_time_in_order(self):
        queue, order, running, go = JobQueue(), [], [], threading.Event()

        def work(number: int) -> None:
            running.append(number)
            assert len(running) == 1
            go.wait(10)  # until all are in the queue, and one of them has left it
            order.append(number)
            running.remove(number)

        jobs = []
        for number in range(6):
            jobs.append(Job(lambda job, number=number: work(number), queue).start())
            while len(queue) <= number:
                time.sleep(0.001)
        jobs[3].cancel()
        go.set()
        assert all(job.wait(10) for job in jobs)
        assert order == [0, 1, 2, 4, 5]
        assert isinstance(jobs[3].error, Cancelled) and all(job.error is None for job in jobs if job is not jobs[3])


def test_a_space_installs_what_the_package_needs():
    """The file cannot name the package itself, so it repeats what pyproject.toml says."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    lines = (REPOSITORY / "requirements.txt").read_text().splitlines()
    listed = [line for line in lines if line and not line.startswith("#")]
    assert sorted(item for item in listed if not item.startswith("spaces")) == sorted(
        [*project["dependencies"], *project["optional-dependencies"]["app"]]
    )
