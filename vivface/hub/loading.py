"""Load the components of a checkpoint, each by its own class.

Loading component by component needs no remote code and works alike for folders and for the Hub.
"""

import os
from collections.abc import Collection, Mapping
from typing import TypeVar

import torch
from diffusers import ModelMixin
from huggingface_hub.errors import HfHubHTTPError

from vivface.errors import CheckpointError, first_line
from vivface.models.precision import find_infinite

Component = TypeVar("Component", bound=ModelMixin)


def load_components(
    classes: Mapping[str, type[ModelMixin]],
    index: Mapping[str, object],
    checkpoint: str | os.PathLike,
    optional: Collection[str] = (),
    **options,
) -> dict[str, ModelMixin | None]:
    """Load the components of a pipeline that its index names.

    Args:
        classes (mapping of `str` to class): Names of the components and what they have to be.
        index (mapping): What `read_index` gave.
        checkpoint (`str` or `os.PathLike`): Folder or Hub id.
        optional (collection of `str`): Components that a checkpoint may lack.
        options: As for `load_component`; `renamed` (mapping of `str` to `str`) names the subfolders of components
            that are called differently in this checkpoint.

    Returns:
        `dict[str, ModelMixin | None]`: None for optional components that are not there.

    Raises:
        CheckpointError: If a component is missing, damaged or of another class.
    """
    renamed = options.pop("renamed", {})
    components: dict[str, ModelMixin | None] = {}
    for name, component in classes.items():
        entry = index.get(name)
        stored = entry[1] if isinstance(entry, list) and len(entry) == 2 else None
        if stored is None and name in optional:
            components[name] = None
        elif stored != component.__name__:
            raise CheckpointError(
                f"The component '{name}' of the checkpoint '{checkpoint}' is {stored or 'missing'}, expected a "
                f"{component.__name__}."
            )
        else:
            components[name] = load_component(component, checkpoint, renamed.get(name, name), **options)
    return components


def load_component(
    component: type[Component],
    checkpoint: str | os.PathLike,
    subfolder: str,
    *,
    dtype: torch.dtype | None = None,
    variant: str | None = None,
    low_cpu_mem_usage: bool | None = None,
    **hub,
) -> Component:
    """Load one network from its subfolder; every key and shape must fit, and only safetensors are read.

    Args:
        component (class): A `ModelMixin`.
        checkpoint (`str` or `os.PathLike`): Folder or Hub id.
        subfolder (`str`): Of the component.
        dtype (`torch.dtype`, *optional*): Of the weights in memory, float32 by default.
        variant (`str`, *optional*): Of the weight files, such as `"fp16"`.
        low_cpu_mem_usage (`bool`, *optional*): As for every diffusers model.
        hub: As for `read_index`.

    Raises:
        CheckpointError: If files are missing, damaged, or belong to another network, or a weight is not finite.
    """
    name = os.fspath(checkpoint)
    if os.path.isdir(name) and not os.path.isfile(os.path.join(name, subfolder, "config.json")):
        raise CheckpointError(f"The checkpoint '{name}' is incomplete: '{subfolder}/config.json' is missing.")
    options = {"dtype": dtype, "variant": variant, "low_cpu_mem_usage": low_cpu_mem_usage}
    options = {key: value for key, value in options.items() if value is not None}
    try:
        config = component.load_config(name, subfolder=subfolder, **hub)
        if config.get("_class_name") != component.__name__:
            raise CheckpointError(
                f"The component '{subfolder}' of the checkpoint '{name}' is a {config.get('_class_name')}, expected a "
                f"{component.__name__}."
            )
        model, info = component.from_pretrained(
            name, subfolder=subfolder, use_safetensors=True, output_loading_info=True, **options, **hub
        )
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, HfHubHTTPError) as error:
        raise CheckpointError(
            f"The component '{subfolder}' of the checkpoint '{name}' cannot be loaded ({first_line(error)}): "
            "copy or convert it again."
        ) from error
    wrong = [f"{kind.split('_')[0]} {key}" for kind in ("missing_keys", "unexpected_keys") for key in info[kind]]
    if wrong:
        shown = ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
        raise CheckpointError(f"The weights of '{subfolder}' in the checkpoint '{name}' do not fit: {shown}.")
    if infinite := find_infinite(model):
        raise CheckpointError(
            f"The component '{subfolder}' of the checkpoint '{name}' holds numbers that are not finite "
            f"({infinite[0]}): convert or export it again in float32 or bfloat16."
        )
    return model
