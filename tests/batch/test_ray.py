"""The same batches as a Ray Data pipeline of two workers on this machine."""

import os
import signal

import pytest

from tests.batch.results import assert_complete
from vivface.batch.run import run_batch

pytest.importorskip("ray", reason="Ray is not installed: pip install 'vivface[ray]'")
psutil = pytest.importorskip("psutil")


def makers() -> list[int]:
    """Process ids of the actors that make clips."""
    found = []
    for process in psutil.process_iter(["cmdline", "pid"]):
        if any("Maker" in part for part in process.info["cmdline"] or ()) and "ray::" in process.info["cmdline"][0]:
            found.append(process.info["pid"])
    return found


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_every_clip_once_even_when_an_actor_is_killed(clips, settings, tmp_path):
    made, killed = [], []

    def kill_one(record) -> None:
        made.append(record.name)
        if len(made) == 1:
            ours = [pid for pid in makers() if os.getpid() in (p.pid for p in psutil.Process(pid).parents())]
            killed.extend(ours[:1])
            os.kill(ours[0], signal.SIGKILL)

    report = run_batch(clips, tmp_path, settings, workers=2, engine="ray", on_record=kill_one)
    assert killed
    assert_complete(tmp_path, report)
    assert sorted(made) == sorted(clip.name for clip in clips)
