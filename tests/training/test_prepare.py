"""Real videos to shards: layouts, splits by person, filters, files that are the same however they are made."""

import io
import json
import shutil
import tarfile
from fractions import Fraction
from pathlib import PurePosixPath

import cv2
import numpy as np
import pytest

from tests.clips import face_frame, write_face_clip
from tests.training.people import landmarks_of
from training.arguments import DataOptions
from training.data import PairBatches, PreparedClips, open_clips
from training.data.pairs import EpochOrder
from training.preparation import executors, shards
from training.preparation.clips import Filters, prepare_video, sharpness
from training.preparation.layouts import LAYOUTS, Video, find_videos, split_people
from training.tools.prepare import main
from vivface.errors import MediaError, OptionError
from vivface.faces.landmarks import Face
from vivface.media.writer import VideoWriter

SMALL = ["--size", "64", "--min-side", "60", "--min-sharpness", "0", "--min-frames", "3", "--workers", "1"]
HALVES = ["--split", "0.5", "0.5", "0", "--videos-per-shard", "1"]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Three people with a video each, and a file that is none."""
    folder = tmp_path_factory.mktemp("videos")
    for name, hidden in (("ann", range(0)), ("bob", range(4, 5)), ("cid", range(0))):
        (folder / name).mkdir()
        write_face_clip(folder / name / "talk.mp4", 9, hidden=hidden)
    (folder / "ann" / "broken.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture(scope="module")
def prepared(videos, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared") / "out"
    main([str(videos), str(out), *SMALL, *HALVES])
    return out


def files(folder) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


class TestLayouts:
    @pytest.mark.parametrize(
        ("layout", "path", "person"),
        [
            ("celebv-hq", "35666/M2Ohb0FAaJU_1.mp4", "M2Ohb0FAaJU"),
            ("celebv-hq", "-1eKufUP5XQ_4_0.mp4", "-1eKufUP5XQ"),
            ("celebv-hq", "talk.mp4", None),
            ("hdtf", "WDA_BarackObama_000.mp4", "BarackObama"),
            ("hdtf", "WDA_BenCardin1_000.mp4", "BenCardin"),
            ("hdtf", "RD_Radio10_000.mp4", "Radio10"),
            ("voxceleb", "dev/mp4/id10001/1zcIwhmdeo4/00001.mp4", "id10001"),
            ("voxceleb", "id10280#NXjT3732Ekg#001093#001192.mp4", "id10280"),
            ("folders", "ann/a/talk.mp4", "ann"),
            ("folders", "talk.mp4", "talk"),
            ("files", "ann/talk.mp4", "ann/talk"),
        ],
    )
    def test_people(self, layout, path, person):
        assert LAYOUTS[layout](PurePosixPath(path)) == person

    @pytest.mark.parametrize(
        ("names", "layout"),
        [
            (["id10001/abc/1.mp4", "id10002/abc/1.mp4"], "voxceleb"),
            (["WDA_A_000.mp4", "RD_Radio1_000.mp4"], "hdtf"),
            (["M2Ohb0FAaJU_1.mp4", "-1eKufUP5XQ_4.mp4"], "celebv-hq"),
            (["a/1.mp4", "b/1.mp4"], "folders"),
            (["all/1.mp4", "all/2.mp4"], "files"),
            (["1.mp4", ".hidden/2.mp4", "3.txt"], "files"),
        ],
    )
    def test_recognised_by_names(self, names, layout, tmp_path):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        found, listed = find_videos(tmp_path)
        assert found == layout
        assert [v.name for v in listed] == sorted(n for n in names if n.endswith(".mp4") and not n.startswith("."))

    def test_nobody_is_in_two_splits_and_newcomers_move_nobody(self):
        videos = [Video(f"{k}.mp4", f"p{k % 200}") for k in range(600)]
        people = split_people(videos, (0.8, 0.1, 0.1))
        counts = [list(people.values()).count(split) for split in ("train", "validation", "test")]
        assert sum(counts) == 200 and 140 < counts[0] < 180 and min(counts[1:]) > 8
        more = split_people([*videos, Video("new.mp4", "newcomer")], (0.8, 0.1, 0.1))
        assert {p: more[p] for p in people} == people
        assert split_people(videos, (0.8, 0.1, 0.1), seed=1) != people
        assert set(split_people(videos[:3], (0.8, 0.1, 0.1)).values()) == {"train", "validation", "test"}
        with pytest.raises(OptionError, match="sum 1"):
            split_people(videos, (0.8, 0.1, 0.2))


class Scripted:
    """A backend that knows where faces are: `(x, y, side)` of each by frame."""

    name = "scripted"

    def __init__(self, *frames: list[tuple[float, float, float]]):
        self.frames, self.number = frames, -1

    def _faces(self):
        found = []
        for x, y, side in self.frames[min(self.number, len(self.frames) - 1)]:
            points = landmarks_of(0.2, 0.0, 0.0, 1000).astype(np.float64)
            points = (points - points.mean(0)) * side / 1000 + (x, y)
            found.append(Face(np.array([x - side / 6, y - side / 6, x + side / 6, y + side / 6]), points, 1.0))
        return found

    def detect(self, image, *, effort="normal", near=None):
        if near is None or self.number < 0:
            self.number = max(self.number, 0)
        return self._faces()

    def refine(self, image, face):
        self.number += 1
        faces = self._faces()
        return faces[0] if faces else None


def write_frames(path, frames):
    height, width = frames[0].shape[:2]
    with VideoWriter(path, (width, height), 25) as writer:
        for k, frame in enumerate(frames):
            writer.write(frame, Fraction(k, 25))
    return path


FILTERS = Filters(size=64, min_side=60, min_sharpness=0, min_frames=3, check_every=4)


class TestFilters:
    """What is left out, and under which name it is counted."""

    @pytest.fixture
    def video(self, tmp_path):
        return write_frames(tmp_path / "v.mp4", [face_frame(k / 25) for k in range(10)])

    def run(self, video, *places, **changes):
        made = prepare_video(video, Filters(**{**vars(FILTERS), **changes}), Scripted(*places))
        return [(clip.first, len(clip.images)) for clip in made.clips], dict(made.dropped)

    def test_all_is_well(self, video):
        assert self.run(video, [(96, 96, 200)]) == ([(0, 10)], {})

    def test_small(self, video):
        clips, dropped = self.run(video, [(96, 96, 200)], min_side=1000)
        assert clips == [] and dropped == {"small": 10}

    def test_blurred(self, video):
        clips, dropped = self.run(video, [(96, 96, 200)], min_sharpness=1e6)
        assert clips == [] and dropped == {"blurred": 10}
        image = face_frame(0.0)
        assert sharpness(cv2.GaussianBlur(image, (0, 0), 3)) < 0.1 * sharpness(image)

    def test_somebody_else_in_the_crop(self, video):
        clips, dropped = self.run(video, [(96, 96, 200), (120, 96, 60)])
        assert clips == [] and dropped == {"several": 10}

    def test_somebody_else_beside_the_crop(self, video):
        assert self.run(video, [(96, 96, 100), (180, 20, 30)])[0] == [(0, 10)]

    def test_a_jump_ends_the_clip(self, video):
        places = [[(60, 96, 100)]] * 5 + [[(140, 96, 100)]]
        clips, dropped = self.run(video, *places)
        assert clips == [(0, 5), (5, 5)] and dropped == {"cut": 1}

    def test_lost_and_short(self, video):
        places = [[(96, 96, 100)]] * 4 + [[]] * 20
        clips, dropped = self.run(video, *places, min_frames=5)
        assert clips == [] and dropped == {"short": 4, "lost": 6}

    def test_nobody(self, video):
        assert self.run(video, []) == ([], {"no face": 1})

    def test_a_cut_of_the_picture_ends_the_clip(self, tmp_path):
        frames = [face_frame(0.0) // 4 + 190 if k >= 5 else face_frame(0.0) for k in range(10)]
        clips, dropped = self.run(write_frames(tmp_path / "cut.mp4", frames), [(96, 96, 200)])
        assert clips == [(0, 5), (5, 5)] and dropped == {"cut": 1}

    def test_most_frames(self, video):
        assert self.run(video, [(96, 96, 200)], max_frames=4) == ([(0, 4)], {})


class TestShards:
    def test_report(self, prepared):
        report = json.loads((prepared / "report.json").read_text())
        kept = {split: numbers["frames"] for split, numbers in report["splits"].items()}
        assert sum(kept.values()) == 9 + 8 + 9 and kept["train"] and kept["validation"] and not kept["test"]
        assert sum(numbers["people"] for numbers in report["splits"].values()) == 3
        assert report["dropped"] == {"cut": 2, "lost": 1, "unreadable": 1}  # a grey frame
        assert list(report["unreadable"]) == ["ann/broken.mp4"]

    def test_samples_are_what_webdataset_expects(self, prepared):
        """Files of one sample follow each other and share the name up to the first dot."""
        clips = 0
        for path in prepared.glob("*.tar"):
            with tarfile.open(path) as tar:
                members = tar.getmembers()
            keys = [member.name.partition(".")[0] for member in members]
            runs = [key for k, key in enumerate(keys) if k == 0 or key != keys[k - 1]]
            assert len(runs) == len(set(runs)) and all(m.mtime == 0 and m.uid == 0 for m in members)
            assert {name.rpartition(".")[2] for name in (m.name for m in members)} == {"jpg", "npy", "json"}
            clips += len(runs)
        assert clips == 4  # bob was lost once

    def test_parts_killed_and_rerun_give_the_same_files(self, videos, prepared, tmp_path, monkeypatch, capsys):
        out, made = tmp_path / "out", []

        def killed(tar, video, clip, fps, size):
            if len(made) == 1:
                raise KeyboardInterrupt
            made.append(video)
            return write(tar, video, clip, fps, size)

        write = shards._write_clip
        monkeypatch.setattr(shards, "_write_clip", killed)
        with pytest.raises(KeyboardInterrupt):
            main([str(videos), str(out), *SMALL, *HALVES])
        monkeypatch.setattr(shards, "_write_clip", write)
        done = {name: content for name, content in files(out).items() if not name.startswith(".")}
        assert 2 < len(done) < len(files(prepared)) and all(files(prepared)[name] == done[name] for name in done)
        main([str(videos), str(out), *SMALL, *HALVES, "--shard", "2/2"])
        assert "still missing" in capsys.readouterr().out and not (out / "report.json").exists()
        main([str(videos), str(out), *SMALL, *HALVES, "--shard", "1/2"])
        assert files(out) == files(prepared)
        main([str(videos), str(out), *SMALL, *HALVES])
        assert "are there already" in capsys.readouterr().out

    def test_other_options_or_videos_are_refused(self, videos, prepared, tmp_path):
        with pytest.raises(OptionError, match="other options"):
            main([str(videos), str(prepared), *SMALL, *HALVES, "--min-frames", "4"])
        fewer = tmp_path / "videos"
        shutil.copytree(videos, fewer)
        shutil.rmtree(fewer / "cid")
        with pytest.raises(OptionError, match="other videos"):
            main([str(fewer), str(prepared), *SMALL, *HALVES])

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--shard", "3/2"], "--shard is '3/2'"),
            (["--shard", "0/2"], "--shard is '0/2'"),
            (["--layout", "flat"], "--layout is 'flat'"),
            (["--size", "4"], "--size is 4, expected at least 16"),
        ],
    )
    def test_refused(self, arguments, message, videos, tmp_path):
        with pytest.raises(OptionError, match=message):
            main([str(videos), str(tmp_path / "out"), *arguments])

    @pytest.mark.slow
    def test_ray_gives_the_same_files(self, videos, prepared, tmp_path):
        pytest.importorskip("ray")
        main([str(videos), str(tmp_path / "out"), *SMALL, *HALVES, "--executor", "ray", "--workers", "2"])
        assert files(tmp_path / "out") == files(prepared)

    @pytest.mark.slow
    def test_processes_give_the_same_files(self, videos, prepared, tmp_path):
        main([str(videos), str(tmp_path / "out"), *SMALL, *HALVES, "--workers", "2"])
        assert files(tmp_path / "out") == files(prepared)

    def test_ray_is_optional(self, videos, tmp_path, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "ray", None)
        with pytest.raises(Exception, match=r"vivface\[ray\]"):
            list(executors.run_ray(videos, tmp_path, [], FILTERS, 2))


def options(folder, **changes) -> DataOptions:
    still = {"appearance": 0.0, "source_jitter": 0.0, "stretch": 0.0, "degradation": 0.0}
    values = {"kind": "prepared", "folders": [str(folder)], "size": 64, "batch": 2, "crop": "ffhq", "augment": still}
    return DataOptions(**{**values, **changes})


class TestReader:
    def test_frames_are_those_of_the_tar_file(self, prepared):
        clips = PreparedClips([prepared], "all", 0)
        assert sorted(clips.names) == ["ann/talk.mp4", "bob/talk.mp4", "cid/talk.mp4"] and clips.classes == 3
        assert [clips.length(k) for k in range(3)] == [{"b": 8}.get(name[0], 9) for name in clips.names]
        bob = clips.names.index("bob/talk.mp4")
        for path in prepared.glob("*.tar"):
            with tarfile.open(path) as tar:
                index = json.loads(path.with_suffix(".json").read_text())
                part = next(
                    (clip for clip in index["clips"] if clip["video"] == "bob/talk.mp4" and clip["first"]), None
                )
                if part is None:
                    continue
                packed = np.frombuffer(tar.extractfile(f"{part['key']}.0001.jpg").read(), np.uint8)
                points = np.load(io.BytesIO(tar.extractfile(f"{part['key']}.landmarks.npy").read()))
        expected = cv2.cvtColor(cv2.imdecode(packed, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        assert np.array_equal(clips.crop(bob, 5, 64), expected)  # 4 frames before the one without a face
        assert np.array_equal(clips.landmarks(bob, 5), points[1])
        assert (np.abs(points.mean((0, 1)) - 0.5) < 0.15).all()  # the face is in the middle

    def test_frames_are_drawn_at_random_in_training_only(self, prepared):
        def frames(**given):
            return [chosen.tolist() for chosen in PreparedClips([prepared], frames_per_video=4, **given)._frames]

        assert all(len(chosen) == 4 for chosen in frames(split="train"))
        assert frames(split="train") == frames(split="train") != frames(split="train", seed=1)
        assert all(len(chosen) > 4 for chosen in frames(split="validation"))

    def test_triplets_and_epochs(self, prepared, monkeypatch):
        """Source and same of one video, other of another person; an epoch shows every frame once."""
        monkeypatch.setattr(PreparedClips, "crop", lambda self, clip, frame, size, *_: _marked(self, clip, frame))
        clips = PreparedClips([prepared], "all", 5)
        batches = PairBatches(clips, options(prepared, order="epochs", batch=3))
        seen = []
        for k in range(2 * sum(map(clips.length, range(3)))):
            batch = batches[k]
            for source, same, other in zip(*(_marks(batch[n]) for n in ("source", "same", "other")), strict=True):
                assert source[0] == same[0] != other[0] and source[1] != same[1]
                seen.append(source)
        every = {(clip, frame) for clip in range(3) for frame in range(clips.length(clip))}
        total = len(every)
        for epoch in range(6):
            assert set(seen[epoch * total : (epoch + 1) * total]) == every
        assert seen[:total] != seen[total : 2 * total]
        again = PairBatches(clips, options(prepared, order="epochs", batch=3))[7]  # in the middle of an epoch
        assert all((again[name] == batches[7][name]).all() for name in again)

    def test_splits_of_open_clips(self, prepared):
        people = {split: set(open_clips(options(prepared), split).names) for split in ("train", "validation")}
        assert people["train"] and people["validation"] and not people["train"] & people["validation"]

    def test_damaged_shards(self, prepared, tmp_path):
        folder = shutil.copytree(prepared, tmp_path / "copy")
        path = next(folder.glob("train-*.tar"))
        path.write_bytes(path.read_bytes()[:-1000])
        clips = PreparedClips([folder])
        faults = 0
        for clip in range(len(clips.labels)):
            try:
                clips.crop(clip, 0, 64)
            except MediaError as error:
                faults += "prepare this shard again" in str(error)
        assert faults == 1
        with pytest.raises(OptionError, match="no clips of the split 'test'"):
            PreparedClips([prepared], "test")


def _marked(clips, clip, frame):
    return np.full((64, 64, 3), 10 * clip + frame, np.uint8)


def _marks(images):
    levels = ((images.mean((1, 2, 3)) + 1) * 127.5).round().int().tolist()
    return [divmod(level, 10) for level in levels]


def test_epoch_order_of_clips_without_frames():
    order = EpochOrder([2, 0, 3])
    assert sorted(order[n] for n in range(5)) == [(0, 0), (0, 1), (2, 0), (2, 1), (2, 2)]
