"""Freed memory is used again."""

import subprocess
import sys

import pytest

COUNT_FAULTS = """
import resource, torch
from vivface.runtime import keep_freed_memory
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
if {keep}:
    assert keep_freed_memory()
for _ in range(20):  # until freed blocks have grown together
    torch.ones(10_000_000)  # 40 MB
before = faults()
for _ in range(5):
    torch.ones(10_000_000)
print(faults() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_page_faults():
    counts = {}
    for keep in (False, True):
        script = COUNT_FAULTS.format(keep=keep)
        counts[keep] = int(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout)
    assert counts[True] < 500
    assert counts[True] < counts[False] / 10
