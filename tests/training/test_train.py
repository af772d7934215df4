"""The training command: what it refuses, what it only describes, how it stops, saves and survives."""

import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch

from tests.conftest import REPOSITORY
from tests.processes import free_port
from tests.training.conftest import STAGES, preset_of, train
from training import saving
from training.logs import Means
from training.loop import Stop
from training.train import main
from vivface.errors import CheckpointError, OptionError


class TestRefused:
    def test_process_says_one_sentence(self, tmp_path):
        done = train("--preset", "no-such-preset", "--output", tmp_path / "run")
        assert done.returncode == 2
        assert done.stderr.startswith("error: there is no preset 'no-such-preset'") and done.stderr.count("\n") == 1
        assert not (tmp_path / "run").exists()

    def test_folder_of_another_run(self, runs, people):
        folder = runs["generator"].result().folder
        before = (folder / "log.jsonl").read_text()
        with pytest.raises(OptionError, match="holds a run already"):
            main([*preset_of("generator", people), "--output", str(folder)])
        assert (folder / "log.jsonl").read_text() == before

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ([], "--preset is missing"),
            (["--preset", "tiny-generator"], "--output is missing"),
            (["--set", "stage=stage3"], "stage 'stage3' is unknown"),
            (["--set", "loop.precision=fp8"], "loop.precision is 'fp8', expected 'no' or 'bf16'"),
            (["--set", "loop.step=3"], "no option 'step'"),
            (["--set", "loop.steps=many"], "loop.steps is 'many'"),
            (["--set", "loop.steps"], "no '='"),
            (["--set", "stage.x=1"], "single value"),
            (["--set", "data.folders=[nowhere]"], "no folder"),
            (["--set", "data.kind=books"], "data.kind is 'books'"),
            (["--set", "options.r2=1"], "no option 'r2'"),
            (["--set", "networks.generator.sides=1"], "no option 'sides'"),
            (["--set", "optimizers.generator.kind=newton"], "generator.kind is 'newton'"),
            (["--set", "data.size=32"], "data.size is 32"),
        ],
    )
    def test_options(self, arguments, message, people, one_thread):
        whole = ["--dry-run", *preset_of("generator", people), *arguments] if "--set" in arguments else arguments
        with pytest.raises(OptionError, match=message):
            main(whole)

    def test_resume_from_nowhere(self, people, tmp_path, one_thread):
        arguments = [*preset_of("generator", people), "--output", str(tmp_path / "run")]
        with pytest.raises(CheckpointError, match="no folder"):
            main([*arguments, "--resume", str(tmp_path / "state")])

    def test_recognizer_run_with_other_people(self, runs, people, tmp_path, one_thread):
        folder = shutil.copytree(runs["recognizer"].result().folder, tmp_path / "run")
        fewer = tmp_path / "people"
        fewer.mkdir()
        for path in sorted(people.iterdir())[:5]:
            shutil.copy(path, fewer)
        with pytest.raises(CheckpointError, match="trained on 4 people"):
            main([*preset_of("recognizer", fewer), "--output", str(folder), "--resume", "latest"])


class TestLooking:
    @pytest.mark.parametrize("stage", STAGES)
    def test_dry_run_shows_networks_and_a_batch(self, stage, people, tmp_path, capsys, one_thread):
        main(["--dry-run", *preset_of(stage, people), "--output", str(tmp_path / "run")])
        shown = capsys.readouterr().out
        assert "M parameters, trained" in shown and "steps: 4" in shown
        shapes = {"supervised": "2, 2, 3, 128, 128)", "encoder": "(3, 2, 3, 128, 128)"}
        assert shapes.get(stage, ", 3, 64, 64)") in shown
        assert not (tmp_path / "run").exists()

    def test_explain_tells_every_stage(self, capsys):
        main(["--explain"])
        shown = capsys.readouterr().out
        assert all(f"options of stage {stage}:" in shown for stage in STAGES)
        assert "coarse_size = 64: " in shown and "    r1 = 10.0: " in shown


