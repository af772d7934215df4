"""The training command: what it refuses, what it only looks at, how it stops."""

import shutil
import signal
from types import SimpleNamespace

import pytest

from tests.training.conftest import STAGES, preset_of, train
from training.stages.base import Progress
from training.train import Means, Stop, main, write_log
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
            (["--set", "loop.precision=fp8"], "loop.precision is 'fp8'"),
            (["--set", "loop.step=3"], "no option 'step'"),
            (["--set", "loop.steps=many"], "loop.steps is 'many'"),
            (["--set", "loop.steps"], "no '='"),
            (["--set", "stage.x=1"], "single value"),
            (["--set", "data.folders=[nowhere]"], "no folder"),
            (["--set", "data.kind=books"], "data.kind is 'books'"),
            (["--set", "options.r2=1"], "no option 'r2'"),
            (["--set", "networks.generator.sides=1"], "no option 'sides'"),
            (["--set", "optimizers.generator.kind=newton"], "kind 'newton'"),
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

    def test_identity_run_with_other_people(self, runs, people, tmp_path, one_thread):
        folder = shutil.copytree(runs["identity"].result().folder, tmp_path / "run")
        fewer = tmp_path / "people"
        fewer.mkdir()
        for path in sorted(people.iterdir())[:5]:
            shutil.copy(path, fewer)
        with pytest.raises(CheckpointError, match="trained on 4 people"):
            main([*preset_of("identity", fewer), "--output", str(folder), "--resume", "latest"])


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

    def test_a_loss_that_is_no_number_ends_the_run(self):
        means = Means()
        means.add({"loss": float("nan")})
        with pytest.raises(FloatingPointError, match="loss is nan at step 7"):
            write_log(SimpleNamespace(progress=Progress(step=7)), means, images=1, seconds=1.0)
