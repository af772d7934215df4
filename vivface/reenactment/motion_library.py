"""Motions by name: five clips that come with the package, and those that a user keeps.

A motion that comes with the package is a short clip of a synthetic head (`vivface/motions/`), so that every checkpoint
can read it; see `training/synthetic/make_motions.py`. Those that are kept are motion files or clips in the folder
`VIVFACE_MOTIONS`, by default `$XDG_DATA_HOME/vivface/motions` or `~/.local/share/vivface/motions`.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from vivface.errors import MediaError, OptionError
from vivface.files import complete_file
from vivface.reenactment.codes import MOTION_SUFFIX

SHIPPED = Path(__file__).parents[1] / "motions"
SUFFIXES = (MOTION_SUFFIX, ".mp4", ".mov", ".mkv", ".webm", ".avi", ".gif")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


def library_folder() -> Path:
    """Where motions are kept."""
    if given := os.environ.get("VIVFACE_MOTIONS"):
        return Path(given)
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "vivface" / "motions"


def list_motions() -> dict[str, Path]:
    """All motions by name, those of the user before those of the package; a kept one hides one that ships."""
    found: dict[str, Path] = {}
    for folder in (library_folder(), SHIPPED):
        if not folder.is_dir():
            continue
        for path in sorted(folder.iterdir()):
            if path.suffix in SUFFIXES and _NAME.fullmatch(path.stem):
                found.setdefault(path.stem, path)
    return found


def find_motion(name: str | os.PathLike) -> Path:
    """The file of a motion, by its name or as it is.

    Args:
        name (`str` or `os.PathLike`): A name of the library, such as "nod", or a path.

    Returns:
        `pathlib.Path`: A file that is there wins over a name; what is neither is returned as it is.
    """
    path = Path(name)
    if path.exists() or path.suffix or path.name != str(name):
        return path
    return list_motions().get(str(name), path)


def keep_motion(file: str | os.PathLike, name: str, overwrite: bool = False) -> Path:
    """Copy a motion file or a clip into the library.

    Args:
        file (`str` or `os.PathLike`): A motion file (.safetensors), which only its checkpoint reads, or a clip.
        name (`str`): Small letters, digits and hyphens.
        overwrite (`bool`, *optional*, defaults to False): Replace one of the same name.

    Returns:
        `pathlib.Path`: The copy.

    Raises:
        OptionError: If the name does not fit or is taken.
        MediaError: If the file is missing, of another kind, or cannot be copied.
    """
    file = Path(file)
    if not _NAME.fullmatch(name):
        raise OptionError(f"'{name}' is no name for a motion: use up to 40 small letters, digits and hyphens.")
    if not file.is_file() or file.suffix.lower() not in SUFFIXES:
        raise MediaError(f"'{file}' is no motion file and no clip ({', '.join(SUFFIXES)}).")
    folder = library_folder()
    taken = [folder / f"{name}{suffix}" for suffix in SUFFIXES if (folder / f"{name}{suffix}").exists()]
    if taken and not overwrite:
        raise OptionError(f"There is a motion '{name}' already: give another name or --overwrite.")
    target = folder / f"{name}{file.suffix.lower()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with complete_file(target) as temporary:
            shutil.copyfile(file, temporary)
        for path in taken:
            if path != target:
                path.unlink()
    except OSError as error:
        raise MediaError(f"Cannot keep '{file}' in '{folder}': {error.strerror or error}.") from error
    return target
