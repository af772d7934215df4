"""The sound of a clip in a file of its own, and back under a video, at its own time."""

from fractions import Fraction

import av
import numpy as np
import pytest

from tests.clips import read_sound_packets, write_face_clip, write_sound
from vivface.errors import MediaError
from vivface.media import VideoWriter
from vivface.media.sound import save_sound, sound_offset


def test_packets_are_copied(face_clip, tmp_path):
    assert save_sound(face_clip, tmp_path / "sound.m4a") == []
    ours, theirs = read_sound_packets(tmp_path / "sound.m4a"), read_sound_packets(face_clip)
    assert [data for _, data in ours] == [data for _, data in theirs]


def test_a_part(face_clip, tmp_path):
    save_sound(face_clip, tmp_path / "part.m4a", Fraction(2, 5), Fraction(1, 5))
    with av.open(str(tmp_path / "part.m4a")) as container:
        stream = container.streams.audio[0]
        assert 0.15 < float(stream.duration * stream.time_base) < 0.3


def test_sound_that_begins_late_stays_late(tmp_path):
    """Half a second of silence, then the tone: after the file in between it is still there."""
    frame = write_face_clip(tmp_path / "still.mp4", frames=25, size=64)
    with av.open(str(frame)) as video, av.open(str(write_sound(tmp_path / "tone.m4a", 0.4))) as tone:
        with av.open(str(tmp_path / "late.mp4"), "w") as output:
            streams = [output.add_stream_from_template(c.streams[0]) for c in (video, tone)]
            for packet in video.demux(video.streams[0]):
                if packet.size:
                    packet.stream = streams[0]
                    output.mux(packet)
            for packet in tone.demux(tone.streams[0]):
                if packet.size:
                    packet.pts += 22050
                    packet.dts += 22050
                    packet.stream = streams[1]
                    output.mux(packet)
    first = read_sound_packets(tmp_path / "late.mp4")[0][0]
    assert first > 0.4
    save_sound(tmp_path / "late.mp4", tmp_path / "sound.m4a")
    start = sound_offset(tmp_path / "sound.m4a")
    with VideoWriter(
        tmp_path / "again.mp4", (64, 64), 25, audio_from=tmp_path / "sound.m4a", audio_start=start
    ) as writer:
        for number in range(25):
            writer.write(np.zeros((64, 64, 3), np.uint8), Fraction(number, 25))
    assert abs(float(read_sound_packets(tmp_path / "again.mp4")[0][0] - first)) < 0.03


def test_no_sound_no_file(tmp_path):
    clip = write_face_clip(tmp_path / "silent.mp4", frames=3, size=64)
    assert save_sound(clip, tmp_path / "sound.m4a") == []
    assert not (tmp_path / "sound.m4a").exists()


def test_no_such_clip(tmp_path):
    with pytest.raises(MediaError):
        save_sound(tmp_path / "none.mp4", tmp_path / "sound.m4a")
