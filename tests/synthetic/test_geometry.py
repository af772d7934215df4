"""Landmarks follow the controls. Axes: x grows to the picture's right, y up, z toward the camera; decimetres."""

import numpy as np
import pytest

from training.synthetic.geometry import build_head
from training.synthetic.motion import controls_from
from training.synthetic.person import sample_person

INNER_LIPS = ((61, 67), (62, 66), (63, 65))
RIGHT_EYE, LEFT_EYE = slice(36, 42), slice(42, 48)  # the person's: right is left in the picture
NOSE_TIP = 30


def pose_head(head, *, pose=(0.0, 0.0, 0.0), **controls: float) -> np.ndarray:
    """Landmarks (68, 3)."""
    return head.landmarks_at(controls_from(**controls)[None], np.array([pose], np.float32))[0]


def lid_gap(points: np.ndarray, eye: slice) -> float:
    p = points[eye, 1]
    return float((p[1] + p[2] - p[4] - p[5]) / 2)


def lip_gap(points: np.ndarray) -> float:
    return float(np.mean([points[a, 1] - points[b, 1] for a, b in INNER_LIPS]))


def eyes(points: np.ndarray) -> np.ndarray:
    """Centres (2, 3), the picture's left one first."""
    return np.stack([points[RIGHT_EYE].mean(0), points[LEFT_EYE].mean(0)])


@pytest.fixture(params=range(3), ids=["woman", "man", "older woman"])
def head(request: pytest.FixtureRequest, heads):
    return heads[request.param]


class TestExpressions:
    def test_a_blink_closes_the_lids_whatever_else_the_face_does(self, head):
        rest = pose_head(head)
        for other in ({}, {"squint": 1.0}, {"smile": 1.0}, {"gaze_y": 0.8}, {"brow_up": 1.0}):
            blink = pose_head(head, blink=1.0, **other)
            for eye in (RIGHT_EYE, LEFT_EYE):
                assert lid_gap(rest, eye) > 0.05
                assert abs(lid_gap(blink, eye)) < 0.01

    def test_half_a_blink_is_about_half_way(self, head):
        open_, half = lid_gap(pose_head(head), LEFT_EYE), lid_gap(pose_head(head, blink=0.5), LEFT_EYE)
        assert 0.25 < half / open_ < 0.75

    def test_a_wink_leaves_the_other_eye_open(self, head):
        rest, wink = pose_head(head), pose_head(head, blink_left=1.0)
        assert abs(lid_gap(wink, LEFT_EYE)) < 0.01
        assert lid_gap(wink, RIGHT_EYE) == pytest.approx(lid_gap(rest, RIGHT_EYE), rel=0.05)

    def test_how_far_lids_are_shut_is_told_eye_by_eye(self, head):
        motions = np.stack([controls_from(), controls_from(blink=0.5), controls_from(blink_left=1.0)])
        rest, half, wink = head.lids_shut(motions)
        assert rest == pytest.approx([0, 0], abs=1e-3)
        assert np.all((half > 0.25) & (half < 0.75))
        assert wink == pytest.approx([1, 0], abs=0.1)  # the person's left eye first

    def test_the_jaw_opens_the_lips_and_lowers_the_chin(self, head):
        gaps = [lip_gap(pose_head(head, jaw_open=a)) for a in (0.0, 0.25, 0.5, 0.75, 1.0)]
        assert abs(gaps[0]) < 0.05
        assert np.all(np.diff(gaps) > 0.03)
        assert pose_head(head, jaw_open=1.0)[8, 1] < pose_head(head)[8, 1] - 0.1

    def test_the_gap_that_decides_about_teeth_agrees_with_the_landmarks(self, head):
        for jaw in (0.3, 0.8):
            opening = head.mouth_opening(controls_from(jaw_open=jaw)[None])[0]
            assert opening == pytest.approx(lip_gap(pose_head(head, jaw_open=jaw)), abs=0.04)

    def test_a_smile_widens_the_mouth_and_lifts_its_corners(self, head):
        rest, smile = pose_head(head), pose_head(head, smile=1.0)
        assert smile[54, 0] - smile[48, 0] > rest[54, 0] - rest[48, 0] + 0.02
        assert smile[[48, 54], 1].mean() > rest[[48, 54], 1].mean() + 0.02

    def test_one_side_of_a_smile_belongs_to_the_person(self, head):
        moved = np.linalg.norm(pose_head(head, smile_left=1.0) - pose_head(head), axis=1)
        assert moved[54] > 3 * moved[48]

    def test_brows_rise(self, head):
        rest = pose_head(head)
        middles, inner = [18, 19, 24, 25], [20, 23]
        assert np.all(pose_head(head, brow_up=1.0)[middles, 1] > rest[middles, 1] + 0.005)
        assert np.all(pose_head(head, brow_inner_up=1.0)[inner, 1] > rest[inner, 1] + 0.005)


class TestPose:
    def test_yaw_turns_the_face_toward_the_left_edge_of_the_picture(self, head):
        for yaw in (-25.0, 25.0):
            points = pose_head(head, pose=(yaw, 0, 0))
            assert np.sign(points[NOSE_TIP, 0] - eyes(points)[:, 0].mean()) == -np.sign(yaw)

    def test_pitch_looks_down(self, head):
        up, down = pose_head(head, pose=(0, -15, 0)), pose_head(head, pose=(0, 15, 0))
        assert down[NOSE_TIP, 1] < pose_head(head)[NOSE_TIP, 1] < up[NOSE_TIP, 1]

    def test_roll_is_clockwise_in_the_picture(self, head):
        for roll in (-12.0, 12.0):
            left, right = eyes(pose_head(head, pose=(0, 0, roll)))
            degrees = np.degrees(np.arctan2(left[1] - right[1], right[0] - left[0]))
            assert degrees == pytest.approx(roll, abs=3)

    def test_the_pose_is_rigid_for_the_face(self, head):
        rest, turned = pose_head(head), pose_head(head, pose=(30, 10, 8))
        rigid = [27, 30, 33, 36, 39, 42, 45]
        distances = [np.linalg.norm(p[rigid, None] - p[None, rigid], axis=-1) for p in (rest, turned)]
        np.testing.assert_allclose(*distances, atol=0.02)


class TestPeople:
    def test_a_seed_gives_the_same_head_and_another_seed_another(self, kit, heads):
        again = build_head(kit, sample_person(kit, 900_117))
        np.testing.assert_array_equal(heads[0].rest, again.rest)
        np.testing.assert_array_equal(heads[0].deltas, again.deltas)
        assert np.abs(heads[0].landmarks - heads[1].landmarks).max() > 0.03
