"""The media of `examples/`: what its README says about them."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from skimage.data import astronaut

from training.synthetic.make_examples import EXAMPLES, FRAMES, PORTRAITS, RATE, driving_motion, driving_sound
from training.synthetic.motion import CONTROLS, POSE_LIMITS
from vivface.faces.backends import get_backend
from vivface.media import VideoReader, is_marked_synthetic, load_image


@pytest.mark.parametrize("name", [*PORTRAITS, "astronaut.png"])
def test_portraits_show_one_face(name: str):
    picture = load_image(EXAMPLES / name)
    assert picture.shape == (512, 512, 3)
    assert len(get_backend("dlib").detect(picture)) == 1


def test_the_astronaut_is_the_public_domain_picture_and_not_called_synthetic():
    np.testing.assert_array_equal(load_image(EXAMPLES / "astronaut.png"), astronaut())
    assert not is_marked_synthetic(EXAMPLES / "astronaut.png")


@pytest.mark.parametrize("name", [*PORTRAITS, "driving.mp4"])
def test_rendered_media_are_marked(name: str):
    assert is_marked_synthetic(EXAMPLES / name)


def test_the_driving_clip_is_four_seconds_with_sound():
    with VideoReader(EXAMPLES / "driving.mp4") as video:
        assert video.size == (512, 512)
        assert video.fps == 25
        assert video.has_audio
        times = [frame.time for frame in video]
    assert times == [Fraction(n, 25) for n in range(FRAMES)]


def test_a_checkout_stays_small():
    assert sum(path.stat().st_size for path in Path(EXAMPLES).iterdir()) < 1_500_000


class TestDriver:
    def test_it_talks_turns_blinks_and_smiles(self):
        controls, pose = driving_motion()
        assert np.abs(pose[0]).max() == 0  # neutral at first, so that relative motion has a fair start
        assert pose[:, 0].min() < -15 and pose[:, 0].max() > 15
        assert (np.abs(pose) < POSE_LIMITS).all()
        highest = dict(zip(CONTROLS, controls.max(0), strict=True))
        assert highest["blink_left"] > 0.95 and highest["smile_left"] > 0.6 and highest["jaw_open"] > 0.5

    def test_the_sound_follows_the_mouth(self):
        sound, (controls, _) = driving_sound(), driving_motion()
        assert sound.dtype == np.float32 and len(sound) == 4 * RATE
        assert 0.25 < np.abs(sound).max() <= 0.3
        loudness = np.sqrt((sound.reshape(FRAMES, -1) ** 2).mean(1))
        speaking = controls[:, [CONTROLS.index(name) for name in ("jaw_open", "pucker", "stretch")]].sum(1)
        assert np.corrcoef(loudness, speaking)[0, 1] > 0.8
        assert loudness[speaking < 0.01].max() < 0.002
