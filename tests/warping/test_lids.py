"""Skin of upper lids, drawn where a portrait's lids come down."""

import numpy as np
import pytest

from tests.conftest import REPOSITORY
from tests.warping.faces import UPRIGHT, face, points, turned
from vivface.faces.alignment import ffhq_quad, to_crop
from vivface.faces.mesh_backend import MeshBackend
from vivface.faces.state import lid_opening
from vivface.media import load_image
from vivface.warping.compositor import SURROUNDINGS, PhotoCompositor
from vivface.warping.framing import enlarged
from vivface.warping.gaps import with_lid_gaps
from vivface.warping.lids import LidSkin
from vivface.warping.mesh import UPPER_LID, face_points, place
from vivface.warping.moving_photo import cut_photo

SIZE = 512
SKIN = (200, 150, 120)


def photo(pose=UPRIGHT, brow: int | None = None) -> np.ndarray:
    """Skin; brows of another grey down to the fold of the lid."""
    image = np.full((SIZE, SIZE, 3), SKIN, np.uint8)
    if brow is not None:
        lid = place(face(lids=8.0)[UPPER_LID], pose)[:, 1].min() * SIZE
        image[: int(lid) - 4] = brow
    return image


def drawn(lids: float, own: float = 8.0, pose=UPRIGHT, brow: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A dark frame with drawn lids, float; and where the middle of the right lid's rim is in it, pixels."""
    shape = face(lids=own)
    moved, frame = with_lid_gaps(shape, np.full(2, lids)), np.full((SIZE, SIZE, 3), 40, np.uint8)
    LidSkin(lambda: photo(pose, brow), points(shape, pose)).draw(frame, 0, moved, pose)
    return frame.astype(float), place(moved[UPPER_LID[3:4]], pose)[0, :2] * SIZE


@pytest.mark.parametrize("pose", [UPRIGHT, turned(yaw=25, roll=10)], ids=["ahead", "turned"])
def test_a_shut_lid_is_skin_with_lashes_at_its_rim(pose):
    frame, (x, y) = drawn(0.0, pose=pose)
    column = frame[:, int(x)]
    lid, rim = column[int(y) - 9], column[int(y) - 1 : int(y) + 2]
    assert np.allclose(lid, SKIN, rtol=0.15)
    assert rim.sum(1).min() < 0.6 * lid.sum()
    assert np.array_equal(frame[int(y) + 12 :], np.full_like(frame[int(y) + 12 :], 40))  # nothing below


def test_open_lids_and_those_of_a_portrait_that_shuts_them_stay():
    assert (drawn(8.0)[0] == 40).all() and (drawn(10.0)[0] == 40).all()
    assert (drawn(0.0, own=0.5)[0] == 40).all()


def test_skin_follows_a_lid_as_it_comes_down():
    shown = [(drawn(gap)[0].sum(2) != 120).sum() for gap in (8.0, 6.0, 4.0, 2.0, 0.0)]
    assert shown[0] == 0 and shown == sorted(shown) and shown[-1] > 1.2 * shown[2]


def test_a_low_brow_gives_the_lid_no_hair():
    frame, (x, y) = drawn(0.0, brow=10)
    assert frame[int(y) - 9, int(x)].mean() > 0.7 * np.mean(SKIN)


def test_a_face_with_shut_lids_is_read_as_one():
    image, backend = load_image(REPOSITORY / "examples/portrait.png"), MeshBackend()
    found = backend.detect(image)[0]
    quad = ffhq_quad(found.landmarks)
    wide = cut_photo(image, enlarged(quad, SURROUNDINGS), round(SURROUNDINGS * SIZE), "ffhq")
    compositor = PhotoCompositor(wide, to_crop(face_points(found.points), quad), SIZE)
    own = compositor.face
    frame = compositor(with_lid_gaps(own.shape, np.zeros(2)), own.pose)
    opened, shut = (
        np.mean([lid_opening(backend.detect(picture)[0].points, side) for side in (0, 1)])
        for picture in (compositor.still(), frame)
    )
    assert opened > 0.18 and shut < 0.35 * opened
