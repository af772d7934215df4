"""The benchmark: what it measures is what runs, and its numbers agree with each other."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.conftest import REPOSITORY
from vivface import VivFacePipeline
from vivface.batch.clips import read_pairs
from vivface.cli import bench, benchmark, many_clips, together


@pytest.fixture
def run_bench(run_cli, tiny_checkpoint, portrait, face_clip, tmp_path, monkeypatch):
    """Options -> the numbers it writes, and what it prints."""
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)

    def run(*options: object, inputs: bool = True) -> tuple[dict, str]:
        arguments = ["--checkpoint", tiny_checkpoint, "--frames", 9, "--json", tmp_path / "numbers.json", *options]
        arguments += ["--source", portrait, "--driving", face_clip] if inputs else []
        status, out, err = run_cli("bench", *arguments)
        assert status == 0, err
        return json.loads((tmp_path / "numbers.json").read_text()), out

    return run


class TestNumbers:
    def test_they_agree(self, run_bench):
        result, out = run_bench("--paste-back")
        assert result["frames"] == 9 and result["size"] == 64
        assert result["frames_per_second"] == pytest.approx(1 / result["seconds_per_frame"])
        assert f"{result['frames_per_second']:.2f} frames per second" in out
        assert len(result["timings"]) == len({timing["name"] for timing in result["timings"]})
        for timing in result["timings"]:
            assert timing["milliseconds"] > 0 and f"{timing['milliseconds']:.1f}" in out

    def test_what_is_left_out_is_not_measured(self, run_bench):
        names = {
            options: {timing["name"] for timing in run_bench(*options)[0]["timings"]}
            for options in ((), ("--paste-back",), ("--no-refine",))
        }
        assert len(names[("--paste-back",)] - names[()]) == 1 and not names[()] - names[("--paste-back",)]
        assert len(names[()] - names[("--no-refine",)]) == 2 and not names[("--no-refine",)] - names[()]

    def test_a_slower_step_is_seen(self, run_bench, monkeypatch):
        """One second more in the encoder's forward is in its step and in the end-to-end time.

        A wait is a lower bound of both, however busy the machine is.
        """
        from vivface.models.encoder import HybridEncoder

        forward = HybridEncoder.forward

        def slow(self, *arguments, **options):
            time.sleep(1)
            return forward(self, *arguments, **options)

        monkeypatch.setattr(HybridEncoder, "forward", slow)
        result, _ = run_bench()
        milliseconds = {timing["name"]: timing["milliseconds"] for timing in result["timings"]}
        a_frame = 1 / result["batch_size"]
        assert milliseconds["encode motion (E)"] >= 1000 * a_frame
        assert milliseconds["generate (G)"] < 1000 * a_frame
        assert result["seconds_per_frame"] >= 0.9 * a_frame

    @torch.no_grad()
    def test_published_size_has_the_published_work(self):
        """GFLOP a frame at 1024: 93 in E (motion only), 151 in G, 59 in R, counted without computing."""
        with torch.device("meta"):
            pipeline = benchmark.random_ffhq_1024()
            image, w_plus = torch.empty(1, 3, 256, 256), torch.empty(1, 18, 512)
        calls = {
            93: lambda: pipeline.encoder(image, identity=False, memory=False),
            151: lambda: pipeline.generator(w_plus),
            59: lambda: pipeline.refinement(image, image),
        }
        for gflop, call in calls.items():
            with FlopCounterMode(display=False) as counter:
                call()
            assert counter.get_total_flops() / 1e9 == pytest.approx(gflop, abs=0.6)

    def test_convolution_rate(self):
        """No network is faster than the rate it is compared with: here, the same convolution timed by torch."""
        from torch.utils.benchmark import Timer

        setup = "x = torch.randn(4, 256, 64, 64).to(memory_format=torch.channels_last)\n"
        setup += "w = torch.randn(256, 256, 3, 3).to(memory_format=torch.channels_last)"
        timer = Timer("torch.nn.functional.conv2d(x, w, padding=1)", setup, num_threads=torch.get_num_threads())
        measured = 2 * 4 * 256 * 256 * 9 * 64 * 64 / timer.blocked_autorange(min_run_time=1).median / 1e9
        assert benchmark.convolution_rate(seconds=1) == pytest.approx(measured, rel=0.6)


class TestInputs:
    def test_without_the_examples(self, run_bench, tmp_path, monkeypatch):
        """An installed package has no examples: portrait and video are generated."""
        monkeypatch.setattr(bench, "EXAMPLES", tmp_path / "nothing")
        result, _ = run_bench(inputs=False)
        assert result["frames"] == 9

    def test_generated_faces_are_found_in_every_frame(self, tmp_path):
        portrait, video = benchmark.write_inputs(tmp_path, frames=50)
        pipeline = VivFacePipeline.from_pretrained()
        assert pipeline.encode_identity(portrait, adapt=0).photo.shape[-1] == 3
        found = [found for batch in pipeline.encode_motion(video).batches() for found in batch.found]
        assert len(found) == 50 and all(found)

    @pytest.mark.parametrize(
        ("options", "word"),
        [
            (["--size", "ffhq-1024", "--checkpoint", "x"], "contradict"),
            (["--driving", "nothing.mp4"], "nothing.mp4"),
            (["--together", "2", "--frames", "3"], "--frames"),
            (["--first-frame", "--threads", "1"], "--threads"),
            (["--first-frame", "--together", "2"], "--together"),
            (["--workers", "2", "--size", "ffhq-1024"], "--workers"),
            (["--engines", "--workers", "2"], "--engines"),
            (["--json", "numbers.txt"], ".json"),
            (["--device", "toaster"], "toaster"),
            (["--checkpoint", "nowhere"], "nowhere"),
        ],
        ids=str,
    )
    def test_refused(self, run_cli, options, word):
        status, out, err = run_cli("bench", *options)
        assert status == 2 and out == "" and word in err and "Traceback" not in err


class TestTogether:
    def test_alone_and_two_at_once(self, run_cli, tiny_checkpoint, portrait, motion_file, tmp_path):
        numbers = tmp_path / "numbers.json"
        inputs = ["--checkpoint", tiny_checkpoint, "--source", portrait, "--driving", motion_file]
        status, out, err = run_cli("bench", "--together", 2, *inputs, "--json", numbers)
        assert status == 0, err
        result = json.loads(numbers.read_text())
        assert len(result["alone"]) == len(result["together"]) == 2
        slowest, mean = max(result["together"]), sum(result["alone"]) / 2
        assert result["ratio"] == pytest.approx(slowest / mean) and f"{result['ratio']:.2f}" in out
        assert f"{slowest:.1f}" in out

    def test_it_sees_that_runs_wait_for_one_another(self, monkeypatch):
        """Programs that take turns for half a second, instead of `vivface reenact`."""
        take_turns = """
