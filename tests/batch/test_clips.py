"""Lists of clips: CSV files, folders, names, shards."""

from pathlib import Path

import pytest

from vivface.batch.clips import Clip, check_inputs, pair_folders, read_pairs, shard_of
from vivface.batch.plan import Plan
from vivface.errors import MediaError, OptionError


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    return folder


class TestPairs:
    def test_columns_are_read(self, tmp_path):
        text = "driving, source, output, face, start, duration\nv.mp4,p.png,x.mp4,1,0.5,2\n\nsub/w.mov,p.png,,,,\n"
        first, second = read_pairs(write(tmp_path / "pairs.csv", text))
        assert first == Clip("x.mp4", str(tmp_path / "p.png"), str(tmp_path / "v.mp4"), 1, None, 0.5, 2.0)
        assert second == Clip("p--w.mp4", str(tmp_path / "p.png"), str(tmp_path / "sub/w.mov"))

    def test_same_names_are_numbered(self, tmp_path):
        text = "source,driving,output\na/p.png,v.mp4,\nb/p.jpg,v.mp4,\np.png,V.mp4,\nq.png,v.mp4,p--v-3.mp4\n"
        names = [clip.name for clip in read_pairs(write(tmp_path / "pairs.csv", text))]
        assert names == ["p--v.mp4", "p--v-2.mp4", "p--V-4.mp4", "p--v-3.mp4"]

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("source,driver\na,b\n", ["source,driver", "source,driving"]),
            ("", ["nothing", "source,driving"]),
            ("source,driving\n", ["no pairs"]),
            ("source,driving\na,\n", ["Line 2"]),
            ("source,driving\na,b,c\n", ["Line 2"]),
            ("source,driving,face\na,b,-1\n", ["face", "'-1'", "line 2"]),
            ("source,driving,start\na,b,nan\n", ["start", "'nan'"]),
            ("source,driving,output\na,b,../x.mp4\n", ["output", "../x.mp4"]),
            ("source,driving,output\na,b,x.txt\n", ["x.txt", ".mp4"]),
            ("source,driving,output\na,b,x.mp4\nc,d,X.mp4\n", ["2 times"]),
        ],
    )
    def test_refused(self, tmp_path, text, words):
        with pytest.raises(OptionError) as error:
            read_pairs(write(tmp_path / "pairs.csv", text))
        assert all(word in str(error.value) for word in words), str(error.value)

    def test_unreadable(self, tmp_path):
        with pytest.raises(MediaError, match="cannot be read"):
            read_pairs(tmp_path / "none.csv")
        (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x01")
        with pytest.raises(MediaError, match="UTF-8"):
            read_pairs(tmp_path / "binary.csv")


class TestFolders:
    def test_every_portrait_with_every_video(self, tmp_path):
        portraits = touch(tmp_path / "p", "b.png", "a.jpg", "notes.txt")
        videos = touch(tmp_path / "v", "x.mp4", "y.safetensors")
        names = [clip.name for clip in pair_folders(portraits, videos, ".mkv")]
        assert names == ["a--x.mkv", "a--y.mkv", "b--x.mkv", "b--y.mkv"]

    def test_same_names(self, tmp_path):
        portraits, videos = touch(tmp_path / "p", "a.png", "b.png"), touch(tmp_path / "v", "b.mp4", "c.mp4")
        assert [clip.name for clip in pair_folders(portraits, videos, match="name")] == ["b--b.mp4"]

    def test_refused(self, tmp_path):
        portraits, videos = touch(tmp_path / "p", "a.png"), touch(tmp_path / "v", "c.mp4")
        with pytest.raises(OptionError, match="--match all"):
            pair_folders(portraits, videos, match="name")
        with pytest.raises(MediaError, match="no driving videos"):
            pair_folders(portraits, touch(tmp_path / "empty"))
        with pytest.raises(MediaError, match="cannot be read"):
            pair_folders(tmp_path / "none", videos)

    def test_an_input_is_never_replaced(self, tmp_path):
        videos = touch(tmp_path / "v", "a--a.mp4")
        clips = [Clip("a--a.mp4", str(tmp_path / "a.png"), str(videos / "a--a.mp4"))]
        check_inputs(clips, tmp_path)
        with pytest.raises(OptionError, match="is an input"):
            check_inputs(clips, videos)


def clips_of(portraits: int, videos: int) -> list[Clip]:
    return [Clip(f"{p}-{v}.mp4", f"p{p}", f"v{v}") for v in range(videos) for p in range(portraits)]


class TestShards:
    @pytest.mark.parametrize("count", [1, 2, 3, 7, 40])
    def test_they_cover_the_list_once(self, count):
        clips = clips_of(5, 4)
        shards = [shard_of(clips, f"{i}/{count}") for i in range(1, count + 1)]
        assert sorted(clip.name for shard in shards for clip in shard) == sorted(clip.name for clip in clips)
        assert max(map(len, shards)) - min(map(len, shards)) <= 1

    def test_clips_of_a_portrait_stay_together(self):
        shards = [shard_of(clips_of(4, 6), f"{i}/2") for i in (1, 2)]
        assert [{clip.source for clip in shard} for shard in shards] == [{"p0", "p1"}, {"p2", "p3"}]

    @pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "1/", "a/b", "-1/2", ""])
    def test_refused(self, shard):
        with pytest.raises(OptionError, match="i/n"):
            shard_of(clips_of(2, 2), shard)


class TestPlan:
    def work_through(self, plan: Plan, lose: set[int] = frozenset(), failing: str = "") -> list[str]:
        """Two workers in turn; the tasks of these numbers are lost once."""
        done, last, number = [], [None, None], 0
        while not plan.is_done:
            tasks = [(worker, plan.next(last[worker])) for worker in (0, 1)]
            assert any(task for _, task in tasks)
            for worker, task in tasks:
                if task is None:
                    continue
                number += 1
                if number in lose:
                    plan.again(task)
                    continue
                last[worker] = task.clip.portrait
                done.append(f"{task.kind} {task.clip.source if task.kind == 'portrait' else task.clip.name}")
                plan.finish(task, failed=task.kind == "portrait" and task.clip.source == failing)
        return done

    def test_portraits_once_and_before_their_clips(self):
        done = self.work_through(Plan(clips_of(3, 2)))
        assert len(done) == len(set(done)) == 9
        for p in range(3):
            assert done.index(f"portrait p{p}") < min(done.index(f"clip {p}-{v}.mp4") for v in (0, 1))

    def test_a_driver_is_not_read_by_two_at_once(self):
        plan = Plan(clips_of(2, 2))
        for task in (plan.next(None), plan.next(None)):
            plan.finish(task)  # the portraits
        first, second = plan.next(("p0", None)), plan.next(("p1", None))
        assert (first.clip.name, second.clip.name) == ("0-0.mp4", "1-1.mp4")
        third = plan.next(("p0", None))
        assert third.clip.name == "0-1.mp4"  # both are being read: better twice than waiting
        plan.again(third)
        plan.finish(first)
        assert plan.next(("p0", None)).clip.name == "1-0.mp4"  # the portrait of another, whose driver is read

    def test_what_is_lost_is_handed_out_again(self):
        done = self.work_through(Plan(clips_of(3, 2)), lose={1, 4, 5})
        assert len(done) == len(set(done)) == 9

    def test_a_failed_portrait_takes_its_clips_only(self):
        done = self.work_through(Plan(clips_of(3, 2)), failing="p1")
        assert [line for line in done if line.startswith("clip 1-")] == [] and len(done) == 7
