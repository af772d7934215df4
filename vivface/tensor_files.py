"""Tensors on disk: safetensors files that say in their metadata what they hold."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from vivface.errors import CheckpointError, MediaError, VivFaceError, first_line
from vivface.files import check_output, complete_file

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
SUFFIX = ".safetensors"
# What a damaged file can make of reading and of `decode`: its tensors and its metadata can be anything.
DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError)


@dataclass(frozen=True)
class TensorFile:
    """One kind of file.

    Attributes:
        format (`str`): What the entry `format` of its metadata says, such as `"vivface-pose-1"`.
        name (`str`): What it holds, with its article if it has one, for messages.
        remedy (`str`, *optional*): What to do about a file that cannot be read, for messages.
        error (`type`, *optional*, defaults to `CheckpointError`): What is raised then.
        suffix (`str`, *optional*, defaults to `".safetensors"`): The ending of its name.
    """

    format: str
    name: str
    remedy: str = "copy the file again"
    error: type[VivFaceError] = CheckpointError
    suffix: str = SUFFIX

    def save(self, path: str | os.PathLike, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> Path:
        """Write a file, which appears when it is complete.

        Args:
            path (`str` or `os.PathLike`): Where.
            tensors (`dict`): By name, of any device.
            metadata (`dict`, *optional*): Further entries beside `format`.

        Raises:
            MediaError: If it cannot be written.
        """
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        path = check_output(path, (self.suffix,))
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        try:
            with complete_file(path) as temporary:
                save_file(tensors, temporary, {"format": self.format, **(metadata or {})})
        except (SafetensorError, OSError) as error:
            reason = getattr(error, "strerror", None) or first_line(error)
            raise MediaError(f"Cannot write '{path}': {reason}.") from error
        return path

    def load(self, path: str | os.PathLike, decode: Callable[[dict[str, Tensor], dict[str, str]], T]) -> T:
        """Read a file.

        Args:
            path (`str` or `os.PathLike`): Which.
            decode (callable): Makes of tensors and metadata what the file stands for; a `ValueError` says what is wrong
                with them.

        Returns:
            What `decode` returns.

        Raises:
            VivFaceError: `error`, if the file is missing, damaged, of another kind, or `decode` refuses it.
        """
        from safetensors import SafetensorError, safe_open

        path = Path(path)
        if not path.is_file():
            raise self.error(f"There is no '{path}', expected {self.name}: {self.remedy}.")
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != self.format:
                    raise ValueError("it holds something else")
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            if not all(tensor.isfinite().all() for tensor in tensors.values()):
                raise ValueError("it holds numbers that are not finite")
            return decode(tensors, metadata)
        except (SafetensorError, *DAMAGE) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else first_line(error)
            raise self.error(f"'{path}' cannot be read as {self.name} ({reason}): {self.remedy}.") from error
