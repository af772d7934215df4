"""Read the authors' files without running anything that they contain."""

import argparse
import hashlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from vivface.convert.pickles import UnsafePickle, read_pickle
from vivface.errors import CheckpointError

TORCH_MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)  # first bytes of files before the zip format
FORBIDDEN_NAME = re.compile(r"GLOBAL ([\w.]+)")  # in the message of torch.load


@dataclass
class Source:
    """An official file that was read.

    Args:
        path (`Path`): Where it lies.
        content (`object`): What is in it: plain data and tensors, these mapped from the file where its format allows.
        ignored (`dict[str, str]`): What is left out on purpose, and why.
    """

    path: Path
    content: object
    ignored: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.path.name

    def sha256(self) -> str:
        """Hash of the whole file, by which others can tell which one was converted."""
        with open(self.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def sections(self, what: str, needed: tuple[str, ...], ignored: Mapping[str, str]) -> list:
        """Values of the top-level entries `needed`; every other entry has to be one of `ignored`.

        Args:
            what (`str`): What the file should be, for messages.
            needed (`tuple[str, ...]`): Entries to return, in this order.
            ignored (`dict[str, str]`): Entries that may be there and are left out, with the reason.

        Raises:
            CheckpointError: If an entry is missing or unknown.
        """
        if not isinstance(self.content, dict):
            raise CheckpointError(
                f"'{self.path}' holds a {type(self.content).__name__}; expected the dict of {what}: check which file "
                "it is."
            )
        if missing := [name for name in needed if name not in self.content]:
            raise CheckpointError(
                f"'{self.path}' lacks the entry {', '.join(missing)} of {what}; it has "
                f"{shown(self.content)}: check which file it is."
            )
        if unknown := [name for name in self.content if name not in needed and name not in ignored]:
            raise CheckpointError(
                f"'{self.path}' has the entries {shown(unknown)}, which {what} does not know: check which file it is."
            )
        self.ignored |= {name: reason for name, reason in ignored.items() if name in self.content}
        return [self.content[name] for name in needed]

    def tensors(self, entries: object, what: str) -> dict[str, Tensor]:
        """Check that `entries` is a dict of ordinary tensors.

        Raises:
            CheckpointError: If it is not.
        """
        if not isinstance(entries, dict) or not entries:
            raise CheckpointError(f"'{self.path}' holds no tensors by name under {what}: check which file it is.")
        for name, tensor in entries.items():
            if not isinstance(name, str) or not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
                raise CheckpointError(f"'{self.path}' holds no tensor under {name}: check which file it is.")
        return entries


def read(path: Path) -> Source:
    """Read a file of `torch.save`: tensors, numbers, strings and plain containers only.

    Raises:
        CheckpointError: If it is missing, no such file, damaged, or contains anything else.
    """
    start = _first_bytes(path)
    if not (zipfile.is_zipfile(path) or start.startswith(TORCH_MAGIC)):
        if start.startswith(b"\x80"):
            raise CheckpointError(
                f"'{path}' is a bare pickle; expected a file that PyTorch saved: check which file it is (only "
                "`vivface convert stylegan2` reads NVIDIA's pickles)."
            )
        raise _no_checkpoint(path, start, "a file that PyTorch saved")
    return Source(path, _read_torch(path))


def read_torch_or_nvidia(path: Path) -> Source:
    """Read a file of `torch.save` or one of NVIDIA's network pickles.

    Raises:
        CheckpointError: As for `read`.
    """
    start = _first_bytes(path)
    if zipfile.is_zipfile(path) or start.startswith(TORCH_MAGIC):
        return Source(path, _read_torch(path))
    if not start.startswith(b"\x80"):
        raise _no_checkpoint(path, start, "a file that PyTorch saved or a network pickle of NVIDIA")
    try:
        return Source(path, read_pickle(path))
    except UnsafePickle as error:
        reason = "of the older TensorFlow code, " if "tflib" in str(error) else ""
        raise CheckpointError(
            f"'{path}' is refused: reading it would run {error}, {reason}and only tensors, numbers, strings and plain "
            "containers are read; get the file from its authors."
        ) from error
    except Exception as error:  # whatever a damaged file leads to
        raise _damaged(path, error) from error


def _read_torch(path: Path) -> object:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Namespace: the options of rosinality's training script, plain attributes
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        named = FORBIDDEN_NAME.search(str(error))
        if named is None:  # the message would advise to read the file unsafely
            raise _damaged(path, ValueError("it is not readable as plain data")) from error
        raise CheckpointError(
            f"'{path}' is refused: reading it would run {named[1]}, and only tensors, numbers, strings and "
            "plain containers are read; get the file from its authors."
        ) from error
    except Exception as error:  # whatever a damaged file leads to
        raise _damaged(path, error) from error


def _first_bytes(path: Path) -> bytes:
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "missing"
        raise CheckpointError(f"'{path}' is {kind}; expected a checkpoint file.")
    try:
        with open(path, "rb") as file:
            return file.read(64)
    except OSError as error:
        raise CheckpointError(f"'{path}' cannot be read ({error.strerror}).") from error


def _no_checkpoint(path: Path, start: bytes, expected: str) -> CheckpointError:
    if start.lstrip()[:1] == b"<":
        return CheckpointError(f"'{path}' is a web page; expected {expected}: the download failed, so repeat it.")
    return CheckpointError(f"'{path}' is {'empty' if not start else 'another kind of file'}; expected {expected}.")


def _damaged(path: Path, error: Exception) -> CheckpointError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120].rstrip(".: ")
    return CheckpointError(f"'{path}' is damaged ({reason}): download it again.")


def shown(names: object) -> str:
    """The first few names, for messages."""
    names = [str(name)[:60] for name in names]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
