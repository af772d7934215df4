"""Add the hypernetwork of a run to a ViVFace checkpoint, in half precision.

    python -m training.tools.export_hyperreenact vivface/bundled --runs runs/hyperreenact-{0,1,2,3}

Writes `CHECKPOINT/hyperreenact`: config, weights, and `training.json` with the runs in the order of training. The
weights are the last run's averaged ones, or a mean over runs by `--shares`. `vivface reenact --system hyperreenact`
then works with that checkpoint. With `--benchmark`, the table that `training.tools.extreme_poses` wrote goes into
`metrics.json`, for the model card.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from training.preset import read_preset
from training.tools.average import average
from training.tools.extreme_poses import MEASURES
from training.tools.programs import program_parser, run_program, save_network
from vivface.errors import CheckpointError, OptionError
from vivface.files import complete_folder
from vivface.hub.card import METRICS, TRAINING
from vivface.models import ReenactmentHypernetwork
from vivface.models.precision import cast
from vivface.pipelines.hyperreenact import FOLDER, HyperReenactPipeline

DATA = (
    "560 rendered synthetic people with 14 frames each (MakeHuman assets, CC0), four to a set of motions; no picture "
    "of a real person."
)
LIMITATIONS = [
    "It shows what the generator can show: pictures are soft, there is no refinement network and no tuning to a "
    "portrait, and the photograph itself is not moved unless `--detail` asks for it.",
]


def main(arguments: list[str] | None = None) -> None:
    """Round, write, load once.

    Raises:
        CheckpointError: If a run has no checkpoint, or the hypernetwork does not fit float16 or the checkpoint.
        OptionError: If the shares are wrong.
    """
    options = parse_arguments(arguments)
    network = cast(mean_network(options.runs, options.shares), torch.float16)
    with complete_folder(options.checkpoint / FOLDER, overwrite=True) as work:
        save_network(network, work)
        (work / TRAINING).write_text(
            json.dumps(training_record(options.runs, options.shares), indent=1) + "\n", encoding="utf-8"
        )
        if options.benchmark is not None:
            record = metrics_record(options.benchmark, options.dataset)
            (work / METRICS).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    HyperReenactPipeline.from_pretrained(options.checkpoint)
    size = sum(file.stat().st_size for file in (options.checkpoint / FOLDER).iterdir())
    million = sum(p.numel() for p in network.parameters()) / 1e6
    print(f"{options.checkpoint / FOLDER}: {million:.2f} M parameters, {size / 1e6:.1f} MB")


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = program_parser("export_hyperreenact", __doc__)
    parser.add_argument("checkpoint", type=Path, help="folder of a ViVFace checkpoint")
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="output folders, in the order of training")
    parser.add_argument(
        "--shares", type=float, nargs="+", help="write the mean of the runs' weights with these shares, 0 for none"
    )
    parser.add_argument("--benchmark", type=Path, help="table.json of training.tools.extreme_poses")
    parser.add_argument("--dataset", default="held-out synthetic people", help="whom that measured, for the card")
    return parser.parse_args(arguments)


def mean_network(runs: list[Path], shares: list[float] | None) -> ReenactmentHypernetwork:
    """The last run's averaged weights, or a mean over runs, which continue one another.

    Raises:
        CheckpointError: If a run has no checkpoint.
        OptionError: If there are not as many shares as runs.
    """
    shares = [0.0] * (len(runs) - 1) + [1.0] if shares is None else shares
    if len(shares) != len(runs) or min(shares) < 0 or sum(shares) <= 0:
        raise OptionError(f"--shares are {shares}, expected one for each of the {len(runs)} --runs, none negative.")
    taken = {run: share / sum(shares) for run, share in zip(runs, shares, strict=True) if share > 0}
    for run in taken:
        if not (run / "checkpoint" / "hypernetwork").is_dir():
            raise CheckpointError(f"--runs names '{run}', which holds no checkpoint/hypernetwork.")
    networks = [ReenactmentHypernetwork.from_pretrained(run / "checkpoint" / "hypernetwork") for run in taken]
    return networks[0] if len(networks) == 1 else average(networks, list(taken.values()))


def training_record(runs: list[Path], shares: list[float] | None) -> dict[str, str | list]:
    """Data, runs, and whose mean the weights are."""
    stages = stages_of(runs)
    if shares is not None:
        stages.append({"mean": ", ".join(f"{share:g}" for share in shares) + " of these runs' weights"})
    return {"data": DATA, "stages": stages, "limitations": LIMITATIONS}


def stages_of(runs: list[Path]) -> list[dict]:
    """Stage, preset and length of every run.

    Raises:
        CheckpointError: If a run has no log.
    """
    stages = []
    for run in runs:
        log = run / "log.jsonl"
        if not log.is_file():
            raise CheckpointError(f"--runs names '{run}', which holds no log.jsonl.")
        last = json.loads(log.read_text(encoding="utf-8").splitlines()[-1])
        preset = read_preset(str(run / "preset.yaml"), [])
        stages.append(
            {
                "stage": preset.stage,
                "preset": preset.description,
                "steps": last["step"],
                "pairs": round(last["images"]),
                "minutes": round(last["minutes"], 1),
            }
        )
    return stages


def metrics_record(table: Path, dataset: str) -> dict[str, dict | list]:
    """The card's metrics: those of `hyperreenact` in the benchmark's table.

    Raises:
        CheckpointError: If the table has no such system.
    """
    content = json.loads(table.read_text(encoding="utf-8"))
    scores = content["scores"].get(FOLDER)
    if scores is None:
        raise CheckpointError(f"'{table}' has no scores of the system {FOLDER}: measure it with extreme_poses.")
    values = [
        {"name": name, "value": round(scores[name], 3), "meaning": meaning}
        for name, (_, meaning) in MEASURES.items()
        if scores[name] is not None
    ]
    name = f"{content['pairs']} pairs of {dataset} whose poses differ by more than {content['least']:g} degrees"
    return {"dataset": {"name": name, "type": "synthetic"}, "metrics": values}


if __name__ == "__main__":
    run_program(main)
