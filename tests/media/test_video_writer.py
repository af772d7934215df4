"""Writing videos: exact times, untouched audio, true colours, and a whole file or none."""

import os
import stat
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.media.helpers import audio_packets, beep_times, copy, stored_times
from vivface.errors import MediaError
from vivface.media import VideoReader, VideoWriter, check_output, is_marked_synthetic


def shown(path: Path) -> list[tuple[Fraction, Fraction]]:
    """Time and duration of each frame, and nothing else of the reader's."""
    with VideoReader(path) as video:
        return [(frame.time, frame.duration) for frame in video]


def edits(path: Path, kind: bytes) -> list[tuple[int, int]]:
    """Duration and start of each edit of the first track of this kind; a start of -1 shows nothing."""

    def inside(data: bytes) -> Iterator[tuple[bytes, bytes]]:
        at = 0
        while at + 8 <= len(data):
            size = int.from_bytes(data[at : at + 4], "big")
            yield data[at + 4 : at + 8], data[at + 8 : at + size]
            at += size

    moov = next(body for name, body in inside(path.read_bytes()) if name == b"moov")
    for track in (dict(inside(body)) for name, body in inside(moov) if name == b"trak"):
        if dict(inside(track[b"mdia"]))[b"hdlr"][8:12] == kind:
            entries = dict(inside(track.get(b"edts", b""))).get(b"elst", bytes(8))
            wide, count = entries[0] == 1, int.from_bytes(entries[4:8], "big")
            form = ">QqI" if wide else ">IiI"
            return [struct.unpack_from(form, entries, 8 + i * struct.calcsize(form))[:2] for i in range(count)]
    return []


def boxes(path: Path) -> Iterator[str]:
    data = path.read_bytes()
    at = 0
    while at < len(data):
        yield data[at + 4 : at + 8].decode()
        at += int.from_bytes(data[at : at + 4], "big")


class TestDevelopmentClips:
    @pytest.mark.parametrize(
        "name", ["hard/vfr.mp4", "hard/fps_5.mp4", "hard/one_frame.mp4", "hard/rotated90.mp4", "hard/no_face.mp4"]
    )
    def test_times_are_kept(self, media_dir: Path, tmp_path: Path, name: str):
        copy(media_dir / name, tmp_path / "out.mp4")
        assert shown(tmp_path / "out.mp4") == shown(media_dir / name)
        with av.open(str(tmp_path / "out.mp4")) as ours, av.open(str(media_dir / name)) as theirs:
            ours, theirs = ours.streams.video[0], theirs.streams.video[0]
            assert ours.average_rate == pytest.approx(float(theirs.average_rate), rel=0.03)
            assert ours.duration * ours.time_base == theirs.duration * theirs.time_base

    @pytest.mark.parametrize("name", ["talking.mp4", "expressions.mp4"])
    def test_audio_is_untouched(self, media_dir: Path, tmp_path: Path, name: str):
        source = media_dir / "driving" / name
        writer = copy(source, tmp_path / "out.mp4", preset="ultrafast")
        assert audio_packets(tmp_path / "out.mp4") == audio_packets(source)
        assert stored_times(tmp_path / "out.mp4") == stored_times(source)
        assert writer.warnings == []

    def test_no_audio_no_error(self, media_dir: Path, tmp_path: Path):
        writer = copy(media_dir / "driving" / "turning.mp4", tmp_path / "out.mp4", duration=Fraction(1, 2))
        assert writer.frames == 15 and writer.warnings == []
        with av.open(str(tmp_path / "out.mp4")) as container:
            assert not container.streams.audio

    def test_odd_size_plays_in_a_browser(self, media_dir: Path, tmp_path: Path):
        copy(media_dir / "hard" / "odd_size_yuv444.mp4", tmp_path / "out.mp4")
        with av.open(str(tmp_path / "out.mp4")) as container:
            codec = container.streams.video[0].codec_context
            assert (codec.width, codec.height, codec.pix_fmt) == (302, 322, "yuv420p")
            assert codec.name == "h264" and codec.profile in ("High", "Main", "Constrained Baseline")

    def test_truncated_clip_gives_what_there_is(self, media_dir: Path, tmp_path: Path):
        writer = copy(media_dir / "hard" / "truncated_partial.mp4", tmp_path / "out.mp4")
        assert writer.frames == 41
        assert shown(tmp_path / "out.mp4")[-1] == (Fraction(40, 25), Fraction(1, 25))


