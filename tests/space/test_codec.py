"""The codec's share of the page: encode, decode, puppeteer, and what is refused."""

import shutil
from functools import partial
from pathlib import Path

import gradio as gr
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from tests.clips import write_face_clip
from tests.tiny import make_tiny_pipeline
from tests.tiny_codec import make_tiny_codec
from vivface.errors import MediaError, OptionError
from vivface.media import VideoReader
from vivface.pipelines.codec import ExpressiveCodecPipeline
from vivface.reenactment.coded_video import CodedVideo
from vivface.space.service import ReenactmentService, new_visitor


@pytest.fixture(scope="module")
def service() -> ReenactmentService:
    codec = make_tiny_codec()
    return ReenactmentService(make_tiny_pipeline(), codec=codec)


@pytest.fixture(scope="module")
def encoded(service, face_clip, tmp_path_factory) -> tuple[Path, Path, str]:
    """Coded file, decoded video, words."""
    folder = tmp_path_factory.mktemp("encoded")
    for update in service.encode_clip(new_visitor(), str(face_clip), "components"):
        if update.result is not None:
            copies = [Path(shutil.copy2(path, folder)) for path in (update.result.coded, update.result.video)]
            return *copies, update.result.words
    raise AssertionError("no result")


def frames_of(updates) -> int:
    for update in updates:
        if update.result is not None:
            with VideoReader(update.result.video) as reader:
                return sum(1 for _ in reader)
    return 0


def test_encoding_tells_what_it_costs(encoded):
    coded, video, words = encoded
    assert len(CodedVideo.load(coded)) == 21
    assert "21 frames, 70 bytes a frame: 1,750 bytes a second" in words and "times as many" in words
    with VideoReader(video) as reader:
        assert sum(1 for _ in reader) == 21


def test_decoding_and_moving_a_portrait(service, encoded, portrait):
    coded = str(encoded[0])
    assert frames_of(service.decode_video(new_visitor(), coded)) == 21
    admitted = service.admit(str(portrait), True)
    assert frames_of(service.decode_video(new_visitor(), coded, admitted)) == 21


def test_a_key_picture_is_kept_where_it_is_asked_for(tmp_path):
    """The bundled codec, as a tiny generator of random weights draws no face that could move one."""
    codec = ExpressiveCodecPipeline.from_pretrained()
    codec.set_progress_bar_config(disable=True)
    codec.encode = partial(codec.encode, identity_steps=0)  # the fit takes a while
    service, clip = ReenactmentService(codec, codec=codec), write_face_clip(tmp_path / "clip.mp4", frames=3)
    made = [
        (CodedVideo.load(update.result.coded).key, VideoReader(update.result.video).size, update.result.words)
        for update in service.encode_clip(new_visitor(), str(clip), "components", key_picture=True)
        if update.result is not None
    ]  # files are gone after the run
    ((key, size, words),) = made
    assert len(key) > 500 and "(components, key picture)" in words
    assert size == (512, 512)  # a picture that moves; the generator's images have 128 pixels


class TestRefused:
    def test_nothing_chosen(self, service):
        with pytest.raises(OptionError, match="driving video first"):
            next(service.encode_clip(new_visitor(), None, "components"))
        with pytest.raises(OptionError, match="Encode a clip first"):
            next(service.decode_video(new_visitor(), None))

    def test_unknown_basis(self, service, face_clip):
        with pytest.raises(OptionError, match="expected components or channels"):
            next(service.encode_clip(new_visitor(), str(face_clip), "wavelets"))

    def test_no_coded_video(self, service, face_clip, tmp_path):
        with pytest.raises(MediaError, match="no coded video"):
            next(service.decode_video(new_visitor(), str(face_clip)))
        (tmp_path / "bad.vfc").write_bytes(b"nothing")
        with pytest.raises(MediaError, match="'bad.vfc' cannot be read as a coded video"):
            next(service.decode_video(new_visitor(), str(tmp_path / "bad.vfc")))

    def test_not_offered(self, face_clip):
        other = ReenactmentService(make_tiny_pipeline())
        with pytest.raises(OptionError, match="not offered"):
            next(other.encode_clip(new_visitor(), str(face_clip), "components"))


def test_page(server, face_clip):
    """The endpoints are there, and a clip goes through."""
    client = Client(server.url, verbose=False)
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert {"/encode_clip", "/decode_video"} <= set(endpoints)
    coded, _, words = client.predict(handle_file(str(face_clip)), "components", api_name="/encode_clip")
    assert len(CodedVideo.load(coded)) == 21 and "70 bytes a frame" in words


def test_key_pictures_are_asked_for_where_one_is_wanted(server, face_clip, monkeypatch):
    """Tab and endpoint ask the service for a key picture only where one is wanted."""
    client, demo, asked = Client(server.url, verbose=False), server.demo, []

    def encode_clip(visitor, clip, basis, key_picture):
        asked.append((basis, key_picture))
        raise OptionError("That is enough.")

    monkeypatch.setattr(demo.service, "encode_clip", encode_clip)
    for wanted in ({}, {"key_picture": True}):
        with pytest.raises(AppError, match="enough"):
            client.predict(handle_file(str(face_clip)), "components", **wanted, api_name="/encode_clip")
    switch = next(block for block in demo.blocks.values() if block.elem_id == "key-picture")
    (event,) = [event for event in demo.fns.values() if switch in event.inputs]
    values = {"clip": str(face_clip), "basis": "channels", "key-picture": True}
    assert switch.value is False and event.inputs[-1] is switch
    with pytest.raises(gr.Error, match="enough"):
        list(event.fn(*(values.get(block.elem_id, "visitor") for block in event.inputs)))
    assert asked == [("components", False), ("components", True), ("channels", True)]
