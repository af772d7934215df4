"""Audio of results: in step with the frames whatever the clock, played by common players, copied where that is so."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.media.helpers import audio_packets, beep_times, copy, stored_times
from vivface.media import VideoReader, VideoWriter

CLIPS = [  # name, video codec, audio codec
    ("a.mp4", "libx264", "aac"),
    ("a.ts", "libx264", "aac"),
    ("a.mkv", "libx264", "aac"),
    ("a.flv", "libx264", "aac"),
    ("a.mp4", "libx264", "ac3"),
    ("a.mp4", "libx264", "libmp3lame"),
    ("a.mp4", "libx264", "libopus"),
    ("a.mp4", "libx264", "flac"),
    ("a.mov", "libx264", "alac"),
    ("a.avi", "mpeg4", "libmp3lame"),
    ("a.webm", "libvpx", "libopus"),
    ("a.mkv", "libx264", "flac"),
    ("a.avi", "mpeg4", "pcm_s16le"),
    ("a.mov", "libx264", "pcm_s16le"),
]


def codec_of(path: Path) -> str:
    with av.open(str(path)) as container:
        return container.streams.audio[0].codec_context.codec.canonical_name


def first_frame_time(path: Path) -> float:
    with av.open(str(path)) as container:
        return float(next(container.decode(video=0)).time)


class TestPlayedEverywhere:
    @pytest.mark.parametrize(("name", "video", "audio"), CLIPS)
    @pytest.mark.parametrize("part", [{}, {"start": Fraction(6, 5), "duration": Fraction(3, 5)}])
    def test_aac_in_step(self, make_clip, tmp_path: Path, name, video, audio, part):
        source = make_clip(name, video=video, audio=audio, frames=60, rate=48000)
        writer = copy(source, tmp_path / "out.mp4", **part)
        with VideoReader(source, **part) as reader:
            expected = np.array(beep_times(source)) - first_frame_time(source) - float(reader.start)
        assert beep_times(tmp_path / "out.mp4") == pytest.approx(expected, abs=0.012)
        assert codec_of(tmp_path / "out.mp4") == "aac"
        packets = {data for *_, data in audio_packets(tmp_path / "out.mp4")}
        originals = {data for *_, data in audio_packets(source)}
        if name.endswith(".ts"):  # there each packet carries a header that MP4 does not
            originals = {data[7:] for data in originals}
        copied = audio == "aac"
        assert (packets <= originals) == copied
        assert bool(writer.warnings) != copied
        if not copied:
            assert len(writer.warnings) == 1 and "re-encoded as AAC" in writer.warnings[0]

    @pytest.mark.parametrize("ending", [".mov", ".mkv"])
    @pytest.mark.parametrize("audio", ["libopus", "libmp3lame", "flac"])
    def test_other_containers(self, make_clip, tmp_path: Path, ending: str, audio: str):
        source = make_clip("a.mkv", audio=audio, rate=48000, frames=20)
        writer = copy(source, tmp_path / f"out{ending}")
        if ending == ".mkv":
            original = [data for pts, *_, data in audio_packets(source) if pts >= 0]
            assert [data for *_, data in audio_packets(tmp_path / "out.mkv")] == original
            assert writer.warnings == []
        else:
            assert codec_of(tmp_path / "out.mov") == "aac" and len(writer.warnings) == 1

    def test_gaps_become_silence(self, make_clip, tmp_path: Path):
        """Recordings of browsers leave out what is silent."""
        source = make_clip("a.webm", video="libvpx", audio="libopus", rate=48000, frames=60)
        with av.open(str(source)) as given, av.open(str(tmp_path / "gap.webm"), "w") as output:
            targets = {stream.index: output.add_stream_from_template(stream) for stream in given.streams}
            for packet in given.demux():
                if packet.dts is None or (packet.stream.type == "audio" and 0.4 < packet.pts * packet.time_base < 1.2):
                    continue
                packet.stream = targets[packet.stream.index]
                output.mux(packet)
        copy(tmp_path / "gap.webm", tmp_path / "out.mp4")
        assert beep_times(tmp_path / "out.mp4") == pytest.approx(beep_times(source), abs=0.03)


class TestClock:
    @pytest.mark.parametrize(
        ("name", "audio", "muxer"),
        [
            ("a.mp4", "aac", {}),
            ("fragments.mp4", "aac", {"movflags": "frag_keyframe+empty_moov"}),
            ("a.mkv", "aac", {}),
            ("a.mkv", "libopus", {}),
            ("a.ts", "aac", {}),
            ("a.flv", "aac", {}),
        ],
    )
    @pytest.mark.parametrize("part", [{}, {"duration": Fraction(9, 5)}, {"start": Fraction(4, 5)}])
    @pytest.mark.parametrize("ending", [".mp4", ".mkv"])
    def test_offset(self, make_clip, tmp_path: Path, name: str, audio: str, muxer: dict, part: dict, ending: str):
        source = make_clip(name, audio=audio, muxer=muxer, clock=7, frames=60, rate=48000)
        copy(source, tmp_path / f"out{ending}", preset="ultrafast", **part)
        start = float(part.get("start", 0))
        assert beep_times(tmp_path / f"out{ending}") == pytest.approx((1.5 - start, 1.7 - start), abs=0.03)
        with VideoReader(tmp_path / f"out{ending}") as video:
            last = list(video)[-1]
        assert float(last.time + last.duration) == pytest.approx(part.get("duration", 2.4 - start), abs=0.01)

    @pytest.mark.parametrize("audio", ["aac", "libopus"])
    def test_audio_that_begins_before_the_frames_is_cut(self, make_clip, tmp_path: Path, audio: str):
        times = [Fraction(4, 5) + Fraction(index, 25) for index in range(40)]
        source = make_clip("late.mkv", audio=audio, times=times, frames=40, rate=48000)
        copy(source, tmp_path / "out.mp4")
        assert beep_times(tmp_path / "out.mp4") == pytest.approx((0.7, 0.8), abs=0.03)  # 1.5 to 1.6: 40 frames of it

    def test_seek_fails(self, make_clip, remux, tmp_path: Path):
        path = remux(make_clip("a.mp4", audio="aac", key_frames=20, options={"bf": "0"}, frames=60), "b.mp4", skip=5)
        copy(path, tmp_path / "out.mp4", start=0.2)
        assert beep_times(tmp_path / "out.mp4") == pytest.approx((0.7, 0.9), abs=0.03)  # frames begin at 0.8 s


class TestTracks:
    def two_tracks(self, path: Path, unknown: int | None, default: int | None = None) -> Path:
        """An MP4 with a tone of 440 Hz in its first and of 880 Hz in its second track."""
        with av.open(str(path), "w") as output:
            video = output.add_stream("libx264", rate=25)
            video.width = video.height = 32
            video.pix_fmt = "yuv420p"
            tracks = [output.add_stream("aac", rate=48000) for _ in range(2)]
            for index, track in enumerate(tracks):
                track.layout = "mono"
                track.disposition = av.stream.Disposition.default if index == default else av.stream.Disposition(0)
            for index in range(25):
                frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")
                frame.pts, frame.time_base = index, Fraction(1, 25)
                output.mux(video.encode(frame))
            for track, pitch in zip(tracks, (440, 880), strict=True):
                tone = 0.3 * np.sin(2 * np.pi * pitch * np.arange(48000) / 48000).astype(np.float32)
                frame = av.AudioFrame.from_ndarray(tone[None], "fltp", "mono")
                frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
                output.mux(track.encode(frame))
                output.mux(track.encode(None))
            output.mux(video.encode(None))
        if unknown is not None:
            data = path.read_bytes()
            parts = data.split(b"mp4a")
            parts[unknown + 1] = parts[unknown + 1].replace(b"esds", b"zzzz")  # which names the codec, too
            names = [b"zzzz" if index == unknown else b"mp4a" for index in range(2)]
            path.write_bytes(parts[0] + names[0] + parts[1] + names[1] + parts[2])
        return path

    def pitch(self, path: Path) -> float:
        with av.open(str(path)) as container:
            samples = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])[4800:43200]
        return np.abs(np.fft.rfft(samples)).argmax() * 48000 / len(samples)

    @pytest.mark.parametrize(
        ("unknown", "default", "expected"),
        [(None, 0, 440), (None, 1, 880), (0, 0, 880), (1, 1, 440), (1, 0, 440), (0, None, 880)],
    )
    def test_best_that_can_be_used(self, tmp_path: Path, unknown: int | None, default: int | None, expected: int):
        source = self.two_tracks(tmp_path / "a.mp4", unknown, default)
        writer = copy(source, tmp_path / "out.mp4")
        assert self.pitch(tmp_path / "out.mp4") == pytest.approx(expected, abs=5)
        assert writer.warnings == []

    def test_none_can_be_used(self, make_clip, tmp_path: Path):
        data = make_clip("a.mp4", audio="aac", frames=5).read_bytes()
        (tmp_path / "b.mp4").write_bytes(data.replace(b"mp4a", b"zzzz").replace(b"esds", b"zzzz"))
        writer = copy(tmp_path / "b.mp4", tmp_path / "out.mp4")
        assert len(writer.warnings) == 1 and "not supported" in writer.warnings[0]
        with av.open(str(tmp_path / "out.mp4")) as container:
            assert not container.streams.audio


class TestReports:
    @pytest.mark.parametrize("ending", [".mp4", ".mov"])
    @pytest.mark.parametrize("name", ["rec_noduration.webm", "mp3.mp4", "two_sound_tracks.mov"])
    def test_aac(self, reports_dir: Path, tmp_path: Path, name: str, ending: str):
        writer = copy(reports_dir / name, tmp_path / f"out{ending}")
        assert codec_of(tmp_path / f"out{ending}") == "aac"
        assert len(writer.warnings) == (name != "two_sound_tracks.mov")

    @pytest.mark.parametrize("name", ["dvr_chunk.mp4", "offset5.mp4"])
    @pytest.mark.parametrize("part", [{}, {"duration": 1}])
    def test_as_long_as_the_frames(self, reports_dir: Path, tmp_path: Path, name: str, part: dict):
        copy(reports_dir / name, tmp_path / "out.mp4", **part)
        with av.open(str(tmp_path / "out.mp4")) as container:
            ends = [float((s.start_time + s.duration) * s.time_base) for s in container.streams]
            assert [float(s.start_time * s.time_base) for s in container.streams] == pytest.approx([0, 0], abs=0.02)
        assert ends[0] == pytest.approx(ends[1], abs=0.03)


class TestKept:
    def test_cut_to_the_part(self, media_dir: Path, tmp_path: Path):
        source = media_dir / "driving" / "talking.mp4"
        writer = copy(source, tmp_path / "out.mp4", start=2, duration=Fraction(3, 2), preset="ultrafast")
        packets, whole = audio_packets(tmp_path / "out.mp4"), audio_packets(source)
        assert writer.frames == 38  # 1.5 s at 25 frames a second, both ends included
        assert len(packets) == pytest.approx(1.5 * 44100 / 1024, abs=3)
        by_data = {data: pts for pts, _, _, data in whole}
        assert all(by_data[data] - pts == 2 * 44100 for pts, _, _, data in packets)

    def test_longer_audio_is_kept_whole(self, make_clip, tmp_path: Path):
        source = make_clip("a.mp4", audio="aac", frames=60)
        with VideoReader(source) as video, VideoWriter(tmp_path / "out.mp4", (64, 48), 25, audio_from=source) as writer:
            writer.write(next(iter(video)).image)
        assert audio_packets(tmp_path / "out.mp4") == audio_packets(source)

    def test_mov_has_the_same_packets(self, make_clip, tmp_path: Path):
        source = make_clip("a.mp4", audio="aac", frames=40)
        copy(source, tmp_path / "out.mov")
        assert audio_packets(tmp_path / "out.mov") == audio_packets(source)
        assert stored_times(tmp_path / "out.mov") == stored_times(source)

    def test_matroska_keeps_packets(self, make_clip, tmp_path: Path):
        source = make_clip("a.mp4", audio="aac")
        copy(source, tmp_path / "out.mkv")
        original = [data for pts, *_, data in audio_packets(source) if pts >= 0]
        assert [data for *_, data in audio_packets(tmp_path / "out.mkv")] == original
        assert beep_times(tmp_path / "out.mkv") == pytest.approx(beep_times(source), abs=0.002)

    def test_a_file_with_audio_only(self, media_dir: Path, tmp_path: Path):
        source = media_dir / "hard" / "audio_only.mp4"
        with VideoWriter(tmp_path / "out.mp4", (32, 32), 25, audio_from=source) as writer:
            for _ in range(75):
                writer.write(np.zeros((32, 32, 3), np.uint8))
        assert audio_packets(tmp_path / "out.mp4") == audio_packets(source)
