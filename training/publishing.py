"""Push a run's checkpoint to the Hub, with a model card filled from the preset and the last validation."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from training.arguments import Preset
from training.stages.learner import Progress
from vivface import models
from vivface.errors import BackendError, CheckpointError, first_line
from vivface.hub.card import METRICS, TRAINING
from vivface.hub.push import Pushed, connection_errors, push_folder

MEANINGS = {
    "l1": "mean absolute difference of images in [-1, 1]",
    "psnr": "dB, mean over images",
    "ssim": "Gaussian window of 11, RGB",
    "features": "perceptual distance of the preset",
    "likeness": "cosine of the run's own recognizer",
    "motion_error": "squared error of the re-encoded motion code, fraction of the codes' variance",
}


def check_repository(repo_id: str) -> None:
    """Make the repository before the run, so that a missing login or a wrong name costs no training.

    Raises:
        BackendError: If the Hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        HfApi().create_repo(repo_id, exist_ok=True)
    except (HfHubHTTPError, ValueError, OSError, *connection_errors()) as error:
        raise BackendError(
            f"--push-to-hub {repo_id}: the Hub does not take it ({first_line(error)}), check the name, the connection "
            "and `hf auth login`"
        ) from error


def push_checkpoint(
    checkpoint: Path, repo_id: str, preset: Preset, progress: Progress, metrics: dict[str, float] | None = None
) -> Pushed:
    """Upload the networks of a checkpoint, with the records that a card is filled from.

    Args:
        checkpoint (`Path`): Of the run.
        repo_id (`str`): "owner/name", or a name of one's own.
        preset (`Preset`): Of the run.
        progress (`Progress`): How far it got.
        metrics (`dict[str, float]`, *optional*): Of the last validation, by the names of the log.

    Raises:
        CheckpointError: If the checkpoint holds no network that a user of the package can load.
        BackendError: If the Hub cannot be reached or refuses.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / repo_id.rpartition("/")[2]
        folder.mkdir()
        for config in sorted(checkpoint.glob("*/config.json")):
            if json.loads(config.read_text())["_class_name"] in models.__all__:
                shutil.copytree(config.parent, folder / config.parent.name)
        if not any(folder.iterdir()):
            raise CheckpointError(f"{checkpoint} holds no network of the package, expected one to push")
        (folder / TRAINING).write_text(json.dumps(training_record(preset, progress), indent=1) + "\n")
        if metrics:
            (folder / METRICS).write_text(json.dumps(metrics_record(preset, metrics), indent=1) + "\n")
        return push_folder(folder, repo_id, message=f"Step {progress.step} of {preset.stage}")


def training_record(preset: Preset, progress: Progress) -> dict:
    """A card's training record."""
    stage = {"stage": preset.stage, "preset": preset.description, "steps": progress.step}
    stage |= {"pictures": progress.images, "minutes": round(progress.seconds / 60, 1)}
    kinds = {"shards": "rendered synthetic people", "prepared": "aligned clips of real videos"}
    data = f"{kinds.get(preset.data.kind, preset.data.kind)}, {preset.data.size} x {preset.data.size}"
    return {"data": data, "stages": [stage]}


def metrics_record(preset: Preset, metrics: dict[str, float]) -> dict:
    """A card's record of metrics."""
    values = {name.removeprefix("validation/"): value for name, value in metrics.items()}
    return {
        "dataset": {"name": "held-out people of the training data", "type": preset.data.kind},
        "metrics": [
            {
                "name": name,
                "value": round(value, 4),
                "meaning": MEANINGS.get(name.partition("/")[0], "a term of the loss"),
            }
            for name, value in values.items()
        ],
    }
