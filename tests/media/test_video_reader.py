"""Reading videos: upright frames with exact times, one at a time, from files of any origin."""

import struct
from fractions import Fraction
from itertools import islice
from pathlib import Path
from time import process_time

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
            ("gray.png", "still image"),
            ("cmyk.jpg", "still image"),
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


def test_modern_images_are_not_videos(tmp_path: Path):
    from PIL import Image

    for name in ("a.avif", "a.webp", "a.bmp", "a.tiff"):  # AVIF has the boxes of an MP4
        Image.fromarray(quadrants()).save(tmp_path / name)
        with pytest.raises(MediaError, match="still image"):
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

    @pytest.mark.parametrize(
        "options", [{"start": -1}, {"duration": 0}, {"duration": -1}, {"start": float("nan")}, {"max_frames": 0}]
    )
    def test_options_out_of_range(self, make_clip, options: dict):
        with pytest.raises(OptionError, match=next(iter(options))):
            VideoReader(make_clip("clip.mp4", frames=2), **options)

    def test_a_float_means_the_decimal_number(self, make_clip):
        with VideoReader(make_clip("clip.mp4"), start=0.2, duration=0.6) as video:  # both are not exact in binary
            assert (video.start, video.duration) == (Fraction(1, 5), Fraction(3, 5))
            assert len(list(video)) == video.frames_estimate == 15


class TestLimits:
    def test_most_frames(self, make_clip):
        path = make_clip("clip.mp4")
        with VideoReader(path, max_frames=7) as video:
            assert video.frames_estimate == len(list(video)) == 7
            assert len(video.warnings) == 1 and "first 7 frames" in video.warnings[0]
        with VideoReader(path, max_frames=50) as video:
            assert len(list(video)) == 50 and video.warnings == []
        with VideoReader(path, duration=Fraction(1, 5), max_frames=5) as video:
            assert len(list(video)) == 5 and video.warnings == []  # the duration cut it, as was asked

    def test_a_header_that_declares_too_little(self, make_clip, tmp_path: Path):
        """A long Matroska whose header says 1 s."""
        data = make_clip("long.mkv", video="mpeg4", frames=20 * 25).read_bytes()
        at = data.index(bytes.fromhex("448988"))  # the element Duration: 8 bytes, milliseconds
        assert struct.unpack(">d", data[at + 3 : at + 11]) == (20_000.0,)
        path = tmp_path / "forged.mkv"
        path.write_bytes(data[: at + 3] + struct.pack(">d", 1000.0) + data[at + 11 :])
        with VideoReader(path, duration=2) as video:
            assert len(list(video)) == 50
        with VideoReader(path, max_frames=60) as video:
            assert len(list(video)) == 60
        with VideoReader(path) as video:
            assert len(list(video)) == 500

    def test_frames_that_do_not_advance_in_time(self, make_clip):
        times = [Fraction(index, 25_000) for index in range(200)]
        path = make_clip("dense.mp4", times=times, frames=200)
        with VideoReader(path, duration=1, max_frames=50) as video:
            assert len(list(video)) == 50


class TestImages:
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


class TestLaziness:
    def test_frames_are_decoded_when_asked_for(self, make_clip):
        path = make_clip("long.mp4", frames=160, size=(640, 480))

        def seconds(frames: int | None) -> float:
            began = process_time()
            with VideoReader(path) as video:
                assert len(list(islice(video, frames))) == (frames or 160)
            return process_time() - began

        seconds(1)
        assert seconds(1) < 0.2 * seconds(None)

    def test_the_first_pass_goes_on_where_the_constructor_was(self, make_clip):
        video = VideoReader(make_clip("clip.mp4", frames=10))
        video.path.unlink()  # what is open can still be read, what would be opened again cannot
        assert len(list(video)) == 10
        with pytest.raises(MediaError):
            next(iter(video))

    def test_each_pass_starts_from_the_first_frame(self, make_clip):
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
        assert open_files() == 1
        frames = iter(video)
        next(frames)
        assert open_files() == 1  # the same
        again = iter(video)
        next(again)
        assert open_files() == 2
        video.close()
        assert list(frames) == list(again) == []
        assert open_files() == 0
        with pytest.raises(ValueError, match="closed"):
            next(iter(video))

    def test_a_file_is_closed_without_having_been_read(self, make_clip):
        path = make_clip("clip.mp4")

        def open_files() -> int:
            return sum(file.path == str(path) for file in psutil.Process().open_files())

        with VideoReader(path):
            assert open_files() == 1
        assert open_files() == 0
        dropped = VideoReader(path)
        del dropped
        assert open_files() == 0
        with pytest.raises(MediaError):
            VideoReader(path, start=100)
        assert open_files() == 0

    def test_memory_does_not_grow(self, make_clip):
        path = make_clip("long.mp4", frames=160, size=(640, 480))
        process = psutil.Process()
        used = []
        with VideoReader(path) as video:
            for _ in video:
                used.append(process.memory_info().rss)
        # From frame 40 on 120 frames of 0.9 MB were read.
        assert max(used) - used[40] < 20e6


def test_matches_another_decoder(media_dir: Path):
    """OpenCV, which has its own scaler calls, sees the same images."""
    path = media_dir / "driving" / "turning.mp4"
    capture = cv2.VideoCapture(str(path))
    with VideoReader(path) as video:
        for index, frame in zip(range(41), video, strict=False):
            other = capture.read()[1][..., ::-1]
            if index % 20 == 0:
                assert np.abs(frame.image.astype(int) - other).mean() < 3
