"""Options of a training run: the command line, and the dataclasses that a preset file fills.

A preset is a YAML file of five parts. `stage` names what is trained; `data`, `loop`, `networks` and `optimizers`
mean the same for every stage; `options` holds the stage's own settings (weights of losses and the like), which
the stage declares as a dataclass of its own. Every field has a `help` text; `train.py --explain` prints them all.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from vivface.errors import OptionError

PRESET_FOLDER = Path(__file__).parent / "presets"


def option(default: Any, help: str) -> Any:
    """A dataclass field with a default and a help text."""
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata={"help": help})
    if callable(default):
        return field(default_factory=default, metadata={"help": help})
    return field(default=default, metadata={"help": help})


@dataclass
class AugmentOptions:
    """How far pictures are changed. Ranges are those at strength 1; strength 0 switches a group off."""

    appearance: float = option(1.0, "strength of colour, light and contrast changes (same for source and target)")
    driver_appearance: float | None = option(None, "the same for driving frames (grid batches); None: no difference")
    degradation: float = option(1.0, "strength and frequency of blur, noise, JPEG, downscaling and occluders")
    degrade_source: float = option(0.5, "chance that the source is degraded at all")
    degrade_driver: float = option(0.7, "chance that a driving frame is degraded at all")
    occluders: float = option(0.15, "chance of an occluder in a degraded picture")
    source_jitter: float = option(0.02, "crop jitter of source and target, fraction of the crop's side")
    driver_center: float = option(0.07, "jitter of a driving crop's centre, fraction of the crop's side")
    driver_scale: float = option(0.07, "jitter of a driving crop's scale, fraction")
    driver_rotation: float = option(2.5, "jitter of a driving crop's rotation, degrees")
    drift_center: float = option(
        0.03, "centred crops: how far off the crop's centre a face is, spread, fraction of the side"
    )
    drift_scale: float = option(0.04, "centred crops: spread of the crop's scale, fraction")
    drift_rotation: float = option(4.0, "centred crops: spread of the face's rotation, degrees")
    stretch: float = option(0.06, "anisotropic stretch of a crop, fraction (alike for source and target)")


@dataclass
class DataOptions:
    """Where pictures come from and how they are put into a batch."""

    kind: str = option("shards", "'shards' (synthetic people), 'videos' (clips or folders of frames) or 'images'")
    folders: list[str] = option([], "one or more folders")
    size: int = option(256, "side of the square pictures of a batch, pixels")
    batch: int = option(8, "pictures (or pairs) a batch and process; a grid batch has people x motions instead")
    people: int = option(4, "grid batches: people P, all performing the same motions")
    motions: int = option(4, "grid batches: motions J")
    drivers: int = option(1, "grid batches: driving pictures D of each motion")
    source_draws: int = option(1, "grid batches: frames drawn, of which the most frontal becomes the source")
    crop: str = option(
        "stable",
        "'stable': all frames by the source's quad; pairs also 'ffhq': each by its own; grids also 'centred': each "
        "around its own face, off by a drift that is a motion's own",
    )
    align: bool = option(False, "videos: find the face and align it (else frames are taken as aligned squares)")
    frames_per_video: int = option(50, "videos: evenly spaced frames used of each clip")
    augment: AugmentOptions = option(AugmentOptions, "augmentation")
    workers: int = option(1, "background threads or processes that prepare batches; 0 prepares them in the loop")
    worker_kind: str = option("thread", "'thread' (few cores) or 'process' (many cores)")
    prefetch: int = option(2, "batches prepared ahead, per worker")
    rescan_seconds: float = option(120.0, "shards: look for newly rendered people this often")
    cache_gigabytes: float = option(4.0, "shards: memory for compressed pictures, per process")


@dataclass
class OptimizerOptions:
    """One optimiser. Which networks it moves is the stage's business."""

    kind: str = option("adam", "adam | adamw | radam | ranger (RAdam + gradient centralisation + lookahead)")
    lr: float = option(1e-4, "learning rate at full height")
    betas: list[float] = option([0.9, 0.999], "decay of the running moments")
    eps: float = option(1e-8, "added to the root of the second moment")
    weight_decay: float = option(0.0, "decoupled for adamw, L2 otherwise")
    clip: float = option(0.0, "largest gradient norm, 0 for no clipping")
    warmup: int = option(0, "steps of linear growth of the learning rate")
    decay: str = option("constant", "constant | linear | cosine, over the part of the run after decay_from")
    decay_from: float = option(0.0, "fraction of the run after which the decay starts")
    final: float = option(0.0, "learning rate at the end of the decay, fraction of lr")


@dataclass
class LoopOptions:
    """Length of the run and what it writes."""

    steps: int = option(100_000, "length of the run in steps (generator updates)")
    minutes: float = option(0.0, "length of the run in minutes over all its pieces, 0 for no such limit")
    seed: int = option(0, "seed of initialisation, data and noise")
    precision: str = option("no", "'no' (float32) or 'bf16' (autocast)")
    channels_last: bool = option(True, "keep convolutions in channels-last order (faster on these CPUs and on GPUs)")
    threads: int = option(0, "CPU threads for torch, 0 for its default")
    compile: bool = option(False, "torch.compile the networks that a stage offers for it")
    ema_half_life: float = option(10_000.0, "half-life of averaged weights, in training pictures")
    ema_rampup: float = option(0.05, "the half-life is at most this fraction of the pictures seen so far")
    log_every: int = option(50, "steps between lines of log.jsonl")
    sample_every: int = option(1000, "steps between sample grids")
    save_every: int = option(2000, "steps between checkpoints")
    save_minutes: float = option(20.0, "minutes between checkpoints, whichever comes first")


