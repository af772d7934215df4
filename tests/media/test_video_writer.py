"""Writing videos: exact times, untouched sound, true colours, and a whole file or none."""

import os
import stat
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from vivface.errors import MediaError
from vivface.media import VideoReader, VideoWriter, check_output, is_marked_synthetic

BEEP = (1.5, 1.7)  # seconds, see conftest.py


def copy(source: Path, target: Path, **options) -> VideoWriter:
    """Read and write a clip as a re-enactment does."""
    part = {key: options.pop(key) for key in ("start", "duration") if key in options}
    with (
        VideoReader(source, **part) as video,
        VideoWriter(
            target,
            video.size,
            video.fps,
            video.time_base,
            audio_from=source,
            audio_start=video.start,
            audio_duration=part.get("duration"),
            **options,
        ) as writer,
    ):
        for frame in video:
            writer.write(frame.image, frame.time, frame.duration)
    return writer


def shown(path: Path) -> list[tuple[Fraction, Fraction]]:
    """Time and duration of each frame, and nothing else of the reader's."""
    with VideoReader(path) as video:
        return [(frame.time, frame.duration) for frame in video]


def stored_times(path: Path) -> list[Fraction]:
    """Times of the frames as any program sees them, without decoding."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return sorted(p.pts * stream.time_base for p in container.demux(stream) if p.size)


def sound_packets(path: Path) -> list[tuple[int, int, int, bytes]]:
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        return [(p.pts, p.dts, p.duration, bytes(p)) for p in container.demux(stream) if p.size]


def beep_times(path: Path) -> tuple[float, float]:
    """Seconds at which the sound of a clip is loud for the first and the last time."""
    with av.open(str(path)) as container:
        loud = []
        for frame in container.decode(audio=0):
            samples = np.abs(frame.to_ndarray().astype(float)).max(0)
            if not frame.format.is_planar:
                samples = samples.reshape(-1, frame.layout.nb_channels).max(1)
            samples /= np.iinfo(np.int16).max if frame.format.name.startswith("s16") else 1
            loud += (frame.time + np.flatnonzero(samples > 0.15) / frame.sample_rate).tolist()
    return min(loud), max(loud)


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
    def test_sound_is_untouched(self, media_dir: Path, tmp_path: Path, name: str):
        source = media_dir / "driving" / name
        writer = copy(source, tmp_path / "out.mp4", preset="ultrafast")
        assert sound_packets(tmp_path / "out.mp4") == sound_packets(source)
        assert stored_times(tmp_path / "out.mp4") == stored_times(source)
        assert writer.warnings == []

    def test_no_sound_no_error(self, media_dir: Path, tmp_path: Path):
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
        times = [Fraction(ms, 1000) for ms in (40, 60, 61, 500, 2500, 2520)]
        with VideoWriter(tmp_path / "out.mp4", (32, 32), 25, Fraction(1, 16000)) as writer:
            for index, time in enumerate(times):
                writer.write(np.full((32, 32, 3), 30 * index, np.uint8), time, Fraction(1, 8))
        read = shown(tmp_path / "out.mp4")
        assert [time for time, _ in read] == times
        assert read[-1][1] == Fraction(1, 8)

    def test_many_uneven_steps(self, tmp_path: Path):
        random = np.random.default_rng(0)
        times = np.cumsum(random.integers(1, 90, 200))
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

    def test_time_has_to_increase(self, tmp_path: Path):
        image = np.zeros((32, 32, 3), np.uint8)
        with pytest.raises(ValueError, match="increase"), VideoWriter(tmp_path / "out.mp4", (32, 32), 25) as writer:
            writer.write(image, Fraction(1))
            writer.write(image, Fraction(1))
        assert not list(tmp_path.iterdir())

    def test_matroska_to_the_millisecond(self, make_clip, tmp_path: Path):
        times = [Fraction(1001 * index, 30000) for index in range(30)]
        copy(make_clip("ntsc.mp4", times=times, frames=30, sound="aac"), tmp_path / "out.mkv")
        read = [time for time, _ in shown(tmp_path / "out.mkv")]
        assert max(abs(a - b) for a, b in zip(read, times, strict=True)) <= Fraction(1, 2000)


class TestSound:
    @pytest.mark.parametrize(
        ("name", "video", "sound", "copied"),
        [
            ("a.mp4", "libx264", "aac", True),
            ("a.ts", "libx264", "aac", True),
            ("a.mkv", "libx264", "aac", True),
            ("a.flv", "libx264", "aac", True),
            ("a.mp4", "libx264", "ac3", True),
            ("a.avi", "mpeg4", "libmp3lame", True),
            ("a.webm", "libvpx", "libopus", True),
            ("a.mkv", "libx264", "flac", True),
            ("a.avi", "mpeg4", "pcm_s16le", False),
            ("a.mov", "libx264", "pcm_s16le", False),
        ],
    )
    @pytest.mark.parametrize("part", [{}, {"start": Fraction(6, 5), "duration": Fraction(3, 5)}])
    def test_in_sync_from_any_container(self, make_clip, tmp_path: Path, name, video, sound, copied, part):
        source = make_clip(name, video=video, sound=sound, frames=60, rate=48000)
        writer = copy(source, tmp_path / "out.mp4", **part)
        assert bool(writer.warnings) != copied
        with VideoReader(source, **part) as reader:
            start = reader.start
        with av.open(str(source)) as container:  # some muxers delay all streams alike
            origin = container.start_time / av.time_base if name.endswith(".ts") else 0
        expected = np.array(beep_times(source)) - float(start) - origin
        assert beep_times(tmp_path / "out.mp4") == pytest.approx(expected, abs=0.012)
        packets = {data for *_, data in sound_packets(tmp_path / "out.mp4")}
        originals = {data for *_, data in sound_packets(source)}
        if name.endswith(".ts"):  # there each packet carries a header that MP4 does not
            originals = {data[7:] for data in originals}
        assert (packets <= originals) == copied
        if not part and copied:
            assert packets == originals

    def test_cut_to_the_part(self, media_dir: Path, tmp_path: Path):
        source = media_dir / "driving" / "talking.mp4"
        writer = copy(source, tmp_path / "out.mp4", start=2, duration=Fraction(3, 2), preset="ultrafast")
        packets, whole = sound_packets(tmp_path / "out.mp4"), sound_packets(source)
        assert writer.frames == 38  # 1.5 s at 25 frames a second, both ends included
        assert len(packets) == pytest.approx(1.5 * 44100 / 1024, abs=3)
        by_data = {data: pts for pts, _, _, data in whole}
        assert all(by_data[data] - pts == 2 * 44100 for pts, _, _, data in packets)

    def test_longer_sound_is_kept_whole(self, make_clip, tmp_path: Path):
        source = make_clip("a.mp4", sound="aac", frames=60)
        with VideoReader(source) as video, VideoWriter(tmp_path / "out.mp4", (64, 48), 25, audio_from=source) as writer:
            writer.write(next(iter(video)).image)
        assert sound_packets(tmp_path / "out.mp4") == sound_packets(source)

    def test_mov_has_the_same_packets(self, make_clip, tmp_path: Path):
        source = make_clip("a.mp4", sound="aac", frames=40)
        copy(source, tmp_path / "out.mov")
        assert sound_packets(tmp_path / "out.mov") == sound_packets(source)
        assert stored_times(tmp_path / "out.mov") == stored_times(source)

    def test_mov_and_mkv_copy_what_mp4_cannot(self, make_clip, tmp_path: Path):
        source = make_clip("a.mov", sound="pcm_s16le", frames=10)
        for ending in (".mov", ".mkv"):
            writer = copy(source, tmp_path / f"out{ending}")
            assert writer.warnings == []
            assert b"".join(p[3] for p in sound_packets(tmp_path / f"out{ending}")) == b"".join(
                p[3] for p in sound_packets(source)
            )

    def test_matroska_keeps_packets(self, make_clip, tmp_path: Path):
        source = make_clip("a.mp4", sound="aac")
        copy(source, tmp_path / "out.mkv")
        original = [data for pts, *_, data in sound_packets(source) if pts >= 0]
        assert [data for *_, data in sound_packets(tmp_path / "out.mkv")] == original
        assert beep_times(tmp_path / "out.mkv") == pytest.approx(beep_times(source), abs=0.002)

    def test_a_file_with_sound_only(self, media_dir: Path, tmp_path: Path):
        source = media_dir / "hard" / "audio_only.mp4"
        with VideoWriter(tmp_path / "out.mp4", (32, 32), 25, audio_from=source) as writer:
            for _ in range(75):
                writer.write(np.zeros((32, 32, 3), np.uint8))
        assert sound_packets(tmp_path / "out.mp4") == sound_packets(source)


class TestPicture:
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
        source = make_clip("a.mp4", sound="aac")
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
        source = make_clip("a.mp4", sound="aac")
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

    def test_not_over_its_own_sound(self, make_clip):
        source = make_clip("a.mp4", sound="aac", frames=3)
        with pytest.raises(MediaError, match="this very file"):
            VideoWriter(source, (32, 32), 25, audio_from=source)

    @pytest.mark.parametrize(
        "name", ['it\'s "x".mp4', "ein schöner 映像 🙂.mp4", "http:a.mp4", "-o.mp4", "a%03d.mp4", "a.MP4"]
    )
    def test_odd_names(self, make_clip, tmp_path: Path, name: str):
        source = make_clip("a.mp4", sound="aac", frames=3)
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
