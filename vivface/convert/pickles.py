"""Read NVIDIA's network pickles as inert records: nothing that a file names is imported, built or called.

A pickle names classes and functions and asks for calls of them. `pickle.Unpickler.find_class` decides what a name
means ("Restricting Globals" in the documentation of `pickle`), and here it means one of the few stand-ins below:
records that keep their arguments, or plain containers. Every other name is refused. A stand-in also refuses attributes
(`__setstate__`), so that the file cannot change it.
"""

import io
import pickle
import pickletools
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

MAX_MODULES = 2_000  # of one network (StyleGAN2 has about 100): a module that holds itself would never end


class UnsafePickle(Exception):
    """The pickle asks for something that is neither tensor, number, string nor plain container."""


class Inert:
    """Base of the stand-ins: whatever attributes a file gives one are refused."""

    __slots__ = ()

    def __setstate__(self, *state: object) -> None:
        if not state or state[0]:
            raise UnsafePickle("attributes of an object")


class Container(Inert, dict):
    """An `OrderedDict`, or the `EasyDict` of NVIDIA's code."""

    __slots__ = ()


class Storage(Inert):
    """The bytes of a storage, itself written by `torch.save`."""

    __slots__ = ("_content",)

    def __init__(self, content: bytes):
        self._content: bytes | Tensor = content

    def read(self) -> Tensor:
        """As a one-dimensional tensor; the bytes are released.

        Raises:
            UnsafePickle: If the bytes hold more than a storage.
        """
        if not isinstance(self._content, Tensor):
            try:
                storage = torch.load(io.BytesIO(self._content), map_location="cpu", weights_only=True)
            except pickle.UnpicklingError as error:
                raise UnsafePickle("a program inside the bytes of a tensor") from error
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # typed storages are deprecated, but such files hold them
                self._content = torch.empty(0, dtype=storage.dtype).set_(storage.untyped())
        return self._content


class StoredTensor(Inert):
    """A tensor that is read when it is asked for."""

    __slots__ = ("_view", "_storage")

    def __init__(self, storage: Storage, offset: int, size: tuple, stride: tuple, *_: object):
        self._storage, self._view = storage, (size, stride, offset)

    def read(self) -> Tensor:
        """The tensor, on the CPU.

        Raises:
            UnsafePickle: If its bytes hold more than numbers.
            RuntimeError: If it reaches beyond its storage.
        """
        return self._storage.read().as_strided(*self._view)


class PersistentObject(Inert):
    """Record of an object that NVIDIA's `torch_utils.persistence` would rebuild from the source text in the file.

    Args:
        meta (`dict`): With `class_name`, such as "Generator", and `state`, its attributes; for a network `_parameters`,
            `_buffers` and `_modules` among them.
    """

    __slots__ = ("class_name", "state")

    def __init__(self, meta: dict):
        if meta.get("type") != "class" or not isinstance(meta["state"], dict):
            raise UnsafePickle("an object of unknown kind")
        self.class_name, self.state = str(meta["class_name"]), meta["state"]

    def state_dict(self) -> dict[str, Tensor]:
        """Parameters and buffers by full name, as `torch.nn.Module.state_dict` would give them.

        Raises:
            UnsafePickle: If the bytes of a tensor hold more than numbers, or the network has no end.
            Exception: Of any kind, if the record is damaged.
        """
        entries: dict[str, Tensor] = {}
        modules = [("", self)]
        for prefix, module in modules:
            kept = {**module.state["_parameters"]}
            temporary = module.state.get("_non_persistent_buffers_set", ())
            kept |= {name: buffer for name, buffer in module.state["_buffers"].items() if name not in temporary}
            entries |= {f"{prefix}{name}": tensor.read() for name, tensor in kept.items() if tensor is not None}
            modules += [(f"{prefix}{name}.", child) for name, child in module.state["_modules"].items()]
            if len(modules) > MAX_MODULES:
                raise UnsafePickle("a network without end")
        return entries


class NumpyType(Inert):
    """A numpy number's type, such as "f8"."""

    __slots__ = ("code", "order")

    def __init__(self, code: str, *_: object):
        self.code, self.order = str(code), "="

    def __setstate__(self, state: tuple) -> None:
        self.order = {"<": "<", ">": ">"}.get(state[1], "=")

    def number(self, data: bytes) -> int | float | bool:
        """The number that these bytes are."""
        if self.code[:1] not in "biuf":
            raise UnsafePickle(f"a numpy value of type {self.code}")
        return np.frombuffer(data, np.dtype(self.code).newbyteorder(self.order))[0].item()


class NumpyArray(Inert):
    """An array among a network's attributes, such as StyleGAN3's sizes; nothing of it is kept."""

    __slots__ = ()

    def __init__(self, *_: object):
        pass

    def __setstate__(self, *_: object) -> None:
        pass


class Function(Inert):
    """A function of ours that a file may call; a plain function would accept attributes."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable):
        self._function = function

    def __call__(self, *arguments: object) -> object:
        return self._function(*arguments)


STAND_INS: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): Container,
    ("dnnlib.util", "EasyDict"): Container,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("torch", "Size"): tuple,
    ("torch", "device"): Function(lambda *text: ":".join(map(str, text))),
    ("torch._utils", "_rebuild_tensor"): StoredTensor,
    ("torch._utils", "_rebuild_tensor_v2"): StoredTensor,
    ("torch._utils", "_rebuild_parameter"): Function(lambda tensor, *_: tensor),
    ("torch.storage", "_load_from_bytes"): Storage,
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): PersistentObject,
    ("numpy", "dtype"): NumpyType,
    ("numpy", "ndarray"): NumpyArray,
    ("numpy.core.multiarray", "_reconstruct"): NumpyArray,
    ("numpy._core.multiarray", "_reconstruct"): NumpyArray,
    ("numpy.core.multiarray", "scalar"): Function(NumpyType.number),
    ("numpy._core.multiarray", "scalar"): Function(NumpyType.number),
}
DTYPES = {name for name in dir(torch) if isinstance(getattr(torch, name), torch.dtype)}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        module = {"__builtin__": "builtins"}.get(module, module)
        if module == "torch" and name in DTYPES:
            return getattr(torch, name)
        if (module, name) not in STAND_INS:
            raise UnsafePickle(f"{module}.{name}")
        return STAND_INS[module, name]

    def persistent_load(self, pid: object) -> object:
        raise UnsafePickle("a reference to another file")


def read_pickle(path: Path) -> object:
    """Read a pickle of tensors, numbers, strings, plain containers and networks.

    Tensors are `StoredTensor` and networks `PersistentObject` records, so memory holds the file once.

    Raises:
        UnsafePickle: If the file asks for anything else.
        Exception: Of any kind, if it is no pickle or damaged.
    """
    with open(path, "rb") as file:
        _check_memory(file)
        file.seek(0)
        return _Unpickler(file).load()


def _check_memory(file: io.BufferedReader) -> None:
    """Refuse numbers by which a few bytes of pickle would take gigabytes.

    The unpickler keeps a table of as many places as the largest number under which an object is remembered. Programs
    that write pickles count them, so no number is larger than the position in the file.
    """
    for instruction, argument, position in pickletools.genops(file):
        if instruction.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > position:
            raise UnsafePickle(f"a table of {argument} objects")
