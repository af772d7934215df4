"""Programs that tests run end with all that they have started."""

import sys
import time

import psutil
import pytest

from tests.processes import run_to_the_end

PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])  # holds the output of its parent
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs groups of processes")
def test_nothing_is_left():
    began = time.monotonic()
    done = run_to_the_end([sys.executable, "-c", PARENT], timeout=4)
    assert time.monotonic() - began < 20 and done.returncode < 0
    child = int(done.stdout)
    for _ in range(100):
        if not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.05)
    raise AssertionError("the child lives on")
