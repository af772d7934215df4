"""Batches on this machine: complete, resumed, with workers that are killed."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.batch.results import assert_complete
from tests.clips import read_times
from vivface.batch import maker as maker_module
from vivface.batch.local import LocalPool
from vivface.batch.maker import ClipMaker, identity_path
from vivface.batch.records import Records
from vivface.batch.run import run_batch
from vivface.errors import CheckpointError, OptionError
from vivface.media import VideoReader
from vivface.provenance import verify
from vivface.reenactment.driving import DrivingVideo
from vivface.warping.parts import Parts


def times_of(output) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in output.glob("*.mp4")}


class TestRun:
    @pytest.mark.timeout(600)
    def test_every_clip_once_even_when_a_worker_is_killed(self, clips, settings, tmp_path, monkeypatch):
        pools, started, made = [], [], []
        start, enter = LocalPool._start, LocalPool.__enter__
        monkeypatch.setattr(LocalPool, "_start", lambda pool, n: started.append(n) or start(pool, n))
        monkeypatch.setattr(LocalPool, "__enter__", lambda pool: pools.append(pool) or enter(pool))

        def kill_one(record) -> None:
            made.append(record.name)
            if len(made) == 2:
                os.kill(pools[0].process_ids[0], signal.SIGKILL)

        report = run_batch(clips, tmp_path, settings, workers=2, on_record=kill_one)
        assert_complete(tmp_path, report)
        assert sorted(made) == sorted(clip.name for clip in clips)
        assert len(started) == 3  # two, and the one that took the killed one's place

        # What is done is left alone; what failed is tried again; what lost its file is made again.
        before = times_of(tmp_path)
        (tmp_path / "a--five.mp4").unlink()
        made.clear()
        report = run_batch(clips, tmp_path, settings, workers=1, on_record=lambda record: made.append(record.name))
        assert_complete(tmp_path, report)
        assert sorted(made) == ["a--five.mp4", *(f"blank--{name}.mp4" for name in ("five", "seven", "six"))]
        after = times_of(tmp_path)
        assert {name for name in after if after[name] != before[name]} == {"a--five.mp4"}

    def test_a_checkpoint_that_is_none_stops_the_run(self, clips, settings, tmp_path):
        with pytest.raises(CheckpointError, match="nowhere"):
            run_batch(clips[:1], tmp_path, replace(settings, checkpoint=str(tmp_path / "nowhere")))
        assert not list(tmp_path.glob("*.mp4"))

    def test_two_runs_do_not_share_a_folder(self, clips, settings, tmp_path):
        def again(count, done):
            run_batch(clips, tmp_path, settings)

        with pytest.raises(OptionError, match="Another run"):
            run_batch(clips, tmp_path, settings, on_begin=again)

    def test_options(self, clips, settings, tmp_path):
        with pytest.raises(OptionError, match="workers"):
            run_batch(clips, tmp_path, settings, workers=0)
        with pytest.raises(OptionError, match="executor"):
            run_batch(clips, tmp_path, settings, executor="slurm")


class TestMaker:
    @pytest.fixture
    def maker(self, settings, tiny_pipeline, tmp_path, monkeypatch) -> ClipMaker:
        monkeypatch.setattr(maker_module, "load_quietly", lambda settings: tiny_pipeline)
        return ClipMaker(settings, tmp_path, tmp_path / ".work" / "0", "test")

    def test_a_portrait_is_read_once(self, maker, clips, monkeypatch):
        assert maker.read_portrait(clips[0]) is None
        path = identity_path(clips[0], maker.settings, maker.output)
        written = path.stat().st_mtime_ns
        assert maker.read_portrait(clips[1]) is None and path.stat().st_mtime_ns == written
        path.write_bytes(b"damaged")
        assert maker.read_portrait(clips[0]) is None and path.stat().st_size > 1000

    def test_a_clip_at_which_workers_end_is_given_up(self, maker, clips):
        assert maker.read_portrait(clips[0]) is None
        for _ in range(maker_module.MAX_ATTEMPTS):
            maker._begin(maker.output / maker_module.BEGUN / f"{clips[0].name}.clip")  # ... and never ended
        record = maker.make(clips[0])
        assert (record.status, record.attempts) == ("failed", 2) and "memory" in record.error
        assert maker.make(clips[0]).status == "done"  # the next run tries again

    def test_a_finished_clip_is_not_made_again(self, maker, clips):
        assert maker.read_portrait(clips[0]) is None
        first = maker.make(clips[0])
        written = (maker.output / clips[0].name).stat().st_mtime_ns
        assert maker.make(clips[0]) == first
        assert (maker.output / clips[0].name).stat().st_mtime_ns == written

    def test_what_a_result_is_made_of(self, maker, clips, tmp_path):
        assert maker.read_portrait(clips[0]) is None
        maker.make(clips[0])
        records, results = Records(tmp_path), maker.settings.of_result()
        assert records.is_done(clips[0], results)
        assert records.is_done(clips[0], replace(maker.settings, batch_size=3, threads=2).of_result())
        assert not records.is_done(clips[0], replace(maker.settings, strength=0.5).of_result())
        assert not records.is_done(clips[0], replace(maker.settings, parts=Parts(pose=0.0)).of_result())
        assert not records.is_done(replace(clips[0], start=0.1), results)
        records.path(clips[0].name).write_text("{")
        assert not records.is_done(clips[0], results)

    def test_the_photograph_moves_without_tuning(self, maker, clips, motion_file, tmp_path, monkeypatch):
        """Where detail is shown the portrait is not tuned, but for a motion that has no points."""
        tunings, adjusted = [], type(maker._pipeline)._adjusted
        monkeypatch.setattr(
            type(maker._pipeline),
            "_adjusted",
            lambda pipe, identity, tuning, *rest: (
                tunings.append(tuning.steps) or adjusted(pipe, identity, tuning, *rest)
            ),
        )
        monkeypatch.setattr(type(maker._pipeline), "offers_detail", True)
        monkeypatch.setitem(vars(maker._pipeline.config), "adapt_steps", 2)
        assert maker.read_portrait(clips[0]) is None
        assert maker.make(clips[0]).status == "done" and not any(tunings)
        with VideoReader(tmp_path / clips[0].name) as video:
            assert video.size == (512, 512)
        tensors = load_file(motion_file)
        with safe_open(motion_file, "pt") as file:
            save_file({"codes": tensors["codes"]}, tmp_path / "old.safetensors", file.metadata())
        clip = replace(clips[0], name="old.mp4", driving=str(tmp_path / "old.safetensors"))
        assert maker.make(clip).status == "done" and tunings[-1] == 2
        with VideoReader(tmp_path / "old.mp4") as video:
            assert video.size == (64, 64)

    def test_detail_size_and_marks(self, settings, clips, tiny_pipeline, tmp_path, monkeypatch):
        monkeypatch.setattr(maker_module, "load_quietly", lambda settings: tiny_pipeline)
        settings = replace(settings, detail=True, size=192)
        maker = ClipMaker(settings, tmp_path, tmp_path / ".work" / "0", "test")
        clip = replace(clips[0], name="a.webm")
        assert maker.read_portrait(clip) is None
        assert maker.make(clip).status == "done"
        found = verify(tmp_path / "a.webm")  # whose manifest lies beside it
        assert found.verdict == "synthetic" and found.mark.found and "composite" in found.manifest.source_types[0]
        assert not list((tmp_path / ".work").rglob("*.c2pa"))
        assert maker.records.is_done(clip, settings.of_result())
        for other in (replace(settings, size=256), replace(settings, detail=None), replace(settings, mark=False)):
            assert not maker.records.is_done(clip, other.of_result())

    def test_a_driver_is_read_once(self, settings, clips, tmp_path, monkeypatch):
        """Portraits under the same video share what was read of it, to the bit; photographs need no network."""
        monkeypatch.setattr(maker_module, "load_quietly", None)  # cannot be called
        read, frames = [], DrivingVideo.frames
        monkeypatch.setattr(DrivingVideo, "frames", lambda video, *a, **k: read.append(1) or frames(video, *a, **k))
        maker = ClipMaker(replace(settings, detail=True, size=128), tmp_path, tmp_path / ".work" / "0", "test")
        pair = [clip for clip in clips if clip.name in ("a--six.mp4", "b--six.mp4")]  # the same portrait twice
        assert [maker.read_portrait(clip) for clip in pair] == [None, None]
        records = [maker.make(clip) for clip in pair]
        assert [record.status for record in records] == ["done", "done"] and len(read) == 1
        assert records[0].warnings == records[1].warnings
        first, second = ([frame.image for frame in VideoReader(tmp_path / clip.name)] for clip in pair)
        assert len(first) == 6 and np.array_equal(first, second)

    def test_any_error_of_a_clip_is_recorded(self, maker, clips, monkeypatch):
        def fail(*_, **__):
            raise MemoryError("no room")

        assert maker.read_portrait(clips[0]) is None
        monkeypatch.setattr(maker, "_pipeline", fail)
        record = maker.make(clips[0])
        assert (record.status, record.error) == ("failed", "MemoryError: no room")


class TestCommand:
    @pytest.mark.timeout(600)
    def test_shards_and_a_stopped_run(self, folders, tiny_checkpoint, tmp_path):
        """A run that is killed leaves whole clips only, and the next one goes on."""
        portraits, videos = folders
        pairs = tmp_path / "pairs.csv"
        lines = [f"{portraits / 'a.png'},{videos / f'{name}.mp4'}" for name in ("five", "six", "seven")]
        pairs.write_text("\n".join(["source,driving", *lines]) + "\n")
        output = tmp_path / "out"
        command = [sys.executable, "-m", "vivface.cli.main", "batch", pairs, "-o", output, "--workers", "1"]
        command += ["--checkpoint", tiny_checkpoint, "--device", "cpu"]

        run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while run.poll() is None and not list(output.glob("*.mp4")):
            time.sleep(0.01)
        run.kill()
        run.wait()
        for path in output.glob("*.mp4"):
            assert len(read_times(path)) in (5, 6, 7)

        for shard in ("1/2", "2/2"):
            done = subprocess.run([*command, "--shard", shard], capture_output=True, text=True)
            assert done.returncode == 0 and " 0 failed" in done.stdout, done.stderr
        assert sorted(len(read_times(path)) for path in output.glob("*.mp4")) == [5, 6, 7]
        left = {path.name for path in output.iterdir() if not path.name.endswith(".mp4")}
        assert left - {"report.json", "report.csv", ".lock-all"} == {
            *("records", "report-1-of-2.json", "report-1-of-2.csv", "report-2-of-2.json", "report-2-of-2.csv"),
            *({".work"} & left),
        }

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ((), ("torch", "local")),
            (("--executor", "ray"), ("torch", "ray")),
            (("--engine", "openvino", "--executor", "ray"), ("openvino", "ray")),
            (("--engine", "ray"), ("torch", "ray")),  # as it was written before --executor
            (("--engine", "local"), ("torch", "local")),
        ],
    )
    def test_what_computes_and_who_runs_the_workers(self, run_cli, folders, tmp_path, monkeypatch, arguments, expected):
        seen = []

        def run_batch(clips, output, settings, executor, **options):
            seen.append((settings.engine, executor))
            return dict(clips=len(clips), done=len(clips), failed=0, frames=0, seconds=0.0)

        monkeypatch.setattr("vivface.batch.run.run_batch", run_batch)
        assert run_cli("batch", *folders, "-o", tmp_path / "out", *arguments)[0] == 0 and seen == [expected]

    def test_refused(self, run_cli, folders, tmp_path):
        for arguments, words in [
            ((folders[0],), "two folders"),
            ((tmp_path / "none.csv",), "none.csv"),
            ((*folders, "--adapt", "magic"), "magic"),
            ((*folders, "--shard", "3/2"), "i/n"),
            ((*folders, "--strength", "9"), "strength"),
            ((*folders, "--size", "63"), "size"),
            ((*folders, "--brows", "4"), "brows"),
            ((*folders, "--pose", "co_driving"), "co_driving"),
            ((*folders, "--label-text", ""), "label"),
        ]:
            status, out, err = run_cli("batch", *arguments, "-o", tmp_path / "out")
            assert status == 2 and words in err and "Traceback" not in err
