"""Uploads are measured before anything is done with them."""

import asyncio
import json
import os
import struct
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from tests.clips import face_frame
from vivface.errors import MediaError, OptionError
from vivface.media import VideoReader, save_image
from vivface.space.limits import Limits
from vivface.space.uploads import BodyLimit, sweep


def write_huge_png(path: Path, side: int = 30_000) -> Path:
    """A PNG that declares `side` x `side` pixels and holds a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )
    return path


class TestImages:
    def test_within(self, tmp_path):
        save_image(tmp_path / "a.png", np.zeros((20, 30, 3), np.uint8))
        assert Limits().check_image(tmp_path / "a.png") == tmp_path / "a.png"

    def test_pixels(self, tmp_path):
        save_image(tmp_path / "a.png", np.zeros((20, 30, 3), np.uint8))
        with pytest.raises(MediaError, match="30 x 20 pixels"):
            Limits(image_pixels=599).check_image(tmp_path / "a.png")

    def test_a_picture_that_would_fill_the_memory(self, tmp_path):
        with pytest.raises(MediaError, match="million"):
            Limits().check_image(write_huge_png(tmp_path / "huge.png"))

    def test_bytes(self, tmp_path):
        (tmp_path / "a.png").write_bytes(bytes(2_000_001))
        with pytest.raises(MediaError, match="2 MB: images of at most 1 MB"):
            Limits(image_bytes=1_000_000).check_image(tmp_path / "a.png")


def open_all(limits: Limits, pipeline, path: Path, start: float = 0, duration: float = 0) -> int:
    """Frames that are read."""
    motion = limits.open_driving(pipeline, path, None, start, duration)
    return sum(len(batch.times) for batch in motion.batches())


def forge_duration(path: Path, seconds: float) -> None:
    """Overwrite the duration that a Matroska file declares."""
    data = bytearray(path.read_bytes())
    at = data.index(bytes.fromhex("448988"))  # Duration, eight bytes: a double in units of TimestampScale, 1 ms
    data[at + 3 : at + 11] = struct.pack(">d", seconds * 1000)
    path.write_bytes(data)


def write_long_matroska(path: Path, seconds: int = 30) -> Path:
    """A clip of the face in Matroska, five frames a second."""
    with av.open(str(path), "w", format="matroska") as output:
        stream = output.add_stream("libx264", rate=5, options={"preset": "ultrafast"})
        stream.width = stream.height = 192
        for number in range(5 * seconds):
            frame = av.VideoFrame.from_ndarray(face_frame(number / 5), format="rgb24")
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


class TestVideos:
    def test_seconds(self, tiny_pipeline, face_clip):
        limits = Limits(seconds=0.2)
        with pytest.raises(MediaError, match="choose a part"):
            open_all(limits, tiny_pipeline, face_clip)
        with pytest.raises(MediaError, match="choose a part"):
            open_all(limits, tiny_pipeline, face_clip, duration=30)
        assert open_all(limits, tiny_pipeline, face_clip, duration=0.2) == 5

    def test_a_forged_duration_does_not_help(self, tiny_pipeline, tmp_path):
        """30 seconds in a file that declares 1: no more is read than the limit allows."""
        clip = write_long_matroska(tmp_path / "forged.mkv")
        forge_duration(clip, 1.0)
        with VideoReader(clip) as reader:
            assert reader.duration == 1
        motion = Limits(seconds=2).open_driving(tiny_pipeline, clip, None, 0, 0)
        frames = sum(len(batch.times) for batch in motion.batches())
        assert 10 <= frames <= 13  # 2 seconds, and half a second of tolerance
        assert any("first 2 seconds" in warning for warning in motion.warnings)

    def test_frames(self, tiny_pipeline, face_clip):
        assert open_all(Limits(frames=7), tiny_pipeline, face_clip) == 7

    def test_pixels(self, tiny_pipeline, face_clip):
        with pytest.raises(MediaError):
            open_all(Limits(video_pixels=1000), tiny_pipeline, face_clip)
        with pytest.raises(MediaError):
            Limits(video_pixels=1000).open_video(face_clip)

    def test_bytes(self, tiny_pipeline, face_clip):
        with pytest.raises(MediaError, match="videos of at most 0 MB"):
            Limits(video_bytes=100).open_video(face_clip)
        with pytest.raises(MediaError, match="videos of at most 0 MB"):
            open_all(Limits(video_bytes=100), tiny_pipeline, face_clip)

    def test_start_behind_the_end(self, tiny_pipeline, face_clip):
        with pytest.raises((MediaError, OptionError)):
            open_all(Limits(), tiny_pipeline, face_clip, start=100)


class TestMotion:
    def test_a_pickle_is_not_opened(self, tmp_path):
        path = tmp_path / "motion.safetensors"
        path.write_bytes(b"\x80\x04\x95cos\nsystem\n")
        with pytest.raises(MediaError, match="no readable motion file"):
            Limits().open_motion_file(path)

    def test_other_endings(self, face_clip):
        with pytest.raises(MediaError, match="no motion file"):
            Limits().open_motion_file(face_clip)

    @pytest.mark.parametrize(("fps", "end"), [("1000/1", 4 * 12_800), ("25/1", 400 * 12_800)])
    def test_a_false_rate_does_not_help(self, motion_file, tmp_path, fps, end):
        """What counts is when the last frame ends, and how many frames there are."""
        forged = tmp_path / "motion.safetensors"
        with safe_open(motion_file, "pt") as file:
            info, codes = file.metadata(), file.get_tensor("codes")
        info |= {"fps": fps, "end": str(end), "time_base": "1/12800"}
        info["timestamps"] = json.dumps([512 * number for number in range(len(codes))])
        save_file({"codes": codes}, forged, metadata=info)
        with pytest.raises(MediaError, match="at most"):
            Limits(seconds=2, frames=100).open_motion_file(forged)
        with pytest.raises(MediaError, match="at most 20 frames"):
            Limits(seconds=1000, frames=20).open_motion_file(forged)


class TestBodyLimit:
    @staticmethod
    def post(size: int, headers: list, chunk: int = 1000) -> tuple[int, int]:
        """Status of a POST to an application that reads all, and bytes that it was given."""
        given, sent, left = 0, [], size

        async def application(scope, receive, send):
            nonlocal given
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise RuntimeError("the client is gone")
                given += len(message["body"])
                if not message["more_body"]:
                    break
            await send({"type": "http.response.start", "status": 200, "headers": []})

        async def receive():
            nonlocal left
            part = min(chunk, left)
            left -= part
            return {"type": "http.request", "body": bytes(part), "more_body": left > 0}

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "POST", "headers": headers}
        asyncio.run(BodyLimit(application, upload_bytes=10_000, other_bytes=3_000)(scope, receive, send))
        return sent[0]["status"], given

    def test_declared(self):
        assert self.post(0, [(b"content-length", b"3000000000")]) == (413, 0)

    def test_not_declared(self):
        status, given = self.post(50_000, [(b"transfer-encoding", b"chunked")])
        assert status == 413 and given <= 3_000

    def test_uploads_may_be_larger(self):
        assert self.post(9_000, [(b"content-type", b"multipart/form-data; boundary=x")]) == (200, 9_000)

    def test_the_rest_of_a_body_is_not_waited_for(self):
        """An application that answers early ends the connection; one that reads all keeps it."""

        def headers(reads: bool) -> list:
            sent = []

            async def application(scope, receive, send):
                if reads:
                    await receive()
                await send({"type": "http.response.start", "status": 413, "headers": []})

            async def receive():
                return {"type": "http.request", "body": b"x", "more_body": False}

            async def send(message):
                sent.append(message)

            scope = {"type": "http", "method": "POST", "headers": []}
            asyncio.run(BodyLimit(application, upload_bytes=10)(scope, receive, send))
            return sent[0]["headers"]

        assert headers(reads=False) == [(b"connection", b"close")]
        assert headers(reads=True) == []

    def test_a_length_that_is_no_number(self):
        assert self.post(10, [(b"content-length", b"-5")])[0] == 413


def test_unfinished_uploads_are_swept_away(tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("tmpold", "tmpnew", "kept.png", "a/tmpold"):
        (tmp_path / name).write_bytes(b"x")
        if not name.endswith("new"):
            os.utime(tmp_path / name, (0, 0))
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "kept.png", "tmpnew"]
    assert (tmp_path / "a" / "tmpold").exists()
    sweep(tmp_path / "missing")
