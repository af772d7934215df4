"""Landmarks of one synthetic person under another's motion, beside where they truly go."""

import numpy as np
import pytest

from training.synthetic.motion import controls_from
from vivface.reenactment.landmark_motion import LIPS, retarget_landmarks

RIGHT_LIDS, CORNERS = ((37, 41), (38, 40)), (36, 39)


def points(head, *, yaw: float = 0.0, size: float = 100.0, **controls: float) -> np.ndarray:
    """Landmarks (68, 2) as a camera far away sees them, y down."""
    at = head.landmarks_at(controls_from(**controls)[None], np.array([[yaw, 0, 0]], np.float32))[0]
    return at[:, :2] * [size, -size]


def opening(landmarks: np.ndarray, pairs) -> float:
    return float(np.mean([landmarks[low, 1] - landmarks[up, 1] for up, low in pairs]))


MOTIONS = {
    "talk": {"jaw_open": 0.6},
    "blink": {"blink": 1.0},
    "smile": {"smile": 0.8},
    "brows": {"brow_up": 1.0, "brow_inner_up": 0.5},
    "turn": {"yaw": 20.0, "jaw_open": 0.3},
}


class TestRetargeting:
    @pytest.mark.parametrize("name", MOTIONS)
    def test_they_go_near_where_they_truly_go(self, heads, name: str):
        portrait, driver = heads[0], heads[1]
        source, reference = points(portrait), points(driver, size=60)
        found = retarget_landmarks(source, points(driver, size=60, **MOTIONS[name])[None], reference)[0]
        truth = points(portrait, **MOTIONS[name])
        error, motion = (np.linalg.norm(x - truth, axis=1) for x in (found, source))
        moving = motion > 0.3 * motion.max()
        assert error[moving].mean() < 0.45 * motion[moving].mean()

    def test_an_open_mouth_shuts_with_the_drivers(self, heads):
        source = points(heads[0], jaw_open=0.7)
        shut = points(heads[1])[None]
        relative = retarget_landmarks(source, shut, shut[0], openings=False)[0]
        absolute = retarget_landmarks(source, shut, shut[0])[0]
        assert opening(relative, LIPS) == pytest.approx(opening(source, LIPS))
        assert opening(absolute, LIPS) == pytest.approx(opening(shut[0], LIPS), abs=0.02 * opening(source, LIPS) + 0.1)
        assert absolute[8, 1] < source[8, 1]  # the chin follows

    def test_lids_shut_whatever_their_size(self, heads):
        for portrait in heads:
            for driver in heads:
                blink = points(driver, size=40, blink=1.0)[None]
                found = retarget_landmarks(points(portrait), blink, points(driver, size=40))[0]
                assert abs(opening(found, RIGHT_LIDS)) < 0.15 * opening(points(portrait), RIGHT_LIDS)

    def test_a_turned_camera_makes_no_difference(self, heads):
        source, reference, driving = points(heads[0]), points(heads[1]), points(heads[1], jaw_open=0.5)[None]
        turn = 1.7 * np.array([[0.8, -0.6], [0.6, 0.8]])
        straight = retarget_landmarks(source, driving, reference)
        turned = retarget_landmarks(source, driving @ turn.T + 40, reference @ turn.T + 40)
        np.testing.assert_allclose(straight, turned, atol=1e-6)

    def test_no_motion_changes_nothing(self, heads):
        source = points(heads[0])
        np.testing.assert_allclose(retarget_landmarks(source, source[None], source)[0], source, atol=1e-9)

    def test_wrong_shapes_are_refused(self):
        face = np.zeros((68, 2))
        with pytest.raises(ValueError, match=r"`driving` has shape \(68, 2\); expected \(frames, 68, 2\)"):
            retarget_landmarks(face, face, face)
        with pytest.raises(ValueError, match=r"`source` has shape \(5, 2\)"):
            retarget_landmarks(face[:5], face[None], face)
