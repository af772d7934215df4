"""How a pipeline becomes a checkpoint and comes back: component by component, without remote code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import FrozenDict

from vivface.errors import OptionError
from vivface.hub.index import HUB_OPTIONS, hub_options, locate, read_index
from vivface.hub.layout import write_generic_layout
from vivface.hub.loading import load_components
from vivface.hub.registry import MAIN, PIPELINES
from vivface.runtime import choose_device


class Checkpoint:
    """Loading, saving and pushing of a `DiffusionPipeline` whose components are known classes.

    Mixed in before `DiffusionPipeline`.
    """

    COMPONENTS: ClassVar[dict[str, type[ModelMixin]]]
    #: Settings of `model_index.json` besides the components.
    SETTINGS: ClassVar[tuple[str, ...]] = ("image_size", "crop", "adapt_steps", "detail")
    #: Names of components in earlier checkpoints -> names now.
    RENAMED: ClassVar[dict[str, str]] = {"identity": "recognizer"}
    #: Whether a checkpoint of the main system serves too; then there is a method `from_main`.
    SERVED_BY_MAIN: ClassVar[bool] = False
    _optional_components: ClassVar[list[str]] = []

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike | None = None,
        *,
        dtype: torch.dtype | None = None,
        variant: str | None = None,
        device_map: str | None = None,
        low_cpu_mem_usage: bool | None = None,
        use_safetensors: bool | None = None,
        engine: str | None = None,
        **kwargs: Any,
    ) -> Self:
        """Load a pipeline; without an argument, the checkpoint that comes with the package.

        Args:
            pretrained_model_name_or_path (`str` or `os.PathLike`, *optional*): Folder or Hub id.
            dtype (`torch.dtype`, *optional*): Of the weights in memory; float32 by default, whatever is stored. Norms
                stay in float32. `torch_dtype` is an older name of it.
            variant (`str`, *optional*): Of the weight files, for example `"fp16"`.
            device_map (`str`, *optional*): Where all components go: `"cuda"`, `"cpu"`, `"mps"`, or `"auto"` and
                `"balanced"` for the fastest device.
            low_cpu_mem_usage (`bool`, *optional*): As for every diffusers model.
            use_safetensors (`bool`, *optional*): True or None; nothing else is ever read.
            engine (`str`, *optional*): What computes the networks of every frame on a CPU, as for `use_engine`:
                `"torch"` by default, `"onnxruntime"`, `"openvino"` or `"auto"`.
            kwargs: `revision`, `local_files_only`, `cache_dir`, `token`, `force_download` and `proxies` as for every
                Hub model; a component's name with a network, or None for an optional one, in place of the stored
                component; and the pipeline's own settings in place of the stored ones.

        Raises:
            CheckpointError: If the checkpoint is missing, incomplete, damaged, or another pipeline's.
            OptionError: If there is no such option or engine.
            BackendError: If the engine is not installed.
        """
        if use_safetensors is False:
            raise OptionError("`use_safetensors` is False, but only safetensors are read: leave it out.")
        if device_map is not None and not isinstance(device_map, str):
            raise OptionError(f"`device_map` is {device_map!r}; expected one device, such as 'cuda', or 'auto'.")
        checkpoint = locate(pretrained_model_name_or_path)
        hub = hub_options(kwargs)
        kwargs = {name: value for name, value in kwargs.items() if name not in (*HUB_OPTIONS, "trust_remote_code")}
        settings = {name: kwargs.pop(name) for name in cls.SETTINGS if name in kwargs}
        dtype = kwargs.pop("torch_dtype", dtype)
        weights = dict(dtype=dtype, variant=variant, low_cpu_mem_usage=low_cpu_mem_usage)
        if cls.SERVED_BY_MAIN and read_index(checkpoint, **hub)["_class_name"] == MAIN:
            pipeline = cls.from_main(checkpoint, settings, {**weights, **hub}, **kwargs)
        else:
            pipeline = cls._from_own(checkpoint, settings, {**weights, **hub}, **kwargs)
            pipeline.load_extras(checkpoint, **hub)
        if device_map is not None:
            pipeline.to(choose_device("auto" if device_map in ("auto", "balanced") else device_map))
        return pipeline if engine is None else pipeline.use_engine(engine)

    @classmethod
    def from_main(
        cls, checkpoint: str | os.PathLike, settings: dict[str, Any], loading: dict[str, Any], **components: Any
    ) -> Self:
        """Build the pipeline of a checkpoint of the main system; systems with `SERVED_BY_MAIN` define it.

        Args:
            checkpoint (`str` or `os.PathLike`): Folder or Hub id.
            settings (`dict`): Those of the pipeline's own `SETTINGS` that were asked for.
            loading (`dict`): How weights are loaded, as for `from_pretrained`.
            components: Networks of the main system in place of the stored ones.

        Raises:
            CheckpointError: If the checkpoint lacks what the system adds.
        """
        raise NotImplementedError

    def load_extras(self, checkpoint: str | os.PathLike, **hub: Any) -> None:
        """Read what a checkpoint of this very system holds beside its components: nothing here.

        Args:
            checkpoint (`str` or `os.PathLike`): Folder or Hub id.
            hub: As for `read_index`.
        """

    @classmethod
    def _from_own(
        cls, checkpoint: str | os.PathLike, settings: dict[str, Any], loading: dict[str, Any], **kwargs: Any
    ) -> Self:
        """Load the components that the index names, but for those that are given."""
        given = {name: kwargs.pop(name) for name in cls.COMPONENTS if name in kwargs}
        if kwargs:
            raise OptionError(f"from_pretrained takes no option {', '.join(map(repr, kwargs))}.")
        index, renamed = read_index(checkpoint, cls.__name__, **hub_options(loading)), {}
        for old, new in cls.RENAMED.items():
            if old in index and new not in index:
                index[new], renamed[new] = index.pop(old), old
        components = load_components(
            {name: component for name, component in cls.COMPONENTS.items() if name not in given},
            index,
            checkpoint,
            cls._optional_components,
            renamed=renamed,
            **loading,
        )
        stored = {name: index[name] for name in cls.SETTINGS if name in index}
        return cls(**components, **given, **{**stored, **settings})

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Save as every pipeline does, with the files by which `DiffusionPipeline.from_pretrained` reads the folder.

        The configs do not tell from which folder a component was once loaded.
        """
        for component in self.components.values():
            if component is not None:
                config = {name: value for name, value in component.config.items() if name != "_name_or_path"}
                component._internal_dict = FrozenDict(config)
        super().save_pretrained(save_directory, **kwargs)
        if type(self).__name__ in PIPELINES:  # a class of one's own cannot be imported by others
            write_generic_layout(save_directory)

    def _upload_folder(
        self,
        working_dir: str | os.PathLike,
        repo_id: str,
        token: str | None = None,
        commit_message: str | None = None,
        create_pr: bool = False,
        subfolder: str | None = None,
    ) -> str:
        """Where `push_to_hub` ends: adds the card and the generic layout."""
        from vivface.hub.push import push_folder

        if subfolder:
            raise OptionError(f"`subfolder` is {subfolder!r}; a pipeline is pushed to the top of its repository.")
        message = commit_message or f"Upload {type(self).__name__}"
        return push_folder(Path(working_dir), repo_id, create_pr=create_pr, message=message, token=token).url
