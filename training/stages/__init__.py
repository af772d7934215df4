"""The stages of training, by name. A stage is imported when it is requested."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from vivface.errors import OptionError

if TYPE_CHECKING:
    from training.stages.base import Stage

STAGES = {
    "generator": ("training.stages.generator", "GeneratorStage"),
    "recognizer": ("training.stages.recognizer", "RecognizerStage"),
    "autodecoder": ("training.stages.autodecoder", "AutodecoderStage"),
    "encoder": ("training.stages.encoder", "EncoderStage"),
    "supervised": ("training.stages.supervised", "SupervisedStage"),
    "stage1": ("training.stages.reenactment", "ReenactmentStage"),
    "dense_motion": ("training.stages.dense_motion", "DenseMotionStage"),
    "hyperreenact": ("training.stages.hyperreenact", "HyperReenactStage"),
    "stage2": ("training.stages.refinement", "RefinementStage"),
    "face_state": ("training.stages.face_state", "FaceStateStage"),
    "stylegan3": ("training.stages.stylegan3.generator", "StyleGAN3Stage"),
    "stylegan3_inversion": ("training.stages.stylegan3.inversion", "InversionStage"),
}


def stage_class(name: str) -> type[Stage]:
    """The class of a stage.

    Args:
        name (`str`): Key in `STAGES`.

    Raises:
        OptionError: If there is no stage of that name.
    """
    if name not in STAGES:
        raise OptionError(f"stage {name!r} is unknown, expected one of: {', '.join(STAGES)}")
    module, attribute = STAGES[name]
    return getattr(importlib.import_module(module), attribute)
