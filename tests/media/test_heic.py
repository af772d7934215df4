"""HEIC, which phones write: named when it is refused, read where the extra `heic` is installed."""

import struct
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from vivface.errors import MediaError
from vivface.media import VideoReader, load_image

COLOUR = (200, 120, 60)


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def full(kind: bytes, *parts: bytes, version: int = 0, flags: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


@pytest.fixture
def heic(tmp_path: Path) -> Path:
    """A plain orange image of 64 x 64 pixels: one HEVC key frame in the boxes of ISO/IEC 23008-12."""
    video = tmp_path / "frame.mp4"
    with av.open(str(video), "w") as output:
        stream = output.add_stream("libx265", rate=25, options={"x265-params": "log-level=error:range=full:bframes=0"})
        stream.width = stream.height = 64
        stream.pix_fmt = "yuvj420p"
        frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), COLOUR, np.uint8), "rgb24").reformat(
            format="yuvj420p", dst_colorspace=5, dst_color_range=2
        )
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    data = video.read_bytes()
    at = data.index(b"hvcC") - 4
    decoder = data[at : at + struct.unpack(">I", data[at : at + 4])[0]]
    with av.open(str(video)) as container:
        frame = bytes(next(container.demux(video=0)))
    name = box(b"ftyp", b"heic", bytes(4), b"mif1heic")
    nclx = box(b"colr", b"nclx", struct.pack(">HHHB", 1, 13, 6, 0x80))
    properties = box(b"ipco", decoder, full(b"ispe", struct.pack(">II", 64, 64)), nclx)
    links = full(b"ipma", struct.pack(">IHB3B", 1, 1, 3, 0x81, 0x02, 0x03))

    def meta(offset: int) -> bytes:
        return full(
            b"meta",
            full(b"hdlr", bytes(4), b"pict", bytes(13)),
            full(b"pitm", struct.pack(">H", 1)),
            full(b"iloc", struct.pack(">BBHHHHII", 0x44, 0, 1, 1, 0, 1, offset, len(frame))),
            full(b"iinf", struct.pack(">H", 1), full(b"infe", struct.pack(">HH", 1, 0), b"hvc1", b"\0", version=2)),
            box(b"iprp", properties, links),
        )

    path = tmp_path / "photo.heic"
    path.write_bytes(name + meta(len(name) + len(meta(0)) + 8) + box(b"mdat", frame))
    return path


def test_read(heic: Path):
    pytest.importorskip("pi_heif")
    for source in (heic, open(heic, "rb")):
        image = load_image(source)
        assert image.shape == (64, 64, 3)
        assert np.abs(image.reshape(-1, 3).mean(0) - COLOUR).max() < 6
    with pytest.raises(MediaError, match="64 x 64"):
        load_image(heic, max_pixels=64 * 64 - 1)
    heic.write_bytes(heic.read_bytes()[:-200])
    with pytest.raises(MediaError, match="damaged"):
        load_image(heic)


def test_named_when_it_cannot_be_read(heic: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    for source in (heic, open(heic, "rb")):
        with pytest.raises(MediaError, match=r"photo.heic.*HEIC image.*JPEG or PNG.*vivface\[heic\]"):
            load_image(source)


def test_is_no_video(heic: Path):
    with pytest.raises(MediaError, match="HEIC image, and a video is needed"):
        VideoReader(heic)
