"""Read a pickle as inert data: nothing is imported, built or called.

A pickle is a program for a small stack machine, and two of its instructions call whatever the file names. This reader
runs the instructions that push and collect plain values, and answers the calls itself: each of the few names that
occur in NVIDIA's network pickles stands for plain data (a tensor, a number, a dict, or the record of a network whose
class is not built). Any other name, and any other instruction, is refused before anything happens.
"""

import io
import mmap
import pickle
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class UnsafePickle(Exception):
    """The pickle names something that is neither tensor, number, string nor plain container."""


class Name(NamedTuple):
    """What the pickle would import."""

    module: str
    name: str


@dataclass
class PersistentObject:
    """Record of an object that NVIDIA's `torch_utils.persistence` would rebuild from the source text in the file.

    Args:
        class_name (`str`): Name of its class, such as "Generator".
        state (`dict`): Its attributes; for a network `_parameters`, `_buffers` and `_modules` among them.
    """

    class_name: str
    state: dict

    def state_dict(self) -> dict[str, Tensor]:
        """Parameters and buffers by full name, as `torch.nn.Module.state_dict` would give them."""
        entries = {name: tensor for name, tensor in self.state["_parameters"].items() if tensor is not None}
        temporary = self.state.get("_non_persistent_buffers_set", ())
        for name, tensor in self.state["_buffers"].items():
            if tensor is not None and name not in temporary:
                entries[name] = tensor
        for child, module in self.state["_modules"].items():
            entries |= {f"{child}.{name}": tensor for name, tensor in module.state_dict().items()}
        return entries


@dataclass
class NumpyType:
    """A numpy number's type, such as "f8"."""

    code: str
    order: str = "="


def read_pickle(path: Path) -> object:
    """Read a pickle of tensors, numbers, strings, plain containers and `PersistentObject` records.

    Big arrays are read from the mapped file one at a time, so that memory holds one copy of them.

    Raises:
        UnsafePickle: If the file asks for anything else.
        Exception: Of any kind, if it is no pickle or damaged.
    """
    with open(path, "rb") as file:
        return _Machine(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)).run()


# Calls that are answered with plain data ---------------------------------------------------------------------------


def _storage(data: memoryview) -> Tensor:
    """A storage, itself written by `torch.save`: as a one-dimensional tensor."""
    try:
        storage = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UnsafePickle("a program inside the bytes of a tensor") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # typed storages are deprecated, but it is what such files hold
        return torch.empty(0, dtype=storage.dtype).set_(storage.untyped())


def _tensor(storage: Tensor, offset: int, size: tuple, stride: tuple, *_) -> Tensor:
    return storage.as_strided(size, stride, offset)  # raises beyond the storage's end


def _persistent(meta: dict) -> PersistentObject:
    if meta.get("type") != "class" or not isinstance(meta["state"], dict):
        raise UnsafePickle("an object of unknown kind")
    return PersistentObject(str(meta["class_name"]), meta["state"])


def _number(kind: NumpyType, data: memoryview) -> int | float | bool:
    if kind.code[:1] not in "biuf":
        raise UnsafePickle(f"a numpy value of type {kind.code}")
    return np.frombuffer(data, np.dtype(kind.code).newbyteorder(kind.order))[0].item()


CALLS: dict[tuple[str, str], Callable] = {
    ("collections", "OrderedDict"): dict,
    ("dnnlib.util", "EasyDict"): dict,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("torch", "Size"): tuple,
    ("torch", "device"): lambda *text: ":".join(map(str, text)),
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
    ("torch.storage", "_load_from_bytes"): _storage,
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _persistent,
    ("numpy", "dtype"): lambda code, *_: NumpyType(str(code)),
    ("numpy.core.multiarray", "scalar"): _number,
    ("numpy._core.multiarray", "scalar"): _number,
}
DTYPES = {name for name in dir(torch) if isinstance(getattr(torch, name), torch.dtype)}


def _call(function: object, arguments: object) -> object:
    if not isinstance(function, Name) or not isinstance(arguments, tuple):
        raise UnsafePickle("a call of something that has no name")
    if function not in CALLS:
        raise UnsafePickle(f"{function.module}.{function.name}")
    return CALLS[function](*arguments)


# The stack machine -------------------------------------------------------------------------------------------------


