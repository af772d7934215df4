"""PyTorch with settings that pay on a GPU, and some of them on a CPU: bfloat16, channels-last weights, compilation."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from vivface.engines.proxy import Proxy, proxy_of
from vivface.errors import OptionError

SETTINGS = ("bf16", "channels-last", "compile", "graphs")


class TorchEngine:
    """Computes networks with PyTorch.

    Args:
        settings (iterable of `str`): Any of `"bf16"` (autocast to bfloat16; results are float32 again),
            `"channels-last"` (of the weights), `"compile"` (`torch.compile`, whose artifacts PyTorch keeps on disk for
            the next process) and `"graphs"` (the same with CUDA graphs, for batches of one size).

    Raises:
        OptionError: If there is no such setting.
    """

    def __init__(self, settings: tuple[str, ...] | list[str]):
        unknown = [name for name in settings if name not in SETTINGS]
        if unknown or not settings:
            raise OptionError(
                f"The engine 'torch:{','.join(settings)}' is not understood: give torch:SETTINGS with any of "
                f"{', '.join(SETTINGS)}."
            )
        self.settings = tuple(settings)
        self.name = f"torch:{','.join(settings)}"

    def __call__(self, network: nn.Module) -> TorchNetwork:
        """The network, computed with these settings; the same object for the same network."""
        return proxy_of(network, self, TorchNetwork)


class TorchNetwork(Proxy):
    """A network that PyTorch computes with settings; training and gradients are left alone."""

    def __init__(self, network: nn.Module, engine: TorchEngine):
        super().__init__(network, engine)
        if "channels-last" in engine.settings:
            for tensor in (*network.parameters(), *network.buffers()):
                if tensor.ndim == 4:
                    tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
        self._run = network
        if "graphs" in engine.settings:
            self._run = torch.compile(network, mode="reduce-overhead")
        elif "compile" in engine.settings:
            self._run = torch.compile(network)

    def __call__(self, *args, **kwargs) -> object:
        """Call the network; arguments and result are its own."""
        network = self.network
        if torch.is_grad_enabled() or network.training:
            return network(*args, **kwargs)
        if "graphs" in self.engine.settings:
            torch.compiler.cudagraph_mark_step_begin()
        if "bf16" in self.engine.settings:
            device = next(network.parameters()).device.type
            with torch.autocast(device, torch.bfloat16):
                result = self._run(*args, **kwargs)
            result = _map(result, lambda tensor: tensor.float() if tensor.dtype == torch.bfloat16 else tensor)
        else:
            result = self._run(*args, **kwargs)
        return _map(result, torch.clone) if "graphs" in self.engine.settings else result  # a graph's memory is reused


def _map(value: object, function) -> object:
    """A result with a function applied to its tensors."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, list | tuple):
        return type(value)(_map(item, function) for item in value)
    if dataclasses.is_dataclass(value):
        fields = {item.name: _map(getattr(value, item.name), function) for item in dataclasses.fields(value)}
        return type(value)(**fields)
    return value
