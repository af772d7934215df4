"""Number types of networks: casting without loss of what does not fit, and finding what is no number.

Batch norms stay in float32 (`layers/norm.py`). Everything else takes the asked type, if its values fit.
"""

import os
from typing import Self

import torch
from torch import Tensor, nn

from vivface.errors import CheckpointError
from vivface.models.layers.norm import BatchNorm1d, BatchNorm2d

SHOWN = 3  # names that an error lists


def cast(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Convert the floating point weights and buffers of a network in place; batch norms stay in float32.

    Args:
        model (`torch.nn.Module`): Any network of `vivface.models`.
        dtype (`torch.dtype`): For example `torch.float16`.

    Returns:
        `torch.nn.Module`: The same network.

    Raises:
        CheckpointError: If a finite value is too large for the type; the network is then left as it was.
    """
    wrong = [name for name, tensor in _casted_tensors(model) if _overflows(tensor, dtype)]
    if wrong:
        raise CheckpointError(
            f"The weights of {type(model).__name__} do not fit {_name(dtype)} ({_shown(wrong)}): choose float32 or "
            "bfloat16."
        )
    return nn.Module.to(model, dtype)  # not diffusers' `to`, which warns of casts


def find_infinite(model: nn.Module) -> list[str]:
    """Names of the weights and buffers that hold an infinity or NaN, as in `state_dict`.

    Args:
        model (`torch.nn.Module`): Any network, with values (not on the meta device).

    Returns:
        `list[str]`: Empty for a sound network.
    """
    return [
        name
        for name, tensor in model.state_dict().items()
        if tensor.is_floating_point() and not tensor.isfinite().all()
    ]


class PrecisionMixin:
    """Loading and casting of a network whose batch norms stay in float32; goes before `diffusers.ModelMixin`.

    diffusers' own list, `_keep_in_fp32_modules`, cannot say it: it names modules, and the norms of a `Sequential` have
    a number for a name; and it warns at every `to(dtype)` that the listed modules are cast, which these are not.
    """

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs) -> Self | tuple[Self, dict]:
        """Load a network as every diffusers model does, its batch norms in float32 whatever the type asked for.

        Args:
            pretrained_model_name_or_path (`str` or `os.PathLike`): Folder or Hub id.
            dtype, torch_dtype (`torch.dtype`, *optional*): Of the weights in memory; float32 by default, whatever is
                stored.
            kwargs: Everything else that `diffusers.ModelMixin.from_pretrained` takes.

        Returns:
            The network in evaluation mode; with `output_loading_info=True`, the network and a `dict`.

        Raises:
            CheckpointError: If a weight is too large for the type, or the weights are offloaded and cannot be cast.
        """
        torch_dtype = kwargs.pop("torch_dtype", None)
        dtype = kwargs.pop("dtype", None) or torch_dtype
        loaded = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        if dtype is not None and dtype != torch.float32:
            model = loaded[0] if isinstance(loaded, tuple) else loaded
            if any(parameter.is_meta for parameter in model.parameters()):
                raise CheckpointError(
                    f"{cls.__name__} cannot be loaded in {_name(dtype)} while its weights are offloaded: leave out "
                    "`device_map` or the type."
                )
            cast(model, dtype)
        return loaded

    def to(self, *args, **kwargs) -> Self:
        """Move or cast; arguments as for `torch.nn.Module.to`. Batch norms stay in float32."""
        dtype = kwargs.pop("dtype", None)
        for given in args:
            dtype = given if isinstance(given, torch.dtype) else dtype
        args = tuple(given for given in args if not isinstance(given, torch.dtype))
        if dtype is not None:
            nn.Module.to(self, dtype)
        return super().to(*args, **kwargs) if args or kwargs else self


def _casted_tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    """Floating point tensors outside of batch norms, with the names of `state_dict`."""
    return [
        (f"{prefix}.{name}" if prefix else name, tensor)
        for prefix, module in model.named_modules()
        if not isinstance(module, BatchNorm1d | BatchNorm2d)
        for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
        if tensor.is_floating_point()
    ]


def _overflows(tensor: Tensor, dtype: torch.dtype) -> bool:
    return bool((tensor.isfinite() & ~tensor.to(dtype).isfinite()).any())


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
