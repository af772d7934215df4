"""What Apple's GPUs lack, checked without one: operations are watched while networks run on the meta device.

The meta device takes the way of every device that is neither CPU nor CUDA, and computes shapes only. An operation is
refused if the installed torch has no kernel of it for MPS (its own table of kernels says so), or if it is known not to
work there in all of the torch versions that the package supports.
"""

from functools import cache
from pathlib import Path

import torch
import torchgen
import yaml
from torch.utils._python_dispatch import TorchDispatchMode

TABLE = Path(torchgen.__file__).parent / "packaged" / "ATen" / "native" / "native_functions.yaml"

# Operations that have a kernel now and yet do not always work; numbers are of pytorch's issues and pull requests.
REFUSED = {
    "_adaptive_avg_pool2d": "sizes must divide each other (96056)",
    "_adaptive_avg_pool2d_backward": "sizes must divide each other (96056)",
    "_upsample_bilinear2d_aa": "no kernel before torch 2.7 (145526)",
    "_upsample_bilinear2d_aa_backward": "no kernel before 2026 (173197)",
    "_upsample_bicubic2d_aa": "no kernel in torch 2.6 (141287)",
    "_upsample_bicubic2d_aa_backward": "no kernel before 2026 (169785)",
}
# Operations that stop the process or compute nonsense if their floating point arguments have two types
ONE_TYPE = {
    "native_batch_norm": "154887",
    "native_batch_norm_backward": "178770",
    "native_layer_norm": "190054",
}


class MissingOnMPS(AssertionError):
    """An operation that MPS lacks was called."""


class LikeMPS(TorchDispatchMode):
    """While active, refuses what MPS lacks; `seen` are the names of the operations that ran."""

    def __init__(self):
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        namespace, _, name = function._schema.name.rpartition("::")
        results = function(*args, **(kwargs or {}))
        if namespace == "aten":
            self.seen.add(name)
            overload = function._schema.overload_name
            self._check(name, f"{name}.{overload}" if overload else name, _types(args), _types(_listed(results)))
        return results

    def _check(self, name: str, full_name: str, types: set[torch.dtype], result_types: set[torch.dtype]) -> None:
        if name in REFUSED:
            raise MissingOnMPS(f"{name}: {REFUSED[name]}")
        if torch.float64 in types | result_types:
            raise MissingOnMPS(f"{name}: there is no float64")
        if name in ONE_TYPE and len(types) > 1:
            raise MissingOnMPS(f"{name}: arguments of {len(types)} floating point types ({ONE_TYPE[name]})")
        if not has_kernel(full_name):
            raise MissingOnMPS(f"{full_name}: no kernel in torch {torch.__version__}")


@cache
def has_kernel(name: str) -> bool:
    """Whether the installed torch has an MPS kernel of an operation, its own or one made of others."""
    entry = _table()[name]
    if "structured_delegate" in entry:
        return has_kernel(entry["structured_delegate"])
    if "dispatch" not in entry:
        return True  # made of other operations, which are seen themselves
    keys = {key.strip() for keys in entry["dispatch"] for key in keys.split(",")}
    return any(key == "MPS" or key.startswith("Composite") for key in keys)


@cache
def _table() -> dict[str, dict]:
    entries = yaml.load(TABLE.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return {entry["func"].split("(")[0]: entry for entry in entries}


def _types(values) -> set[torch.dtype]:
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    return {tensor.dtype for tensor in tensors if tensor.dtype.is_floating_point}


def _listed(results) -> list:
    return list(results) if isinstance(results, tuple | list) else [results]
