"""What is drawn into a photograph without colours has none."""

import cv2
import numpy as np
import pytest

from vivface.warping.tones import Tones

RED = np.array([0.7, 0.2, 0.2])


def lightness() -> np.ndarray:
    """A picture of every lightness, with grain: float64 `(128, 128)` from 0 to 255."""
    ramp = np.linspace(10, 245, 128)
    return (ramp[None, :] + np.random.default_rng(0).normal(0, 3, (128, 128))).clip(0, 255)


def sepia(grey: np.ndarray) -> np.ndarray:
    return np.stack([grey**0.95 * 1.3, grey, 0.8 * grey], -1).clip(0, 255).astype(np.uint8)


def test_grey_photographs_get_grey():
    photo = np.repeat(lightness()[..., None], 3, 2).astype(np.uint8)
    tones = Tones(photo)
    assert tones.share == 1
    assert np.ptp(tones(RED)) < 0.01 and tones(RED)[0] == pytest.approx(RED @ [0.299, 0.587, 0.114], abs=0.01)


@pytest.mark.parametrize("quality", [100, 50])
def test_toned_photographs_get_their_tone(quality):
    encoded = cv2.imencode(".jpg", sepia(lightness())[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    tones = Tones(cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1])
    assert tones.share == 1
    level = RED @ [0.299, 0.587, 0.114]
    place = np.abs(sepia(lightness()) @ [0.299, 0.587, 0.114] / 255 - level).argmin()
    assert np.allclose(tones(RED), sepia(lightness()).reshape(-1, 3)[place] / 255, atol=0.04)


def test_colors_stay_where_there_are_colors():
    photo = np.repeat(lightness()[..., None], 3, 2).astype(np.uint8)
    photo[40:70, 40:70] = (200, 120, 90)
    assert Tones(photo)(RED) is RED
    assert Tones(np.full((64, 64, 3), (200, 150, 120), np.uint8))(RED) is RED  # too flat to tell
