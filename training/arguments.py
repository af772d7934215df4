"""Options of a training run: the command line, and the models that a preset file fills.

`stage` names what is trained; `data`, `loop`, `networks` and `optimizers` mean the same for every stage; `options`
holds the stage's own settings (loss weights and the like), which the stage declares as a model of its own. Every field
has a description; `train.py --explain` prints them all. `training.preset` reads the files.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Options(BaseModel):
    """Base of all option models: unknown keys are refused, and values are not converted to another type."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def option(default: Any, description: str) -> Any:
    """A field with a default and a description; a model class as default is built for each instance."""
    if isinstance(default, type):
        return Field(default_factory=default, description=description)
    return Field(default, description=description)


class AugmentOptions(Options):
    """Strength of the augmentation. Ranges are those at strength 1; strength 0 switches a group off."""

    appearance: float = option(1.0, "strength of colour, light and contrast changes (same for source and target)")
    driving_appearance: float | None = option(None, "the same for driving frames (grid batches); None: no difference")
    degradation: float = option(1.0, "strength and frequency of blur, noise, JPEG, downscaling and occluders")
    degrade_source: float = option(0.5, "probability that the source is degraded at all")
    degrade_driving: float = option(0.7, "probability that a driving frame is degraded at all")
    occluders: float = option(0.15, "probability of an occluder in a degraded image")
    source_jitter: float = option(0.02, "crop jitter of source and target, fraction of the crop size")
    driving_center: float = option(0.07, "jitter of a driving crop's centre, fraction of the crop size")
    driving_scale: float = option(0.07, "jitter of a driving crop's scale, fraction")
    driving_rotation: float = option(2.5, "jitter of a driving crop's rotation, degrees")
    drift_center: float = option(0.03, "stable crops: std of the face's offset from the centre, fraction of the size")
    drift_scale: float = option(0.04, "stable crops: std of the crop's scale, fraction")
    drift_rotation: float = option(4.0, "stable crops: std of the face's rotation, degrees")
    stretch: float = option(0.06, "anisotropic stretch of a crop, fraction (same for source and target)")