class TestTimes:
    def test_ntsc(self, make_clip, tmp_path: Path):
        times = [Fraction(1001 * index, 30000) for index in range(100)]
        source = make_clip("ntsc.mp4", fps=Fraction(30000, 1001), times=times, frames=100)
        copy(source, tmp_path / "out.mp4")
        assert [time for time, _ in shown(tmp_path / "out.mp4")] == times
        with VideoReader(tmp_path / "out.mp4") as video:
            assert video.fps == Fraction(30000, 1001)
            assert video.duration == Fraction(100 * 1001, 30000)

    @pytest.mark.parametrize("fps", [Fraction(30000, 1001), 5, Fraction(24000, 1001), 60, Fraction(25, 2), 1])
    def test_steps_of_the_rate(self, tmp_path: Path, fps: Fraction):
        with VideoWriter(tmp_path / "out.mp4", (32, 32), fps) as writer:
            for index in range(7):
                writer.write(np.full((32, 32, 3), 30 * index, np.uint8))
        assert shown(tmp_path / "out.mp4") == [(index / Fraction(fps), 1 / Fraction(fps)) for index in range(7)]

    def test_any_times_and_last_duration(self, tmp_path: Path):
        times = [Fraction(ms, 1000) for ms in (0, 60, 61, 500, 2500, 2520)]
        with VideoWriter(tmp_path / "out.mp4", (32, 32), 25, Fraction(1, 16000)) as writer:
            for index, time in enumerate(times):
                writer.write(np.full((32, 32, 3), 30 * index, np.uint8), time, Fraction(1, 8))
        read = shown(tmp_path / "out.mp4")
        assert [time for time, _ in read] == times
        assert read[-1][1] == Fraction(1, 8)

    def test_many_uneven_steps(self, tmp_path: Path):
        random = np.random.default_rng(0)
        times = np.cumsum(random.integers(1, 90, 200))
        times -= times[0]
        times = [Fraction(int(ms), 1000) for ms in times]
        image = random.integers(0, 256, (96, 96, 3)).astype(np.uint8)
        with VideoWriter(tmp_path / "out.mp4", (96, 96), 25, Fraction(1, 1000)) as writer:
            for index, time in enumerate(times):
                writer.write(np.roll(image, index, 1), time)
        read = shown(tmp_path / "out.mp4")
        assert [time for time, _ in read] == times
        with av.open(str(tmp_path / "out.mp4")) as container:  # the durations that other programs see
            stream = container.streams.video[0]
            stored = [p.duration * stream.time_base for p in container.demux(stream) if p.size]
        assert stored == [duration for _, duration in read]

    @pytest.mark.parametrize("ticks", [1000, 90000, 16000, 1_000_000, 10_000_000])
    def test_time_bases(self, tmp_path: Path, ticks: int):
        times = [Fraction(tick, ticks) for tick in (0, ticks // 50, ticks // 50 + 1, ticks, 9 * ticks)]
        with VideoWriter(tmp_path / "out.mp4", (32, 32), 25, Fraction(1, ticks)) as writer:
            for time in times:
                writer.write(np.zeros((32, 32, 3), np.uint8), time)
        assert [time for time, _ in shown(tmp_path / "out.mp4")] == times

    def test_finer_than_the_file_can_count(self, tmp_path: Path):
        times = [Fraction(tick, 10**9) for tick in (0, 33_366_667, 12_000_000_001)]
        with VideoWriter(tmp_path / "out.mp4", (32, 32), 25, Fraction(1, 10**9)) as writer:
            for time in times:
                writer.write(np.zeros((32, 32, 3), np.uint8), time)
        read = [time for time, _ in shown(tmp_path / "out.mp4")]
        assert max(abs(a - b) for a, b in zip(read, times, strict=True)) < Fraction(1, 10**7)

    @pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv"])
    def test_nothing_is_black_before_a_late_first_frame(self, make_clip, tmp_path: Path, ending: str):
        path = tmp_path / f"out{ending}"
        source = make_clip("a.mp4", audio="aac", frames=50)
        with VideoWriter(path, (32, 32), 25, audio_from=source) as writer:
            for time in (Fraction(1, 2), Fraction(3, 5), Fraction(7, 10)):
                writer.write(np.full((32, 32, 3), 200, np.uint8), time)
        assert stored_times(path) == [0, Fraction(3, 5), Fraction(7, 10)]
        if ending != ".mkv":
            assert all(start >= 0 for _, start in edits(path, b"vide"))
        assert beep_times(path) == pytest.approx((1.5, 1.7), abs=0.03)

    def test_clips_that_start_late_give_no_empty_edit(self, make_clip, tmp_path: Path):
        times = [Fraction(1, 2) + Fraction(index, 25) for index in range(20)]
        source = make_clip("late.mp4", times=times, frames=20)
        assert any(start == -1 for _, start in edits(source, b"vide"))
        copy(source, tmp_path / "out.mp4")
        assert all(start >= 0 for _, start in edits(tmp_path / "out.mp4", b"vide"))
        assert stored_times(tmp_path / "out.mp4") == [time - times[0] for time in times]

    def test_time_has_to_increase(self, tmp_path: Path):
        image = np.zeros((32, 32, 3), np.uint8)
        with pytest.raises(ValueError, match="increase"), VideoWriter(tmp_path / "out.mp4", (32, 32), 25) as writer:
            writer.write(image, Fraction(1))
            writer.write(image, Fraction(1))
        assert not list(tmp_path.iterdir())

    def test_matroska_to_the_millisecond(self, make_clip, tmp_path: Path):
        times = [Fraction(1001 * index, 30000) for index in range(30)]
        copy(make_clip("ntsc.mp4", times=times, frames=30, audio="aac"), tmp_path / "out.mkv")
        read = [time for time, _ in shown(tmp_path / "out.mkv")]
        assert max(abs(a - b) for a, b in zip(read, times, strict=True)) <= Fraction(1, 2000)


class TestImage:
    @pytest.mark.parametrize("size", [(64, 64), (65, 63), (1, 1), (2, 301)])
    def test_sizes(self, tmp_path: Path, size: tuple[int, int]):
        image = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
        with VideoWriter(tmp_path / "out.mp4", size, 25) as writer:
            writer.write(image)
        with VideoReader(tmp_path / "out.mp4") as video:
            assert video.size == (size[0] + size[0] % 2, size[1] + size[1] % 2)
            assert len(list(video)) == 1

    @pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv"])
    def test_colours_do_not_shift(self, tmp_path: Path, ending: str):
        random = np.random.default_rng(0)
        colours = random.integers(0, 256, (64, 3))
        colours[:6] = [(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255), (224, 172, 140)]
        image = np.kron(colours.reshape(8, 8, 3), np.ones((32, 32, 1))).astype(np.uint8)
        for path in (tmp_path / f"once{ending}", tmp_path / f"twice{ending}"):
            with VideoWriter(path, (256, 256), 25) as writer:
                for _ in range(4):
                    writer.write(image)
            with VideoReader(path) as video:
                image = list(video)[-1].image
            patches = image.reshape(8, 32, 8, 32, 3)[:, 8:24, :, 8:24].mean((1, 3)).reshape(64, 3)
            assert np.abs(patches - colours).max() < 3
            assert np.abs((patches - colours).mean(0)).max() < 0.5

    def test_tags_say_bt709(self, tmp_path: Path):
        with VideoWriter(tmp_path / "out.mp4", (32, 32), 25) as writer:
            writer.write(np.zeros((32, 32, 3), np.uint8))
        with av.open(str(tmp_path / "out.mp4")) as container:
            codec = container.streams.video[0].codec_context
            assert (codec.colorspace, codec.color_primaries, codec.color_trc, codec.color_range) == (1, 1, 1, 1)
        # Another reader, which goes by the tags alone, gets the same colour.
        image = np.full((64, 64, 3), (200, 60, 30), np.uint8)
        with VideoWriter(tmp_path / "red.mp4", (64, 64), 25) as writer:
            writer.write(image)
        with av.open(str(tmp_path / "red.mp4")) as container:
            codes = next(container.decode(video=0)).to_ndarray()[0, 0]
        assert codes == pytest.approx(16 + 219 / 255 * (0.2126 * 200 + 0.7152 * 60 + 0.0722 * 30), abs=2)

    @pytest.mark.parametrize(
        "image", [np.zeros((32, 30, 3), np.uint8), np.zeros((32, 32, 3)), np.zeros((32, 32), np.uint8), None]
    )
    def test_other_images(self, tmp_path: Path, image):
        with pytest.raises(ValueError, match="uint8"), VideoWriter(tmp_path / "out.mp4", (32, 32), 25) as writer:
            writer.write(image)
        assert not list(tmp_path.iterdir())


class TestFile:
    def test_index_in_front_and_marked(self, make_clip, tmp_path: Path):
        source = make_clip("a.mp4", audio="aac")
        for ending in (".mp4", ".mov"):
            copy(source, tmp_path / f"out{ending}", metadata={"title": "a title"})
            kinds = list(boxes(tmp_path / f"out{ending}"))
            assert kinds.index("moov") < kinds.index("mdat")
            assert kinds[-1] == "uuid"
            assert is_marked_synthetic(tmp_path / f"out{ending}")
            with av.open(str(tmp_path / f"out{ending}")) as container:
                assert container.metadata["title"] == "a title"
                assert "trainedAlgorithmicMedia" in container.metadata["comment"]
        copy(source, tmp_path / "out.mkv")
        assert is_marked_synthetic(tmp_path / "out.mkv")
        assert not is_marked_synthetic(source)

    def test_the_mark_survives_a_lost_comment(self, tmp_path: Path):
        with VideoWriter(tmp_path / "out.mp4", (32, 32), 25) as writer:
            writer.write(np.zeros((32, 32, 3), np.uint8))
        data = (tmp_path / "out.mp4").read_bytes()
        comment, xmp = data.split(b"uuid" + bytes.fromhex("be7acfcb97a942e89c71999491e3afac"))
        blank = comment.replace(b"trainedAlgorithmicMedia", b"_" * 23)
        assert blank != comment
        (tmp_path / "blank.mp4").write_bytes(blank + data[len(comment) :])
        assert is_marked_synthetic(tmp_path / "blank.mp4")
        (tmp_path / "both.mp4").write_bytes(blank[:-4])
        assert not is_marked_synthetic(tmp_path / "both.mp4")

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, GeneratorExit, MediaError])
    @pytest.mark.parametrize("frames", [0, 1, 30])
    def test_nothing_is_left_after(self, make_clip, tmp_path: Path, error: type, frames: int):
        source = make_clip("a.mp4", audio="aac")
        folder = tmp_path / "out"
        folder.mkdir()
        with pytest.raises(error), VideoWriter(folder / "out.mp4", (32, 32), 25, audio_from=source) as writer:
            for _ in range(frames):
                writer.write(np.zeros((32, 32, 3), np.uint8))
            assert [path.name for path in folder.iterdir()] != ["out.mp4"]
            raise error("stop")
        assert not list(folder.iterdir())

    def test_an_old_file_stays_until_the_new_one_is_complete(self, tmp_path: Path):
        path = tmp_path / "out.mp4"
        path.write_bytes(b"old")
        with pytest.raises(RuntimeError), VideoWriter(path, (32, 32), 25) as writer:
            writer.write(np.zeros((32, 32, 3), np.uint8))
            raise RuntimeError
        assert path.read_bytes() == b"old"
        with VideoWriter(path, (32, 32), 25) as writer:
            writer.write(np.zeros((32, 32, 3), np.uint8))
            assert path.read_bytes() == b"old"
        assert len(shown(path)) == 1
        assert list(tmp_path.iterdir()) == [path]

    def test_a_failure_while_finishing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        import vivface.media.writer as module

        def interrupted(_):
            raise KeyboardInterrupt

        monkeypatch.setattr(module, "append_xmp_box", interrupted)
        with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / "out.mp4", (32, 32), 25) as writer:
            writer.write(np.zeros((32, 32, 3), np.uint8))
        assert not list(tmp_path.iterdir())

    def test_no_frame(self, tmp_path: Path):
        with pytest.raises(MediaError, match="no frame"), VideoWriter(tmp_path / "out.mp4", (32, 32), 25):
            pass
        assert not list(tmp_path.iterdir())

    def test_permissions_follow_the_umask(self, tmp_path: Path):
        before = os.umask(0o027)
        try:
            with VideoWriter(tmp_path / "out.mp4", (32, 32), 25) as writer:
                writer.write(np.zeros((32, 32, 3), np.uint8))
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "out.mp4").stat().st_mode) == 0o640

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("out.avi", "has to end in"),
            ("out", "has to end in"),
            ("missing/out.mp4", "does not exist"),
            ("folder.mp4", "is a folder"),
            ("a" * 300 + ".mp4", "too long"),
            ("a\0b.mp4", "null"),
        ],
    )
    def test_refused_before_any_work(self, tmp_path: Path, name: str, reason: str):
        (tmp_path / "folder.mp4").mkdir()
        with pytest.raises(MediaError, match=reason):
            VideoWriter(tmp_path / name, (32, 32), 25)
        assert [path.name for path in tmp_path.iterdir()] == ["folder.mp4"]

    def test_a_folder_that_cannot_be_written_to(self):
        with pytest.raises(MediaError, match="Cannot write"):
            check_output("/proc/out.mp4", (".mp4",))

    def test_not_over_its_own_audio(self, make_clip):
        source = make_clip("a.mp4", audio="aac", frames=3)
        with pytest.raises(MediaError, match="this very file"):
            VideoWriter(source, (32, 32), 25, audio_from=source)

    @pytest.mark.parametrize(
        "name", ['it\'s "x".mp4', "ein schöner 映像 🙂.mp4", "http:a.mp4", "-o.mp4", "a%03d.mp4", "a.MP4"]
    )
    def test_odd_names(self, make_clip, tmp_path: Path, name: str):
        source = make_clip("a.mp4", audio="aac", frames=3)
        folder = tmp_path / "Ordner mit 空白 & 'quotes'"
        folder.mkdir()
        copy(source, folder / name)
        assert [path.name for path in folder.iterdir()] == [name]
        assert len(shown(folder / name)) == 3
        assert is_marked_synthetic(folder / name)

    def test_relative_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.chdir(tmp_path)
        with VideoWriter("out.mp4", (32, 32), 25) as writer:
            writer.write(np.zeros((32, 32, 3), np.uint8))
        assert len(shown(Path("out.mp4"))) == 1


def test_memory_does_not_grow_with_length(tmp_path: Path):
    import psutil

    process = psutil.Process()
    image = np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.uint8)
    used = []
    with VideoWriter(tmp_path / "out.mp4", (256, 256), 25, preset="ultrafast", crf=40) as writer:
        for index in range(600):
            writer.write(np.roll(image, index, 0))
            used.append(process.memory_info().rss)
    assert max(used[100:]) - used[100] < 15e6  # 500 frames are 98 MB
