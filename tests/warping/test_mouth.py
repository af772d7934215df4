"""The inside of the mouth: behind the lips only, steady, in the photograph's colours."""

import cv2
import numpy as np
import pytest

from vivface.faces.pose import HeadPose, calibration, turn_of
from vivface.warping.compositor import MARGIN, _polygon
from vivface.warping.lips import CORNERS, INSET, LOWER_ROWS, UPPER_ROWS, fit_lips
from vivface.warping.mesh import LOWER_LIP, UPPER_LIP, PosedFace, box_around, lip_loop, place
from vivface.warping.mouth import TEETH_BELOW_NOSE, MouthLayer, parts
from vivface.warping.teeth import FLESH_RED, mouth_colors

SIZE = 384
SKIN, RED, WHITE, DARK = (200, 150, 130), (170, 80, 85), (225, 220, 205), (30, 15, 15)
POSE = HeadPose(np.eye(3), 1 / 250, np.array([0.5, 0.45, 0.0]))
OUTER = np.array([61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146])


def face(gap: float, jaw: float | None = None) -> np.ndarray:
    """The mean face in millimetres `(478, 3)`, its lips `gap` apart, its chin `jaw` lower."""
    shape = np.concatenate([calibration()["canonical"], np.zeros((10, 3))]).astype(np.float64)
    shape[468:] = shape[[33, 133, 159, 145, 33, 263, 362, 386, 374, 263]]
    width = np.linspace(-1, 1, 11)[1:-1]
    line = shape[UPPER_LIP, 1]
    wanted = gap * (1 - width**2)
    change = line + wanted - shape[LOWER_LIP, 1]
    low = np.setdiff1d(np.flatnonzero(shape[:468, 1] > shape[17, 1] - 2), LOWER_ROWS)
    for row in LOWER_ROWS:
        shape[row, 1] += change
    shape[low, 1] += change[4] if jaw is None else jaw
    return shape


def painted(shape: np.ndarray, teeth: tuple | None = None, light: float = 1.0) -> np.ndarray:
    """A photograph of a face: flat skin, red lips, and what is between them."""
    photo = np.full((SIZE, SIZE, 3), SKIN, np.uint8)
    points = place(shape, POSE)
    cv2.fillPoly(photo, [np.round(points[OUTER, :2] * SIZE).astype(np.int32)], RED)
    loop = [np.round(points[lip_loop(), :2] * SIZE).astype(np.int32)]
    if teeth is not None:
        cv2.fillPoly(photo, loop, teeth)
    cv2.polylines(photo, loop, True, DARK)
    return (photo * light).astype(np.uint8)


def opened(layer: MouthLayer, frame: np.ndarray, shape: np.ndarray, pose: HeadPose = POSE) -> tuple:
    """The frame with the mouth in it, and the opening of the lips."""
    rim, out = place(shape, pose)[lip_loop()], frame.copy()
    box = box_around(rim, SIZE, MARGIN)
    mask = _polygon(rim, box, SIZE)
    layer(out, mask, box, shape, pose)
    whole = np.zeros((SIZE, SIZE), np.float32)
    whole[box[1] : box[3], box[0] : box[2]] = mask
    return out, whole


def layer_of(shape: np.ndarray, photo: np.ndarray) -> MouthLayer:
    return MouthLayer(photo, place(shape, POSE), lip_loop())


def test_the_bundled_parts_are_small_and_whole():
    images = parts()
    assert set(images) == {"upper", "lower", "tongue"}
    for image in images.values():
        assert image.shape == (264, 384, 4) and image[..., 3].max() == 1 and image[0, 0, 3] == 0


@pytest.mark.parametrize("yaw", [0.0, 25.0])
def test_only_the_opening_of_the_lips_is_painted(yaw: float):
    shape = face(1.0)
    pose = HeadPose(turn_of(np.radians([yaw, 0, 0])), POSE.scale, POSE.center)
    frame = np.full((SIZE, SIZE, 3), 77, np.uint8)
    out, mask = opened(layer_of(shape, painted(shape)), frame, face(14.0), pose)
    assert (out[mask == 0] == 77).all()
    assert (np.abs(out[mask > 0.9].astype(int) - 77).max(1) > 0).mean() > 0.95


def test_the_photographs_own_mouth_stays_as_it_is():
    shape = face(9.0)
    frame = np.full((SIZE, SIZE, 3), 77, np.uint8)
    out, _ = opened(layer_of(shape, painted(shape, WHITE)), frame, shape)
    assert (out == frame).all()


@pytest.mark.parametrize("teeth", [None, WHITE])
def test_nothing_jumps_while_the_mouth_opens(teeth):
    own = face(0.0 if teeth is None else 8.0)
    photo = painted(own, teeth)
    layer = layer_of(own, photo)
    region = np.s_[int(0.65 * SIZE) : int(0.85 * SIZE), int(0.38 * SIZE) : int(0.62 * SIZE)]

    def largest_change(step: float) -> float:
        frames = [opened(layer, photo, face(gap))[0][region].astype(np.float32) for gap in np.arange(0, 18, step)]
        return max(np.abs(b - a).mean() for a, b in zip(frames, frames[1:], strict=False))

    coarse, fine = largest_change(0.4), largest_change(0.1)
    assert coarse < 8.0  # of 255
    assert fine < 0.6 * coarse


