"""The driver's face on another shape: what is carried over, and what is set outright."""

import numpy as np
import pytest

from tests.warping.faces import UPRIGHT, face, points, turned
from vivface.faces.pose import angles_of
from vivface.warping.gaps import lip_gaps, mouth_corner_weights, mouth_width
from vivface.warping.jaw import CHIN, CHIN_SHARE, gap_of_own_jaw
from vivface.warping.mesh import IRISES, LOWER_LIP, MOUTH_CORNERS, UPPER_LIP, PosedFace, lip_loop, with_pose_of
from vivface.warping.retargeting import NOSE, TURNS, Rest, Retargeting, expression_between, lid_gaps, lips_apart

WIDER = np.array([1.15, 1.0, 1.0])  # another person's face


def rest(shape: np.ndarray | None = None) -> Rest:
    return Rest.of(np.stack([points(face() if shape is None else shape)] * 5))


def lip_gap(shape: np.ndarray) -> float:
    return float((shape[LOWER_LIP, 1] - shape[UPPER_LIP, 1])[4])


def test_points_of_a_posed_face_give_its_shape_and_pose():
    pose = turned(20, -10, 5, (0.1, -0.05), 1.2)
    found = PosedFace.of(points(face(), pose))
    assert np.allclose(np.degrees(angles_of(found.pose.turn)), [20, -10, 5], atol=2)
    assert np.allclose(found.shape, face(), atol=1.5)


def test_a_driver_at_rest_leaves_the_portrait_alone():
    own = face() * WIDER
    shape, pose = Retargeting(points(own), rest())(points(face()))
    assert (
        np.abs(shape[:468] - PosedFace.of(points(own)).shape[:468]).max() < 4
    )  # what is read as an expression of the wider face
    assert np.allclose(pose.turn, np.eye(3), atol=0.02)


@pytest.mark.parametrize("yaw, pitch, roll", [(25, 0, 0), (0, 15, 0), (-10, 5, 12)])
def test_the_pose_is_the_drivers(yaw, pitch, roll):
    _, pose = Retargeting(points(face() * WIDER), rest())(points(face(), turned(yaw, pitch, roll)))
    assert np.allclose(np.degrees(angles_of(pose.turn)), np.multiply([yaw, pitch, roll], TURNS), atol=1)


def test_a_driver_who_moves_and_comes_nearer_moves_the_portrait_as_far():
    move = Retargeting(points(face()), rest())
    _, before = move(points(face()))
    _, after = move(points(face(), turned(shift=(0.08, -0.03), zoom=1.1)))
    assert np.allclose(after.center[:2] - before.center[:2], [0.08, -0.03], atol=0.01)
    assert after.scale / before.scale == pytest.approx(1.1, abs=0.02)


@pytest.mark.parametrize("own", [1.0, 8.0, 20.0])
@pytest.mark.parametrize("driven", [0.0, 6.0, 25.0])
def test_lips_part_as_far_as_the_drivers_whatever_the_portrait_shows(own, driven):
    portrait = face(lips=own)
    portrait[list(CHIN), 1] += CHIN_SHARE * gap_of_own_jaw(lip_gaps(portrait))
    shape, _ = Retargeting(points(portrait), rest())(points(face(lips=driven)))
    assert lip_gap(shape) == pytest.approx(max(driven - 1.0, 0), abs=1.5)


def test_a_short_face_opens_its_mouth_less_far_than_a_long_one():
    short = face()
    below = short[:468, 1] > short[NOSE, 1]
    short[:468][below, 1] = short[NOSE, 1] + 0.75 * (short[:468][below, 1] - short[NOSE, 1])
    gaps = [lip_gap(Retargeting(points(own), rest())(points(face(lips=40)))[0]) for own in (face(), short)]
    assert gaps[0] == pytest.approx(39, abs=2) and 0.7 < gaps[1] / gaps[0] < 0.85


def test_speech_is_as_wide_on_a_short_face():
    short = face()
    below = short[:468, 1] > short[NOSE, 1]
    short[:468][below, 1] = short[NOSE, 1] + 0.75 * (short[:468][below, 1] - short[NOSE, 1])
    assert lip_gap(Retargeting(points(short), rest())(points(face(lips=8)))[0]) == pytest.approx(7, abs=1)


