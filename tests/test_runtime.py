"""Freed memory is used again, and runs take turns on the CPU."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch

from vivface.errors import BackendError, OptionError
from vivface.runtime import choose_device, compute_slot

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


CPU = torch.device("cpu")
needs_locks = pytest.mark.skipif(sys.platform == "win32", reason="needs file locks")

HOLD = """
import sys, time, torch
from vivface.runtime import compute_slot
torch.set_num_threads(1000)  # one slot, whatever the machine
with compute_slot(torch.device("cpu")):
    print("held", flush=True)
    {then}
"""


@pytest.fixture
def one_slot(monkeypatch, tmp_path):
    """A machine with one slot, and locks of its own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("os.cpu_count", lambda: torch.get_num_threads())


@needs_locks
class TestTurns:
    def test_threads_exclude_one_another(self, one_slot):
        inside, most = [], []

        def work():
            for _ in range(5):
                with compute_slot(CPU):
                    inside.append(1)
                    most.append(len(inside))
                    time.sleep(0.005)
                    inside.pop()

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert max(most) == 1 and len(most) == 15

    def test_nobody_is_starved(self, one_slot):
        """One that asks again at once has to let the other one in."""
        order = []

        def work(name):
            for _ in range(6):
                with compute_slot(CPU):
                    order.append(name)
                    time.sleep(0.03)

        threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert "aaaa" not in "".join(order) and "bbbb" not in "".join(order)

    def test_work_inside_of_work_does_not_wait_for_itself(self, one_slot):
        with compute_slot(CPU), compute_slot(CPU):
            pass

    def test_other_devices_are_not_held_back(self, one_slot):
        with compute_slot(CPU):
            other = threading.Thread(target=lambda: compute_slot(torch.device("meta")).__enter__())
            other.start()
            other.join(5)
            assert not other.is_alive()

    def test_an_error_gives_the_slot_back(self, one_slot):
        for _ in range(2):
            with pytest.raises(KeyError), compute_slot(CPU):
                raise KeyError

    def test_as_many_slots_as_cores_for_the_threads(self, one_slot, monkeypatch):
        monkeypatch.setattr("os.cpu_count", lambda: 3 * torch.get_num_threads())
        together = threading.Barrier(3, timeout=10)

        def work():
            with compute_slot(CPU):
                together.wait()

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not together.broken

    def test_processes_exclude_one_another_and_a_killed_one_gives_its_slot_back(self, one_slot, tmp_path):
        script = HOLD.format(then="time.sleep(60)")
        environment = {"TMPDIR": str(tmp_path), "PATH": "/usr/bin", "PYTHONPATH": ":".join(sys.path)}
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment) as holder:
            assert holder.stdout.readline() == b"held\n"
            taken = threading.Event()

            def work():
                with compute_slot(CPU):
                    taken.set()

            thread = threading.Thread(target=work)
            thread.start()
            assert not taken.wait(0.5)
            holder.kill()
            assert taken.wait(10)
            thread.join()

    def test_without_locks_nothing_is_held_back(self, one_slot, monkeypatch):
        def refuse(*_) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr("fcntl.flock", refuse)
        opened = set(os.listdir("/proc/self/fd")) if sys.platform == "linux" else None
        with compute_slot(CPU), compute_slot(CPU):
            pass
        assert opened is None or set(os.listdir("/proc/self/fd")) == opened

    @pytest.mark.parametrize("killed", [False, True])
    def test_a_forked_process_holds_nothing(self, killed, one_slot, tmp_path):
        """As the workers of ZeroGPU, which are forked while other visitors' runs compute."""
        script = HOLD.format(then="import os; forked = os.fork() or (print('forked', flush=True), time.sleep(60))")
        script += "print(forked, flush=True)\ntime.sleep(60)"
        environment = {"TMPDIR": str(tmp_path), "PATH": "/usr/bin", "PYTHONPATH": ":".join(sys.path)}
        with subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment, start_new_session=True
        ) as holder:
            try:
                said = {holder.stdout.readline() for _ in range(3)}
                assert {b"held\n", b"forked\n"} < said  # and the child's number: the parent has left its work
                if killed:
                    holder.kill()
                taken = threading.Event()

                def work():
                    with compute_slot(CPU):
                        taken.set()

                threading.Thread(target=work, daemon=True).start()
                assert taken.wait(10)
            finally:
                os.killpg(holder.pid, signal.SIGKILL)


class TestDevice:
    def test_cpu(self):
        assert choose_device("cpu") == CPU

    def test_no_such_kind(self):
        with pytest.raises(OptionError, match="'gpu'"):
            choose_device("gpu")

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
    def test_not_here(self):
        with pytest.raises(BackendError, match="not available here"):
            choose_device("cuda:7")
