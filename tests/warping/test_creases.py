"""The lines beside shut lips go when the lips part, and nothing else of the photograph does."""

import cv2
import numpy as np
import pytest

from tests.warping.faces import face, points
from vivface.warping.creases import parted, without_creases
from vivface.warping.mesh import MOUTH_CORNERS, lip_loop

SIZE, MILLIMETRE = 512, 512 / 250


def skin_with_line(millimetres: float) -> tuple[np.ndarray, np.ndarray]:
    """A photograph of even skin whose mouth is a dark line that goes on beside its corners, and points in pixels."""
    places = points(face())[:, :2] * SIZE - 0.5
    photo = np.full((SIZE, SIZE, 3), (200, 160, 140), np.uint8)
    left, right = places[MOUTH_CORNERS]
    reach = [-millimetres * MILLIMETRE, 0]
    cv2.line(photo, np.round(left + reach).astype(int), np.round(right - reach).astype(int), (90, 60, 50), 3)
    return photo, places


@pytest.mark.parametrize("millimetres", [3.0, 7.0])
def test_a_line_is_painted_over_as_far_as_it_goes(millimetres):
    photo, places = skin_with_line(millimetres)
    changed = without_creases(photo, places, MILLIMETRE)
    for corner, side in zip(places[MOUTH_CORNERS], (-1, 1), strict=True):
        x, y = np.round(corner + [side * (millimetres - 1) * MILLIMETRE, 0]).astype(int)
        assert photo[y, x, 0] < 120 and changed[y, x, 0] > 170
    middle = np.round(places[MOUTH_CORNERS].mean(0)).astype(int)
    assert np.array_equal(changed[middle[1], middle[0]], photo[middle[1], middle[0]])  # the lips' own line stays
    assert np.array_equal(changed[:200], photo[:200])


def test_skin_without_a_line_stays_and_opacity_too():
    _, places = skin_with_line(0)
    even = np.dstack([np.full((SIZE, SIZE, 3), 150, np.uint8), np.full((SIZE, SIZE), 77, np.uint8)])
    changed = without_creases(even, places, MILLIMETRE)
    assert np.abs(changed.astype(int) - even)[..., :3].max() <= 2 and np.array_equal(changed[..., 3], even[..., 3])


def test_a_face_at_the_border_of_a_photograph():
    photo, places = skin_with_line(5.0)
    cut = np.round(places[MOUTH_CORNERS[0]]).astype(int)
    without_creases(photo[:, cut[0] :].copy(), places - [cut[0], 0], MILLIMETRE)


def test_the_dark_that_a_smile_leaves_at_a_corner_is_painted_over():
    """A rim that cuts off part of the dark inside of the mouth would leave it on the skin."""
    places = points(face(lips=9.0))[:, :2] * SIZE - 0.5
    photo = np.full((SIZE, SIZE, 3), (200, 160, 140), np.uint8)
    cv2.fillPoly(photo, [np.round(places[lip_loop()]).astype(np.int32)], (240, 235, 225))
    corner = places[MOUTH_CORNERS[1]]
    blot = np.round(corner + [-2 * MILLIMETRE, -1.5 * MILLIMETRE]).astype(int)
    cv2.circle(photo, blot, round(2.5 * MILLIMETRE), (40, 20, 15), -1)
    spot = np.round(corner + [12 * MILLIMETRE, 0]).astype(int)
    cv2.circle(photo, spot, 3, (40, 20, 15), -1)  # a mole
    changed = without_creases(photo, places, MILLIMETRE)
    above = blot - [0, round(2 * MILLIMETRE)]
    assert photo[above[1], above[0], 0] < 60 and changed[above[1], above[0], 0] > 160
    assert np.array_equal(changed[spot[1], spot[0]], photo[spot[1], spot[0]])
    moustache = photo.copy()
    cv2.line(moustache, blot, np.round(blot + [0, -9 * MILLIMETRE]).astype(int), (40, 20, 15), 9)
    changed = without_creases(moustache, places, MILLIMETRE)
    assert changed[above[1], above[0], 0] < 60


def test_lines_go_as_the_lips_part():
    own = face(lips=0.5)
    shares = [parted(face(lips=gap), own) for gap in (0.5, 1.0, 12.0, 30.0)]
    assert np.array_equal(shares[0], [0, 0]) and np.array_equal(shares[3], [1, 1])
    assert (np.diff([share.mean() for share in shares]) >= 0).all()
    assert np.array_equal(parted(face(lips=20), face(lips=20)), [0, 0])  # a portrait that shows an open mouth
    assert np.array_equal(parted(face(lips=0), face(lips=20)), [1, 1])  # and shuts it