import fcntl, sys, time
with open(sys.argv[1], "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    time.sleep(0.5)
"""
        real = subprocess.Popen

        def start(command, **options):
            folder = Path(command[command.index("-o") + 1]).parent
            return real([sys.executable, "-c", take_turns, str(folder / "lock")], **options)

        monkeypatch.setattr(together.subprocess, "Popen", start)
        result = together.measure_together([], runs=3)
        assert all(0.5 < seconds < 1.5 for seconds in result.alone)
        assert max(result.together) > 1.5 and result.ratio > 1.3

    def test_a_run_that_fails_says_why(self, run_cli, tiny_checkpoint, portrait):
        inputs = ["--checkpoint", tiny_checkpoint, "--source", portrait, "--driving", "nothing.mp4"]
        status, out, err = run_cli("bench", "--together", 2, *inputs)
        assert status == 2 and "nothing.mp4" in err and "Traceback" not in err


class TestFirstFrame:
    def test_seconds_of_every_run(self, run_cli, tiny_checkpoint, portrait, face_clip, tmp_path, monkeypatch):
        monkeypatch.setattr(together.measure_first_frame, "__defaults__", (1,))
        inputs = ["--checkpoint", tiny_checkpoint, "--source", portrait, "--driving", face_clip]
        status, out, err = run_cli("bench", "--first-frame", *inputs, "--json", tmp_path / "numbers.json")
        assert status == 0, err
        (seconds,) = json.loads((tmp_path / "numbers.json").read_text())["first_frame_seconds"]
        assert 0.5 < seconds < 120 and f"{seconds:.1f} s" in out

    def test_it_is_the_first_frame_that_counts(self, monkeypatch):
        """A program that writes a frame after half a second, and goes on, instead of `vivface reenact`."""
        write = "import pathlib, sys, time; time.sleep(0.5); pathlib.Path(sys.argv[1]).touch(); time.sleep(60)"
        real = subprocess.Popen

        def start(command, **options):
            folder = Path(command[command.index("-o") + 1]).parent.parent
            return real([sys.executable, "-c", write, str(folder / "0.png")], **options)

        monkeypatch.setattr(together.subprocess, "Popen", start)
        assert all(0.5 < seconds < 5 for seconds in together.measure_first_frame([], runs=2))

    def test_a_run_that_fails_says_why(self, run_cli, tiny_checkpoint, portrait):
        inputs = ["--checkpoint", tiny_checkpoint, "--source", portrait, "--driving", "nothing.mp4"]
        status, out, err = run_cli("bench", "--first-frame", *inputs)
        assert status == 2 and "nothing.mp4" in err and "Traceback" not in err


def test_as_a_module(tiny_checkpoint, portrait, face_clip):
    command = [sys.executable, "-m", "vivface.cli", "bench", "--checkpoint", tiny_checkpoint, "--source", portrait]
    command += ["--driving", face_clip, "--frames", "2", "--threads", "1"]
    done = subprocess.run(list(map(str, command)), cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "frames per second" in done.stdout, done.stderr


class TestManyClips:
    def test_one_worker_and_two(self, run_cli, portrait, face_clip, tmp_path, monkeypatch):
        """A program that works for 0.3 s with one worker and waits, and for 0.6 s with two, instead of `batch`."""
        work = """
import sys, time
workers = int(sys.argv[1])
while time.process_time() < 0.3 * workers:
    pass
time.sleep(0.5 / workers)
"""
        commands, real = [], subprocess.run

        def run(command, **options):
            commands.append(command)
            workers = command[command.index("--workers") + 1]
            return real([sys.executable, "-c", work, workers], **options)

        monkeypatch.setattr(many_clips.subprocess, "run", run)
        inputs = ["--source", portrait, "--driving", face_clip, "--engine", "auto"]
        status, out, err = run_cli("bench", "--workers", "2", *inputs, "--json", tmp_path / "numbers.json")
        assert status == 0, err
        assert all(command[3] == "batch" and command[-2:] == ["--engine", "auto"] for command in commands)
        runs = json.loads((tmp_path / "numbers.json").read_text())
        assert [run["workers"] for run in runs] == [1, 2, 1] and {run["clips"] for run in runs} == {20}
        assert all(0.25 < run["processor_seconds"] / run["workers"] < 1 for run in runs)
        assert all(run["seconds"] > 0.5 for run in runs)
        alone = (runs[0]["seconds"] + runs[2]["seconds"]) / 2
        assert f"{alone / runs[1]['seconds']:.2f}" in out

    def test_a_run_that_fails_says_why(self, run_cli, portrait, face_clip, monkeypatch):
        failing = subprocess.CompletedProcess([], 2, "", "Error: there is no room.")
        monkeypatch.setattr(many_clips.subprocess, "run", lambda *_, **__: failing)
        status, out, err = run_cli("bench", "--workers", "2", "--source", portrait, "--driving", face_clip)
        assert status == 2 and "there is no room" in err

    def test_pairs(self, portrait, face_clip, tmp_path):
        """Parts of the video are different ones and lie in it."""
        assert many_clips.write_pairs(tmp_path / "pairs.csv", [portrait, portrait], face_clip) == 20
        clips = read_pairs(tmp_path / "pairs.csv")
        assert len(clips) == 20 and len({clip.start for clip in clips}) == 10
        assert all(clip.start < 0.84 / 2 for clip in clips)
