"""Write a pickle as NVIDIA's `torch_utils.persistence` does, without its code.

There, a decorated object is pickled as a call of `_reconstruct_persistent_obj` with the source text of its module, the
name of its class and its attributes. Here modules of those names exist just while the file is written.
"""

import pickle
import sys
from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np
import torch

BUFFERS = ("resample_filter", "noise_const", "w_avg")
BUFFERS += ("transform", "freqs", "phases", "magnitude_ema", "up_filter", "down_filter")


def _reconstruct_persistent_obj(meta):
    raise AssertionError("only its name is used")


class EasyDict(dict):
    """A dict with the name of NVIDIA's."""


class Persistent:
    """An object that is pickled as NVIDIA's are."""

    def __init__(self, class_name: str, state: dict, source: str):
        self.meta = {"type": "class", "version": 6, "module_src": source, "class_name": class_name, "state": state}

    def __reduce__(self):
        return _reconstruct_persistent_obj, (self.meta,), None


def network(class_name: str, tensors: dict[str, torch.Tensor], source: str = "") -> Persistent:
    """A module tree of these tensors, with the attributes that such networks have."""
    children: dict[str, dict] = {}
    parameters, buffers = OrderedDict(), OrderedDict()
    for name, tensor in tensors.items():
        child, _, rest = name.partition(".")
        if rest:
            children.setdefault(child, {})[rest] = tensor
        elif name in BUFFERS:
            buffers[name] = tensor
        else:
            parameters[name] = torch.nn.Parameter(tensor, requires_grad=tensor.is_floating_point())
    state = {
        "training": False,
        "_parameters": parameters,
        "_buffers": buffers,
        "_non_persistent_buffers_set": set(),
        "_backward_hooks": OrderedDict(),
        "_modules": OrderedDict((name, network("Layer", child, source)) for name, child in children.items()),
        "_init_args": (),
        "_init_kwargs": EasyDict(z_dim=512, mapping_kwargs=EasyDict(num_layers=8)),
        "weight_gain": np.float64(0.0442),  # numpy numbers do occur
        "use_fp16": np.bool_(True),
        "size": np.broadcast_to(np.asarray(36), [2]),  # and arrays
        "dtype": torch.float32,
    }
    return Persistent(class_name, state, source)


def write(path: Path, content: object, protocol: int = 4) -> Path:
    """Pickle `content`, with the names of NVIDIA's modules."""
    persistence, dnnlib, util = (ModuleType(n) for n in ("torch_utils.persistence", "dnnlib", "dnnlib.util"))
    persistence._reconstruct_persistent_obj = _reconstruct_persistent_obj
    util.EasyDict = EasyDict
    modules = {"torch_utils": ModuleType("torch_utils"), "torch_utils.persistence": persistence}
    modules |= {"dnnlib": dnnlib, "dnnlib.util": util}
    with (
        mock.patch.dict(sys.modules, modules),
        mock.patch.object(_reconstruct_persistent_obj, "__module__", "torch_utils.persistence"),
        mock.patch.object(EasyDict, "__module__", "dnnlib.util"),
        open(path, "wb") as file,
    ):
        pickle.dump(content, file, protocol=protocol)
    return path
