"""The work behind the page with a system that sees portrait and driver in other squares and sizes than ViVFace."""

from pathlib import Path

import numpy as np
import pytest

from tests.tiny import make_tiny_hyperreenact
from vivface.editing import AttributeDirections
from vivface.media import VideoReader, load_image
from vivface.reenactment.portrait import Portrait
from vivface.space.options import Options
from vivface.space.service import ReenactmentService, new_visitor


@pytest.fixture(scope="module")
def service() -> ReenactmentService:
    return ReenactmentService(make_tiny_hyperreenact(), AttributeDirections())


@pytest.fixture(scope="module")
def visitor() -> str:
    return new_visitor()


def first_frame(clip: Path) -> np.ndarray:
    with VideoReader(clip) as reader:
        return next(iter(reader)).image


def test_faces_are_shown_as_the_networks_see_them(service, visitor, portrait, face_clip):
    crop, motion_crop = service.pipeline.config.crop, service.pipeline.motion_crop
    assert crop != motion_crop
    for found, image, mode in (
        (service.detect_portrait(visitor, str(portrait)), load_image(portrait), crop),
        (service.detect_driving(visitor, str(face_clip)), first_frame(face_clip), motion_crop),
    ):
        expected = Portrait(image, found.faces[0].landmarks, []).crop(mode, 256)
        np.testing.assert_array_equal(found.crop(0), expected)


def test_a_run(service, visitor, portrait, face_clip):
    made = 0
    for update in service.reenact(visitor, service.admit(str(portrait), True), str(face_clip), Options(duration=0.2)):
        if update.result is not None:
            with VideoReader(update.result.video) as reader:
                made = len(list(reader))
    assert made == 5


def test_live_agrees_with_the_video(service, visitor, portrait, face_clip):
    admitted = service.admit(str(portrait), True)
    live = service.live(visitor, admitted, 0, {}, refine=False, motion_mode="absolute")
    still, found = live.update(np.full((192, 192, 3), 128, np.uint8))
    identity = service.encode(visitor, admitted)
    assert not found and np.array_equal(still, service.renderer.edited_still(identity, {}, False))
    image, found = live.update(first_frame(face_clip))
    motion = service.pipeline.encode_motion(face_clip)
    expected = next(iter(service.pipeline.render(identity, motion, refine=False)))
    assert found and np.abs(image.astype(int) - expected.astype(int)).max() <= 2
    assert not np.array_equal(image, still)
