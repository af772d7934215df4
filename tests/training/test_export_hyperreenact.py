"""A hypernetwork goes from runs into a checkpoint, with its records, and the card tells of it."""

import json

import pytest
import torch

from tests.tiny import make_tiny_hypernetwork, make_tiny_pipeline
from training.tools.export_hyperreenact import main
from training.tools.extreme_poses import MEASURES
from vivface import CheckpointError, OptionError, load_pipeline
from vivface.hub.card import make_card
from vivface.models import ReenactmentHypernetwork


@pytest.fixture
def runs(tmp_path):
    """Two runs that differ in their weights."""
    folders = []
    for seed in (0, 1):
        run = tmp_path / f"run-{seed}"
        make_tiny_hypernetwork(seed).save_pretrained(run / "checkpoint" / "hypernetwork")
        (run / "preset.yaml").write_text("stage: hyperreenact\ndescription: a toy\n")
        (run / "log.jsonl").write_text(json.dumps({"step": 7, "images": 56.0, "minutes": 1.26}) + "\n")
        folders.append(run)
    return folders


@pytest.fixture
def checkpoint(tmp_path):
    make_tiny_pipeline(recognizer=True).save_pretrained(tmp_path / "vivface")
    return tmp_path / "vivface"


def arguments(checkpoint, runs, *more):
    return [str(checkpoint), "--runs", *map(str, runs), *more]


def test_the_last_run_in_half_precision(checkpoint, runs):
    main(arguments(checkpoint, runs))
    stored = ReenactmentHypernetwork.from_pretrained(checkpoint / "hyperreenact").state_dict()
    for name, value in make_tiny_hypernetwork(1).state_dict().items():
        torch.testing.assert_close(stored[name], value.half().float(), atol=0, rtol=0)
    assert load_pipeline(checkpoint, system="hyperreenact").pose is None
    record = json.loads((checkpoint / "hyperreenact" / "training.json").read_text())
    assert [stage["steps"] for stage in record["stages"]] == [7, 7] and record["stages"][0]["preset"] == "a toy"


def test_the_mean_of_runs(checkpoint, runs):
    main(arguments(checkpoint, runs, "--shares", "1", "3"))
    stored = ReenactmentHypernetwork.from_pretrained(checkpoint / "hyperreenact").state_dict()
    first, second = (make_tiny_hypernetwork(seed).state_dict() for seed in (0, 1))
    for name, value in stored.items():
        torch.testing.assert_close(value, 0.25 * first[name] + 0.75 * second[name], atol=1e-3, rtol=1e-3)


def test_the_card_tells_of_it(checkpoint, runs, tmp_path):
    scores = {name: 0.5 for name in MEASURES}
    table = tmp_path / "table.json"
    table.write_text(json.dumps({"pairs": 9, "least": 15.0, "scores": {"hyperreenact": scores}}))
    main(arguments(checkpoint, runs, "--benchmark", str(table), "--dataset", "drawn people"))
    text = str(make_card(checkpoint))
    section = text.partition("## HyperReenact from the same networks")[2]
    assert "9 pairs of drawn people whose poses differ by more than 15 degrees" in section
    assert "| yaw correlation | 0.5 |" in section and "preset: a toy; steps: 7" in section


def test_what_is_wrong_is_said(checkpoint, runs, tmp_path):
    with pytest.raises(OptionError, match="expected one for each of the 2 --runs"):
        main(arguments(checkpoint, runs, "--shares", "1"))
    with pytest.raises(CheckpointError, match="holds no checkpoint/hypernetwork"):
        main(arguments(checkpoint, [*runs, tmp_path / "none"]))
    table = tmp_path / "table.json"
    table.write_text(json.dumps({"pairs": 9, "least": 15.0, "scores": {}}))
    with pytest.raises(CheckpointError, match="no scores of the system hyperreenact"):
        main(arguments(checkpoint, runs, "--benchmark", str(table)))
    assert not (checkpoint / "hyperreenact").exists()
