"""Frames show no more than the photograph does, where this is cut closely around the face."""

import numpy as np
import pytest
from PIL import Image

from tests.conftest import REPOSITORY
from tests.warping.faces import UPRIGHT, face, points
from vivface.faces.alignment import ffhq_quad, make_quad, to_crop
from vivface.faces.mesh_backend import MeshBackend
from vivface.faces.pose import HeadPose, turn_of
from vivface.warping.framing import MOST_BEYOND, WHOLE, Framing, beyond_photo, frame_size
from vivface.warping.mesh import PosedFace, face_points, place
from vivface.warping.moving_photo import MovingPhoto
from vivface.warping.retargeting import Rest

SIZE = 400


@pytest.fixture(scope="module")
def portrait():
    return np.asarray(Image.open(REPOSITORY / "examples" / "portrait.png").convert("RGB"))


def read(photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The face's crop in a photograph, and its points in that."""
    (found,) = MeshBackend().detect(photo)
    quad = ffhq_quad(found.landmarks)
    return quad, to_crop(face_points(found.points), quad)


def beyond(photo: np.ndarray, quad: np.ndarray, framing: Framing) -> float:
    """Share of a framing that lies beyond the photograph."""
    return float(framing.cut(beyond_photo(photo.shape, quad, SIZE)).mean())


def test_a_photograph_around_the_crop_shows_all_of_it(portrait):
    photo = np.pad(portrait, [(300, 300), (300, 300), (0, 0)], mode="edge")
    assert Framing.within(photo, *read(photo)) is WHOLE


@pytest.mark.parametrize("turn", [0, 5])
@pytest.mark.parametrize("cut", [(40, 0, 0, 0), (50, 30, 40, 0), (0, 60, 0, 0)])
def test_a_close_photograph_is_shown_up_to_its_border(cut, turn):
    left, top, right, bottom = cut
    photo = np.zeros((SIZE - top - bottom, SIZE - left - right, 3), np.uint8)
    quad = make_quad(np.array([SIZE / 2 - left, SIZE / 2 - top]), 0.49 * SIZE, np.radians(turn))
    where = points(face())
    framing = Framing.within(photo, quad, where)
    outside = beyond(photo, quad, framing)
    assert outside <= 2 * MOST_BEYOND < max(beyond(photo, quad, WHOLE), 3 * MOST_BEYOND)
    low, high = where[:, :2].min(0), where[:, :2].max(0)
    start = np.array([framing.left, framing.top])
    assert (start <= low).all() and (high <= start + framing.side).all()
    assert (start >= 0).all() and (start + framing.side <= 1 + 1e-9).all()


def test_a_face_beyond_the_photograph_is_not_asked_for():
    photo, quad = np.zeros((SIZE, SIZE, 3), np.uint8), make_quad(np.array([SIZE / 2, 0.1 * SIZE]), 150)
    framing = Framing.within(photo, quad, points(face()))
    assert beyond(photo, quad, framing) < 0.1 < beyond(photo, quad, WHOLE)
    assert Framing.within(photo, quad + 5000, points(face())) is WHOLE  # none of it: there is nothing to choose


def test_a_part_of_the_crop_moves_as_the_crop_does(portrait):
    photo = portrait[110:460, 90:-90]
    quad, where = read(photo)
    framing, size = Framing.within(photo, quad, where), 256
    assert 0.5 < framing.side < 0.98
    rest = Rest.of(np.stack([where] * 3))
    part = MovingPhoto(photo, quad, where, size, rest, framing=framing)
    whole = MovingPhoto(photo, quad, where, framing.crop_size(size), rest)
    _, left, top = framing.in_pixels(size)
    same = np.s_[top : top + size, left : left + size]
    assert part(None).shape == (size, size, 3)
    assert np.abs(part(None).astype(int) - whole(None)[same]).max() <= 1
    own = PosedFace.of(where)
    nod = place(own.shape, HeadPose(own.pose.turn @ turn_of(np.radians([8.0, 6, 0])), own.pose.scale, own.pose.center))
    moved, wanted = part(nod).astype(int), whole(nod)[same].astype(int)
    inside = np.s_[size // 4 : -size // 4, size // 4 : -size // 4]
    assert np.abs(moved - wanted)[inside].mean() < 3 < np.abs(moved - part(None))[inside].mean()


def test_points_and_poses_lie_alike_in_a_square():
    framing, own = Framing(0.1, 0.2, 0.6), points(face())
    inside = framing.points(own)
    assert np.allclose(inside[:, :2] * 0.6 + [0.1, 0.2], own[:, :2])
    assert np.allclose(place(face(), framing.pose(UPRIGHT)), framing.points(place(face(), UPRIGHT)))
    around = Framing.around(1.5)
    assert np.allclose(around.points(own)[:, :2] - 0.5, (own[:, :2] - 0.5) / 1.5)


def test_frames_are_as_large_as_what_they_show():
    quad = make_quad(np.array([500.0, 500.0]), 400)
    assert frame_size(quad) == 800 and frame_size(quad, Framing(0.1, 0.1, 0.75)) == 600
    assert Framing(0.1, 0.1, 0.75).crop_size(600) == 800 and Framing(0.1, 0.1, 0.7).crop_size(602) == 862
