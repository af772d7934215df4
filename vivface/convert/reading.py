"""Read the authors' files without running anything that they contain."""

import argparse
import hashlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from vivface.convert.keymap import listing, plain_names
from vivface.convert.pickles import UnsafePickle, read_pickle
from vivface.errors import CheckpointError, first_line

TORCH_MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)  # first bytes of files before the zip format
TRAINING = "training state, which inference does not need"
TRAINING_NAMES = re.compile(  # of entries with tensors
    r"d|ada_aug_p|n_averaged|best_val_loss|(.*_)?(discriminator|optim|optimizers?|schedulers?|scaler|path_length|rng)(_.*)?"
)
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

    def network(self, what: str, names: tuple[str, ...], beside: tuple[str, ...] = ()) -> dict[str, Tensor]:
        """Tensors of the network that the file is about, by their plain names.

        The network is under the first of `names` that the file has, or the file is its state dict. Whatever else
        training adds (optimisers, counters, options) is left out and noted in `ignored`.

        Args:
            what (`str`): What the file should be, for messages.
            names (`tuple[str, ...]`): Top-level entries that may hold the network, the best first.
            beside (`tuple[str, ...]`, *optional*): Top-level entries that the caller reads itself.

        Raises:
            CheckpointError: If there is no such network, or a top-level entry is unknown.
        """
        if not isinstance(self.content, dict):
            raise CheckpointError(
                f"'{self.path}' holds a {type(self.content).__name__}; expected the dict of {what}: check which file "
                "it is."
            )
        others = {name: value for name, value in self.content.items() if name not in beside}
        if name := next((name for name in names if name in others), None):
            entries = others.pop(name)
            self.ignored |= {worse: TRAINING for worse in names if others.pop(worse, None) is not None}
        else:  # a bare state dict has names with dots
            entries = {key: t for key, t in others.items() if isinstance(t, Tensor) and "." in str(key)}
            others = {key: value for key, value in others.items() if key not in entries}
            if not entries:
                raise CheckpointError(
                    f"'{self.path}' lacks the entry {' or '.join(names)} of {what}; it has {listing(self.content)}: "
                    "check which file it is."
                )
        if unknown := [key for key, value in others.items() if not _training_state(str(key), value)]:
            raise CheckpointError(
                f"'{self.path}' has the entries {listing(unknown)}, which {what} does not know: check which file it is."
            )
        self.ignored |= {str(key): TRAINING for key in others}
        return plain_names(self.tensors(entries, name or "its top level"))

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


def _training_state(name: str, value: object) -> bool:
    """Whether a top-level entry is left by training: known by its name, or without any tensor in it."""
    if TRAINING_NAMES.fullmatch(name):
        return True
    seen, waiting = set(), [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Tensor):
            return False
        if id(value) not in seen:
            seen.add(id(value))
            waiting += value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return True


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
                "`vivface convert stylegan2` and `stylegan3` read NVIDIA's pickles)."
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
    with refusing_pickles(path):
        return Source(path, read_pickle(path))


@contextmanager
def refusing_pickles(path: Path) -> Iterator[None]:
    """Turn what goes wrong while a pickle is read into one sentence.

    Raises:
        CheckpointError: If the file asks for more than plain data, or is damaged.
    """
    try:
        yield
    except UnsafePickle as error:
        reason = "of the older TensorFlow code, " if "tflib" in str(error) else ""
        raise _refused(path, f"{error}, {reason}") from error
    except CheckpointError:
        raise
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
        raise _refused(path, f"{named[1]}, ") from error
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


def _refused(path: Path, named: str) -> CheckpointError:
    return CheckpointError(
        f"'{path}' is refused: reading it would run {named}and only tensors, numbers, strings and plain containers are "
        "read; get the file from its authors."
    )


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"'{path}' is damaged ({first_line(error)}): download it again.")