class TestLoop:
    def test_stops_after_the_step_when_asked(self):
        before = signal.getsignal(signal.SIGTERM)
        with Stop() as stop:
            assert not stop.asked
            signal.raise_signal(signal.SIGTERM)
            assert stop.asked
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) == before

    def test_means_of_what_was_added(self):
        means = Means()
        means.add({"a": 1.0, "b": 4.0})
        means.add({"a": 2.0})
        assert means.take() == {"a": 1.5, "b": 4.0}
        assert means.take() == {}


class TestSave:
    """A kill while saving loses nothing: the last checkpoint and state stay complete."""

    @pytest.fixture
    def run(self, runs, tmp_path):
        return shutil.copytree(runs["generator"].result().folder, tmp_path / "run")

    @pytest.mark.parametrize("calls", [0, 1])
    def test_stopped_before_or_between_the_two_exchanges(self, calls, run, people, monkeypatch, one_thread):
        done = []

        def replace_folder(new, folder):
            if len(done) == calls:
                raise KeyboardInterrupt
            done.append(folder.name)
            saving_replace(new, folder)

        saving_replace = saving.replace_folder
        monkeypatch.setattr(saving, "replace_folder", replace_folder)
        arguments = [*preset_of("generator", people), "--output", str(run), "--resume", "latest"]
        with pytest.raises(KeyboardInterrupt):
            main([*arguments, "--set", "loop.steps=5"])
        monkeypatch.undo()
        step = torch.load(run / "state" / "stage.pt", weights_only=True)["progress"]["step"]
        assert step == (4, 5)[calls]
        assert {p.name for p in (run / "checkpoint").iterdir()} == {"generator", "discriminator"}

        main([*arguments, "--set", "loop.steps=6"])
        assert torch.load(run / "state" / "stage.pt", weights_only=True)["progress"]["step"] == 6
        assert not [p for p in run.iterdir() if p.name.startswith(".")]

    def test_resume_finds_a_state_that_was_moved_aside(self, run, people, one_thread):
        """Where folders cannot be exchanged in one step."""
        (run / "state").rename(run / ".state-old-1234")
        main([*preset_of("generator", people), "--output", str(run), "--resume", "latest", "--set", "loop.steps=5"])
        assert torch.load(run / "state" / "stage.pt", weights_only=True)["progress"]["step"] == 5


WORKER = """
import sys
from pathlib import Path
import torch
from accelerate import Accelerator
from training.logs import Means, write_log
from training.preset import read_preset
from training.stages.recognizer import RecognizerStage

torch.set_num_threads(1)
stage = RecognizerStage(read_preset("tiny-recognizer", [f"data.folders=[{sys.argv[1]}]"]), Accelerator(cpu=True))
means = Means()
broken = sys.argv[2] == "nan" and stage.accelerator.process_index == 1
means.add({"loss": float("nan") if broken else 1.0})
try:
    write_log(stage, means, images=1, seconds=1.0)
    stage.accelerator.wait_for_everyone()
    message = "fine"
except FloatingPointError as error:
    message = str(error)
Path(sys.argv[3], str(stage.accelerator.process_index)).write_text(message)
"""


class TestProcesses:
    @pytest.mark.parametrize("loss", ["nan", "finite"])
    def test_a_loss_that_is_not_finite_ends_all_processes(self, loss, people, tmp_path):
        script = tmp_path / "worker.py"
        script.write_text(WORKER)
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
        common = (
            os.environ | address | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"}
        )
        workers = [
            subprocess.Popen(
                [sys.executable, str(script), str(people), loss, str(tmp_path)],
                env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            )
            for rank in range(2)
        ]
        try:
            assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
        finally:
            for worker in workers:
                worker.kill()
        said = [(tmp_path / str(rank)).read_text() for rank in range(2)]
        if loss == "finite":
            assert said == ["fine", "fine"]
        else:
            assert said[0].startswith("a loss is not finite on 1 other processes at step 0")
            assert said[1].startswith("loss is nan at step 0")

    def test_a_loss_that_is_not_finite_ends_a_run_of_one_process(self, people, tmp_path, one_thread):
        arguments = [*preset_of("generator", people), "--output", str(tmp_path / "run")]
        with pytest.raises(FloatingPointError, match="is nan at step"):
            main([*arguments, "--set", "optimizers.generator.lr=1e38"])
        assert not (tmp_path / "run" / "checkpoint").exists()
