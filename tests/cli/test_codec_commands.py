"""`vivface encode`, `decode` and `puppeteer`: the whole way, what is printed, what is refused."""

import pytest
import torch

from tests.clips import read_sound_packets, read_times
from tests.tiny_codec import make_tiny_codec
from vivface.media import VideoReader
from vivface.reenactment.coded_video import CodedVideo


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("codec") / "tiny"
    make_tiny_codec().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def talk(checkpoint, face_clip, tmp_path_factory):
    """A coded clip with its sound beside it."""
    path = tmp_path_factory.mktemp("talk") / "talk.vfc"
    from vivface import load_pipeline

    load_pipeline(checkpoint).encode(face_clip, identity_steps=0).save(path)
    return path


def test_encode(run_cli, checkpoint, face_clip, tmp_path):
    output = tmp_path / "talk.vfc"
    status, out, err = run_cli(
        "encode", face_clip, "-o", output, "--checkpoint", checkpoint, "--identity-steps", 0, "--duration", 0.4
    )
    assert status == 0, err
    assert "10 frames" in out and "70 bytes a frame (1750 a second)" in out and "components" in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["talk.m4a", "talk.vfc"]
    coded = CodedVideo.load(output)
    assert len(coded) == 10 and torch.isfinite(coded.frames).all() and coded.sound == tmp_path / "talk.m4a"


def test_decode(run_cli, checkpoint, talk, face_clip, tmp_path):
    output = tmp_path / "again.mp4"
    status, out, err = run_cli("decode", talk, "-o", output, "--checkpoint", checkpoint)
    assert status == 0, err
    assert "21 frames" in out
    assert read_times(output) == read_times(face_clip)
    assert [data for _, data in read_sound_packets(output)] == [data for _, data in read_sound_packets(face_clip)]


def test_puppeteer(run_cli, checkpoint, talk, portrait, tmp_path):
    output = tmp_path / "puppet.mp4"
    status, out, err = run_cli(
        "puppeteer", portrait, talk, "-o", output, "--paste-back", "--relative", "--checkpoint", checkpoint
    )
    assert status == 0, err
    with VideoReader(output) as reader:
        assert reader.size == (512, 512) and sum(1 for _ in reader) == 21


class TestRefused:
    @pytest.mark.parametrize("command", ["decode", "puppeteer"])
    def test_no_coded_video(self, run_cli, portrait, face_clip, tmp_path, command):
        inputs = [face_clip] if command == "decode" else [portrait, face_clip]
        status, out, err = run_cli(command, *inputs, "-o", tmp_path / "out.mp4")
        assert status == 2 and out == "" and "cannot be read as a coded video" in err and "Traceback" not in err
        assert not list(tmp_path.iterdir())

    def test_wrong_output(self, run_cli, face_clip, tmp_path):
        status, _, err = run_cli("encode", face_clip, "-o", tmp_path / "talk.mp4")
        assert status == 2 and ".vfc" in err

    def test_another_checkpoint(self, run_cli, talk, tmp_path):
        status, _, err = run_cli("decode", talk, "-o", tmp_path / "out.mp4")
        assert status == 2 and "encode it with this" in err or "another checkpoint" in err
        assert not list(tmp_path.iterdir())
