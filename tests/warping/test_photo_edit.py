"""What an edit does to the generator's image is done to the photograph."""

import numpy as np
import pytest

from tests.clips import portrait
from tests.warping.faces import face, gradient, points
from vivface.faces.alignment import align_quad, ffhq_quad
from vivface.faces.backends import get_backend
from vivface.warping.mesh import PosedFace
from vivface.warping.photo_edit import PhotoEdit

SIZE = 128


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """A face as a generator would show it."""
    picture = portrait()
    return align_quad(picture, ffhq_quad(get_backend("mesh", "cpu").detect(picture)[0].landmarks), SIZE)


def test_no_edit_changes_nothing(image):
    edit = PhotoEdit.between(image, image)
    assert np.abs(edit.shape).max() < 1e-6 and np.allclose(edit.turn, np.eye(3), atol=1e-6)
    wide = gradient(192)
    out, moved = edit.apply(wide, points(face()), SIZE)
    assert np.abs(out.astype(int) - wide)[..., :2].mean() < 4
    assert np.allclose(moved, points(face()), atol=1e-6)


def test_a_change_of_colour_is_added_where_the_crop_is(image):
    after = np.clip(image.astype(int) + [25, 0, -25], 0, 255).astype(np.uint8)
    wide = np.full((192, 192, 3), 120, np.uint8)
    out, _ = PhotoEdit.between(image, after).apply(wide, points(face()), SIZE)
    middle = out[86:106, 86:106].reshape(-1, 3).mean(0)
    assert middle[0] > 130 and middle[2] < 110
    assert (out[:20] == 120).all()  # the surroundings stay


def test_points_move_as_the_generators_face_does(image):
    edit = PhotoEdit.between(image, np.ascontiguousarray(image[:, ::-1]))
    own = points(face())
    _, moved = edit.apply(gradient(192), own, SIZE)
    assert np.abs(PosedFace.of(moved).shape - PosedFace.of(own).shape - edit.shape).max() < 2.0
    assert np.array_equal(edit.points(own), moved)


def test_images_without_a_face_differ_in_colour_only():
    flat = np.full((SIZE, SIZE, 3), 90, np.uint8)
    edit = PhotoEdit.between(flat, flat + 20)
    assert np.abs(edit.shape).max() == 0 and np.allclose(edit.change, 20, atol=0.5)
