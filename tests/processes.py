"""Programs that tests run beside themselves, with all that these start."""

import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def run_to_the_end(command: Sequence[str | Path], timeout: float, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program; when it has ended or its time is up, what it has started is ended too.

    `subprocess.run` ends the program alone, and then waits for everybody who still holds its output.

    Args:
        command (sequence of `str` or `Path`): The program and its arguments.
        timeout (`float`): Seconds that it may take.
        options: Of `subprocess.Popen`.

    Returns:
        `subprocess.CompletedProcess`: With what it printed; its status is negative if its time was up before it ended.
    """
    with subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    ) as program:
        try:
            out, err = program.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            _end_group(program.pid)
            out, err = program.communicate()
        finally:
            _end_group(program.pid)
    return subprocess.CompletedProcess(command, program.returncode, out, err)


def free_port() -> int:
    """A port of this machine that nobody uses now; processes that look from a fixed one on find the same."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _end_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        pass
