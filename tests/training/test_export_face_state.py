"""Exporting a face state network: what is measured, and the record of the runs behind it."""

import json
from pathlib import Path

import pytest
import torch

from tests.training.people import write_controlled_people
from training.tools.export_face_state import main as export
from training.train import main as train
from vivface.errors import CheckpointError
from vivface.models import FaceStateNetwork


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_controlled_people(tmp_path_factory.mktemp("faces") / "people")


def run(people: Path, output: Path, steps: int, *changes: str) -> Path:
    threads = torch.get_num_threads()
    changes = (f"data.folders=[{people}]", f"loop.steps={steps}", *changes)
    main = ["--preset", "tiny-face-state", "--output", str(output), "--log-with", "none"]
    train([*main, *(f"--set={change}" for change in changes)])
    torch.set_num_threads(threads)
    return output


@pytest.fixture(scope="module")
def exported(folder, tmp_path_factory) -> Path:
    """Of a run that goes on from another run."""
    root = tmp_path_factory.mktemp("runs")
    first = run(folder, root / "first", 2)
    start = f"networks.face_state={{pretrained: {first}/checkpoint, subfolder: face_state}}"
    second = run(folder, root / "second", 1, start, "description=fewer of them broken")
    export(["--run", str(second), "--folders", str(folder), "--output", str(root / "network"), "--frames", "28"])
    return root / "network"


def test_weights_are_half(exported):
    network = FaceStateNetwork.from_pretrained(exported)
    assert network.config.image_size == 32 and next(network.parameters()).dtype == torch.float32
    assert (exported / "diffusion_pytorch_model.safetensors").stat().st_size < 3 * sum(
        tensor.numel() for tensor in network.state_dict().values()
    )


def test_the_config_names_no_path(exported):
    config = json.loads((exported / "config.json").read_text())
    assert config["image_size"] == 32 and "_name_or_path" not in config


def test_the_record_names_all_runs(exported):
    stages = json.loads((exported / "training.json").read_text())["stages"]
    assert [stage["steps"] for stage in stages] == [2, 1] and stages[1]["preset"] == "fewer of them broken"


def test_an_exported_network_brings_its_record(exported, folder, tmp_path):
    third = run(folder, tmp_path / "third", 1, f"networks.face_state={{pretrained: {exported}}}")
    export(["--run", str(third), "--folders", str(folder), "--output", str(tmp_path / "network"), "--frames", "28"])
    stages = json.loads((tmp_path / "network" / "training.json").read_text())["stages"]
    assert [stage["steps"] for stage in stages] == [2, 1, 1]


def test_the_card_says_what_was_measured(exported):
    metrics = {each["name"]: each["value"] for each in json.loads((exported / "metrics.json").read_text())["metrics"]}
    assert metrics["landmarks"] > 0 and metrics["yaw"] > 0 and -1 <= metrics["lids"] <= 1
    assert f"{metrics['landmarks']:g}" in (exported / "README.md").read_text()


def test_a_run_without_checkpoint_is_refused(tmp_path, folder):
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        export(["--run", str(tmp_path), "--folders", str(folder), "--output", str(tmp_path / "network")])
