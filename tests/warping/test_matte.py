"""A photograph in two layers: person and background."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vivface.warping.matte import separate

PORTRAIT = Path(__file__).parents[2] / "examples" / "portrait.png"
FACE = np.array([[0.4, 0.4], [0.6, 0.4], [0.6, 0.65], [0.5, 0.7], [0.4, 0.65]])


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return np.asarray(Image.open(PORTRAIT).convert("RGB").resize((256, 256)))


@pytest.fixture(scope="module")
def layers(portrait):
    return separate(portrait, FACE)


def test_the_face_is_opaque_and_the_corner_is_clear(layers):
    opacity = layers.person[..., 3]
    assert opacity[115:160, 115:140].min() == 255
    assert opacity[2:20, 2:20].max() < 8


def test_the_layers_blended_are_the_photograph(portrait, layers):
    share = layers.person[..., 3:].astype(float) / 255
    again = layers.person[..., :3] * share + layers.plate * (1 - share)
    assert np.abs(again - portrait).mean() < 2
    far = layers.person[..., 3] == 0
    assert np.abs(again - portrait)[far].mean() < 2


def test_the_background_goes_on_behind_the_person(portrait, layers):
    """Nothing of the face shines through the plate: it lies between the colours of the background."""
    behind = layers.plate[100:160, 100:150].reshape(-1, 3).astype(float)
    known = portrait[layers.person[..., 3] == 0].astype(float)
    low, high = np.percentile(known, 1, axis=0) - 12, np.percentile(known, 99, axis=0) + 12
    assert ((behind > low) & (behind < high)).all(1).mean() > 0.98


def test_the_same_every_time(portrait, layers):
    again = separate(portrait, FACE)
    assert np.array_equal(again.person, layers.person) and np.array_equal(again.plate, layers.plate)


def test_what_does_not_look_like_a_person_stays_whole():
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    assert separate(noise, FACE) is None
