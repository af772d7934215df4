"""Every format that results can have: times, sound, colours and transparency, quality, and what is refused."""

import csv
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.clips import portrait
from vivface.errors import BackendError, MediaError, OptionError
from vivface.media import VideoReader, VideoWriter, check_film, is_marked_synthetic, load_image, open_writer
from vivface.media.coding import choose_coding, rate_factor

TIMES = [Fraction(ms, 1000) for ms in (0, 40, 80, 200, 240, 400, 440)]  # not evenly spaced
LAST = Fraction(160, 1000)
FILMS = [
    ("out.mp4", "h264"),
    ("out.mp4", "av1"),
    ("out.mov", "h264"),
    ("out.mov", "prores"),
    ("out.mkv", "av1"),
    ("out.mkv", "vp9"),
    ("out.webm", "vp9"),
    ("out.webm", "av1"),
    ("out.webp", "auto"),
]


def frames(size: int = 96) -> list[np.ndarray]:
    picture = portrait()[50 : 50 + size, 180 : 180 + size]
    return [np.roll(picture, 2 * number, 1) for number in range(len(TIMES))]


def write(path: Path, images: list[np.ndarray] | None = None, **options):
    images = images or frames()
    with open_writer(path, images[0].shape[1::-1], 25, Fraction(1, 1000), **options) as writer:
        for image, time in zip(images, TIMES, strict=True):
            writer.write(image, time, LAST)
    return writer


class TestFilms:
    @pytest.mark.parametrize(("name", "codec"), FILMS)
    def test_times_and_colours(self, tmp_path, name, codec):
        write(tmp_path / name, codec=codec)
        assert [path.name for path in tmp_path.iterdir()] == [name]
        with VideoReader(tmp_path / name) as video:
            shown = list(video)
        assert [frame.time for frame in shown] == TIMES
        assert abs(shown[-1].duration - LAST) < Fraction(1, 100)
        for frame, image in zip(shown, frames(), strict=True):
            assert np.abs(frame.image.astype(float) - image).mean() < 5
            assert np.abs(frame.image.mean((0, 1)) - image.mean((0, 1))).max() < 1.5  # no tint
        assert is_marked_synthetic(tmp_path / name)

    @pytest.mark.parametrize("suffix", [".webm", ".webp", ".mov"])
    def test_odd_sizes(self, tmp_path, suffix):
        write(tmp_path / f"out{suffix}", [image[:65, :63] for image in frames()])
        with VideoReader(tmp_path / f"out{suffix}") as video:
            width, height = video.size
        assert width in (63, 64) and height in (65, 66)

    @pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="only Linux tells how threads are scheduled")
    def test_av1_leaves_the_threads_as_they_were(self, tmp_path):
        """As root SVT-AV1 makes its own threads, and the one that opens it, real-time ones."""

        def policies() -> set[int]:
            return {os.sched_getscheduler(int(task.name)) for task in Path("/proc/self/task").iterdir()}

        with open_writer(tmp_path / "out.mp4", (96, 96), 25, codec="av1") as writer:
            for image in frames():
                writer.write(image)
            assert policies() == {os.SCHED_OTHER}
        assert policies() == {os.SCHED_OTHER}

    def test_av1_says_nothing_about_itself(self, tmp_path, capfd):
        if "SVT_LOG" in os.environ and os.environ["SVT_LOG"] != "1":
            pytest.skip("somebody asked for its messages")
        write(tmp_path / "out.mp4", codec="av1")
        assert capfd.readouterr().err == ""

    def test_webp_plays_for_ever(self, tmp_path):
        write(tmp_path / "out.webp")
        with Image.open(tmp_path / "out.webp") as image:
            assert image.n_frames == len(TIMES) and image.info["loop"] == 0
            durations = []
            for number in range(image.n_frames):
                image.seek(number)
                image.load()
                durations.append(image.info["duration"])
        assert durations == [40, 40, 120, 40, 160, 40, 160]


