"""Files and folders that appear only when they are complete: a temporary name beside the place, then a rename."""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vivface.errors import MediaError, OptionError

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of renameat2(2)


def check_output(path: str | os.PathLike, suffixes: Collection[str]) -> Path:
    """Make sure that a file can be written, before any work is done for it.

    Args:
        path (`str` or `os.PathLike`): Where the result will go; a file that is already there will be replaced.
        suffixes (collection of `str`): The endings that are allowed, such as `(".mp4", ".mov")`.

    Returns:
        `pathlib.Path`: `path`.

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
def complete_file(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, remove it on any exception.

    Raises:
        MediaError: If the system refuses to create or rename the file.
    """
    path = Path(path)
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


def check_folder(folder: Path, overwrite: bool = False) -> None:
    """Refuse, before any work, a folder that could not be written at the end.

    Raises:
        OptionError: If `folder` is there and may not be replaced, or its parent is missing.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not overwrite):
        hint = "give another name" if folder.is_file() else "give another name or --overwrite"
        raise OptionError(f"'{folder}' is there already: {hint}.")
    if not folder.parent.is_dir():
        raise OptionError(f"Cannot write '{folder}': the folder '{folder.parent}' does not exist.")


@contextmanager
def complete_folder(folder: str | os.PathLike, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder that becomes `folder` on success and disappears on any exception.

    A folder that is replaced is exchanged in one step where the system can (Linux), else moved aside first and deleted
    last, so that at no moment neither the old nor the new one is on the disk.

    Raises:
        OptionError: If `folder` is there and may not be replaced, or the system refuses to create or rename it.
    """
    folder = Path(folder)
    check_folder(folder, overwrite)
    temporary = folder.parent / f".{folder.name}-{secrets.token_hex(8)}"
    try:
        temporary.mkdir()
    except OSError as error:
        raise OptionError(f"Cannot write '{folder}': {_reason(error)}.") from error
    try:
        yield temporary
        try:
            replace_folder(temporary, folder)
        except OSError as error:
            raise OptionError(f"Cannot write '{folder}': {_reason(error)}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def replace_folder(new: Path, folder: Path) -> None:
    """Put the folder `new` in the place of `folder` on the same disk, and delete what was there.

    Raises:
        OSError: If the system refuses; what was there is then still there.
    """
    if not folder.exists():
        os.rename(new, folder)
        return
    if _exchange(new, folder):
        shutil.rmtree(new, ignore_errors=True)
        return
    aside = folder.parent / f".{folder.name}-old-{secrets.token_hex(8)}"
    os.rename(folder, aside)
    try:
        os.rename(new, folder)
    except OSError:
        os.rename(aside, folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two names in one step; False where the system or the file system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    return renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0


def _create_temporary(path: Path) -> Path:
    temporary = path.parent / f".vivface-{secrets.token_hex(8)}{path.suffix.lower()}"
    # Mode 0o666 less the umask, as for any new file; `tempfile` would make it unreadable for others.
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return temporary


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
