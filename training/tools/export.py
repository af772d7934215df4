"""Make a pipeline of trained networks: `python -m training.tools.export --checkpoint RUN/checkpoint --output FOLDER`.

Takes generator, encoder and, if present, transformer, refinement and recognizer from one or more checkpoints of
`train.py` (networks of a later one replace those of an earlier one), rounds them to half precision (batch norms stay in
float32), and writes the folder that `VivFacePipeline.from_pretrained` loads, with the model card. The folder appears
whole or not at all.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
import yaml

from training.tools.programs import program_parser, run_program
from vivface.errors import CheckpointError, OptionError
from vivface.files import complete_folder
from vivface.hub.card import METRICS, TRAINING, make_card
from vivface.hub.index import INDEX
from vivface.hub.loading import load_component
from vivface.models.precision import cast
from vivface.pipelines.vivface import VivFacePipeline

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
MEANINGS = {  # of the columns of `training.tools.evaluate`
    "psnr_same": "PSNR to the true frames, own motion, dB",
    "closer_to_source": "fraction of the frames whose face is nearer to the portrait's than to the driving person's",
    "id_l2": "distance of face embeddings to the portrait's",
    "jitter_ratio": "jitter of the landmarks, that of the driving video = 1",
    "face_found": "fraction of the frames in which a face is found",
} | {name: f"correlation of {name.replace('_', ' ')} with the driving video" for name in ("yaw", "pitch", "roll")}
MEANINGS |= {name: f"correlation of {name.split('_')[0]} opening" for name in ("mouth_open", "eye_open")}


def main(arguments: list[str] | None = None) -> None:
    """Assemble, round and write.

    Args:
        arguments (`list[str]`, *optional*): Command line; that of the process by default.

    Raises:
        OptionError: If a setting or the output is wrong.
        CheckpointError: If a network is missing, does not fit, or the files are too large.
    """
    options = parse_arguments(arguments)
    check_output(options.output, options.overwrite)

    # 1. The networks as a pipeline of the chosen precision.
    pipeline = assemble(options.checkpoint, read_settings(options.set))
    for network in pipeline.components.values():
        if network is not None:
            cast(network, DTYPES[options.dtype])

    # 2. Write, check, and move to its place.
    with complete_folder(options.output, overwrite=True) as work:
        pipeline.save_pretrained(work)
        megabytes = check_size(work, options.max_megabytes)
        VivFacePipeline.from_pretrained(work)
        write_records(work, options)
        make_card(work, options.name or options.output.resolve().name).save(work / "README.md")
    print(f"{options.output}: {megabytes:.1f} MB in {options.dtype}")


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    parser = program_parser("export", __doc__)
    parser.add_argument("--checkpoint", type=Path, nargs="+", required=True, help="folders of networks, the last wins")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--dtype", choices=DTYPES, default="float16", help="precision of the files")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=VALUE", help=f"settings: {', '.join(VivFacePipeline.SETTINGS)}"
    )
    parser.add_argument(
        "--metrics", type=Path, help="table.json of training.tools.evaluate, or a card's metrics record"
    )
    parser.add_argument("--training", type=Path, help="a card's training record; by default made from the runs")
    parser.add_argument("--name", help="title of the card; the output folder's name by default")
    parser.add_argument("--max-megabytes", type=float, default=48.0, help="largest sum of the weight files")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing pipeline")
    return parser.parse_args(arguments)


def check_output(folder: Path, overwrite: bool) -> None:
    """Refuse, before any work, to overwrite something by mistake.

    Raises:
        OptionError: If `folder` holds a pipeline and `overwrite` is not set, or anything else.
    """
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
    elif not folder.is_dir() or (any(folder.iterdir()) and not (folder / INDEX).is_file()):
        raise OptionError(f"--output {folder} holds something other than a pipeline: give another folder")
    elif (folder / INDEX).is_file() and not overwrite:
        raise OptionError(f"--output {folder} holds a pipeline already: add --overwrite or give another folder")


def read_settings(changes: list[str]) -> dict:
    """`["crop=stable", "adapt_steps=30"]` -> the pipeline's settings.

    Raises:
        OptionError: If a setting is unknown, or a number is expected and not given.
    """
    settings, names = {}, VivFacePipeline.SETTINGS
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals or key not in names:
            raise OptionError(f"--set {change} names no setting, expected KEY=VALUE with one of: {', '.join(names)}")
        if key in ("image_size", "adapt_steps") and not value.isdecimal():
            raise OptionError(f"--set {change} gives no number, expected one as in {key}=128")
        settings[key] = int(value) if value.isdecimal() else value
    return settings


def assemble(checkpoints: list[Path], settings: dict) -> VivFacePipeline:
    """A pipeline of the networks in these folders; the last folder that holds a network gives it.

    `image_size` is the encoder's and `crop` "stable", unless `settings` say otherwise.

    Raises:
        CheckpointError: If a network is missing or damaged, or two do not belong together.
        OptionError: If a setting has a wrong value.
    """
    networks = {}
    for name, network_class in VivFacePipeline.COMPONENTS.items():
        holders = [folder for folder in checkpoints if (folder / name / "config.json").is_file()]
        if not holders and name not in VivFacePipeline._optional_components:
            raise CheckpointError(
                f"{', '.join(map(str, checkpoints))}: there is no {name}, expected the folder 'checkpoint' of a run"
            )
        networks[name] = load_component(network_class, holders[-1], name) if holders else None
    generator, encoder, transformer = networks["generator"], networks["encoder"], networks["transformer"]

    pairs = [
        ("encoder.num_latents", encoder.config.num_latents, "generator", generator.num_latents),
        ("encoder.motion_codes", encoder.config.motion_codes, "generator", generator.config.motion_codes),
        ("encoder.style_dim", encoder.config.style_dim, "generator", generator.config.style_dim),
    ]
    if transformer is not None:
        width = transformer.config.style_dim
        pairs.append(("transformer.style_dim", width, "generator", generator.config.style_dim))
    settings = {"image_size": encoder.config.image_size, "crop": "stable", **settings}
    pairs.append(("encoder.image_size", encoder.config.image_size, "setting image_size", settings["image_size"]))
    if (refinement := networks["refinement"]) is not None:
        pairs.append(("refinement.image_size", refinement.config.image_size, "encoder", encoder.config.image_size))
    for what, value, whom, expected in pairs:
        if value != expected:
            raise CheckpointError(f"{what} is {value}, expected {expected} for the {whom}: use networks of one system")
    return VivFacePipeline(**networks, **settings)


def check_size(folder: Path, limit: float) -> float:
    """Megabytes (10^6 bytes) of the weight files in a folder.

    Raises:
        CheckpointError: If there are more than `limit`.
    """
    sizes = {file.parent.name: file.stat().st_size / 1e6 for file in sorted(folder.rglob("*.safetensors"))}
    if sum(sizes.values()) > limit:
        parts = ", ".join(f"{name} {size:.1f}" for name, size in sizes.items())
        raise CheckpointError(f"the weights take {sum(sizes.values()):.1f} MB ({parts}), expected at most {limit:g}")
    return sum(sizes.values())


def write_records(folder: Path, options: argparse.Namespace) -> None:
    """Write the records that the model card is filled from."""
    training = read_json(options.training) if options.training else training_record(options.checkpoint)
    (folder / TRAINING).write_text(json.dumps(training, indent=1) + "\n")
    if options.metrics:
        (folder / METRICS).write_text(json.dumps(metrics_record(read_json(options.metrics)), indent=1) + "\n")


def read_json(path: Path) -> dict:
    """A JSON file.

    Raises:
        OptionError: If it cannot be read.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise OptionError(f"{path} is no readable JSON file ({error})") from error


