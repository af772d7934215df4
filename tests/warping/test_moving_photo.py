"""Frames of a moving photograph."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.warping.faces import face, gradient, points, turned
from vivface.faces.alignment import align_quad, ffhq_quad, make_quad, to_crop
from vivface.faces.mesh_backend import MeshBackend
from vivface.faces.pose import HeadPose, turn_of
from vivface.warping.framing import Framing, enlarged, frame_size
from vivface.warping.mesh import PosedFace, eye_loops, face_points, place
from vivface.warping.moving_photo import MovingPhoto, cut_photo
from vivface.warping.retargeting import Rest

PORTRAIT = Path(__file__).parents[2] / "examples" / "portrait.png"
QUAD = np.array([[60.0, 60.0], [60.0, 188.0], [188.0, 188.0], [188.0, 60.0]])  # of a photograph of 256 pixels


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return gradient(256)


def moving(photo: np.ndarray, portrait: np.ndarray | None = None, **options) -> MovingPhoto:
    portrait = points(face()) if portrait is None else portrait
    return MovingPhoto(photo, QUAD, portrait, 128, Rest.of(np.stack([points(face())] * 3)), **options)


def where(frame: np.ndarray, x: float, y: float) -> np.ndarray:
    """The place in the photograph that a place of a frame shows, in crops."""
    colour = frame[int(y * 128), int(x * 128), :2].astype(float)
    return (colour / 255 * 255 + 0.5 - 60) / 128


def test_a_driver_at_rest_shows_the_photograph(photo):
    frame = moving(photo)(points(face()))
    still = moving(photo)(None)
    assert frame.shape == (128, 128, 3) and frame.dtype == np.uint8
    assert np.abs(frame.astype(int) - still)[:, :, 2].max() < 60  # the mouth's inside aside, blue is 128 everywhere
    assert np.abs(frame.astype(int) - still)[..., :2].mean() < 2


def test_a_turned_driver_moves_the_nose(photo):
    pose = turned(20)
    frame = moving(photo)(points(face(), pose))
    nose, own = points(face(), pose)[5, :2], points(face())[5, :2]
    assert np.allclose(where(frame, *nose), own, atol=0.035)
    assert np.abs(nose - own).max() > 0.03


def test_the_bottom_of_the_frame_stays(photo):
    frame, still = (moving(photo)(driver) for driver in (points(face(), turned(15)), None))
    assert np.abs(frame[-4:].astype(int) - still[-4:]).max() < 16


def test_shut_eyes_show_no_eyeball(photo):
    marked = photo.copy()
    eyes = points(face())[[468, 473], :2] * 128 + 60
    for x, y in eyes:
        marked[round(y), round(x) - 3 : round(x) + 4] = (0, 0, 255)
    frames = [moving(marked)(points(face(lids=lids))) for lids in (6.0, 0.2)]
    seen = [int((frame[..., 2] > 150).sum()) for frame in frames]
    assert seen[0] > 8 and seen[1] <= seen[0] / 2


def test_no_pixel_around_a_moved_eye_is_that_of_the_photograph_at_rest(photo):
    shift = np.array([0.12, 0.0])
    frame = moving(photo)(points(face(), turned(shift=tuple(shift))))
    rim = points(face())[list(eye_loops()[0]), :2] + shift
    left, top = np.floor(rim.min(0) * 128).astype(int) - 2
    right, bottom = np.ceil(rim.max(0) * 128).astype(int) + 2
    y, x = np.mgrid[top:bottom, left:right]
    shown = (frame[top:bottom, left:right, :2].astype(float) + 0.5 - 60) / 128
    wanted = (np.stack([x, y], -1) + 0.5) / 128 - shift
    assert np.abs(shown - wanted).max() < 0.03


def test_frames_are_the_same_every_time(photo):
    driver = points(face(lips=9, lids=3), turned(12, -6))
    assert np.array_equal(moving(photo)(driver), moving(photo)(driver))


def test_a_profile_is_not_torn(photo):
    frame = moving(photo, points(face(), turned(50)))(points(face()))
    assert np.isfinite(frame).all() and frame.std() > 5


def test_frames_are_as_large_as_the_face_within_limits():
    assert frame_size(QUAD) == 512
    assert frame_size(QUAD * 6) == 768
    assert frame_size(QUAD * 20) == 1024


def test_an_enlarged_square_keeps_its_centre():
    assert np.allclose(enlarged(QUAD, 1.5).mean(0), QUAD.mean(0))
    assert np.ptp(enlarged(QUAD, 1.5)[:, 0]) == pytest.approx(192)


def test_a_frame_with_its_surroundings_does_not_move_at_its_border(photo):
    wide = moving(photo, framing=Framing.around(1.5))
    frame, still = wide(points(face(), turned(15, shift=(0.05, 0)))), wide(None)
    assert frame.shape == still.shape == (192, 192, 3)
    border = np.ones(frame.shape[:2], bool)
    border[3:-3, 3:-3] = False
    changed = np.abs(frame.astype(int) - still).max(-1)
    assert changed[border].mean() < 3 and changed[~border].mean() > changed[border].mean()
    small = moving(photo)(points(face(), turned(15, shift=(0.05, 0))))
    assert np.abs(frame[32:160, 32:160].astype(int) - small)[40:90, 40:90, :2].mean() < 4  # the same face


def test_the_background_stays_where_it_is():
    photo = np.asarray(Image.open(PORTRAIT).convert("RGB"))
    (found,) = MeshBackend().detect(photo)
    quad = ffhq_quad(found.landmarks)
    portrait = to_crop(face_points(found.points), quad)
    own = PosedFace.of(portrait)
    moves = MovingPhoto(photo, quad, portrait, 192, Rest.of(np.stack([portrait] * 3)))
    nod = place(
        own.shape, HeadPose(own.pose.turn @ turn_of(np.radians([14.0, 0.0, 6.0])), own.pose.scale, own.pose.center)
    )
    frame, still = moves(nod).astype(int), moves(None).astype(int)
    change = np.abs(frame - still).max(-1)
    assert change[60:130, 70:120].mean() > 10  # the face moves
    assert np.percentile(change[:40, :12], 95) < 6 and np.percentile(change[:40, -12:], 95) < 6


@pytest.mark.parametrize("crop", ["ffhq", "voxceleb"])
@pytest.mark.parametrize("angle", [0.0, 0.2])
def test_a_photograph_is_sharp_up_to_its_border_and_smooth_beyond(angle, crop):
    stripes = np.zeros((200, 200, 3), np.uint8)
    stripes[:, np.arange(200) // 3 % 2 == 1] = 200
    quad = make_quad(np.array([70.0, 90.0]), 100.0, angle)  # reaches 30 pixels beyond the left border
    cut = cut_photo(stripes, quad, 200, crop)[..., 0].astype(float)

    def contrast(x: float, y: float) -> float:
        across, down = (to_crop(np.array([x, y]), quad) * 200).astype(int)
        return np.ptp(cut[down - 3 : down + 4, across - 3 : across + 4])

    assert min(contrast(4.0, 40.0), contrast(4.0, 140.0)) > 150
    assert max(contrast(-14.0, 40.0), contrast(-14.0, 140.0)) < 60


def test_a_face_cut_closely_is_not_mirrored():
    photo = np.full((120, 120, 3), 180, np.uint8)
    photo[10:30, 40:80] = 0  # eyes near the upper border
    cut = cut_photo(photo, make_quad(np.array([60.0, 40.0]), 100.0), 200, "ffhq")
    above = cut[: 60 - 6, :, 0].astype(int)
    assert above.min() > 120


def test_a_crop_inside_its_photograph_is_that_of_ffhq():
    photo = np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)
    quad = make_quad(np.array([150.0, 150.0]), 80.0, 0.1)
    assert np.array_equal(cut_photo(photo, quad, 128, "stable"), align_quad(photo, quad, 128))


def test_texture_goes_on_beyond_the_border_a_little_way():
    noise = np.random.default_rng(0).normal(0, 25, (200, 200, 1)) + [140, 120, 110]
    cut = cut_photo(noise.clip(0, 255).astype(np.uint8), make_quad(np.array([100.0, 60.0]), 100.0), 400, "ffhq")
    border = 80  # rows of the crop above the photograph
    inside, near, far = (
        cut[rows][..., 0].std() for rows in (slice(100, 120), slice(border - 12, border - 2), slice(0, 20))
    )
    assert 0.5 * inside < near < 1.1 * inside and far < 0.3 * inside
    assert np.abs(np.diff(cut[border - 12 : border + 12].mean((1, 2)))).max() < 8  # no line where it begins
