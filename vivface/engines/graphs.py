"""Networks as ONNX graphs: exported once for every architecture and kind of call, then filled with any weights.

Every weight keeps its name in the graph, so that the graph of a checkpoint serves a generator that was tuned to a
portrait as well: its weights take the others' place.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import warnings
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor, nn

from vivface import __version__
from vivface.engines.calls import Call, NoGraphError, put_together, take_apart
from vivface.errors import BackendError
from vivface.files import complete_file

OPSET = 20
RESULT = "vivface.result"  # key of the graph's metadata: how the outputs form the result
PREFIX = "network."
MANIFEST = "graphs.json"


class GraphStore:
    """A folder of graphs: a cache, or what `vivface export` wrote.

    Args:
        folder (`pathlib.Path`, *optional*): By default `vivface/graphs` in the user's cache; `VIVFACE_GRAPHS` names
            another.
    """

    def __init__(self, folder: Path | None = None):
        self.folder = folder or default_folder()

    def read(self, name: str) -> bytes | None:
        """A graph; None where it is not there."""
        try:
            return (self.folder / self._listed().get(name, f"{name}.onnx")).read_bytes()
        except OSError:
            return None

    def _listed(self) -> dict[str, str]:
        """Names of files by names of graphs, in a folder of `vivface export`."""
        try:
            entries = json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))
            return {entry["key"]: entry["file"] for entry in entries if entry["file"].endswith(".onnx")}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def write(self, name: str, graph: bytes) -> None:
        """Keep a graph; where the folder cannot be written to, it is made again next time."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with complete_file(self.folder / f"{name}.onnx") as temporary:
                temporary.write_bytes(graph)
        except Exception:  # noqa: BLE001 - a cache
            return


def default_folder() -> Path:
    """Where graphs are kept."""
    if "VIVFACE_GRAPHS" in os.environ:
        return Path(os.environ["VIVFACE_GRAPHS"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vivface" / "graphs"


def graph_name(network: nn.Module, call: Call) -> str:
    """Name of the graph of a network's architecture and a kind of call; another version of the code has others."""
    shapes = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    parts = [__version__, torch.__version__, _code(), OPSET, type(network).__qualname__, _config(network), shapes]
    parts += [call.description, call.shapes, call.batched]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
    return f"{type(network).__name__}-{digest[:20]}"


def graph_of(network: nn.Module, call: Call, store: GraphStore) -> tuple[bytes, object]:
    """The graph of a kind of call, with the network's weights, as an ONNX file.

    Args:
        network (`torch.nn.Module`): In evaluation mode, float32.
        call (`Call`): An example; the batch may be of any size afterwards, if it is more than 1 here.
        store (`GraphStore`): Where it is looked for, and kept.

    Returns:
        `tuple[bytes, object]`: The file; and how its outputs form the result, for `put_together`.

    Raises:
        BackendError: If the exporter is not installed.
        NoGraphError: If the network cannot be exported.
    """
    name = graph_name(network, call)
    graph = store.read(name)
    if graph is None:
        graph, result = export(network, call)
        store.write(name, graph)
        return graph, result
    return with_weights(graph, network)


def export(network: nn.Module, call: Call) -> tuple[bytes, object]:
    """A network as an ONNX file, with its result in the metadata too; arguments and errors as of `graph_of`."""
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch.onnx needs it
    except ImportError as error:
        raise BackendError(
            "Exporting needs ONNX: pip install 'vivface[onnxruntime]' or 'vivface[openvino]'."
        ) from error
    found: list[object] = []
    module = _OnTensors(network, call, found.append).eval()
    shapes = tuple({0: torch.export.Dim.DYNAMIC} if batched else None for batched in call.batched)
    try:
        with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
            warnings.simplefilter("ignore")
            tensors = tuple(tensor.detach().clone(memory_format=torch.contiguous_format) for tensor in call.tensors)
            program = torch.export.export(module, tensors, dynamic_shapes=(shapes,), strict=False)
            names = {"input_names": [f"input_{i}" for i in range(len(tensors))], "opset_version": OPSET}
            made = torch.onnx.export(program, (), dynamo=True, verbose=False, optimize=False, **names)
    except Exception as error:  # noqa: BLE001 - whatever an exporter meets, PyTorch can still compute it
        raise NoGraphError(f"{type(network).__name__} cannot be exported ({type(error).__name__})") from error
    model = made.model_proto
    onnx.helper.set_model_props(model, {RESULT: json.dumps(found[-1])})
    for node in model.graph.node:  # where a node was in the source text helps nobody here
        del node.metadata_props[:]
        node.doc_string = ""
    buffer = io.BytesIO()
    onnx.save_model(model, buffer)
    return buffer.getvalue(), found[-1]


def with_weights(graph: bytes, network: nn.Module) -> tuple[bytes, object]:
    """The same graph with the weights of a network of the same architecture; returns what `graph_of` does."""
    import onnx

    model = onnx.load_model_from_string(graph)
    state = {PREFIX + name: tensor for name, tensor in network.state_dict().items()}
    for initializer in model.graph.initializer:
        if initializer.name in state:
            value = state[initializer.name].detach().cpu().contiguous().numpy()
            initializer.CopyFrom(onnx.numpy_helper.from_array(value, initializer.name))
    properties = {item.key: item.value for item in model.metadata_props}
    return model.SerializeToString(), json.loads(properties[RESULT])


class _OnTensors(nn.Module):
    """A network whose arguments are tensors only, and whose result is a tuple of tensors; `note` is told how it was
    taken apart, since attributes are put back after an export."""

    def __init__(self, network: nn.Module, call: Call, note: Callable[[object], None]):
        super().__init__()
        self.network = network
        self.description = call.description
        self.note = note

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        args, kwargs = put_together(self.description, tensors)
        outputs: list[Tensor] = []
        self.note(take_apart(self.network(*args, **kwargs), outputs))
        return tuple(outputs)


def _config(network: nn.Module) -> dict:
    return {key: value for key, value in getattr(network, "config", {}).items() if not key.startswith("_")}


@cache
def _code() -> str:
    """Digest of the networks' source: a graph is only as good as the code that it was made from."""
    digest = hashlib.sha256()
    for folder in ("models", "faces/networks"):
        for path in sorted(Path(str(files("vivface"))).joinpath(folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()