def training_record(checkpoints: list[Path]) -> dict:
    """The stages that these checkpoints come from, in order, from the presets and logs beside them."""
    stages = []
    for checkpoint in checkpoints:
        preset, log = checkpoint.parent / "preset.yaml", checkpoint.parent / "log.jsonl"
        if not preset.is_file():
            continue
        tree = yaml.safe_load(preset.read_text())
        stage = {"stage": tree["stage"], "preset": tree.get("description", "")}
        if log.is_file() and (lines := log.read_text().splitlines()):
            last = json.loads(lines[-1])
            stage |= {"steps": last["step"], "pictures": last["images"], "minutes": round(last["minutes"], 1)}
        stages.append(stage)
    return {"license": "apache-2.0", "stages": stages}


def metrics_record(table: dict) -> dict:
    """A table of `training.tools.evaluate` in the form that the card reads; a record in that form stays as it is."""
    if "mean" not in table:
        return table
    metrics = [
        {"name": f"{name} ({mode})", "value": round(value, 3), "meaning": MEANINGS.get(name, "")}
        for mode, means in table["mean"].items()
        for name, value in means.items()
        if isinstance(value, (int, float))
    ]
    return {"dataset": {"name": "held-out synthetic people", "type": "synthetic"}, "metrics": metrics}


if __name__ == "__main__":
    run_program(main)
