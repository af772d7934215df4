"""Heads in a picture: what stays as it is to the last bit, and what moves."""

import cv2
import numpy as np
import pytest

from tests.warping.faces import UPRIGHT, face, gradient, points, turned
from vivface.faces.alignment import from_crop, make_quad, to_crop
from vivface.warping.head_window import HeadInPicture, Window, pose_in_crop, pose_in_picture
from vivface.warping.mesh import place
from vivface.warping.territories import Territories

QUAD = make_quad(np.array([150.0, 140.0]), 80.0, 0.3)


def noise(height: int = 300, width: int = 320) -> np.ndarray:
    """A picture without edges."""
    return cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (height, width, 3)).astype(np.uint8), (0, 0), 2)


def head(picture: np.ndarray, quad: np.ndarray = QUAD, free=None) -> HeadInPicture:
    return HeadInPicture(picture, Window.around(quad), from_crop(points(face()), quad), free)


def test_places_and_poses_go_from_the_crop_to_the_picture_and_back():
    shape, pose = face(), turned(20, -10, 15, shift=(0.05, -0.02), zoom=1.1)
    there = pose_in_picture(pose, QUAD)
    assert np.allclose(place(shape, there), from_crop(place(shape, pose), QUAD))
    assert np.allclose(to_crop(from_crop(points(shape), QUAD), QUAD), points(shape))
    back = pose_in_crop(there, QUAD)
    assert np.allclose(back.turn, pose.turn) and np.isclose(back.scale, pose.scale)
    assert np.allclose(back.center, pose.center)


@pytest.mark.parametrize("center", [(150, 140), (20, 10), (310, 290), (-400, 100)])
@pytest.mark.parametrize("half", [40.0, 80.0])
def test_a_head_as_it_is_changes_no_pixel(center, half):
    """Wherever it lies, drawn at twice the size or not."""
    picture, quad = noise(), make_quad(np.array(center, float), half, 0.3)
    drawn = picture.copy()
    head(picture, quad).draw(drawn, face(), pose_in_picture(UPRIGHT, quad))
    assert np.array_equal(drawn, picture)


def test_a_window_is_cut_with_the_pixels_of_the_picture():
    picture = gradient(400)
    window = Window(100, 60, 600)  # reaches beyond the picture
    part = window.cut(picture)
    assert part.shape == (600, 600, 3) and np.array_equal(part[:340, :300], picture[60:, 100:])


def test_nothing_changes_outside_of_the_window():
    picture = noise()
    drawn = picture.copy()
    head(picture).draw(drawn, face(lips=14.0), pose_in_picture(turned(15, 5), QUAD))
    window = Window.around(QUAD)
    y, x = np.nonzero((drawn != picture).any(-1))
    assert len(x) > 1000
    assert x.min() > window.left and x.max() < window.left + window.size - 1
    assert y.min() > window.top and y.max() < window.top + window.size - 1


class TestTerritories:
    near = [make_quad(np.array([110.0, 150.0]), 80.0), make_quad(np.array([210.0, 150.0]), 60.0)]

    def shares(self) -> tuple[Territories, list[np.ndarray]]:
        places = [from_crop(points(face()), quad) for quad in self.near]
        return Territories(places, (320, 300)), places

    def test_no_place_moves_with_two_heads(self):
        territories, _ = self.shares()
        whole = Window(0, 0, 320)
        first, second = (territories.of(number, whole) for number in (0, 1))
        assert first.max() == second.max() == 1 and np.minimum(first, second).max() < 0.05

    def test_a_face_moves_with_its_own_head(self):
        territories, places = self.shares()
        for number, place_ in enumerate(places):
            whole = territories.of(number, Window(0, 0, 320))
            scale = len(whole) / 320
            x, y = (place_[:468, :2].mean(0) * scale).astype(int)
            assert whole[y, x] == 1

    def test_a_head_leaves_its_neighbour_alone(self):
        picture, (territories, places) = noise(), self.shares()
        window = Window.around(self.near[0])
        drawn = picture.copy()
        head(picture, self.near[0], territories.of(0, window)).draw(
            drawn, face(lips=14.0), pose_in_picture(turned(20), self.near[0])
        )
        changed = (drawn != picture).any(-1)
        low, high = places[1][:468, :2].min(0).astype(int), places[1][:468, :2].max(0).astype(int)
        assert changed.any() and not changed[low[1] : high[1], low[0] + 8 : high[0]].any()

    def test_the_larger_of_two_overlapping_faces_is_in_front(self):
        quads = [make_quad(np.array([130.0, 150.0]), 100.0), make_quad(np.array([170.0, 150.0]), 60.0)]
        territories = Territories([from_crop(points(face()), quad) for quad in quads], (320, 300))
        first, second = (territories.of(number, Window(0, 0, 320)) for number in (0, 1))
        scale = len(first) / 320
        y, x = int(150 * scale), int(165 * scale)  # on both
        assert first[y, x] > 0.5 and second[y, x] == 0

    def test_one_head_alone_moves_freely(self):
        alone = Territories([points(face()) * 300], (320, 300)).of(0, Window(0, 0, 320))
        assert (alone == 1).all()
