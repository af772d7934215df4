"""Which engine computes a network, behind the network's own interface.

    network = engine(pipeline.encoder)      # called and asked for attributes as the encoder itself
    network(images, identity=False)         # the first call of its kind makes a graph, the others use it

A graph is made for every kind of call: which arguments there are, their shapes without the batch, and every value that
is no tensor. Calls that need gradients, lie on another device than the CPU or are not float32 go to PyTorch.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import time
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor, nn

from vivface.engines.calls import Call, NoGraphError, put_together
from vivface.engines.graphs import GraphStore, graph_name, graph_of
from vivface.engines.proxy import Proxy, proxy_of
from vivface.engines.sessions import SESSIONS, Session
from vivface.engines.torch_engine import TorchEngine
from vivface.errors import BackendError, OptionError, first_line

logger = logging.getLogger(__name__)

ENGINES = ("torch", "onnxruntime", "openvino", "auto")
MEASURED_CALLS, MEASURED_SECONDS = 7, 1.0  # of every engine that `auto` compares
CHOICES = "choices.json"


class Engine:
    """Computes networks.

    Args:
        name (`str`): `"onnxruntime"` or `"openvino"`; `"auto"` measures these, as far as they are installed, and
            PyTorch at the first call of every kind, and remembers which was the fastest on this machine.
        store (`GraphStore`, *optional*): Where graphs and choices are kept.

    Raises:
        OptionError: If there is no such engine.
        BackendError: If it is not installed.
    """

    def __init__(self, name: str, store: GraphStore | None = None):
        if name not in ENGINES[1:]:
            raise OptionError(f"There is no engine {name!r}: give one of {', '.join(ENGINES)}.")
        self.name, self.store = name, store or GraphStore()
        self.candidates = [each for each in SESSIONS if find_spec(each) is not None and name in (each, "auto")]
        if name != "auto" and (not self.candidates or find_spec("onnxscript") is None):
            raise BackendError(f"The engine {name!r} is not installed: pip install 'vivface[{name}]'.")
        if find_spec("onnxscript") is None:  # nothing to export with
            self.candidates = []

    def __call__(self, network: nn.Module, threads: int | None = None) -> AcceleratedNetwork:
        """The network, computed by this engine; the same object for the same network.

        Args:
            network (`torch.nn.Module`): In evaluation mode.
            threads (`int`, *optional*): CPU threads; as many as PyTorch uses by default.
        """
        proxy = proxy_of(network, self, AcceleratedNetwork)
        proxy.threads = threads
        return proxy

    def session(self, network: nn.Module, call: Call, threads: int) -> _Graph | None:
        """What computes such calls on so many threads: a graph, or None for PyTorch."""
        if not self.candidates:
            return None
        choices, key = Choices(self.store), None
        if self.name == "auto":
            key = f"{graph_name(network, call)}-{threads}"
            if (chosen := choices.get(key)) == "torch":
                return None
            if chosen in self.candidates:
                return _make_graph(network, call, self.store, chosen, threads)
        graphs = {}
        for name in self.candidates:
            try:
                graphs[name] = _make_graph(network, call, self.store, name, threads)
            except NoGraphError as error:
                logger.warning("%s: PyTorch computes it.", error)
        if key is None or not graphs:
            return graphs.get(self.name)
        seconds = {name: _measure(lambda graph=graph: graph(call)) for name, graph in graphs.items()}
        seconds["torch"] = _measure(lambda: _run(network, call))
        fastest = min(seconds, key=seconds.get)
        choices.put(key, fastest, seconds)
        return graphs.get(fastest)


class AcceleratedNetwork(Proxy):
    """A network whose calls an engine computes; everything else is the network's own.

    Args:
        network (`torch.nn.Module`): In evaluation mode. Its weights may change between calls.
        engine (`Engine`): Computes it.
    """

    def __init__(self, network: nn.Module, engine: Engine):
        super().__init__(network, engine)
        self.threads: int | None = None
        self._graphs: dict[str, list[tuple[tuple[bool, ...], _Graph | None]]] = {}
        self._version = -1

    def __call__(self, *args, **kwargs) -> object:
        """Call the network; arguments and result are its own."""
        network = self.network
        try:
            call = Call.of(args, kwargs)
        except NoGraphError:
            return network(*args, **kwargs)
        if not call.tensors or not all(_is_plain(tensor) for tensor in call.tensors) or not _is_ready(network):
            return network(*args, **kwargs)
        version = sum(tensor._version for tensor in network.parameters())
        if version != self._version:  # tuned since
            self._graphs, self._version = {}, version
        threads = self.threads or torch.get_num_threads()
        key = json.dumps([call.description, call.shapes, threads])
        known = self._graphs.setdefault(key, [])
        fitting = [graph for flags, graph in known if call.batched == flags or (call.batch == 1 and any(flags))]
        if not fitting:
            fitting = [self.engine.session(network, call, threads)]
            known.append((call.batched, fitting[0]))
        graph = fitting[0]
        return network(*args, **kwargs) if graph is None else graph(call)


class Choices:
    """Which engine was the fastest, kept beside the graphs."""

    def __init__(self, store: GraphStore):
        self._path = store.folder / CHOICES

    def get(self, key: str) -> str | None:
        """The engine; None where it was not measured on this machine."""
        return self._read().get(_machine(), {}).get(key, {}).get("fastest")

    def put(self, key: str, fastest: str, seconds: dict[str, float]) -> None:
        """Remember what was measured."""
        from vivface.files import complete_file

        values = self._read()
        values.setdefault(_machine(), {})[key] = {"fastest": fastest, "seconds": seconds}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with complete_file(self._path) as temporary:
                temporary.write_text(json.dumps(values, indent=1), encoding="utf-8")
        except Exception:  # noqa: BLE001 - a cache
            return

    def _read(self) -> dict:
        try:
            return dict(json.loads(self._path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return {}


class _Graph:
    """A graph with how its outputs form the result."""

    def __init__(self, run: Session, result: object):
        self._run, self._result = run, result

    def __call__(self, call: Call) -> object:
        outputs = self._run([tensor.detach().contiguous().numpy() for tensor in call.tensors])
        return put_together(self._result, [torch.from_numpy(np.ascontiguousarray(output)) for output in outputs])


def get_engine(name: str | Engine | TorchEngine, store: GraphStore | None = None) -> Engine | TorchEngine | None:
    """An engine by name: one of `ENGINES`, or `"torch:SETTINGS"` as for `TorchEngine`; None for plain PyTorch.

    Raises:
        OptionError, BackendError: As `Engine` and `TorchEngine` do.
    """
    if not isinstance(name, str):
        return name
    if name.startswith("torch:"):
        return TorchEngine([part.strip() for part in name.removeprefix("torch:").split(",") if part.strip()])
    return None if name == "torch" else Engine(name, store)


def _make_graph(network: nn.Module, call: Call, store: GraphStore, name: str, threads: int) -> _Graph:
    graph, result = graph_of(network, call, store)
    try:
        return _Graph(SESSIONS[name](graph, threads), result)
    except BackendError:
        raise
    except Exception as error:  # noqa: BLE001 - a library's own, of many kinds
        raise NoGraphError(f"{name} cannot compute {type(network).__name__} ({first_line(error)})") from error


def _run(network: nn.Module, call: Call) -> object:
    args, kwargs = put_together(call.description, call.tensors)
    return network(*args, **kwargs)


@torch.no_grad()
def _measure(run) -> float:
    """Seconds of the fastest of a few calls; the first two warm up."""
    run()
    run()
    best, end = float("inf"), time.perf_counter() + MEASURED_SECONDS
    for _ in range(MEASURED_CALLS):
        began = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - began)
        if time.perf_counter() > end:
            break
    return best


def _is_plain(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.dtype == torch.float32


def _is_ready(network: nn.Module) -> bool:
    return not torch.is_grad_enabled() and not network.training and _is_plain(next(network.parameters()))


def _machine() -> str:
    """What the measured times depend on."""
    model: Sequence[str] = ()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            model = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        pass
    name = model[0] if model else platform.processor() or platform.machine()
    return f"{name} x {os.cpu_count()}"
