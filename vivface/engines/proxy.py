"""A network that something else computes."""

from __future__ import annotations

from torch import nn

KEPT = "_accelerated"


class Proxy:
    """Stands for a network: attributes are the network's own, calls go where a subclass sends them.

    Args:
        network (`torch.nn.Module`): The network.
        engine (object): What computes it.

    Attributes:
        network, engine: As given.
    """

    def __init__(self, network: nn.Module, engine: object):
        self.network, self.engine = network, engine

    def __getattr__(self, name: str) -> object:
        if name == "network":  # not there yet
            raise AttributeError(name)
        return getattr(self.network, name)

    def __deepcopy__(self, memo: dict) -> None:
        """A copy of the network will have other weights, and gets a proxy of its own."""


def proxy_of(network: nn.Module, engine: object, kind: type[Proxy]) -> Proxy:
    """The proxy of a network for an engine, kept with the network so that both go together."""
    known = vars(network).get(KEPT)
    if known is None or known.engine is not engine:
        known = kind(network, engine)
        object.__setattr__(network, KEPT, known)
    return known
