"""Reuse of freed memory on Linux.

glibc hands every block above 32 MB back to the kernel when it is freed, and the next one is mapped and zeroed again,
page by page. The feature maps of a 1024 x 1024 frame are such blocks: 166 000 page faults a frame, a quarter of the
generator's time.
"""

import ctypes
import sys

# Parameters of mallopt, from malloc.h
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
    """Let this process keep freed memory for its next use; for a program's entry point, not for a library.

    Large blocks then come from the heap, which is not trimmed. Call it before threads start.

    Returns:
        `bool`: Whether the C library took the settings; `False` where it is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_ARENA_MAX, 1))
    return all([library.mallopt(parameter, value) == 1 for parameter, value in settings])
