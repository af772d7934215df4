"""Files that appear only when they are complete: a temporary name in the same folder, then a rename."""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vivface.errors import MediaError


def check_output(path: str | os.PathLike, suffixes: Collection[str]) -> Path:
    """Make sure that `path` can be written, before any work is done for it.

    Args:
        path: Where the result shall go; a file that is already there will be replaced.
        suffixes: The endings that are allowed, such as `(".mp4", ".mov")`.

    Returns:
        `path` as a `Path`.

    Raises:
        MediaError: If the ending is not allowed, the folder does not exist or cannot be written to, or `path` is
            a folder.
    """
    path = Path(path)
    if path.suffix.lower() not in suffixes:
        raise MediaError(f"Cannot write {str(path)!r}: the name has to end in {' or '.join(suffixes)}.")
    try:
        if path.is_dir():
            raise MediaError(f"Cannot write {str(path)!r}: it is a folder, so give the name of a file.")
        if not path.parent.is_dir():
            raise MediaError(f"Cannot write {str(path)!r}: the folder {str(path.parent)!r} does not exist.")
        with suppress(FileNotFoundError):
            path.lstat()  # refuses names that no file can have
        _create_temporary(path).unlink()
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise MediaError(f"Cannot write {str(path)!r}: {_reason(error)}.") from error
    return path


@contextmanager
def replaced_when_complete(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, remove it on any exception.

    Raises:
        MediaError: If the system refuses to create or rename the file.
    """
    try:
        temporary = _create_temporary(path)
    except OSError as error:
        raise MediaError(f"Cannot write {str(path)!r}: {_reason(error)}.") from error
    try:
        yield temporary
        try:
            os.replace(temporary, path)
        except OSError as error:
            raise MediaError(f"Cannot write {str(path)!r}: {_reason(error)}.") from error
    except BaseException:  # also KeyboardInterrupt and GeneratorExit: nothing half-written stays
        with suppress(OSError):
            temporary.unlink()
        raise


def _create_temporary(path: Path) -> Path:
    temporary = path.parent / f".vivface-{secrets.token_hex(8)}{path.suffix.lower()}"
    # Mode 0o666 less the umask, as for any new file; `tempfile` would make it unreadable for others.
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return temporary


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