class _Machine:
    """The instructions of pickle protocols 0 to 5 that plain data need."""

    def __init__(self, file: mmap.mmap):
        self.file = file
        self.view = memoryview(file)
        self.position = 0
        self.stack: list = []
        self.marks: list[list] = []  # stacks below each mark
        self.memo: dict[int, object] = {}

    def run(self) -> object:
        while True:
            code = bytes(self.take(1))
            if code == pickle.STOP:
                return self.stack.pop()
            if code not in INSTRUCTIONS:
                raise UnsafePickle(f"the instruction {code!r}")
            INSTRUCTIONS[code](self)

    # reading

    def take(self, length: int) -> memoryview:
        end = self.position + length
        if length < 0 or end > len(self.view):
            raise EOFError("the file ends too early")
        taken = self.view[self.position : end]
        self.position = end
        return taken

    def number(self, form: str) -> int | float:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def text(self, form: str) -> str:
        return str(self.take(self.number(form)), "utf-8", "surrogatepass")

    def line(self) -> str:
        end = self.file.find(b"\n", self.position)
        if end < 0:
            raise EOFError("the file ends too early")
        return str(self.take(end + 1 - self.position)[:-1], "utf-8")

    # the stack

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop_to_mark(self) -> list:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def name(self, module: str, name: str) -> None:
        if module == "torch" and name in DTYPES:
            self.push(getattr(torch, name))
            return
        module = {"__builtin__": "builtins"}.get(module, module)
        if (module, name) not in CALLS:
            raise UnsafePickle(f"{module}.{name}")
        self.push(Name(module, name))

    # containers

    def collect(self, count: int) -> None:
        start = len(self.stack) - count
        self.stack[start:] = [tuple(self.stack[start:])]

    def append(self, items: list) -> None:
        _expect(self.stack[-1], list).extend(items)

    def set_items(self, items: list) -> None:
        _expect(self.stack[-1], dict).update(zip(items[::2], items[1::2], strict=True))

    def add_items(self, items: list) -> None:
        _expect(self.stack[-1], set).update(items)

    # calls

    def reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        self.push(_call(function, arguments))

    def build(self) -> None:
        """Give an object its state: only numpy's types have one here."""
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, NumpyType) and isinstance(state, tuple):
            target.order = {"<": "<", ">": ">"}.get(state[1], "=")
        elif state:
            raise UnsafePickle(f"attributes of a {type(target).__name__}")

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]


def _expect(value: object, kind: type) -> object:
    if type(value) is not kind:
        raise UnsafePickle(f"items for a {type(value).__name__}")
    return value


def _two(m: _Machine) -> list:
    value, key = m.stack.pop(), m.stack.pop()
    return [key, value]


INSTRUCTIONS: dict[bytes, Callable[[_Machine], object]] = {
    pickle.PROTO: lambda m: m.take(1),
    pickle.FRAME: lambda m: m.take(8),
    # constants and numbers
    pickle.NONE: lambda m: m.push(None),
    pickle.NEWTRUE: lambda m: m.push(True),
    pickle.NEWFALSE: lambda m: m.push(False),
    pickle.BININT: lambda m: m.push(m.number("<i")),
    pickle.BININT1: lambda m: m.push(m.number("<B")),
    pickle.BININT2: lambda m: m.push(m.number("<H")),
    pickle.LONG1: lambda m: m.push(pickle.decode_long(bytes(m.take(m.number("<B"))))),
    pickle.BINFLOAT: lambda m: m.push(m.number(">d")),
    # strings; bytes stay where they are in the file
    pickle.BINUNICODE: lambda m: m.push(m.text("<I")),
    pickle.SHORT_BINUNICODE: lambda m: m.push(m.text("<B")),
    pickle.BINUNICODE8: lambda m: m.push(m.text("<Q")),
    pickle.BINBYTES: lambda m: m.push(m.take(m.number("<I"))),
    pickle.SHORT_BINBYTES: lambda m: m.push(m.take(m.number("<B"))),
    pickle.BINBYTES8: lambda m: m.push(m.take(m.number("<Q"))),
    # containers
    pickle.MARK: _Machine.mark,
    pickle.POP: lambda m: m.stack.pop(),
    pickle.POP_MARK: _Machine.pop_to_mark,
    pickle.EMPTY_TUPLE: lambda m: m.push(()),
    pickle.TUPLE1: lambda m: m.collect(1),
    pickle.TUPLE2: lambda m: m.collect(2),
    pickle.TUPLE3: lambda m: m.collect(3),
    pickle.TUPLE: lambda m: m.push(tuple(m.pop_to_mark())),
    pickle.EMPTY_LIST: lambda m: m.push([]),
    pickle.APPEND: lambda m: m.append([m.stack.pop()]),
    pickle.APPENDS: lambda m: m.append(m.pop_to_mark()),
    pickle.EMPTY_DICT: lambda m: m.push({}),
    pickle.SETITEM: lambda m: m.set_items(_two(m)),
    pickle.SETITEMS: lambda m: m.set_items(m.pop_to_mark()),
    pickle.EMPTY_SET: lambda m: m.push(set()),
    pickle.ADDITEMS: lambda m: m.add_items(m.pop_to_mark()),
    pickle.FROZENSET: lambda m: m.push(frozenset(m.pop_to_mark())),
    # memory
    pickle.BINPUT: lambda m: m.put(m.number("<B")),
    pickle.LONG_BINPUT: lambda m: m.put(m.number("<I")),
    pickle.MEMOIZE: lambda m: m.put(len(m.memo)),
    pickle.BINGET: lambda m: m.push(m.memo[m.number("<B")]),
    pickle.LONG_BINGET: lambda m: m.push(m.memo[m.number("<I")]),
    # names, which stand for the calls above and for nothing else
    pickle.GLOBAL: lambda m: m.name(m.line(), m.line()),
    pickle.STACK_GLOBAL: lambda m: m.name(*map(str, _two(m))),
    pickle.REDUCE: _Machine.reduce,
    pickle.NEWOBJ: _Machine.reduce,
    pickle.BUILD: _Machine.build,
}