class TestQuality:
    @pytest.mark.parametrize("name", ["out.mp4", "out.webm", "out.webp"])
    def test_more_is_larger_and_closer(self, tmp_path, name):
        sizes, losses = [], []
        for quality in (20, 80, 100):
            write(tmp_path / name, quality=quality)
            sizes.append((tmp_path / name).stat().st_size)
            with VideoReader(tmp_path / name) as video:
                losses.append(np.mean([(f.image - i.astype(float)) ** 2 for f, i in zip(video, frames(), strict=True)]))
        assert sizes == sorted(sizes) and losses == sorted(losses, reverse=True)

    def test_lossless_webp(self, tmp_path):
        write(tmp_path / "out.webp", quality=100)
        with VideoReader(tmp_path / "out.webp") as video:
            assert all(np.array_equal(frame.image, image) for frame, image in zip(video, frames(), strict=True))

    def test_the_usual_one_is_what_it_was(self):
        assert rate_factor(80) == 17 and rate_factor(100) == 0 and rate_factor(0) == 49
        assert choose_coding(".mp4").options == {"crf": "17.0", "preset": "veryfast", "bf": "0"}

    @pytest.mark.parametrize("quality", [-1, 101, "high", None, True])
    def test_out_of_range(self, tmp_path, quality):
        with pytest.raises(OptionError, match="quality"):
            open_writer(tmp_path / "out.mp4", (64, 64), 25, quality=quality)


class TestSound:
    def test_webm_takes_opus_as_it_is(self, make_clip, tmp_path):
        source = make_clip("a.webm", video="libvpx", audio="libopus", rate=48000, frames=25)
        writer = write(tmp_path / "out.webm", audio_from=source)
        assert writer.warnings == []
        packets = sound(tmp_path / "out.webm")[2]
        assert len(packets) >= 50 and packets == sound(source)[2][-len(packets) :]

    def test_other_sound_becomes_opus_in_webm(self, make_clip, tmp_path):
        source = make_clip("a.mp4", audio="aac", frames=25)
        writer = write(tmp_path / "out.webm", audio_from=source)
        assert len(writer.warnings) == 1 and "Opus" in writer.warnings[0]
        codec, seconds, _ = sound(tmp_path / "out.webm")
        assert codec == "opus" and abs(seconds - 1) < 0.1

    def test_webp_has_none(self, make_clip, tmp_path):
        writer = write(tmp_path / "out.webp", audio_from=make_clip("a.mp4", audio="aac", frames=5))
        assert len(writer.warnings) == 1 and "no audio" in writer.warnings[0]
        assert write(tmp_path / "b.webp", audio_from=make_clip("b.mp4", frames=5)).warnings == []


class TestTransparency:
    @pytest.mark.parametrize("name", ["out.mov", "out.webp"])
    def test_it_is_kept(self, tmp_path, name):
        cover = np.zeros((96, 96, 1), np.uint8)
        cover[20:70, 30:80] = 255
        with VideoWriter(tmp_path / name, (96, 96), 25, alpha=True) as writer:
            for image in frames():
                writer.write(np.dstack([image, cover]))
        assert np.abs(first_alpha(tmp_path / name).astype(int) - cover[:, :, 0]).max() <= 2

    def test_webm(self, tmp_path):
        """FFmpeg's own decoder of VP9 leaves the second, grey picture of transparency out; browsers show it."""
        with VideoWriter(tmp_path / "out.webm", (96, 96), 25, alpha=True) as writer:
            for image in frames():
                writer.write(np.dstack([image, np.full((96, 96, 1), 128, np.uint8)]))
        with av.open(str(tmp_path / "out.webm")) as container:
            assert container.streams.video[0].metadata["alpha_mode"] == "1"

    def test_formats_without_it(self, tmp_path):
        with pytest.raises(OptionError, match="no transparency"):
            VideoWriter(tmp_path / "out.mp4", (96, 96), 25, alpha=True)

    def test_the_fourth_channel_has_to_be_there(self, tmp_path):
        with (
            pytest.raises(ValueError, match="96, 96, 4"),
            VideoWriter(tmp_path / "a.mov", (96, 96), 25, alpha=True) as w,
        ):
            w.write(frames()[0])
        assert not list(tmp_path.iterdir())