def test_a_lip_rises_by_its_share_of_the_way_to_the_nose():
    """A driver's lip that rises by 15 mm of 25 does not cross the nose of someone who has 12."""
    long, short = face(), face()
    lip = UPPER_LIP[4]
    way = long[lip, 1] - long[NOSE, 1]
    long[list(UPPER_LIP), 1] += 25 - way
    lifted = long.copy()
    lifted[list(UPPER_LIP), 1] -= 15
    short[list(UPPER_LIP), 1] += 12 - way
    shape, _ = Retargeting(points(short), rest(long))(points(lifted))
    assert 0.5 * 12 < shape[lip, 1] - shape[NOSE, 1] < 12


def test_a_mouth_gets_little_wider_than_the_portraits_and_the_drivers():
    pursed, wide = face(), face()
    near = np.isin(np.arange(478), lip_loop())
    pursed[near, 0] *= 0.7
    wide[near, 0] *= 1.15
    shape, _ = Retargeting(points(wide), rest(pursed))(points(face()))
    assert np.ptp(shape[MOUTH_CORNERS, 0]) < 1.1 * np.ptp(wide[MOUTH_CORNERS, 0])


@pytest.mark.parametrize("own, driven, expected", [(15, 0, 9), (15, 10, 19), (-15, 0, -9), (40, 0, 18), (4, 20, 20)])
def test_a_turned_portrait_stays_turned_and_moves_as_the_driver(own, driven, expected):
    """Yaw: beyond a few degrees between portrait and driver at rest it is the change that is followed."""
    own, driven, expected = (angle / TURNS[0] for angle in (own, driven, expected))
    _, pose = Retargeting(points(face(), turned(own)), rest())(points(face(), turned(driven)))
    assert np.degrees(angles_of(pose.turn))[0] * TURNS[0] == pytest.approx(expected * TURNS[0], abs=3)


@pytest.mark.parametrize("driven, expected", [(0.5, 0.0), (6.0, 1.0), (3.0, 0.27)])
def test_lids_open_by_the_share_of_the_drivers_open_eye(driven, expected):
    own = face(lids=9.0)
    shape, _ = Retargeting(points(own), rest())(points(face(lids=driven)))
    assert np.allclose(lid_gaps(shape) / 9.0, expected, atol=0.12)


def test_lids_follow_no_small_difference_of_the_eyes_but_a_wink():
    move = Retargeting(points(face()), rest())
    driver = face()
    driver[159, 1] += 0.8  # one point of the right upper lid is seen lower
    gaps = lid_gaps(move(points(driver))[0])
    assert gaps[0] == pytest.approx(gaps[1], abs=0.4)
    wink, shut = face(), face(lids=0.0)
    right = [246, 161, 160, 159, 158, 157, 173, 7, 163, 144, 145, 153, 154, 155]
    wink[right] = shut[right]
    gaps = lid_gaps(move(points(wink))[0])
    assert gaps[0] < 1.5 and gaps[1] > 4


def test_irises_lie_between_the_corners_as_the_drivers_do():
    driver = face()
    for iris in IRISES:
        driver[iris, 0] += 3.0
    own = face() * WIDER
    shape, _ = Retargeting(points(own), rest())(points(driver))
    still, _ = Retargeting(points(own), rest())(points(face()))
    assert np.allclose((shape - still)[468, 0], 3.0, atol=0.3)


def test_a_driver_with_lowered_lids_at_first_has_open_eyes_at_rest():
    low = rest(face(lids=1.0))
    assert (low.lids > 3).all()


def test_relative_motion_starts_from_the_portraits_own_pose_and_lips():
    portrait, driver = points(face(lips=10.0), turned(-15)), points(face(), turned(20))
    first = Rest.of(np.stack([driver] * 3))
    shape, pose = Retargeting(portrait, first, relative=True)(driver)
    assert np.allclose(np.degrees(angles_of(pose.turn)), [-15, 0, 0], atol=2)
    assert lip_gap(shape) == pytest.approx(10, abs=1.5)


