"""The files by which generic loaders read a pipeline's folder.

The package's own `from_pretrained` loads component by component and needs nothing special. For the generic route,
`DiffusionPipeline.from_pretrained(folder_or_id, trust_remote_code=True)`, a folder also holds small Python files that
only import the package's classes, and `model_index.json` names those files:

    model_index.json                 "_class_name": ["pipeline_vivface", "VivFacePipeline"]
    pipeline_vivface.py              from vivface.pipelines.vivface import VivFacePipeline
    generator/modeling_stylegan2.py  from vivface.models.stylegan2 import StyleGAN2Generator
    generator/config.json, generator/diffusion_pytorch_model.safetensors, ...

These files are code that others will run, so every name in them comes from the package's classes, none from the folder.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from diffusers import ModelMixin

from vivface.errors import CheckpointError
from vivface.files import complete_file
from vivface.hub.card import read_components
from vivface.hub.registry import pipeline_class

INDEX = "model_index.json"
PIPELINE_FILE = '''"""Loads a pipeline of vivface by the generic route; needs the package vivface."""

from {module} import {name}

__all__ = ["{name}"]
'''
COMPONENT_FILE = '''"""Loads a network of vivface by the generic route; needs the package vivface."""

from diffusers import ModelMixin  # by this base class the generic loader recognises a network

from {module} import {name}

__all__ = ["ModelMixin", "{name}"]
'''


def write_generic_layout(folder: str | os.PathLike) -> None:
    """Add the files for generic loaders to a pipeline's folder, and name them in its `model_index.json`.

    Args:
        folder (`str` or `os.PathLike`): As `save_pretrained` wrote it; a folder that has this layout already stays as
            it is.

    Raises:
        CheckpointError: If the folder holds no complete checkpoint, or names classes that are not the pipeline's.
    """
    folder = Path(folder)
    for name, text in generic_files(folder).items():
        with complete_file(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def generic_files(folder: Path) -> dict[str, str]:
    """Files for generic loaders that a pipeline has beside, or instead of, those of its folder: name -> text.

    Args:
        folder (`Path`): Of a checkpoint. For a folder of single networks, which every loader reads as they are, the
            result is empty.

    Raises:
        CheckpointError: If the folder holds no complete checkpoint, or names classes that are not the pipeline's.
    """
    if not folder.is_dir():
        raise CheckpointError(f"There is no checkpoint folder '{folder}': give one that `save_pretrained` wrote.")
    if not (folder / INDEX).is_file():
        _check_weights(folder, [component["name"] for component in read_components(folder, None)])
        return {}
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        stored = {key: value for key, value in index.items() if isinstance(value, list) and not key.startswith("_")}
        stored = {key: (str(module), name) for key, (module, name) in stored.items() if name is not None}
        class_name = index["_class_name"]
        name = str(class_name if isinstance(class_name, str) else class_name[-1])
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{INDEX} of the checkpoint '{folder}' is damaged ({error}): copy it again.") from error
    pipeline = pipeline_class(name)
    classes = {key: _known_class(folder, pipeline, key, *value) for key, value in stored.items()}
    _check_weights(folder, classes)

    module_file = f"pipeline_{_last(pipeline)}"
    index["_class_name"] = [module_file, pipeline.__name__]
    files = {f"{module_file}.py": PIPELINE_FILE.format(module=pipeline.__module__, name=pipeline.__name__)}
    for key, component in classes.items():
        module_file = f"modeling_{_last(component)}"
        index[key] = [module_file, component.__name__]
        text = COMPONENT_FILE.format(module=component.__module__, name=component.__name__)
        files[f"{key}/{module_file}.py"] = text
    files[INDEX] = json.dumps(index, indent=2) + "\n"
    return files


def _known_class(folder: Path, pipeline: type, key: str, module: str, name: object) -> type[ModelMixin]:
    """The class of a component, if that is what the index names."""
    expected = pipeline.COMPONENTS.get(pipeline.RENAMED.get(key, key))
    if expected is None:
        raise CheckpointError(
            f"{INDEX} of the checkpoint '{folder}' names a component {key!r}, which a {pipeline.__name__} does not "
            "have: give a folder that `save_pretrained` wrote."
        )
    if name != expected.__name__ or module not in (expected.__module__, f"modeling_{_last(expected)}"):
        raise CheckpointError(
            f"{INDEX} of the checkpoint '{folder}' names another class than {expected.__name__} for '{key}': give a "
            "folder that `save_pretrained` wrote."
        )
    return expected


def _last(named: type) -> str:
    return named.__module__.rpartition(".")[2]


def _check_weights(folder: Path, components: Iterable[str]) -> None:
    for name in components:
        missing = [] if (folder / name / "config.json").is_file() else ["config.json"]
        missing += [] if any((folder / name).glob("*.safetensors")) else ["*.safetensors"]
        if missing:
            where = f"The component '{name}' of the checkpoint" if name else "The checkpoint"
            raise CheckpointError(f"{where} '{folder}' is incomplete: {' and '.join(missing)} is missing.")
