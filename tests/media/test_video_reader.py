"""Reading videos: upright frames with exact times, one at a time, from files of any origin."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import psutil
import pytest

from vivface.errors import MediaError, OptionError
from vivface.media import VideoReader

ONE = 1 << 16  # 1.0 in a display matrix
MATRICES = {  # name: matrix, and what it does to an upright array
    "upright": ((ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30), lambda a: a),
    "90 clockwise": ((0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30), lambda a: np.rot90(a, -1)),
    "180": ((-ONE, 0, 0, 0, -ONE, 0, 0, 0, 1 << 30), lambda a: np.rot90(a, 2)),
    "90 counterclockwise": ((0, -ONE, 0, ONE, 0, 0, 0, 0, 1 << 30), lambda a: np.rot90(a, 1)),
    "mirrored": ((-ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30), lambda a: a[:, ::-1]),
    "upside down mirrored": ((ONE, 0, 0, 0, -ONE, 0, 0, 0, 1 << 30), lambda a: a[::-1]),
    "transposed": ((0, ONE, 0, ONE, 0, 0, 0, 0, 1 << 30), lambda a: a.swapaxes(0, 1)),
}


def quadrants(width: int = 64, height: int = 48) -> np.ndarray:
    """Four grey levels, so that each turn and mirroring is told apart, uint8 (height, width, 3)."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, width // 2 :] = 80
    image[height // 2 :, : width // 2] = 160
    image[height // 2 :, width // 2 :] = 240
    return image


def stored_times(path: Path) -> list[Fraction]:
    """Presentation times of a clip's packets, which need no decoder."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return sorted(packet.pts * stream.time_base for packet in container.demux(stream) if packet.size)


class TestHardClips:
    @pytest.mark.parametrize(
        ("name", "frames", "size", "fps"),
        [
            ("no_face.mp4", 20, (320, 320), 30),
            ("rotated90.mp4", 75, (240, 320), 30),
            ("vfr.mp4", 46, (320, 320), Fraction(736000, 40933)),
            ("fps_5.mp4", 13, (320, 320), 5),
            ("one_frame.mp4", 1, (320, 320), 30),
            ("face_gap.mp4", 75, (320, 320), 30),
            ("odd_size_yuv444.mp4", 30, (301, 321), 30),
        ],
    )
    def test_read(self, hard_dir: Path, name: str, frames: int, size: tuple[int, int], fps: Fraction):
        with VideoReader(hard_dir / name) as video:
            assert (video.size, video.fps, video.frames_estimate) == (size, fps, frames)
            read = list(video)
        assert [frame.time for frame in read] == stored_times(hard_dir / name)
        assert all(frame.image.shape == (size[1], size[0], 3) and frame.image.dtype == np.uint8 for frame in read)
        assert sum(frame.duration for frame in read) == video.duration
        assert video.warnings == []

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("truncated_no_index.mp4", "cut off"),
            ("audio_only.mp4", "no video stream"),
            ("zero_byte.mp4", "empty"),
            ("text.mp4", "not a video"),
            ("none.mp4", "no such file"),
            (".", "folder"),
            ("gray.png", "still picture"),
            ("cmyk.jpg", "still picture"),
            ("text.jpg", "not accepted"),
        ],
    )
    def test_refused(self, hard_dir: Path, name: str, reason: str):
        with pytest.raises(MediaError, match=reason) as caught:
            VideoReader(hard_dir / name)
        assert (hard_dir / name).name in str(caught.value)
        assert str(caught.value).count(". ") == 0  # one sentence

    def test_partly_truncated(self, hard_dir: Path):
        with VideoReader(hard_dir / "truncated_partial.mp4") as video:
            read = list(video)
            assert len(read) == 41
            assert len(video.warnings) == 1
            assert "truncated_partial.mp4" in video.warnings[0] and "41 frames" in video.warnings[0]
            assert read[-1].duration == Fraction(1, 25)

    def test_a_cut_without_an_error_is_noticed(self, make_clip, tmp_path: Path):
        data = make_clip("whole.webm", video="libvpx", frames=75).read_bytes()
        (tmp_path / "cut.webm").write_bytes(data[: len(data) // 2])
        with VideoReader(tmp_path / "cut.webm") as video:
            assert 0 < len(list(video)) < 60
            assert any("may be cut off" in warning for warning in video.warnings)
        with VideoReader(tmp_path / "whole.webm") as video:
            assert len(list(video)) == 75 and video.warnings == []

    def test_rotated_clip_is_upright(self, hard_dir: Path):
        with av.open(str(hard_dir / "rotated90.mp4")) as container:
            stored = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)
        image = next(iter(VideoReader(hard_dir / "rotated90.mp4"))).image
        assert np.abs(image - np.rot90(stored, -1)).mean() < 3
        assert np.abs(image - np.rot90(stored, 1)).mean() > 10


def test_modern_pictures_are_not_videos(tmp_path: Path):
    from PIL import Image

    for name in ("a.avif", "a.webp", "a.bmp", "a.tiff"):  # AVIF has the boxes of an MP4
        Image.fromarray(quadrants()).save(tmp_path / name)
        with pytest.raises(MediaError, match="still picture"):
            VideoReader(tmp_path / name)


class TestTimes:
    def test_ntsc(self, make_clip):
        times = [Fraction(1001 * index, 30000) for index in range(40)]
        path = make_clip("ntsc.mp4", fps=Fraction(30000, 1001), times=times, frames=40)
        with VideoReader(path) as video:
            assert video.fps == Fraction(30000, 1001)
            assert [frame.time for frame in video] == times

    def test_variable_rate(self, make_clip):
        times = [Fraction(ms, 1000) for ms in (0, 20, 53, 103, 223, 243, 1000, 1001)]
        with VideoReader(make_clip("vfr.mp4", times=times, frames=len(times))) as video:
            read = list(video)
        assert [frame.time for frame in read] == times
        assert [frame.duration for frame in read[:-1]] == [b - a for a, b in zip(times, times[1:], strict=False)]

    def test_a_late_start_is_kept(self, make_clip):
        times = [Fraction(1, 2) + Fraction(index, 25) for index in range(10)]
        with VideoReader(make_clip("late.mp4", times=times, frames=10)) as video:
            assert [frame.time for frame in video] == times

    def test_the_clock_of_a_transport_stream_starts_anywhere(self, make_clip):
        times = [10 + Fraction(index, 25) for index in range(20)]
        with VideoReader(make_clip("clip.ts", times=times, frames=20)) as video:
            assert [frame.time for frame in video] == [time - 10 for time in times]
            assert video.duration == Fraction(20, 25)

    @pytest.mark.parametrize(
        "name", ["clip.mp4", "clip.mkv", "clip.webm", "clip.avi", "clip.ts", "clip.mpg", "clip.flv"]
    )
    def test_a_part(self, make_clip, name: str):
        video = {"webm": "libvpx", "avi": "mpeg4", "ts": "mpeg2video", "mpg": "mpeg2video"}.get(name[5:], "libx264")
        path = make_clip(name, video=video)
        with VideoReader(path) as reader:
            whole = list(reader)
        with VideoReader(path, start=Fraction(3, 5), duration=Fraction(4, 5)) as reader:
            part = list(reader)
            assert reader.duration == Fraction(4, 5)
            assert reader.frames_estimate == 20
        assert part[0].time == 0
        assert reader.start == next(frame.time for frame in whole if frame.time >= Fraction(3, 5))
        expected = [f for f in whole if reader.start <= f.time < reader.start + Fraction(4, 5)]
        assert [frame.time for frame in part] == [frame.time - reader.start for frame in expected]
        assert all(np.array_equal(a.image, b.image) for a, b in zip(part, expected, strict=True))

    def test_a_part_that_is_not_there(self, make_clip):
        path = make_clip("clip.mp4", frames=10)
        with pytest.raises(MediaError, match="from 2 seconds"):
            VideoReader(path, start=2)
        with VideoReader(path, duration=100) as video:
            assert (video.frames_estimate, len(list(video))) == (10, 10)

    @pytest.mark.parametrize("options", [{"start": -1}, {"duration": 0}, {"duration": -1}])
    def test_options_out_of_range(self, make_clip, options: dict):
        with pytest.raises(OptionError, match=next(iter(options))):
            VideoReader(make_clip("clip.mp4", frames=2), **options)


class TestPictures:
    @pytest.mark.parametrize("name", MATRICES)
    def test_display_matrix(self, make_clip, name: str):
        matrix, apply = MATRICES[name]
        path = make_clip("turned.mp4", frames=2, images=[quadrants()] * 2, matrix=matrix)
        expected = apply(quadrants()).astype(int)
        with VideoReader(path) as video:
            image = next(iter(video)).image
            assert video.size == expected.shape[1::-1]
        assert image.flags.c_contiguous
        assert np.abs(image - expected).mean() < 4

    def test_nonsense_aspect_is_ignored(self, make_clip):
        with VideoReader(make_clip("wide.mp4", frames=2, aspect=Fraction(200, 1))) as video:
            assert video.size == (64, 48)

    def test_pixels_become_square(self, make_clip):
        path = make_clip("anamorphic.mp4", frames=2, aspect=Fraction(3, 2))
        with VideoReader(path) as video:
            assert video.size == (96, 48)
            assert next(iter(video)).image.shape == (48, 96, 3)

    @pytest.mark.parametrize(
        ("pixels", "codec", "name"),
        [
            ("yuv420p", "libx264", "a.mp4"),
            ("yuv422p", "libx264", "a.mp4"),
            ("yuv444p", "libx264", "a.mp4"),
            ("yuvj420p", "libx264", "a.mp4"),
            ("yuv420p10le", "libx264", "a.mp4"),
            ("gray", "ffv1", "a.mkv"),
            ("gray16le", "ffv1", "a.mkv"),
            ("bgra", "ffv1", "a.mkv"),
            ("gbrp10le", "ffv1", "a.mkv"),
            ("yuva420p", "ffv1", "a.mkv"),
            ("yuvj422p", "mjpeg", "a.avi"),
            ("yuv420p", "libvpx-vp9", "a.webm"),
            ("rgba", "apng", "a.apng"),
            ("rgb8", "gif", "a.gif"),
        ],
    )
    def test_pixel_formats(self, make_clip, pixels: str, codec: str, name: str):
        levels = [0, 60, 128, 200, 252]
        images = [np.full((48, 64, 3), level, np.uint8) for level in levels]
        with VideoReader(make_clip(name, codec, pixels=pixels, frames=5, images=images)) as video:
            means = [frame.image.mean() for frame in video]
        assert np.abs(np.array(means) - levels).max() < (12 if pixels == "rgb8" else 4)

    @pytest.mark.parametrize(
        ("height", "tags", "standard"),
        [
            (48, {}, "601"),
            (720, {}, "709"),
            (48, {"colorspace": 1}, "709"),
            (720, {"colorspace": 5}, "601"),
            (48, {"colorspace": 9}, "2020"),
        ],
    )
    def test_matrix_follows_the_tags(self, make_clip, height: int, tags: dict, standard: str):
        kr, kb = {"601": (0.299, 0.114), "709": (0.2126, 0.0722), "2020": (0.2627, 0.0593)}[standard]
        red, green, blue = colour = (200, 60, 30)
        luma = kr * red + (1 - kr - kb) * green + kb * blue
        codes = [
            16 + 219 / 255 * luma,
            128 + 112 / 255 * (blue - luma) / (1 - kb),
            128 + 112 / 255 * (red - luma) / (1 - kr),
        ]
        path = make_clip("a.mp4", frames=2, size=(64, height), codes=codes, tags=tags)
        image = next(iter(VideoReader(path))).image
        assert np.abs(image.reshape(-1, 3).mean(0) - colour).max() < 4

    def test_transparent_parts_become_white(self, make_clip, tmp_path: Path):
        from PIL import Image

        frames = [Image.new("RGBA", (32, 32), (0, 255, 0, 0)) for _ in range(3)]
        for index, frame in enumerate(frames):
            frame.paste((200, 0, 0, 255), (8, 8, 20 + index, 24))
        frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=100, disposal=2)
        with VideoReader(tmp_path / "a.gif") as video:
            read = list(video)
        assert [frame.time for frame in read] == [0, Fraction(1, 10), Fraction(1, 5)]
        assert (read[0].image[0, 0] == 255).all()
        assert np.abs(read[0].image[16, 16].astype(int) - (200, 0, 0)).max() < 8

    def test_a_change_of_size_is_scaled(self, make_clip, tmp_path: Path):
        small, large = make_clip("a.ts", size=(64, 48), frames=5), make_clip("b.ts", size=(128, 96), frames=5)
        joined = tmp_path / "joined.ts"
        joined.write_bytes(small.read_bytes() + large.read_bytes())
        with VideoReader(joined) as video:
            shapes = {frame.image.shape for frame in video}
            assert shapes == {(48, 64, 3)}
            assert any("size changes" in warning for warning in video.warnings)

    def test_hdr_is_said(self, make_clip):
        path = make_clip("hdr.mp4", frames=2, pixels="yuv420p10le", tags={"color_trc": 16, "colorspace": 9})
        with VideoReader(path) as video:
            list(video)
            assert any("HDR" in warning for warning in video.warnings)


class TestLaziness:
    def test_frames_are_decoded_when_asked_for(self, make_clip, monkeypatch: pytest.MonkeyPatch):
        import vivface.media.video as module

        converted = []

        class Counting(module.FrameDecoder):
            def __call__(self, *arguments):
                converted.append(1)
                return super().__call__(*arguments)

        monkeypatch.setattr(module, "FrameDecoder", Counting)
        with VideoReader(make_clip("clip.mp4")) as video:
            converted.clear()
            frames = iter(video)
            assert len(converted) == 0
            for count in range(1, 6):
                next(frames)
                assert len(converted) <= count + 1  # one ahead, to know how long a frame is shown

    def test_each_pass_starts_anew(self, make_clip):
        with VideoReader(make_clip("clip.mp4", frames=10)) as video:
            partly = iter(video)
            next(partly)
            first, second = list(video), list(video)
            assert next(partly).time == Fraction(1, 25)  # two passes do not disturb each other
        assert [frame.time for frame in first] == [frame.time for frame in second]
        assert np.array_equal(first[-1].image, second[-1].image)

    def test_files_are_closed(self, make_clip):
        path = make_clip("clip.mp4")

        def open_files() -> int:
            return sum(file.path == str(path) for file in psutil.Process().open_files())

        video = VideoReader(path)
        assert open_files() == 0
        with video:
            frames = iter(video)
            next(frames)
            assert open_files() == 1
        assert list(frames) == []  # closed with the reader
        assert open_files() == 0
        with pytest.raises(ValueError, match="closed"):
            iter(video)  # noqa: B018
            next(iter(video))

    def test_memory_does_not_grow(self, make_clip):
        path = make_clip("long.mp4", frames=160, size=(640, 480))
        process = psutil.Process()
        used = []
        with VideoReader(path) as video:
            for _ in video:
                used.append(process.memory_info().rss)
        # From frame 40 on 120 frames of 0.9 MB were read.
        assert max(used) - used[40] < 20e6


class TestAttacks:
    def playlist(self, clip: Path, kind: str) -> str:
        return {
            "hls": f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:4\n#EXTINF:2,\n{clip.name}\n#EXT-X-ENDLIST\n",
            "hls absolute": f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:2,\nfile://{clip}\n#EXT-X-ENDLIST\n",
            "concat": f"ffconcat version 1.0\nfile {clip.name}\n",
            "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:'
            'isoff-on-demand:2011" type="static"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" '
            f'bandwidth="1000"><BaseURL>{clip.name}</BaseURL></Representation></AdaptationSet></Period></MPD>',
            "svg": '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9">'
            '<image href="file:///etc/hostname"/></svg>',
            "asx": f'<asx version="3.0"><entry><ref href="{clip}"/></entry></asx>',
            "smil": f'<smil><body><video src="{clip}"/></body></smil>',
            "subtitles": "1\n00:00:00,000 --> 00:00:01,000\nhello\n",
        }[kind]

    @pytest.mark.parametrize("kind", ["hls", "hls absolute", "concat", "dash", "svg", "asx", "smil", "subtitles"])
    @pytest.mark.parametrize("ending", [".mp4", ".m3u8", ".ts", ".mpd", ".gif"])
    def test_playlists_are_refused(self, make_clip, tmp_path: Path, kind: str, ending: str):
        clip = make_clip("target.ts", video="mpeg2video", frames=10)
        attack = tmp_path / f"attack{ending}"
        attack.write_text(self.playlist(clip, kind))
        with pytest.raises(MediaError):
            VideoReader(attack)

    def test_the_attacks_are_real(self, make_clip, tmp_path: Path):
        """FFmpeg itself follows these playlists, so the tests above would see it if ours did."""
        clip = make_clip("target.ts", video="mpeg2video", frames=10)
        for kind, ending in (("hls", ".m3u8"), ("concat", ".mp4")):
            attack = tmp_path / f"attack{ending}"
            attack.write_text(self.playlist(clip, kind))
            with av.open(str(attack)) as container:
                assert len(list(container.decode(video=0))) == 10

    @pytest.mark.parametrize(
        "name",
        [
            "concat:a|b.mp4",
            "http:a.mp4",
            "pipe:0",
            "image%03d.mp4",
            'it\'s "a" clip.mp4',
            "ein schöner 映像 🙂.mp4",
            "-i.mp4",
        ],
    )
    def test_names_are_only_names(self, make_clip, tmp_path: Path, name: str):
        target = tmp_path / name
        make_clip("plain.mp4", frames=3).rename(target)
        for path in (target, str(target)):
            with VideoReader(path) as video:
                assert len(list(video)) == 3

    def test_names_that_are_not_utf8(self, make_clip, tmp_path: Path):
        import os

        target = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4"))
        make_clip("plain.mp4", frames=3).rename(target)
        with VideoReader(target) as video:
            assert len(list(video)) == 3

    def test_addresses_are_not_fetched(self):
        for address in ("http://127.0.0.1:9/a.mp4", "rtsp://127.0.0.1:9/a", "udp://127.0.0.1:9"):
            with pytest.raises(MediaError, match="no such file"):
                VideoReader(address)

    def test_too_many_pixels(self, make_clip):
        path = make_clip("clip.mp4", frames=2)
        with pytest.raises(MediaError, match="64 x 48"):
            VideoReader(path, max_pixels=64 * 48 - 1)
        with VideoReader(path, max_pixels=64 * 48) as video:
            assert len(list(video)) == 2

    def test_a_declared_size_is_not_trusted(self, make_clip, tmp_path: Path):
        """An MP4 whose header says 60000 x 60000 is refused, and not by running out of memory."""
        data = make_clip("clip.mp4", frames=2).read_bytes()
        at = data.index(b"avc1", data.index(b"stsd")) + 4 + 24
        assert struct.unpack(">HH", data[at : at + 4]) == (64, 48)
        path = tmp_path / "huge.mp4"
        path.write_bytes(data[:at] + struct.pack(">HH", 60000, 60000) + data[at + 4 :])
        try:
            with VideoReader(path) as video:
                assert max(video.size) < 100  # what the coded frames say
        except MediaError as error:
            assert "60000 x 60000" in str(error)

    @pytest.mark.parametrize("seed", range(20))
    def test_damaged_bytes_never_crash(self, make_clip, tmp_path: Path, seed: int):
        data = bytearray(make_clip("clip.mp4", frames=20, sound="aac").read_bytes())
        random = np.random.default_rng(seed)
        for at in random.integers(0, len(data), 40):
            data[at] = random.integers(0, 256)
        path = tmp_path / "damaged.mp4"
        path.write_bytes(data)
        try:
            with VideoReader(path) as video:
                times = [frame.time for frame in video]
            assert times == sorted(set(times))
        except MediaError as error:
            assert "damaged.mp4" in str(error)


def test_matches_another_decoder(media_dir: Path):
    """OpenCV, which has its own scaler calls, sees the same pictures."""
    path = media_dir / "driving" / "turning.mp4"
    capture = cv2.VideoCapture(str(path))
    with VideoReader(path) as video:
        for index, frame in zip(range(41), video, strict=False):
            other = capture.read()[1][..., ::-1]
            if index % 20 == 0:
                assert np.abs(frame.image.astype(int) - other).mean() < 3
