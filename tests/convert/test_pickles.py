"""The reader of NVIDIA's pickles: plain data comes through; whatever would run or build anything is refused."""

import builtins
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.convert.nvidia_pickle import EasyDict, Persistent, network, write
from vivface.convert.pickles import UnsafePickle, read_pickle


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
            assert read[name].dtype == tensor.dtype and torch.equal(read[name], tensor), name

    def test_networks_are_records(self, tmp_path, protocol):
        mark = tmp_path / "ran"
        source = f"open({str(mark)!r}, 'w')"  # the text that the authors' loader would run
        tensors = {"mapping.w_avg": torch.ones(3), "synthesis.b4.conv1.weight": torch.zeros(2, 2)}
        content = EasyDict(G_ema=network("Generator", tensors, source))
        read = read_pickle(write(tmp_path / "a.pkl", content, protocol))
        assert type(read) is dict and read["G_ema"].class_name == "Generator"
        assert read["G_ema"].state["weight_gain"] == 0.0442
        entries = read["G_ema"].state_dict()
        assert entries.keys() == tensors.keys()
        assert all(torch.equal(entries[name], tensor) for name, tensor in tensors.items())
        assert not mark.exists()


class TestRefused:
    def check(self, path: Path, content: object, protocol: int = 4) -> str:
        write(path / "a.pkl", content, protocol)
        with pytest.raises(UnsafePickle) as error:
            read_pickle(path / "a.pkl")
        assert not (path / "ran").exists()
        return str(error.value)

    @pytest.mark.parametrize("protocol", [2, 3, 4, 5])
    def test_a_call_of_the_system(self, tmp_path, protocol):
        assert "mkdir" in self.check(tmp_path, Call(os.mkdir, str(tmp_path / "ran")), protocol)

    @pytest.mark.parametrize("function", ["eval", "exec", "getattr", "__import__", "open", "type", "object"])
    def test_builtins(self, tmp_path, function):
        code = f"open({str(tmp_path / 'ran')!r}, 'w')"
        assert function in self.check(tmp_path, Call(getattr(builtins, function), code))

    def test_deep_inside(self, tmp_path):
        evil = Call(os.mkdir, str(tmp_path / "ran"))
        self.check(tmp_path, {"G_ema": Persistent("Generator", {"_modules": {"a": [evil]}}, "")})

    def test_inside_the_bytes_of_a_tensor(self, tmp_path):
        inner = pickle.dumps(Call(os.mkdir, str(tmp_path / "ran")), protocol=2)
        assert "bytes of a tensor" in self.check(tmp_path, Call(torch.storage._load_from_bytes, inner))

    def test_attributes(self, tmp_path):
        class_with_state = OrderedDict(a=1)
        class_with_state.extra = "attribute"
        assert "attributes" in self.check(tmp_path, class_with_state)

    def test_a_class_that_would_be_built(self, tmp_path):
        assert "pathlib" in self.check(tmp_path, [Path("somewhere")])
        assert "Linear" in self.check(tmp_path, torch.nn.Linear(2, 2))

    def test_python_objects_of_numpy(self, tmp_path):
        self.check(tmp_path, np.array([{"a": 1}], dtype=object))

    @pytest.mark.parametrize(
        "program",
        [
            b"\x80\x02(X\x04\x00\x00\x00echoios\nsystem\n.",  # INST
            b"\x80\x02(cos\nsystem\nX\x04\x00\x00\x00echoo.",  # OBJ
            b"\x80\x02Pname\n.",  # persistent id
            b"\x80\x02\x82\x01.",  # extension registry
            b"\x80\x02}(K\x01K\x02tR.",  # a call of a dict
            b"\x80\x02K\x01]\x81.",  # a new object of a number
            b"\x80\x02ccollections\nOrderedDict\n}(X\x01\x00\x00\x00aK\x01ub.",  # attributes of a name
            b"\x80\x02)K\x01a.",  # items for what is no list
        ],
    )
    def test_programs(self, tmp_path, program):
        (tmp_path / "a.pkl").write_bytes(program)
        with pytest.raises(UnsafePickle):
            read_pickle(tmp_path / "a.pkl")

    def test_tensor_beyond_its_storage(self, tmp_path):
        size, stride = (1000,), (1,)
        storage = torch.zeros(4).untyped_storage()
        typed = torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float32, _internal=True)
        write(tmp_path / "a.pkl", Call(torch._utils._rebuild_tensor_v2, typed, 0, size, stride, False, OrderedDict()))
        with pytest.raises(RuntimeError):
            read_pickle(tmp_path / "a.pkl")

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
    def test_truncated(self, tmp_path, share):
        whole = write(tmp_path / "a.pkl", {"a": torch.randn(100), "b": ["text"] * 50}).read_bytes()
        (tmp_path / "a.pkl").write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises((EOFError, RuntimeError, IndexError, UnsafePickle)):
            read_pickle(tmp_path / "a.pkl")
