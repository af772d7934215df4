"""Registration to key frames: a still head gets a still square, whatever the landmarks say; and regions."""

import cv2
import numpy as np
import pytest

from tests.clips import portrait
from vivface.faces.alignment import ffhq_quad, quad_center, quad_size
from vivface.faces.mesh_backend import MeshBackend
from vivface.faces.regions import ATTRIBUTE_REGIONS, attribute_maps
from vivface.faces.registration import KeyFrameRegistration


@pytest.fixture(scope="module")
def face():
    """Picture and landmarks."""
    image = portrait()
    return image, MeshBackend().detect(image)[0].landmarks


def spread(quads: list[np.ndarray]) -> float:
    """How much corners of squares tremble, in sides."""
    return float(np.stack(quads).std(0).max() / quad_size(quads[0]))


def test_a_still_head_keeps_its_square(face):
    """Landmarks tremble and the mouth moves; the head does not."""
    image, landmarks = face
    random, registration = np.random.default_rng(0), KeyFrameRegistration()
    raw, registered = [], []
    for number in range(12):
        frame = image.copy()
        mouth = (landmarks[55:60].mean(0) + (0, 4)).astype(int)  # the lower lip
        cv2.ellipse(frame, mouth.tolist(), (10, 2 + number // 2), 0, 0, 360, (40, 10, 10), -1)  # speaks
        seen = landmarks + random.normal(0, 1.5, landmarks.shape)
        raw.append(ffhq_quad(seen))
        registered.append(registration.update(frame, raw[-1], seen))
    assert registration.key_frames == 1
    assert spread(raw) > 0.01
    assert spread(registered) < 0.3 * spread(raw)


def test_a_moving_head_is_followed(face):
    image, landmarks = face
    registration = KeyFrameRegistration()
    first = registration.update(image, ffhq_quad(landmarks), landmarks)
    matrix = cv2.getRotationMatrix2D(quad_center(first).tolist(), 6.0, 1.05)
    matrix[:, 2] += (9, -5)
    moved = cv2.warpAffine(image, matrix, image.shape[1::-1], borderMode=cv2.BORDER_REFLECT)
    expected = first @ matrix[:, :2].T + matrix[:, 2]
    errors = []
    for seed in range(4):
        noise = np.random.default_rng(seed).normal(0, 1.0, landmarks.shape)
        points = landmarks @ matrix[:, :2].T + matrix[:, 2] + noise
        found = registration.update(moved, ffhq_quad(points), points)
        errors.append([np.abs(quad - expected).max() / quad_size(first) for quad in (found, ffhq_quad(points))])
    assert registration.key_frames == 1
    registered, raw = np.mean(errors, axis=0)
    assert registered < 0.012 and registered < 0.6 * raw


def test_another_view_is_a_new_key_frame(face):
    image, landmarks = face
    registration = KeyFrameRegistration()
    registration.update(image, ffhq_quad(landmarks), landmarks)
    mirrored = np.ascontiguousarray(image[::-1])
    quad = ffhq_quad(landmarks)
    np.testing.assert_array_equal(registration.update(mirrored, quad, landmarks), quad)
    assert registration.key_frames == 2
    registration.reset()
    registration.update(mirrored, quad, landmarks)
    assert registration.key_frames == 3


def test_attribute_maps(face):
    image, landmarks = face
    quad = ffhq_quad(landmarks)
    fractions = (landmarks - quad[0]) / quad_size(quad)
    maps = dict(zip(("face", *ATTRIBUTE_REGIONS), attribute_maps(fractions, 128), strict=True))
    points = np.clip((fractions * 128).astype(int), 0, 127)

    def at(name: str, *numbers: int) -> float:
        x, y = points[list(numbers)].mean(0).astype(int)
        return float(maps[name][y, x])

    assert at("mouth", 62, 66) > 0.9 and at("jaw", 62, 66) < 0.5  # lips are no jaw
    assert at("jaw", 8, 57) > 0.5
    assert at("eyes", 36, 39) > 0.9 and at("gaze", 36, 39) > 0.4 > at("gaze", 36) and at("eyes", 36) > 0.5
    assert at("brows", 19) > 0.5 and at("brows", 30) == 0 and at("face", 30) > 0.9
    assert all(0 <= m.min() and m.max() <= 1 and m.shape == (128, 128) for m in maps.values())
