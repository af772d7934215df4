"""Runs of several processes: killed and resumed bit for bit, on another number of processes; validation, trackers."""

import json
import multiprocessing
import os
import re
import signal
import time
from pathlib import Path

import pytest
import torch
import yaml
from accelerate import Accelerator
from torch import nn

from tests.hub.server import Hub
from tests.processes import free_port
from tests.training.conftest import preset_of
from training.arguments import OptimizerOptions, Preset
from training.data.loader import held_out_people
from training.estimate import SavedTensors, describe_estimate
from training.logs import Means, check_finite, choose_trackers, flat, forget_after
from training.publishing import metrics_record, training_record
from training.stages.learner import Learner, Progress
from training.train import main
from vivface.errors import OptionError

STEPS, KILL_AT = 6, 3
OPTIONS = {
    "loop.steps": STEPS,
    "loop.save_every": 2,
    "data.order": "epochs",
    "data.held_out": 0.34,
    "loop.validate_every": 4,
    "loop.validation_batches": 2,
}


def worker(rank: int, world: int, port: int, arguments: list[str], log: str) -> None:
    """One process of a run, as `accelerate launch` starts it."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "ACCELERATE_USE_CPU": "1"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with open(f"{log}.{rank}", "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        main(arguments)


class Launcher:
    """Starts runs of several processes without importing torch in each of them."""

    def __init__(self):
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(
            [
                "training.train",
                "training.stages.reenactment",
                "training.stages.refinement",
                "torchmetrics.functional.image",
            ]
        )

    def start(self, folder: Path, arguments: list[str], world: int = 2) -> list:
        arguments = [*arguments, "--output", str(folder), "--log-with", "none"]
        port = free_port()
        workers = [
            self.context.Process(target=worker, args=(rank, world, port, arguments, f"{folder}-log"))
            for rank in range(world)
        ]
        for process in workers:
            process.start()
        return workers

    def run(self, folder: Path, arguments: list[str], world: int = 2) -> None:
        workers = self.start(folder, arguments, world)
        for process in workers:
            process.join(600)  # seconds on a free machine
            process.kill()  # nothing to one that has ended
        assert [process.exitcode for process in workers] == [0] * world, Path(f"{folder}-log.0").read_text()[-2000:]

    def kill(self, folder: Path, arguments: list[str], step: int) -> None:
        """Kill all processes when the log shows a step."""
        workers, log = self.start(folder, arguments), folder / "log.jsonl"
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline and all(process.is_alive() for process in workers):
            if log.is_file() and f'"step": {step},' in log.read_text():
                break
            time.sleep(0.01)
        for process in workers:
            os.kill(process.pid, signal.SIGKILL)
            process.join()
        assert {process.exitcode for process in workers} == {-signal.SIGKILL}


@pytest.fixture(scope="module")
def launcher():
    return Launcher()


def arguments_of(stage: str, people: Path) -> list[str]:
    return [
        *preset_of(stage, people),
        *(part for key, value in OPTIONS.items() for part in ("--set", f"{key}={value}")),
    ]


def state(folder: Path) -> dict:
    return torch.load(folder / "state" / "stage.pt", weights_only=True)


def differences(first, second, path: str = "") -> list[str]:
    """Where two states differ, times apart."""
    if isinstance(first, torch.Tensor):
        return [] if torch.equal(first, second) else [path]
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        return [d for key in first for d in differences(first[key], second[key], f"{path}/{key}") if key != "seconds"]
    if isinstance(first, list | tuple):
        assert len(first) == len(second)
        return [d for k, pair in enumerate(zip(first, second, strict=True)) for d in differences(*pair, f"{path}/{k}")]
    return [] if first == second else [path]


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_two_processes_killed_and_resumed_are_a_run_without_a_break(stage, people, launcher, tmp_path):
    arguments = arguments_of(stage, people)
    launcher.run(tmp_path / "whole", arguments)
    launcher.kill(tmp_path / "killed", arguments, KILL_AT)
    assert state(tmp_path / "killed")["progress"]["step"] < STEPS
    launcher.run(tmp_path / "killed", [*arguments, "--resume", "latest"])

    whole, resumed = state(tmp_path / "whole"), state(tmp_path / "killed")
    assert whole["progress"]["step"] == STEPS and whole["progress"]["batches"] == 2 * STEPS
    assert differences(whole, resumed) == []
    extra = "extra_1.pt"
    assert differences(*(torch.load(tmp_path / n / "state" / extra) for n in ("whole", "killed"))) == []
    logs = [[json.loads(line) for line in (tmp_path / n / "log.jsonl").open()] for n in ("whole", "killed")]
    for line in [*logs[0], *logs[1]]:
        for name in ("minutes", "images_per_second"):
            line.pop(name, None)
    assert logs[0] == logs[1]
    assert [line["step"] for line in logs[0] if any(name.startswith("validation/") for name in line)] == [0, 4, 6]


def test_a_run_of_two_processes_goes_on_with_one(people, launcher, tmp_path):
    arguments = arguments_of("stage1", people)
    launcher.run(tmp_path / "run", [*arguments, "--set", "loop.steps=2"])
    launcher.run(tmp_path / "run", [*arguments, "--set", "loop.steps=4", "--resume", "latest"], world=1)
    progress = state(tmp_path / "run")["progress"]
    assert progress["step"] == 4 and progress["batches"] == 2 * 2 + 2  # no batch twice
    assert not (tmp_path / "run" / "state" / "extra_1.pt").exists()


class TestAccumulation:
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))

    def make(self) -> Learner:
        torch.manual_seed(0)
        learner = Learner(Preset(stage="toy", optimizers={"main": OptimizerOptions(lr=0.1)}), Accelerator(cpu=True))
        learner.add_network("main", nn.Linear(3, 1))
        learner.add_optimizer("main", "main")
        return learner

    def test_parts_of_a_batch_are_the_whole_batch(self):
        whole, parts = self.make(), self.make()
        for _ in range(3):
            whole.update("main", whole.networks["main"](self.x).exp().mean())
            for k in range(3):
                parts.begin_part(k, 3)
                parts.update("main", parts.networks["main"](self.x[2 * k : 2 * k + 2]).exp().mean())
        torch.testing.assert_close(parts.networks["main"].weight, whole.networks["main"].weight)

    def test_optimisers_step_in_the_last_part_once_an_update(self):
        learner = self.make()
        weight = learner.networks["main"].weight
        for k in range(3):
            before = weight.detach().clone()
            learner.begin_part(k, 3)
            for power in (2, 4):
                learner.update("main", learner.networks["main"](self.x).pow(power).mean())
            assert torch.equal(weight, before) == (k < 2)
        assert learner.optimizers["main"].state[weight]["step"] == 2 and not learner._sums

    def test_a_weight_that_is_not_finite_stops_before_a_save(self):
        learner = self.make()
        check_finite(learner, Means())
        with torch.no_grad():
            learner.networks["main"].weight[0, 1] = float("inf")
        with pytest.raises(FloatingPointError, match="a weight of main is not finite at step 0; the last save"):
            check_finite(learner, Means())


class TestWatching:
    def test_trackers(self, people, tmp_path, one_thread):
        arguments = [*preset_of("generator", people), "--output", str(tmp_path / "run"), "--max-steps", "1"]
        main([*arguments, "--log-with", "tensorboard"])
        assert list((tmp_path / "run" / "trackers").rglob("events.out.tfevents*"))
        assert yaml.safe_load((tmp_path / "run" / "preset.yaml").read_text())["data"]["folders"] == [str(people)]

    def test_trackers_by_name(self):
        assert choose_trackers(["none"]) == [] and choose_trackers(None) in ([], ["tensorboard"])
        with pytest.raises(OptionError, match="'paper', expected none or one of: .*trackio"):
            choose_trackers(["paper"])

    def test_options_in_the_form_of_trackers(self):
        assert flat({"a": {"b": 1, "c": [1, 2]}, "d": None}) == {"a.b": 1, "a.c": "[1, 2]", "d": "None"}

    def test_lines_after_the_last_save_are_forgotten(self, tmp_path):
        path = tmp_path / "log.jsonl"
        path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
        forget_after(path, 2)
        assert path.read_text() == '{"step": 1}\n{"step": 2}\n'
        forget_after(tmp_path / "none.jsonl", 2)

    def test_validation_needs_a_stage_that_has_one_and_people(self, people, tmp_path, one_thread):
        for stage, message in (("generator", "has no validation"), ("stage1", "leaves nobody for validation")):
            arguments = [*preset_of(stage, people), "--output", str(tmp_path / stage), "--log-with", "none"]
            with pytest.raises(OptionError, match=message):
                main([*arguments, "--set", "loop.validate_every=1"])

    def test_held_out_people(self):
        assert held_out_people(100, 0.0) == []
        assert held_out_people(100, 0.05) == [10, 30, 50, 70, 90]
        assert len(held_out_people(6, 0.01)) == 2


class TestEstimate:
    def test_saved_tensors_are_counted_once_and_forgotten(self):
        network, x = nn.Linear(256, 256, bias=False), torch.randn(100, 256, requires_grad=True)
        saved = SavedTensors()
        with saved.watch([network]):
            y = network(x).sigmoid()  # keeps x and its own output
            loss = (y * y).sum()  # keeps the output again
            assert saved.peak == 2 * 100 * 256 * 4
            loss.backward()
            del y, loss
            assert saved._now == 0 and saved.peak == 2 * 100 * 256 * 4

    def test_what_is_said(self):
        found = {"weights": 1.0, "gradients": 2.0, "optimisers": 3.0, "activations": 4.0, "memory": 10.0}
        text = describe_estimate({**found, "step": 0.5, "hours": 12.0, "share": 0.25}, torch.device("cpu"), 2)
        assert "10.0 MB" in text and "0.5 s a step on cpu" in text and "12 hours" in text and "25% of a batch" in text


class TestPush:
    def test_records(self):
        preset = Preset(stage="stage1", description="toy")
        record = training_record(preset, Progress(step=3, images=12, seconds=90.0))
        assert record["stages"] == [{"stage": "stage1", "preset": "toy", "steps": 3, "pictures": 12, "minutes": 1.5}]
        metrics = metrics_record(preset, {"validation/psnr/same": 20.12345, "validation/loss": 1.0})["metrics"]
        assert metrics == [
            {"name": "psnr/same", "value": 20.1234, "meaning": "dB, mean over images"},
            {"name": "loss", "value": 1.0, "meaning": "a term of the loss"},
        ]

    def test_checkpoint_with_card(self, people, launcher, tmp_path, monkeypatch):
        """Networks, and a card that tells stage, data and validation."""
        with Hub() as hub:
            monkeypatch.setenv("HF_ENDPOINT", hub.url)
            monkeypatch.setenv("HF_TOKEN", "hf_test")
            monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
            monkeypatch.setenv("HF_HUB_OFFLINE", "0")
            arguments = arguments_of("stage1", people)
            fresh = Launcher()  # huggingface_hub reads the address when it is imported
            fresh.context = multiprocessing.get_context("spawn")
            fresh.run(tmp_path / "run", [*arguments, "--set", "loop.steps=1", "--push-to-hub", "me/toy"], world=1)
            (repository,) = hub.repositories.values()
            files = repository.commits[repository.references["main"]]
        assert {"README.md", "encoder/config.json", "transformer/config.json", "generator/config.json"} <= set(files)
        card = files["README.md"].decode()
        assert re.search(r"\| psnr/same \| [\d.]+ \| dB, mean over images \|", card) and "stage: stage1" in card