def test_strength_goes_part_of_the_way():
    half = Retargeting(points(face()), rest(), strength=0.5)(points(face(lips=20), turned(20)))
    none = Retargeting(points(face()), rest(), strength=0.0)(points(face(lips=20), turned(20)))
    assert np.degrees(angles_of(half[1].turn))[0] == pytest.approx(10, abs=2)
    assert lip_gap(half[0]) == pytest.approx(10, abs=2)
    assert np.allclose(none[0], PosedFace.of(points(face())).shape)
    assert np.allclose(none[1].turn, np.eye(3), atol=1e-6)


def test_an_expression_between_a_face_and_itself_is_none():
    assert np.abs(expression_between(face(), face())).max() == 0


@pytest.mark.parametrize("seen", [4.0, 8.0])
def test_lips_that_part_as_the_portraits_are_seen_to_stay_where_they_are(seen):
    own, driver = points(face(lips=6.0)), points(face(lips=seen))
    move = Retargeting(own, rest(face(lips=0.2)), seen=driver)
    assert lip_gap(move(driver)[0]) == pytest.approx(6.0, abs=0.4)
    assert lip_gap(move(points(face(lips=0.2)))[0]) == pytest.approx(0, abs=0.2)
    assert lip_gap(move(points(face(lips=seen + 4)))[0]) == pytest.approx(10.0, abs=0.6)


def test_lips_that_touch_do_so_at_the_least_gap_that_the_driver_shows():
    assert lips_apart(face(lips=0.5), rest(face(lips=0.5))).max() < 0.2
    assert lips_apart(face(lips=2.5), rest(face(lips=0.5))).max() > 1


def test_lids_that_are_seen_nearly_shut_are_shut():
    shape, _ = Retargeting(points(face(lids=6.0)), rest())(points(face(lids=1.6)))
    assert lid_gaps(shape).max() < 0.3


def test_upright_is_where_the_mean_face_lies():
    assert np.allclose(points(face())[1], UPRIGHT.center + face()[1] * UPRIGHT.scale)


def test_one_face_may_lie_where_another_is():
    mixed = PosedFace.of(with_pose_of(points(face(lips=15)), points(face() * WIDER, turned(20, 5, shift=(0.1, 0)))))
    assert np.allclose(np.degrees(angles_of(mixed.pose.turn)), [20, 5, 0], atol=2.5)
    assert lip_gap(mixed.shape) == pytest.approx(15, abs=1.5)


def with_width(shape: np.ndarray, times: float) -> np.ndarray:
    """A face whose mouth is so many times as wide."""
    shape = shape.copy()
    shape[:468, 0] -= mouth_corner_weights() * (times - 1) * mouth_width(shape) / 2
    return shape


@pytest.mark.parametrize("times", [1.0, 1.15, 1.3])
def test_a_neutral_mouth_gets_as_much_wider_as_the_drivers(times):
    own = face() * [0.9, 1, 1]
    found = mouth_width(Retargeting(points(own), rest())(points(with_width(face(), times)))[0])
    assert found / mouth_width(own) == pytest.approx(times, rel=0.09)


def test_the_smile_of_a_portrait_closes_where_the_driver_does_not_smile():
    wide, narrow = with_width(face(), 1.4), mouth_width(face())
    closed = mouth_width(Retargeting(points(wide), rest())(points(face()))[0])
    assert narrow < closed < mouth_width(wide) - 0.35 * (mouth_width(wide) - narrow)
    kept = mouth_width(Retargeting(points(wide), rest(wide))(points(wide))[0])
    assert kept == pytest.approx(mouth_width(wide), rel=0.03)


def test_a_driver_who_smiles_all_the_time_makes_the_portrait_smile():
    smiling = with_width(face(), 1.35)
    found = mouth_width(Retargeting(points(face()), rest(smiling))(points(smiling))[0])
    assert 1.1 * mouth_width(face()) < found < mouth_width(smiling)


def test_a_turned_portrait_may_go_all_the_way_to_the_driver():
    move = Retargeting(points(face(), turned(20)), rest(), stay_turned=False)
    assert np.degrees(angles_of(move(points(face()))[1].turn))[0] == pytest.approx(0, abs=2.5)
