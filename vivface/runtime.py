"""How a process uses its machine: the device, the memory it has freed, and its turn on the CPU."""

import ctypes
import functools
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from vivface.errors import BackendError, OptionError

if TYPE_CHECKING:
    import torch

# Parameters of mallopt, from malloc.h
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_POLL_SECONDS = 0.002

_turn = threading.local()
_lock_files: set[int] = set()  # open now, by any thread


def choose_device(name: str) -> "torch.device":
    """A device by name, if it is there.

    Args:
        name (`str`): `"auto"` (CUDA if there is one, else the CPU), or any device of torch.

    Raises:
        OptionError: If there is no such kind of device.
        BackendError: If this machine has none.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise OptionError(f"There is no device '{name}': give auto, cpu, cuda, cuda:1 or mps.") from error
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise BackendError(f"The device '{name}' is not available here: give another, such as cpu.") from error
    return device


def keep_freed_memory() -> bool:
    """Let this process keep freed memory for its next use; for a program's entry point, not for a library.

    glibc hands every block above 32 MB back to the kernel when it is freed, and the next one is mapped and zeroed
    again, page by page. The feature maps of a 1024 x 1024 frame are such blocks: 166 000 page faults a frame, a quarter
    of the generator's time. With these settings large blocks come from the heap, which is not trimmed. Call it before
    threads start.

    Returns:
        `bool`: Whether the C library took the settings; False where it is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_ARENA_MAX, 1))
    return all([library.mallopt(parameter, value) == 1 for parameter, value in settings])


@contextmanager
def compute_slot(device: "torch.device") -> Iterator[None]:
    """Take turns on the CPU with the other runs of this user, in this process and in others.

    The threads of a convolution wait for one another by spinning. Two runs that share the cores spin most of their time
    while the thread they wait for has no core: on two cores they took eight times as long as one. So a piece of work of
    some tenths of a second (a batch of frames, a step of tuning) is done by one run at a time; there are as many slots
    as the machine has cores for the threads that torch uses. Runs are served in the order in which they ask.

    Without file locks (Windows), or where the temporary folder cannot be written to, nothing is held back.

    Args:
        device (`torch.device`): Where the work is done; on anything but the CPU nothing is held back.
    """
    if device.type != "cpu" or getattr(_turn, "taken", False):  # the second: work inside of work
        yield
        return
    held = _take_turn()
    _turn.taken = True
    try:
        yield
    finally:
        _turn.taken = False
        if held is not None:
            _unlock(held)


def _take_turn() -> int | None:
    """Wait for a slot; its locked file, or None where files cannot be locked."""
    try:
        import fcntl
    except ImportError:
        return None
    import torch

    _watch_forks()

    slots = max((os.cpu_count() or 1) // torch.get_num_threads(), 1)
    try:
        turnstile = _open_lock("next")
    except OSError:
        return None
    try:
        fcntl.flock(turnstile, fcntl.LOCK_EX)  # whoever asked first waits here alone
        while True:
            for slot in range(slots):
                file = _open_lock(str(slot))
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return file
                except BlockingIOError:
                    _unlock(file)
            time.sleep(_POLL_SECONDS)
    except OSError:  # a file system without locks
        return None
    finally:
        _unlock(turnstile)


def _open_lock(name: str) -> int:
    """A lock belongs to the open file, so threads exclude one another too, and the system frees it at any end."""
    path = os.path.join(tempfile.gettempdir(), f"vivface-{os.getuid()}-{name}.lock")
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    _lock_files.add(file)
    return file


def _unlock(file: int) -> None:
    if file in _lock_files:  # else this process was forked in the middle of the work, see below
        import fcntl

        with suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_UN)  # closing is not enough where a copy is open
        _lock_files.discard(file)
        os.close(file)


@functools.cache
def _watch_forks() -> None:
    """Let forked processes hold no lock: their copy of an open file keeps it when the one who took it is killed."""

    def close_copies() -> None:
        while _lock_files:
            os.close(_lock_files.pop())

    os.register_at_fork(after_in_child=close_copies)
