"""The photograph that follows a camera: every frame that leaves the page carries the mark."""

import base64
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from tests.clips import write_face_clip
from vivface.editing import AttributeDirections
from vivface.media import VideoReader
from vivface.provenance.detection import find_mark
from vivface.space.components import PAGE_MARK, RenderedImage
from vivface.space.live import LiveDriver


@pytest.fixture
def live(tiny_pipeline, portrait, monkeypatch) -> LiveDriver:
    monkeypatch.setattr(type(tiny_pipeline), "offers_detail", True)
    return LiveDriver(tiny_pipeline, tiny_pipeline.encode_identity(portrait, adapt=0), AttributeDirections(), {})


def sent(image: np.ndarray) -> np.ndarray:
    """A frame as the browser receives it."""
    url = RenderedImage().postprocess(image).url
    return np.asarray(Image.open(BytesIO(base64.b64decode(url.partition(",")[2]))))


def test_live_frames_are_marked(live, tmp_path):
    with VideoReader(write_face_clip(tmp_path / "clip.mp4", frames=6)) as reader:
        frames = [live.update(frame.image) for frame in reader]
    assert all(found and image.shape == (512, 512, 3) for image, found in frames)
    found = find_mark([sent(image) for image, _ in frames])
    assert found.found and found.identifier == PAGE_MARK
    assert not find_mark([image for image, _ in frames]).found
