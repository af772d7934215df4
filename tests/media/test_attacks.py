"""Files that were made to do harm: playlists, names that are addresses, declared sizes, damaged bytes."""

import struct
from pathlib import Path

import av
import numpy as np
import pytest

from vivface.errors import MediaError
from vivface.media import VideoReader


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
        data = bytearray(make_clip("clip.mp4", frames=20, audio="aac").read_bytes())
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
