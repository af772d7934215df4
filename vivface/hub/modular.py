"""The files by which diffusers' `ModularPipeline` runs a checkpoint.

    block.py                   from vivface.pipelines.blocks import VivFaceBlocks
    modular_config.json        names that class
    modular_model_index.json   where each network lies, and the settings

Beside the weights they serve `ModularPipeline.from_pretrained`. `diffusers-cli run` takes a repository for a modular
one if there is no `model_index.json`: for it they are pushed to a repository of their own, which points to the weights.
"""

from __future__ import annotations

import json
from pathlib import Path

import diffusers

from vivface.errors import CheckpointError
from vivface.hub.index import read_index
from vivface.hub.registry import MAIN, pipeline_class

BLOCK_FILE = '''"""Runs a checkpoint of vivface as modular blocks; needs the package vivface."""

from vivface.pipelines.blocks import VivFaceBlocks

__all__ = ["VivFaceBlocks"]
'''


def modular_files(folder: Path, repo_id: str | None = None) -> dict[str, str]:
    """Files for `ModularPipeline`: name -> text.

    Args:
        folder (`Path`): Of a checkpoint of the main system.
        repo_id (`str`, *optional*): Where its weights are on the Hub; by default beside the files.

    Raises:
        CheckpointError: If the folder holds no checkpoint of the main system.
    """
    system = pipeline_class(MAIN)
    index = read_index(folder, MAIN)
    for old, new in system.RENAMED.items():
        if old in index and new not in index:
            raise CheckpointError(f"The checkpoint '{folder}' is of an earlier version: load it and save it again.")
    version = {"_diffusers_version": diffusers.__version__}
    networks = {name: kind for name, kind in system.COMPONENTS.items() if (folder / name).is_dir()}
    places = {
        name: [
            kind.__module__,
            kind.__name__,
            {
                "type_hint": [kind.__module__, kind.__name__],
                "pretrained_model_name_or_path": repo_id,
                "subfolder": name,
                "variant": None,
                "revision": None,
            },
        ]
        for name, kind in networks.items()
    }
    settings = {name: index[name] for name in system.SETTINGS if name in index}
    config = {"_class_name": "VivFaceBlocks", "auto_map": {"ModularPipelineBlocks": "block.VivFaceBlocks"}}
    pipeline = {"_class_name": "ModularPipeline", "_blocks_class_name": "VivFaceBlocks"}
    return {
        "block.py": BLOCK_FILE,
        "modular_config.json": json.dumps(config | version, indent=2) + "\n",
        "modular_model_index.json": json.dumps(pipeline | version | places | settings, indent=2) + "\n",
    }
