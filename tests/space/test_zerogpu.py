"""GPUs that are lent for one call, as far as that runs without them."""

import json
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.clips import write_face_clip
from tests.processes import run_to_the_end
from tests.space.zerogpu_program import SECONDS
from vivface.errors import NoFaceError
from vivface.media import VideoReader, is_marked_synthetic
from vivface.reenactment.progress import Progress
from vivface.space.jobs import Cancelled
from vivface.space.zerogpu import follow, gpu_seconds, tell

REPOSITORY = Path(__file__).parents[2]


def test_time_on_a_lent_gpu_grows_with_the_work():
    assert gpu_seconds() < gpu_seconds(300) < gpu_seconds(300, steps=100) <= gpu_seconds(100_000) == 300


class TestTelling:
    def test_progress_and_result(self):
        told = []

        def work(on_progress) -> str:
            on_progress(Progress("rendering", 1))
            return "made"

        assert follow(tell(work), told.append) == "made"
        assert told[0].done == 1

    def test_an_error_of_a_user_comes_as_a_value(self):
        def work(on_progress) -> None:
            raise NoFaceError("No face.")

        assert isinstance(list(tell(work))[-1], NoFaceError)  # not raised: only values survive the way
        with pytest.raises(NoFaceError, match="No face."):
            follow(tell(work), lambda progress: None)

    def test_stopping_reaches_the_work(self):
        ended = threading.Event()

        def work(on_progress) -> None:
            try:
                while True:
                    on_progress(Progress("adapting", 0))
                    time.sleep(0.01)
            finally:
                ended.set()

        def stop(progress: Progress) -> None:
            raise Cancelled

        with pytest.raises(Cancelled):
            follow(tell(work), stop)
        assert ended.wait(1)


@pytest.fixture(scope="module")
def found(space_checkpoint, uploaded, face_clip, tmp_path_factory) -> dict:
    """What zerogpu_program.py found."""
    pytest.importorskip("spaces", reason="needs the package spaces")
    folder = tmp_path_factory.mktemp("zerogpu")
    long = write_face_clip(folder / "long.mp4", frames=600)
    empty = write_face_clip(folder / "empty.mp4", frames=20, hidden=range(20))
    files = [space_checkpoint, uploaded, face_clip, long, empty, folder / "downloads"]
    command = [sys.executable, "-m", "tests.space.zerogpu_program", *files]
    done = run_to_the_end(command, timeout=SECONDS + 20, cwd=REPOSITORY)
    lines = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    assert lines, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads(lines[0].removeprefix("FOUND "))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ZeroGPU forks, as Linux does")
class TestLentGpu:
    def test_a_run(self, found):
        assert found["started"] == 1 and found["line"].startswith("21 frames in ")
        with VideoReader(found["video"]) as reader:
            assert len(list(reader)) == 21
        assert is_marked_synthetic(found["video"]) and Path(found["motion"]).is_file()

    def test_the_portrait_is_tuned_once(self, found):
        """One call to tune, one to render; then only one to render."""
        assert found["lent_first"] == 2 and found["lent_again"] == 1 and found["line_again"].startswith("21 frames")
        assert all(20 <= seconds <= 300 for seconds in found["seconds"])

    def test_errors_of_users_arrive(self, found):
        assert "No face was found" in found["error"] and "worker" not in found["error"]

    def test_the_other_functions(self, found):
        assert is_marked_synthetic(found["still"]) and found["extracted"].startswith("21 frames")

    def test_stopping_frees_the_gpu(self, found):
        assert found["stopped"] < 5 and found["released"]

    def test_live_is_not_offered(self, found):
        assert found["live"] == ["no-live"]