@dataclass
class Preset:
    """A complete training run."""

    stage: str = option("", "generator | identity | autodecoder | encoder | supervised | stage1 | stage2")
    description: str = option("", "what this preset is for")
    data: DataOptions = option(DataOptions, "data")
    loop: LoopOptions = option(LoopOptions, "loop")
    networks: dict[str, dict] = option(
        {}, "name -> constructor arguments, or {pretrained: folder, subfolder: name} to start from a checkpoint"
    )
    optimizers: dict[str, OptimizerOptions] = option({}, "name -> optimiser")
    options: dict[str, Any] = option({}, "the stage's own settings")


def fill(kind: Any, value: Any, where: str = "preset") -> Any:
    """Turn plain YAML values into `kind`: a dataclass, a container of dataclasses, or a plain value.

    Raises:
        OptionError: If a key is unknown or a value has another type.
    """
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise OptionError(f"{where} is {value!r}, expected a mapping of {kind.__name__}")
        hints = typing.get_type_hints(kind)
        if unknown := [key for key in value if key not in hints]:
            raise OptionError(f"{where} has no option {unknown[0]!r}, expected one of: {', '.join(hints)}")
        return kind(**{key: fill(hints[key], item, f"{where}.{key}") for key, item in value.items()})
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return fill(next(a for a in arguments if a is not type(None)), value, where)
    if origin is list and isinstance(value, (list, tuple)):
        return [fill(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value)]
    if origin is list and not isinstance(value, dict):  # `--set data.folders=people` for a list of one
        return [fill(arguments[0], value, where)]
    if origin is dict and isinstance(value, dict):
        return {str(key): fill(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if kind is Any or (kind is dict and isinstance(value, dict)):
        return value
    if kind is float and isinstance(value, str):  # YAML 1.1 reads 1e-4 as text
        try:
            return float(value)
        except ValueError:
            pass
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if kind in (int, bool, str) and type(value) is kind:
        return value
    raise OptionError(f"{where} is {value!r}, expected {getattr(kind, '__name__', kind)}")


class PresetLoader(yaml.SafeLoader):
    """Safe YAML whose only booleans are true and false: `no` is the name of a precision."""


BOOLEAN = "tag:yaml.org,2002:bool"
PresetLoader.yaml_implicit_resolvers = {
    first: [rule for rule in rules if rule[0] != BOOLEAN]
    for first, rules in PresetLoader.yaml_implicit_resolvers.items()
}
PresetLoader.add_implicit_resolver(BOOLEAN, re.compile("^(?:true|false)$", re.IGNORECASE), list("tTfF"))


def read_preset(name: str, changes: list[str] | None = None) -> Preset:
    """Read a preset by name (a file of `training/presets`) or path, with `key=value` changes applied.

    Args:
        name (`str`): `tiny-generator`, or a path to a YAML file.
        changes (`list[str]`, *optional*): `data.size=128`, `loop.steps=10`, ...; values are read as YAML.

    Raises:
        OptionError: If there is no such preset, or a key or value is wrong.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else PRESET_FOLDER / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in PRESET_FOLDER.glob("*.yaml")))
        raise OptionError(f"there is no preset {name!r}, give a .yaml file or one of: {known}")
    tree = yaml.load(path.read_text(), PresetLoader) or {}
    for change in changes or []:
        key, equals, text = change.partition("=")
        if not equals:
            raise OptionError(f"--set {change} has no '=', expected key=value as in --set loop.steps=10")
        place = tree
        *parents, last = key.split(".")
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise OptionError(f"--set {key}: {parent!r} is a single value, it has no option {last!r}")
        place[last] = yaml.load(text, PresetLoader)
    return fill(Preset, tree)


def as_tree(preset: Preset) -> dict[str, Any]:
    """The preset as plain values, ready for YAML or JSON."""
    return dataclasses.asdict(preset)


def explain(kind: type, indent: str = "") -> str:
    """All options of a dataclass with defaults and help, one a line."""
    lines = []
    hints = typing.get_type_hints(kind)
    for item in dataclasses.fields(kind):
        nested = [k for k in (hints[item.name], *typing.get_args(hints[item.name])) if dataclasses.is_dataclass(k)]
        if nested:
            lines += [f"{indent}{item.name}: {item.metadata.get('help', '')}", explain(nested[0], indent + "    ")]
        else:
            default = item.default if item.default is not dataclasses.MISSING else item.default_factory()
            lines.append(f"{indent}{item.name} = {default!r}: {item.metadata.get('help', '')}")
    return "\n".join(lines)


def build_parser() -> argparse.ArgumentParser:
    """The command line of `train.py`."""
    parser = argparse.ArgumentParser(description="Train one stage of vivface as a preset tells.")
    parser.add_argument("--preset", help="name of a file in training/presets, or a path to one")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one option")
    parser.add_argument("--output", type=Path, help="folder for log.jsonl, samples, checkpoint and state")
    parser.add_argument("--resume", metavar="latest|STATE", help="go on from OUTPUT/state if there, or from a state")
    parser.add_argument("--max-steps", type=int, help="stop after this many steps of this piece")
    parser.add_argument("--max-minutes", type=float, help="stop after this many minutes of this piece, and save")
    parser.add_argument("--log-with", action="append", default=[], help="also log to an accelerate tracker")
    parser.add_argument("--dry-run", action="store_true", help="check options, build the networks, make a batch, end")
    parser.add_argument("--explain", action="store_true", help="print every option of a preset and end")
    return parser