def test_the_photographs_teeth_stay_with_the_skull():
    own = face(9.0)
    photo = painted(own, WHITE)
    middle = place(own[[13]], POSE)[0, :2] * SIZE
    mark = (int(middle[0]) - 1, int(middle[1]) + 8)
    cv2.circle(photo, mark, 2, (90, 200, 90), -1)
    layer = layer_of(own, photo)
    for gap in (14.0, 20.0):
        out, _ = opened(layer, photo, face(gap))
        green = out[..., 1].astype(int) - out[..., 0]
        y, x = np.unravel_index(cv2.GaussianBlur(green.astype(np.float32), (0, 0), 1).argmax(), green.shape)
        assert np.hypot(x - mark[0], y - mark[1]) <= 1.5
        turned = HeadPose(POSE.turn, POSE.scale, POSE.center + [0.05, 0.02, 0])
        out, _ = opened(layer, photo, face(gap), turned)
        green = out[..., 1].astype(int) - out[..., 0]
        y, x = np.unravel_index(cv2.GaussianBlur(green.astype(np.float32), (0, 0), 1).argmax(), green.shape)
        assert np.hypot(x - mark[0] - 0.05 * SIZE, y - mark[1] - 0.02 * SIZE) <= 1.5


def test_the_photographs_lower_teeth_follow_the_jaw():
    own = face(18.0, jaw=10.0)
    photo = painted(own, DARK)
    teeth = np.concatenate([own[LOWER_LIP], own[LOWER_LIP[::-1]] - [0, 4.5, 0]])
    cv2.fillPoly(photo, [np.round(place(teeth, POSE)[:, :2] * SIZE).astype(np.int32)], WHITE)
    layer = layer_of(own, photo)

    def row_of_teeth(jaw: float) -> float:
        shape = face(18.0 + jaw, jaw=10.0 + jaw)
        out, mask = opened(layer, painted(shape), shape)
        column = int(place(own[[14]], POSE)[0, 0] * SIZE)
        inside = np.flatnonzero(mask[:, column] > 0.9)
        bright = inside[out[inside, column].sum(1) > 450]
        return float(bright[bright > inside.mean()].mean())

    assert row_of_teeth(8.0) - row_of_teeth(2.0) == pytest.approx(6.0 * POSE.scale * SIZE, abs=2.0)


def test_teeth_that_are_not_shown_take_the_photographs_light():
    own = face(0.0)
    means = []
    for light in (1.0, 0.5):
        photo = painted(own, light=light)
        out, mask = opened(layer_of(own, photo), photo, face(14.0))
        means.append(out[mask > 0.9].mean(0))
    assert 0.4 < means[1].mean() / means[0].mean() < 0.6


def test_teeth_show_below_a_long_upper_lip():
    shape = face(0.0)
    nose = shape[2, 1] - 10.0
    shape[shape[:, 1] < shape[UPPER_LIP, 1].min() - 4] -= [0, 10.0, 0]  # a lip that is a centimetre longer
    assert layer_of(shape, painted(shape))._edge > shape[13, 1] + 2.0 > nose + TEETH_BELOW_NOSE


def test_teeth_take_the_color_of_those_that_are_shown():
    own = face(8.0)
    white, yellow = (layer_of(own, painted(own, teeth)).colors.teeth for teeth in (WHITE, (225, 205, 140)))
    assert np.abs(white * 255 - WHITE).max() < 12
    assert yellow[2] / yellow[0] < white[2] / white[0] - 0.15


@pytest.mark.parametrize("gap", [0.0, 0.3, 0.8])
def test_lips_that_nearly_touch_leave_a_dark_line(gap: float):
    own = face(8.0)
    photo = painted(own, WHITE)
    shape = face(gap)
    closed = painted(shape)
    out, mask = opened(layer_of(own, photo), closed, shape)
    inside = out[mask > 0.3]
    assert len(inside) == 0 or inside.mean(1).max() < np.mean(RED)


def test_lower_teeth_and_tongue_follow_the_chin_and_upper_teeth_do_not():
    own = face(0.0)
    photo = painted(own)
    layer = layer_of(own, photo)
    shapes = [face(20.0, jaw=20.0), face(20.0, jaw=20.0)]
    shapes[1][[152, 148, 377, 175], 0] += 5.0
    straight, aside = (opened(layer, photo, shape)[0].astype(int) for shape in shapes)
    changed = np.abs(straight - aside).sum(2)
    row = int(place(own[[13]], POSE)[0, 1] * SIZE)
    assert changed[row : row + 4].max() <= 6
    assert changed[row + 15 : row + 40].max() > 30


