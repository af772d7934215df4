"""Which calls of which networks a pipeline makes, for exporting them beforehand."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from vivface.engines.calls import Call
from vivface.engines.engine import Engine
from vivface.engines.graphs import GraphStore, graph_name


@dataclass(frozen=True)
class RecordedCall:
    """A kind of call.

    Attributes:
        network (`torch.nn.Module`): Whose.
        call (`Call`): An example.
        key (`str`): Name of its graph.
    """

    network: nn.Module
    call: Call
    key: str


class Recorder(Engine):
    """An engine that lets PyTorch compute and remembers every kind of call once.

    Attributes:
        calls (`list[RecordedCall]`): In the order in which they came first.
    """

    def __init__(self):
        super().__init__("auto", GraphStore())
        self.calls: list[RecordedCall] = []
        self.candidates = ["record"]

    def session(self, network: nn.Module, call: Call, threads: int) -> None:
        """Remember a call."""
        key = graph_name(network, call)
        if key not in (known.key for known in self.calls):
            self.calls.append(RecordedCall(network, Call(call.description, [t.clone() for t in call.tensors]), key))
