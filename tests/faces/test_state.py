"""Lids, lips, brows, gaze and pose of real faces, and their smoothing."""

from dataclasses import replace

import numpy as np
import pytest
from skimage.data import astronaut

from vivface.faces import STATE_NAMES, FaceState, FaceTracker, StateSmoother, get_backend, read_state
from vivface.media import VideoReader


def follow(path) -> list[FaceState]:
    tracker = FaceTracker(get_backend("mesh"))
    return [tracker.update(frame.image, frame.time).state for frame in VideoReader(path)]


@pytest.fixture(scope="module")
def turning(media_dir) -> np.ndarray:
    return np.stack([state.as_array() for state in follow(media_dir / "driving" / "turning.mp4")])


@pytest.fixture(scope="module")
def expressions(media_dir) -> np.ndarray:
    return np.stack([state.as_array() for state in follow(media_dir / "driving" / "expressions.mp4")])


def column(states: np.ndarray, name: str) -> np.ndarray:
    return states[:, STATE_NAMES.index(name)]


class TestReading:
    def test_blinks_are_seen(self, expressions):
        """Two in 216 frames; lids shut to less than half of their usual opening."""
        lids = (column(expressions, "lid_left") + column(expressions, "lid_right")) / 2
        shut = lids < 0.6 * np.median(lids)
        assert 2 <= np.count_nonzero(np.diff(shut.astype(int)) == 1) <= 4

    def test_the_mouth_opens_where_it_does(self, expressions):
        opening = column(expressions, "mouth_open")
        assert opening[127] > 5 * max(opening[0], 0.01)

    def test_a_turning_head(self, turning):
        yaw = column(turning, "yaw")
        assert np.ptp(yaw) > 25
        assert np.abs(column(turning, "roll")).max() < 25

    def test_mirrored_face(self):
        backend = get_backend("mesh")
        one = read_state(backend.detect(astronaut())[0].points)
        other = read_state(backend.detect(np.ascontiguousarray(astronaut()[:, ::-1]))[0].points)
        assert abs(one.lid_left - other.lid_right) < 0.05
        assert abs(one.brow_left - other.brow_right) < 0.05
        assert abs(one.yaw + other.yaw) < 4
        assert abs(one.gaze_yaw + other.gaze_yaw) < 6

    def test_confidence(self):
        points = get_backend("mesh").detect(astronaut())[0].points
        state = read_state(points)
        assert len(state.confidence) == len(STATE_NAMES)
        assert min(state.confidence) > 0.5
        assert max(read_state(replace(points, presence=-30.0)).confidence) < 0.05

    def test_arrays(self):
        state = read_state(get_backend("mesh").detect(astronaut())[0].points)
        again = FaceState.from_arrays(state.as_array(), np.array(state.confidence))
        np.testing.assert_allclose(again.as_array(), state.as_array())
        with pytest.raises(ValueError, match=r"expected \(11,\)"):
            FaceState.from_arrays(np.zeros(3), np.zeros(3))


class TestSmoothing:
    @staticmethod
    def state(**values: float) -> FaceState:
        return FaceState(**dict.fromkeys(STATE_NAMES, 0.0) | values, confidence=(1.0,) * len(STATE_NAMES))

    def test_a_blink_passes_at_once(self):
        smoother = StateSmoother()
        for frame in range(10):
            smoother.update(self.state(lid_left=0.3), frame / 25)
        assert smoother.update(self.state(lid_left=0.03), 10 / 25).lid_left < 0.08

    def test_trembling_is_taken_out(self):
        rng, smoother = np.random.default_rng(0), StateSmoother()
        noise = rng.normal(0, 0.003, 100)
        smooth = [smoother.update(self.state(lid_left=0.3 + x), i / 25).lid_left for i, x in enumerate(noise)]
        assert np.std(smooth[10:]) < 0.75 * np.std(noise[10:])

    def test_a_missing_face_keeps_the_last_state_without_confidence(self):
        smoother = StateSmoother()
        assert smoother.update(None, 0.0) is None
        smoother.update(self.state(yaw=5.0), 0.04)
        held = smoother.update(None, 0.08)
        assert held.yaw == 5.0 and max(held.confidence) == 0


def test_backends_without_mesh_have_no_state():
    pytest.importorskip("dlib")
    assert FaceTracker(get_backend("dlib")).update(astronaut()).state is None
