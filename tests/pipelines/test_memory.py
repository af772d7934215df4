"""A long clip needs no more memory than a short one, and no more time a frame."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clips import write_face_clip

CHILD = """
import json, resource, sys, threading
import psutil, torch
from vivface import VivFacePipeline

torch.set_num_threads(1)
pipeline = VivFacePipeline.from_pretrained(sys.argv[1])
pipeline.set_progress_bar_config(disable=True)
result = pipeline(sys.argv[2], sys.argv[3])
result.save(sys.argv[4])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
cpu = sum(psutil.Process().cpu_times()[:2])
print(json.dumps({"peak": peak, "frames": result.report.frames, "cpu": cpu}))
"""


@pytest.mark.slow
def test_sixty_seconds_like_six(tmp_path: Path, tiny_checkpoint: Path, portrait: Path):
    def measure(seconds: int) -> dict:
        clip = write_face_clip(tmp_path / f"{seconds}.mp4", frames=seconds * 10, fps=10)
        arguments = [tiny_checkpoint, portrait, clip, tmp_path / "out.mp4"]
        done = subprocess.run(
            [sys.executable, "-c", CHILD, *map(str, arguments)], capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout)

    short, long = measure(6), measure(60)
    assert (short["frames"], long["frames"]) == (60, 600)
    assert long["peak"] < 1.1 * short["peak"]
    assert long["cpu"] / 600 < 1.1 * short["cpu"] / 60  # the start weighs on the short one
