"""The same batches as a Ray Data pipeline of two workers on this machine."""

import os
import signal

import pytest

from tests.batch.results import assert_complete
from vivface.batch.run import run_batch

pytest.importorskip("ray", reason="Ray is not installed: pip install 'vivface[ray]'")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_clip_once_even_when_an_actor_is_killed(clips, settings, tmp_path):
    made, killed = [], []

    def kill_one(record) -> None:
        made.append(record.name)
        if record.worker and not killed:
            killed.append(int(record.worker.rpartition("-")[2]))
            os.kill(killed[0], signal.SIGKILL)

    report = run_batch(clips, tmp_path, settings, workers=2, executor="ray", on_record=kill_one)
    assert killed
    assert_complete(tmp_path, report)
    assert sorted(made) == sorted(clip.name for clip in clips)
