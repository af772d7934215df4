"""The reader of NVIDIA's pickles: plain data comes through; whatever would run or build anything is refused."""

import builtins
import os
import pickle
import struct
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import REPOSITORY
from tests.convert.nvidia_pickle import EasyDict, Persistent, network, write
from vivface.convert.nvidia import generator_entries
from vivface.convert.pickles import read_pickle
from vivface.convert.reading import read_torch_or_nvidia
from vivface.errors import CheckpointError


class Call:
    """Pickled as a call."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize("protocol", [3, 4, 5])
class TestPlainData:
    def test_values(self, tmp_path, protocol):
        content = {
            "numbers": [0, 1, -1, 255, 256, 65536, 2**31, -(2**40), 1.5, float("inf"), True, False, None],
            "strings": ["", "name", "é" * 300, b"bytes" * 100],
            "containers": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], {}, {1}, set(), OrderedDict(a=1)],
            "nested": {"a": {"b": [{"c": (1, [2])}]}},
        }
        content["again"] = content["nested"]
        read = read_pickle(write(tmp_path / "a.pkl", content, protocol))
        assert bytes(read["strings"].pop()) == content["strings"].pop()
        assert read == content

    def test_frozen_set_and_numpy_numbers(self, tmp_path, protocol):
        content = [frozenset({1, 2}), np.float64(0.25), np.float32(0.5), np.int64(-7), np.bool_(True)]
        read = read_pickle(write(tmp_path / "a.pkl", content, protocol))
        assert read == [frozenset({1, 2}), 0.25, 0.5, -7, True]
        assert all(type(value) in (frozenset, float, int, bool) for value in read)

    def test_tensors(self, tmp_path, protocol):
        whole = torch.arange(24.0).reshape(2, 3, 4)
        content = {
            "float": whole,
            "view": whole[:, 1].t(),
            "half": whole.half(),
            "long": torch.tensor(3),
            "parameter": torch.nn.Parameter(whole),
            "channels_last": torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last),
            "type": torch.float16,
        }
        read = read_pickle(write(tmp_path / "a.pkl", content, protocol))
        assert read.pop("type") is content.pop("type")
        for name, tensor in content.items():
            found = read[name].read()
            assert found.dtype == tensor.dtype and torch.equal(found, tensor), name

    def test_networks_are_records(self, tmp_path, protocol):
        mark = tmp_path / "ran"
        source = f"open({str(mark)!r}, 'w')"  # the text that the authors' loader would run
        tensors = {"mapping.w_avg": torch.ones(3), "synthesis.b4.conv1.weight": torch.zeros(2, 2)}
        content = EasyDict(G_ema=network("Generator", tensors, source))
        read = read_pickle(write(tmp_path / "a.pkl", content, protocol))
        assert isinstance(read, dict) and read["G_ema"].class_name == "Generator"
        assert read["G_ema"].state["weight_gain"] == 0.0442
        entries = read["G_ema"].state_dict()
        assert entries.keys() == tensors.keys()
        assert all(torch.equal(entries[name], tensor) for name, tensor in tensors.items())
        assert not mark.exists()


def refused(path: Path) -> str:
    """The sentence with which a file is refused; whatever it names must not have run."""
    with pytest.raises(CheckpointError) as error:
        source = read_torch_or_nvidia(path)
        generator_entries(source)  # tensors are read when they are asked for
    sentence = str(error.value)
    assert "\n" not in sentence and sentence.endswith(".") and str(path) in sentence
    assert not (path.parent / "ran").exists()
    return sentence


class TestRefused:
    def check(self, folder: Path, content: object, protocol: int = 4) -> str:
        return refused(write(folder / "a.pkl", content, protocol))

    @pytest.mark.parametrize("protocol", [2, 3, 4, 5])
    def test_a_call_of_the_system(self, tmp_path, protocol):
        assert "mkdir" in self.check(tmp_path, Call(os.mkdir, str(tmp_path / "ran")), protocol)

    @pytest.mark.parametrize("protocol", [0, 1])
    def test_old_protocols_are_no_network_pickles(self, tmp_path, protocol):
        assert "another kind of file" in self.check(tmp_path, Call(os.mkdir, str(tmp_path / "ran")), protocol)

    @pytest.mark.parametrize("function", ["eval", "exec", "getattr", "__import__", "open", "type", "object"])
    def test_builtins(self, tmp_path, function):
        code = f"open({str(tmp_path / 'ran')!r}, 'w')"
        assert function in self.check(tmp_path, Call(getattr(builtins, function), code))

    def test_nested_getattr(self, tmp_path):
        """getattr(__import__("os"), "mkdir")("ran")"""
        program = b"\x80\x04cbuiltins\ngetattr\n(cbuiltins\n__import__\n(" + _short(b"os") + b"tR"
        program += _short(b"mkdir") + b"tR(" + _short(str(tmp_path / "ran").encode()) + b"tR."
        (tmp_path / "a.pkl").write_bytes(program)
        assert "getattr" in refused(tmp_path / "a.pkl")

    @pytest.mark.parametrize("name", ["Container.__init__.__globals__", "OrderedDict.fromkeys", "__builtins__"])
    def test_dotted_names(self, tmp_path, name):
        program = b"\x80\x04" + _short(b"collections") + _short(name.encode()) + b"\x93)R."
        (tmp_path / "a.pkl").write_bytes(program)
        assert name in refused(tmp_path / "a.pkl")

    def test_deep_inside(self, tmp_path):
        evil = Call(os.mkdir, str(tmp_path / "ran"))
        self.check(tmp_path, {"G_ema": Persistent("Generator", {"_modules": {"a": [evil]}}, "")})

    def test_inside_the_bytes_of_a_tensor(self, tmp_path):
        inner = pickle.dumps(Call(os.mkdir, str(tmp_path / "ran")), protocol=2)
        storage = Call(torch.storage._load_from_bytes, inner)
        evil = Call(torch._utils._rebuild_tensor_v2, storage, 0, (1,), (1,), False, OrderedDict())
        state = {"_parameters": {"a": evil}, "_buffers": {}, "_modules": {}}
        assert "bytes of a tensor" in self.check(tmp_path, {"G_ema": Persistent("Generator", state, "")})

    def test_attributes(self, tmp_path):
        class_with_state = OrderedDict(a=1)
        class_with_state.extra = "attribute"
        assert "attributes" in self.check(tmp_path, class_with_state)

    def test_a_class_that_would_be_built(self, tmp_path):
        assert "pathlib" in self.check(tmp_path, [Path("somewhere")])
        assert "Linear" in self.check(tmp_path, torch.nn.Linear(2, 2))

    def test_python_objects_of_numpy(self, tmp_path):
        self.check(tmp_path, np.array([{"a": 1}], dtype=object))

    def test_a_network_without_end(self, tmp_path):
        """A module that is its own child."""
        state = {"_parameters": {}, "_buffers": {}, "_modules": {}}
        whole = pickle.loads(pickle.dumps(state))
        whole["_modules"]["a"] = Persistent("Layer", whole, "")
        assert "without end" in self.check(tmp_path, {"G_ema": Persistent("Generator", whole, "")})

    @pytest.mark.parametrize(
        "program",
        [
            b"(X\x04\x00\x00\x00echoios\nsystem\n.",  # INST
            b"(cos\nsystem\nX\x04\x00\x00\x00echoo.",  # OBJ
            b"(ccollections\nOrderedDict\no}K\x01b.",  # OBJ of a stand-in, attributes that are no dict
            b"Pname\n.",  # PERSID
            b"K\x01Q.",  # BINPERSID
            b"\x82\x01.",  # EXT1
            b"}(K\x01K\x02tR.",  # a call of a dict
            b"K\x01]\x81.",  # a new object of a number
            b"K\x01)}\x92.",  # the same with names
            b"ccollections\nOrderedDict\n}(X\x01\x00\x00\x00aK\x01ub.",  # attributes of a class
            b"ccollections\nOrderedDict\nN}(X\x01\x00\x00\x00aK\x01u\x86b.",  # attributes in slots of a class
            b"ctorch\ndevice\n}(X\x0c\x00\x00\x00__defaults__)ub.",  # attributes of a function
            b"ctorch\ndevice\nN}(X\x09\x00\x00\x00_functionK\x01u\x86b.",
            b"ctorch.storage\n_load_from_bytes\n)\x81N}(X\x08\x00\x00\x00_contentK\x01u\x86b.",  # of an object
            b"cbuiltins\nset\nN}(X\x03\x00\x00\x00addK\x01u\x86b.",  # attributes of a builtin
            b"ctorch\nfloat32\nN}(X\x03\x00\x00\x00addK\x01u\x86b.",
            b"ctorch\nload\n)R.",
            b"ctorch.hub\nload\n)R.",
            b")K\x01a.",  # items for what is no list
            b"ctorch\ndevice\nK\x01K\x02s.",  # entries of what is no dict
            b"\x97.",  # a buffer out of band
        ],
    )
    def test_programs(self, tmp_path, program):
        (tmp_path / "a.pkl").write_bytes(b"\x80\x02" + program)
        refused(tmp_path / "a.pkl")
        tensors = {"mapping.w_avg": torch.ones(3)}  # and it changed nothing for files after it
        good = read_pickle(write(tmp_path / "good.pkl", {"G_ema": network("Generator", tensors)}))
        assert torch.equal(good["G_ema"].state_dict()["mapping.w_avg"], torch.ones(3))

    def test_tensor_beyond_its_storage(self, tmp_path):
        storage = torch.zeros(4).untyped_storage()
        typed = torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float32, _internal=True)
        beyond = Call(torch._utils._rebuild_tensor_v2, typed, 0, (1000,), (1,), False, OrderedDict())
        state = {"_parameters": {"a": beyond}, "_buffers": {}, "_modules": {}}
        assert "damaged" in self.check(tmp_path, {"G_ema": Persistent("Generator", state, "")})

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
    def test_truncated(self, tmp_path, share):
        whole = write(tmp_path / "a.pkl", {"a": torch.randn(100), "b": ["text"] * 50}).read_bytes()
        (tmp_path / "a.pkl").write_bytes(whole[: int(len(whole) * share)])
        assert "damaged" in refused(tmp_path / "a.pkl")


def _short(text: bytes) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text


MEMORY = """
import resource, sys
from pathlib import Path
from vivface.convert.nvidia import generator_entries
from vivface.convert.reading import read_torch_or_nvidia
from vivface.errors import CheckpointError

peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
try:
    generator_entries(read_torch_or_nvidia(Path(sys.argv[1])))
except CheckpointError as error:
    print(error, file=sys.stderr)
print(peak() - before)
"""


def grown(path: Path) -> float:
    """Megabytes that a process grows by when it reads a file."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", MEMORY, str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


class TestMemory:
    @pytest.mark.parametrize(
        "program",
        [
            b"Nr\x00\x00\x00\x08.",  # LONG_BINPUT: a table of 134 million places
            b"Np134217728\n.",  # PUT
            b"\x8e" + struct.pack("<Q", 2**34) + b"a.",  # BINBYTES8
            b"\x8d" + struct.pack("<Q", 2**62) + b"a.",  # BINUNICODE8
            b"\x96" + struct.pack("<Q", 2**34) + b"a.",  # BYTEARRAY8
            b"\x8b" + struct.pack("<i", 2**31 - 1) + b"a.",  # LONG4
            b"\x95" + struct.pack("<Q", 2**34) + b"N.",  # FRAME
            b"]" * 1_000_000 + b"a" * 999_999 + b".",  # lists in lists
            b"(" * 1_000_000 + b"." * 2,
        ],
        ids=lambda program: repr(program[:3]),
    )
    def test_bombs(self, tmp_path, program):
        (tmp_path / "a.pkl").write_bytes(b"\x80\x04" + program)
        assert grown(tmp_path / "a.pkl") < 150

    def test_the_file_is_held_once(self, tmp_path):
        tensors = {f"layer{i}.weight": torch.randn(1024, 1024) for i in range(10)}
        networks = {name: network("Generator", tensors) for name in ("G", "D", "G_ema")}
        write(tmp_path / "a.pkl", networks)
        size = (tmp_path / "a.pkl").stat().st_size / 1e6
        assert size > 120 and grown(tmp_path / "a.pkl") < 1.5 * size