class TestSequence:
    def test_images_and_times(self, tmp_path):
        writer = write(tmp_path / "frames" / "face-%03d.png")
        assert writer.frames == len(TIMES) and writer.warnings == []
        folder = tmp_path / "frames"
        names = [f"face-{number:03d}.png" for number in range(len(TIMES))]
        assert sorted(path.name for path in folder.iterdir()) == [*names, "times.csv"]
        for name, image in zip(names, frames(), strict=True):
            assert np.array_equal(load_image(folder / name), image)
        assert is_marked_synthetic(folder / names[0])
        with open(folder / "times.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["file"] for row in rows] == names
        assert [Fraction(row["time"]) for row in rows] == TIMES
        assert [Fraction(row["duration"]) for row in rows] == [
            Fraction(ms, 1000) for ms in (40, 40, 120, 40, 160, 40, 160)
        ]

    def test_each_is_finished(self, tmp_path):
        finished = []
        write(tmp_path / "a" / "%d.png", finish=lambda temporary, name: finished.append(name.name))
        assert finished == [f"{number}.png" for number in range(len(TIMES))]

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("a/%05d.jpg", "as in"),
            ("a/%d%d.png", "as in"),
            ("a/x.png", "has to end in"),
            ("none/a/%d.png", "not exist"),
        ],
    )
    def test_bad_names(self, tmp_path, name, reason):
        with pytest.raises(MediaError, match=reason):
            check_film(tmp_path / name)

    def test_a_folder_that_holds_something_is_never_touched(self, tmp_path):
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "note.txt").write_text("keep")
        with pytest.raises(MediaError, match="new or empty"):
            open_writer(tmp_path / "mine" / "%d.png", (96, 96), 25)
        assert (tmp_path / "mine" / "note.txt").read_text() == "keep"

    def test_nothing_is_left_after_an_error(self, tmp_path):
        with pytest.raises(KeyboardInterrupt), open_writer(tmp_path / "a" / "%d.png", (96, 96), 25) as writer:
            writer.write(frames()[0])
            raise KeyboardInterrupt
        with pytest.raises(MediaError, match="no frame"), open_writer(tmp_path / "a" / "%d.png", (96, 96), 25):
            pass
        with (
            pytest.raises(ValueError, match="increase"),
            open_writer(tmp_path / "a" / "%d.png", (96, 96), 25) as writer,
        ):
            writer.write(frames()[0], Fraction(1))
            writer.write(frames()[1], Fraction(1))
        assert not list(tmp_path.iterdir())


class TestRefused:
    @pytest.mark.parametrize(
        ("name", "codec"),
        [("a.webm", "h264"), ("a.mp4", "vp9"), ("a.mp4", "h265"), ("a.gif", "h264"), ("a/%d.png", "av1")],
    )
    def test_codecs_that_do_not_fit(self, tmp_path, name, codec):
        with pytest.raises(OptionError, match=codec):
            open_writer(tmp_path / name, (64, 64), 25, codec=codec)
        assert not list(tmp_path.iterdir())

    def test_an_encoder_that_is_missing(self, monkeypatch):
        monkeypatch.setattr(av, "codecs_available", {"libx264"})
        with pytest.raises(BackendError, match="no encoder for av1"):
            choose_coding(".mp4", "av1")


def sound(path: Path) -> tuple[str, float, list[bytes]]:
    """Codec, seconds and packets."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        packets = [p for p in container.demux(stream) if p.size]
        end = max(p.pts + p.duration for p in packets) * stream.time_base
        return stream.codec_context.codec.canonical_name, float(end), [bytes(p) for p in packets]


def first_alpha(path: Path) -> np.ndarray:
    if path.suffix == ".webp":
        with Image.open(path) as image:
            return np.asarray(image.convert("RGBA"))[:, :, 3]
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        return frame.reformat(format="rgba").to_ndarray()[:, :, 3]
