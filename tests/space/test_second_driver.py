"""Two drivers on the page: the head of one, the face of the other."""

from pathlib import Path

import numpy as np
import pytest

from tests.conftest import REPOSITORY
from vivface import MediaError, VivFacePipeline
from vivface.media.video import VideoReader
from vivface.space.options import Options
from vivface.space.service import ReenactmentService, new_visitor

PORTRAIT, CLIP = REPOSITORY / "examples" / "portrait.png", REPOSITORY / "examples" / "driving.mp4"


@pytest.fixture(scope="module")
def service() -> ReenactmentService:
    pipeline = VivFacePipeline.from_pretrained()
    return ReenactmentService(pipeline, pipeline.directions, examples=[PORTRAIT, CLIP])


def last_frame(service: ReenactmentService, co_driving: Path | None) -> np.ndarray:
    """Of a run; its files go with the iterator."""
    options = Options(start=1.0, duration=0.4, height=128)
    admitted = service.admit(str(PORTRAIT), True)
    for update in service.reenact(new_visitor(), admitted, str(CLIP), options, co_driving and str(co_driving)):
        if update.result is not None:
            with VideoReader(update.result.video) as video:
                return [frame.image for frame in video][-1]
    raise AssertionError("no result")


def test_the_head_follows_the_second_video(service, face_clip):
    alone, both = last_frame(service, None), last_frame(service, face_clip)
    assert np.abs(alone.astype(int) - both).mean() > 3
    assert len(service.results) == 1  # what a visitor's own file made is not kept


def test_a_second_video_that_is_none(service, tmp_path):
    (tmp_path / "words.mp4").write_text("no video")
    with pytest.raises(MediaError, match="words.mp4") as caught:
        last_frame(service, tmp_path / "words.mp4")
    assert str(tmp_path) not in str(caught.value)