class DataOptions(Options):
    """Where images come from and how they are batched."""

    kind: Literal["shards", "prepared", "videos", "images"] = option(
        "shards",
        "'shards' (synthetic people), 'prepared' (real videos, by training.tools.prepare), 'videos' (files or folders "
        "of frames as they are) or 'images'",
    )
    folders: list[str] = option([], "one or more folders")
    validation: list[str] = option([], "folders of the same kind with other people, for validation (or held_out)")
    size: int = option(256, "size of the square images of a batch, pixels")
    batch: int = option(8, "images (or pairs) per batch and process; a grid batch has identities x motions instead")
    identities: int = option(4, "grid batches: identities P, all performing the same motions")
    motions: int = option(4, "grid batches: motions J")
    driving_frames: int = option(1, "grid batches: driving frames D per motion")
    source_candidates: int = option(1, "grid batches: frames drawn, of which the most frontal becomes the source")
    crop: Literal["source", "stable", "ffhq", "voxceleb"] = option(
        "source",
        "'source': all frames by the source's quad (pairs and grids); 'ffhq': each frame by its own quad (pairs); "
        "'voxceleb': each frame by HyperReenact's square around its landmarks (pairs); "
        "'stable': around each face as the pipeline's stable crop, off by a drift per motion (grids)",
    )
    align: bool = option(False, "videos: find the face and align it (else frames are taken as aligned squares)")
    frames_per_video: int = option(50, "frames used of each video: drawn at random (prepared), evenly spaced (videos)")
    order: Literal["random", "epochs"] = option(
        "random", "pairs: sources drawn independently ('random') or every frame once an epoch ('epochs')"
    )
    held_out: float = option(
        0.0, "fraction of the people kept from training, for validation; prepared clips have splits"
    )
    augment: AugmentOptions = option(AugmentOptions, "augmentation")
    workers: int = option(1, "background threads or processes that prepare batches; 0 prepares them in the loop")
    worker_kind: Literal["thread", "process"] = option("thread", "'thread' (few cores) or 'process' (many cores)")
    prefetch: int = option(2, "batches prepared ahead, per worker")
    rescan_seconds: float = option(
        0.0, "shards: look for newly rendered files this often, 0 for never; batches then depend on when files arrive"
    )
    cache_gigabytes: float = option(4.0, "shards: memory for compressed images, per process")

    @field_validator("folders", "validation", mode="before")
    @classmethod
    def _one_folder(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value  # `--set data.folders=people`


class OptimizerOptions(Options):
    """One optimiser. Which networks it trains is decided by the stage."""

    kind: Literal["adam", "adamw", "radam", "ranger"] = option(
        "adam", "adam | adamw | radam | ranger (RAdam + gradient centralisation + lookahead)"
    )
    lr: float = option(1e-4, "peak learning rate")
    betas: list[float] = option([0.9, 0.999], "decay of the running moments")
    eps: float = option(1e-8, "added to the root of the second moment")
    weight_decay: float = option(0.0, "decoupled for adamw, L2 otherwise")
    clip: float = option(0.0, "largest gradient norm, 0 for no clipping")
    warmup: int = option(0, "steps of linear warm-up of the learning rate")
    decay: Literal["constant", "linear", "cosine"] = option(
        "constant", "constant | linear | cosine, over the fraction of the run after decay_from"
    )
    decay_from: float = option(0.0, "fraction of the run after which the decay starts")
    final: float = option(0.0, "learning rate at the end of the decay, fraction of lr")


class LoopOptions(Options):
    """Length of the run and what it writes."""

    steps: int = option(100_000, "length of the run in steps (generator updates)")
    accumulate: int = option(1, "batches per step and process: their gradients are averaged")
    minutes: float = option(0.0, "length of the run in minutes over all its pieces, 0 for no such limit")
    seed: int = option(0, "seed of initialisation, data and noise")
    precision: Literal["no", "bf16"] = option("no", "'no' (float32) or 'bf16' (autocast)")
    channels_last: bool = option(True, "channels-last convolutions (faster on CPUs and GPUs)")
    threads: int = option(0, "CPU threads for torch, 0 for its default")
    ema_half_life: float = option(10_000.0, "half-life of averaged weights, in training images")
    ema_rampup: float = option(0.05, "the half-life is at most this fraction of the images seen so far")
    log_every: int = option(50, "steps between lines of log.jsonl")
    sample_every: int = option(1000, "steps between sample grids")
    validate_every: int = option(0, "steps between validations of other people (stages I and II), 0 for none")
    validation_batches: int = option(4, "batches of a validation over all processes, always the same ones")
    save_every: int = option(2000, "steps between checkpoints")
    save_minutes: float = option(20.0, "minutes between checkpoints, whichever comes first")


class Preset(Options):
    """A complete training run."""

    stage: str = option("", "a name of `training.stages.STAGES`: generator, encoder, face_state, ...")
    description: str = option("", "what this preset is for")
    data: DataOptions = option(DataOptions, "data")
    loop: LoopOptions = option(LoopOptions, "loop")
    networks: dict[str, dict[str, Any]] = option(
        {}, "name -> constructor arguments, or {pretrained: folder, subfolder: name} to start from a checkpoint"
    )
    optimizers: dict[str, OptimizerOptions] = option({}, "name -> optimiser")
    options: dict[str, Any] = option({}, "the stage's own settings")


def build_parser() -> argparse.ArgumentParser:
    """The command line of `train.py`."""
    parser = argparse.ArgumentParser(description="Train one stage of vivface as described by a preset.")
    parser.add_argument("--preset", help="name of a file in training/presets, or a path to one")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one option")
    parser.add_argument("--output", type=Path, help="folder for log.jsonl, samples, checkpoint and state")
    parser.add_argument("--resume", metavar="latest|STATE", help="resume from OUTPUT/state if present, or from a state")
    parser.add_argument("--max-steps", type=int, help="stop this piece after this many steps")
    parser.add_argument("--max-minutes", type=float, help="stop this piece after this many minutes, and save")
    parser.add_argument(
        "--log-with",
        action="append",
        metavar="TRACKER",
        help="tracker beside log.jsonl: tensorboard (default, if installed), trackio, any of accelerate's, or none",
    )
    parser.add_argument("--push-to-hub", metavar="REPO", help="upload the checkpoint with its card when the run ends")
    parser.add_argument(
        "--dry-run", action="store_true", help="check options, show networks and a batch, estimate memory and time"
    )
    parser.add_argument("--explain", action="store_true", help="print every option of a preset and exit")
    return parser