@pytest.mark.parametrize("off", [-2.0, 2.5])
def test_the_rim_of_the_lips_is_found_in_the_photograph(off: float):
    true = face(8.0)
    seen = true.copy()
    seen[UPPER_LIP, 1] += off
    seen[LOWER_LIP, 1] += off
    seen[CORNERS, 1] += off
    photo = painted(true, WHITE)
    fitted = PosedFace.of(fit_lips(photo, place(seen, POSE))).shape
    off_by = [fitted[rim[1:-1], 1] - true[rim[1:-1], 1] for rim in (UPPER_LIP, LOWER_LIP)]
    assert np.abs(np.concatenate([off_by[0] + INSET, off_by[1] - INSET])).mean() < 0.4 * abs(off)
    assert np.abs(fitted[CORNERS[0], 1] - true[CORNERS[0], 1]).max() < 0.7 * abs(off)
    others = np.setdiff1d(np.arange(478), np.concatenate([*UPPER_ROWS, *LOWER_ROWS, *CORNERS]))
    assert np.allclose(fitted[others], seen[others], atol=1e-4)


def test_lips_that_the_mesh_sees_shut_stay_shut():
    points = place(face(0.3), POSE)
    photo = painted(face(6.0), WHITE)  # a highlight along the lips, say
    fitted = PosedFace.of(fit_lips(photo, points)).shape
    assert (fitted[LOWER_LIP, 1] - fitted[UPPER_LIP, 1]).max() < 1.5


def test_lips_without_contrast_stay_where_the_mesh_has_them():
    shape = face(3.0)
    points = place(shape, POSE)
    fitted = fit_lips(np.full((SIZE, SIZE, 3), SKIN, np.uint8), points)
    assert np.abs(fitted - points).max() < 1.0 * POSE.scale


@pytest.mark.parametrize("light", [0.0, 1.0])
def test_hard_photographs_and_poses_are_painted_without_warnings(light: float):
    rng = np.random.default_rng(5)
    noise = rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8) * np.uint8(light)
    shape = face(6.0)
    points = fit_lips(noise, place(shape, POSE))
    assert np.isfinite(points).all()
    layer = MouthLayer(noise, points, lip_loop())
    for yaw, pitch, center in ((70, 0, 0.5), (-65, 30, 0.5), (0, -60, 0.5), (0, 0, 0.05), (20, 0, 0.98)):
        pose = HeadPose(turn_of(np.radians([yaw, pitch, 10])), POSE.scale, np.array([center, 0.5, 0.0]))
        out, _ = opened(layer, noise, face(16.0), pose)
        assert out.shape == noise.shape


def test_a_grey_photograph_gets_a_grey_mouth():
    own = face(0.0)
    light = np.linspace(0.4, 1.2, SIZE)[:, None, None]
    grey = np.repeat((painted(own) * light).clip(0, 255).mean(2, keepdims=True), 3, 2).astype(np.uint8)
    shown, opening = opened(layer_of(own, grey), grey, face(12.0))
    inside = shown[opening > 0.5].astype(int)
    assert np.ptp(inside[:, 0]) > 40  # teeth and the dark
    assert np.abs(inside - inside.mean(1, keepdims=True)).max() <= 2


def test_guessed_teeth_are_lighter_than_the_skin_and_lips_are_no_teeth():
    own = face(6.0)
    points = place(own, POSE)
    none, somewhere = np.zeros((SIZE, SIZE)), np.zeros((SIZE, SIZE))
    cv2.fillPoly(somewhere, [np.round(points[lip_loop(), :2] * SIZE).astype(np.int32)], 1.0)
    luma, skin = np.array([0.299, 0.587, 0.114]), np.array(SKIN) / 255
    guess = mouth_colors(painted(own), points, none, 0.0).teeth
    assert 1.05 < guess @ luma / (skin @ luma) < 1.55
    assert np.allclose(mouth_colors(painted(own, teeth=RED), points, somewhere, 1.0).teeth, guess, atol=0.02)
    white = mouth_colors(painted(own, teeth=WHITE), points, somewhere, 1.0).teeth
    assert np.allclose(white, np.array(WHITE) / 255, atol=0.03)


def test_a_tongue_wears_no_lipstick():
    own = face(6.0)
    points, none = place(own, POSE), np.zeros((SIZE, SIZE))
    skin = np.array(SKIN) / 255

    def redness(color):
        return color[0] / color[1] / (skin[0] / skin[1])

    photo = painted(own)
    rouge = photo.copy()
    rouge[(photo == RED).all(2)] = (225, 40, 45)
    plain, bold = (mouth_colors(image, points, none, 0.0) for image in (photo, rouge))
    assert redness(bold.lips) > 2.5 > 1.5 > redness(bold.flesh)
    assert FLESH_RED[0] <= redness(plain.flesh) <= FLESH_RED[1]
