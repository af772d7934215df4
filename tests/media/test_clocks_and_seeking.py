"""Clocks that start anywhere, key frames that come late, seeks that fail: a clip still begins at its first frame."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from vivface.errors import MediaError
from vivface.media import VideoReader

OFFSET_CONTAINERS = {  # name: video codec, muxer options
    "a.mp4": ("libx264", {}),
    "fragments.mp4": ("libx264", {"movflags": "frag_keyframe+empty_moov"}),
    "a.mov": ("libx264", {}),
    "a.mkv": ("libx264", {}),
    "a.webm": ("libvpx", {}),
    "a.ts": ("libx264", {}),
    "a.flv": ("libx264", {}),
}


def decoded(path: Path) -> list[tuple[Fraction, np.ndarray]]:
    """Every frame that plain PyAV decodes, with its time stamp."""
    with av.open(str(path)) as container:
        return [(f.pts * f.time_base, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


def levels(video: VideoReader) -> list[int]:
    """The number of each frame modulo 64, by its grey level."""
    return [round(frame.image.mean() / 4) for frame in video]


class TestClock:
    @pytest.mark.parametrize("clock", [Fraction(1, 5), 5, 7200])
    @pytest.mark.parametrize("name", OFFSET_CONTAINERS)
    def test_starts_anywhere(self, make_clip, name: str, clock: Fraction | int):
        codec, muxer = OFFSET_CONTAINERS[name]
        path = make_clip(name, video=codec, muxer=muxer, clock=clock)
        with VideoReader(path) as video:
            assert video.frames_estimate == 50
            assert video.duration == pytest.approx(2, abs=0.002)
            read = list(video)
            assert video.start == 0 and video.warnings == []
        assert [float(frame.time) for frame in read] == pytest.approx([i / 25 for i in range(50)], abs=0.001)
        assert read[-1].duration == pytest.approx(1 / 25, abs=0.002)

    @pytest.mark.parametrize("name", OFFSET_CONTAINERS)
    def test_parts_count_from_the_first_frame(self, make_clip, name: str):
        codec, muxer = OFFSET_CONTAINERS[name]
        path = make_clip(name, video=codec, muxer=muxer, clock=7)
        with VideoReader(path, start=0.6, duration=1) as video:
            assert video.frames_estimate in (25, 26)
            assert levels(video) == pytest.approx(list(range(15, 40)), abs=1)
            assert video.start == pytest.approx(0.6, abs=0.002)

    def test_a_late_video_track_begins_at_once(self, make_clip):
        times = [Fraction(1, 2) + Fraction(index, 25) for index in range(10)]
        with VideoReader(make_clip("late.mp4", times=times, frames=10)) as video:
            assert [frame.time for frame in video] == [time - times[0] for time in times]

    def test_a_recording_without_a_declared_length(self, make_clip, remux):
        path = remux(make_clip("a.webm", video="libvpx", audio="libopus", rate=48000), "live.webm", muxer={"live": "1"})
        with av.open(str(path)) as container:
            assert container.duration is None
        with VideoReader(path) as video:
            assert (video.frames_estimate, video.duration) == (50, pytest.approx(2, abs=0.002))
            assert len(list(video)) == 50

    def test_frames_that_an_edit_list_hides(self, make_clip, tmp_path: Path):
        path = make_clip("a.mp4", key_frames=50)
        with av.open(str(path)) as given, av.open(str(tmp_path / "cut.mp4"), "w") as output:
            stream = given.streams.video[0]
            target = output.add_stream_from_template(stream)
            hidden = round(Fraction(20, 25) / stream.time_base)
            for packet in given.demux(stream):
                if packet.dts is not None:
                    packet.pts, packet.dts = packet.pts - hidden, packet.dts - hidden
                    packet.stream = target
                    output.mux(packet)
        with av.open(str(tmp_path / "cut.mp4")) as container:
            assert container.streams.video[0].frames == 50
        with VideoReader(tmp_path / "cut.mp4") as video:
            assert video.frames_estimate == len(list(video)) == 30
            assert video.duration == Fraction(30, 25)


class TestLateKeyFrames:
    @pytest.fixture
    def cut(self, make_clip, remux) -> Path:
        """A clip that was cut between key frames: the first frames of the file cannot be decoded."""
        path = remux(make_clip("whole.mp4", key_frames=20, options={"bf": "0"}), "cut.mp4", skip=5)
        with av.open(str(path)) as container, pytest.raises(av.error.PermissionError):
            container.seek(round(0.3 / container.streams.video[0].time_base), stream=container.streams.video[0])
        return path

    @pytest.mark.parametrize("start", [0, 0.2, 0.5, 0.6, 0.9, 1.3])
    def test_start(self, cut: Path, start: float):
        with av.open(str(cut)) as container:
            stream = container.streams.video[0]
            origin = stream.start_time * stream.time_base
        expected = [(time, image) for time, image in decoded(cut) if time - origin >= start]
        with VideoReader(cut, start=start) as video:
            read = list(video)
            assert video.start == expected[0][0] - origin
        assert [frame.time for frame in read] == [time - expected[0][0] for time, _ in expected]
        assert levels(read) == [round(image.mean() / 4) for _, image in expected]

    def test_what_is_missing_is_said(self, cut: Path):
        with VideoReader(cut) as video:
            list(video)
            assert len(video.warnings) == 1 and "0.6 s cannot be decoded" in video.warnings[0]
        with VideoReader(cut, start=1) as video:
            list(video)
            assert video.warnings == []

    def test_a_seek_that_lands_behind_the_target(self, make_clip):
        """Frames that are shown before their key frame belong to the group of frames before it."""
        path = make_clip("open.mkv", key_frames=20, options={"x264-params": "open-gop=1:bframes=3:b-adapt=0"})
        with VideoReader(path) as video:
            whole = list(video)
        for index in range(50):
            with VideoReader(path, start=whole[index].time) as video:
                frames = list(video)
            assert video.start == whole[index].time and len(frames) == 50 - index
            assert np.array_equal(frames[0].image, whole[index].image)

    def test_beyond_the_end(self, cut: Path):
        for start in (3, 1e6, 1e17):
            with pytest.raises(MediaError, match="no frame from"):
                VideoReader(cut, start=start)


class TestReports:
    @pytest.mark.parametrize(
        ("name", "frames", "length"),
        [
            ("dvr_chunk.mp4", 50, 2),
            ("offset5.mp4", 40, Fraction(8, 5)),
            ("rec_noduration.webm", 40, Fraction(8, 5)),
            ("midgop.mp4", 50, 2),
        ],
    )
    def test_lengths(self, reports_dir: Path, name: str, frames: int, length: Fraction):
        with VideoReader(reports_dir / name) as video:
            assert (video.frames_estimate, video.duration) == (frames, length)
            read = list(video)
        assert len(read) == frames and read[0].time == 0
        assert read[-1].time + read[-1].duration == length
        with VideoReader(reports_dir / name, duration=1) as video:
            assert len(list(video)) == video.frames_estimate == 25

    @pytest.mark.parametrize(("name", "first"), [("rm.mp4", 0.48), ("midgop.mp4", 1)])
    def test_first_frame_at_or_after_the_start(self, reports_dir: Path, name: str, first: float):
        path = reports_dir / name
        expected = decoded(path)
        assert float(expected[0][0]) == first
        with VideoReader(path, start=0.2) as video:
            read = list(video)
        assert [frame.time for frame in read] == [time - expected[0][0] for time, _ in expected]
        assert np.abs(read[0].image.astype(int) - expected[0][1]).mean() < 4
