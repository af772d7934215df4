"""Which systems there are: their classes by name, imported when one is asked for."""

import os
from importlib import import_module
from typing import TYPE_CHECKING

from vivface.errors import CheckpointError, OptionError
from vivface.hub.index import hub_options, locate, read_index

if TYPE_CHECKING:
    from vivface.pipelines.base import ReenactmentPipeline

#: Class names, as a checkpoint's `model_index.json` states them -> the modules of the classes.
PIPELINES = {
    "VivFacePipeline": "vivface.pipelines.vivface",
    "HybridLatentPipeline": "vivface.pipelines.hybrid",
    "HyperReenactPipeline": "vivface.pipelines.hyperreenact",
    "ExpressiveCodecPipeline": "vivface.pipelines.codec",
    "Video2StyleGANPipeline": "vivface.pipelines.video2stylegan",
    "Video2StyleGANAdapterPipeline": "vivface.pipelines.video2stylegan_adapter",
}
#: Those that move photographs without their networks (`vivface.pipelines.photograph`), cut as their index says.
PHOTOGRAPH_PIPELINES = ("VivFacePipeline",)
#: The main system: its checkpoints serve others, and of it there are modular blocks.
MAIN = "VivFacePipeline"
#: Short names, as the command line has them.
SYSTEMS = {
    "vivface": "VivFacePipeline",
    "hybrid": "HybridLatentPipeline",
    "hyperreenact": "HyperReenactPipeline",
    "codec": "ExpressiveCodecPipeline",
    "video2stylegan": "Video2StyleGANPipeline",
}


def pipeline_class(name: str) -> "type[ReenactmentPipeline]":
    """A system's class by its name.

    Raises:
        CheckpointError: If there is no such system.
    """
    if name not in PIPELINES:
        raise CheckpointError(f"There is no pipeline {str(name)[:80]!r}; expected one of: {', '.join(PIPELINES)}.")
    return getattr(import_module(PIPELINES[name]), name)


def load_pipeline(
    checkpoint: str | os.PathLike | None = None, *, system: str | None = None, **options
) -> "ReenactmentPipeline":
    """Load whichever system a checkpoint is.

    Args:
        checkpoint (`str` or `os.PathLike`, *optional*): Folder or Hub id; the bundled checkpoint by default.
        system (`str`, *optional*): Build this one from the checkpoint's networks: `"vivface"`, `"hybrid"`,
            `"hyperreenact"`, `"codec"` or `"video2stylegan"`; by default the system that the checkpoint names.
        options: As for `from_pretrained` of every system.

    Raises:
        CheckpointError: If the checkpoint is missing, incomplete, damaged, of no known system, or does not serve the
            asked one.
        OptionError: If there is no such system.
    """
    if system is not None:
        if system not in SYSTEMS:
            raise OptionError(f"There is no system {system!r}: give one of {', '.join(SYSTEMS)}.")
        return pipeline_class(SYSTEMS[system]).from_pretrained(checkpoint, **options)
    checkpoint = locate(checkpoint)
    index = read_index(checkpoint, **hub_options(options))
    return pipeline_class(index["_class_name"]).from_pretrained(checkpoint, **options)
