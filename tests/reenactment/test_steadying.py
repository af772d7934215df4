"""Steadied points: trembling goes, movements stay, nothing passes from one take to another."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from tests.warping.faces import face, points, turned
from vivface.reenactment.driving import DrivingFrame
from vivface.reenactment.steadying import CausalSteadying, steady_points
from vivface.warping.gaps import lid_gaps
from vivface.warping.mesh import PosedFace

FPS = 25


def frames_of(many: np.ndarray, fps: int = FPS) -> list[DrivingFrame]:
    return [
        DrivingFrame(Fraction(row, fps), Fraction(1, fps), None, True, each, anew=row == 0)
        for row, each in enumerate(many)
    ]


def steadied(frames: list[DrivingFrame]) -> np.ndarray:
    return np.stack([frame.points for frame in steady_points(iter(frames))])


def trembling(many: np.ndarray) -> float:
    return float(np.abs(np.diff(many, 2, axis=0)).mean())


def turning(count: int) -> np.ndarray:
    """A head that turns by 20 degrees and back within a second, `(count, 478, 3)`."""
    return np.stack([points(face(), turned(yaw=20 * np.sin(2 * np.pi * row / FPS))) for row in range(count)])


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(40, 478, 3)) * 5e-4


def test_a_still_face_trembles_less(noise):
    noisy = points(face()) + noise
    assert trembling(steadied(frames_of(noisy))[4:-4]) < 0.4 * trembling(noisy[4:-4])


def test_movements_keep_their_way_and_their_time():
    many = turning(40)
    yaws = [[PosedFace.of(each).pose.angles[0] for each in rows] for rows in (many, steadied(frames_of(many)))]
    assert np.abs(np.subtract(*yaws)).max() < np.radians(0.7)


def test_a_blink_stays_shut():
    gaps = np.full(24, 8.0)
    gaps[10:15] = 5.0, 1.5, 1.0, 3.0, 6.0
    many = np.stack([points(face(lids=gap)) for gap in gaps])
    seen = np.array([lid_gaps(PosedFace.of(each).shape).mean() for each in steadied(frames_of(many))])
    assert seen.argmin() in (11, 12)
    assert seen.min() < 2.0


def test_clips_of_few_frames_a_second_stay_as_they_are(noise):
    many = turning(40) + noise
    assert np.allclose(steadied(frames_of(many, fps=10)), many, atol=1e-9)


@pytest.mark.parametrize("announced", [True, False])
def test_a_cut_stays_sharp(announced):
    first, second = points(face()), points(face(), turned(yaw=30, shift=(0.1, 0)))
    many = np.concatenate([np.repeat(first[None], 12, 0), np.repeat(second[None], 12, 0)])
    frames = frames_of(many)
    frames[12] = replace(frames[12], anew=announced)
    assert np.allclose(steadied(frames), many, atol=1e-9)


def test_frames_without_a_face_pass(noise):
    frames = frames_of(points(face()) + noise)
    for row in (0, 1, 20):
        frames[row] = replace(frames[row], found=False, points=None)
    made = list(steady_points(iter(frames)))
    assert [frame.time for frame in made] == [frame.time for frame in frames]
    assert [row for row, frame in enumerate(made) if frame.points is None] == [0, 1, 20]
    assert not np.allclose(made[12].points, frames[12].points, atol=1e-6)
    assert np.allclose(made[19].points, frames[19].points, atol=1e-9)  # nothing from beyond the gap


class TestCausal:
    """For a camera: the frames to come are not known."""

    def steadied(self, many: np.ndarray, fps: int = FPS) -> np.ndarray:
        steadying = CausalSteadying()
        return np.stack([steadying.update(each, row / fps, row == 0) for row, each in enumerate(many)])

    def test_a_still_face_trembles_less(self, noise):
        noisy = points(face()) + noise
        assert trembling(self.steadied(noisy)) < 0.75 * trembling(noisy)

    def test_a_turn_is_followed_at_once(self):
        many = turning(40)
        yaws = [[PosedFace.of(each).pose.angles[0] for each in rows] for rows in (many, self.steadied(many))]
        assert np.abs(np.subtract(*yaws)).max() < np.radians(2)

    def test_lids_are_as_they_are(self):
        gaps = np.full(12, 8.0)
        gaps[5:8] = 1.0
        seen = self.steadied(np.stack([points(face(lids=gap)) for gap in gaps]))
        assert [lid_gaps(PosedFace.of(each).shape).mean() for each in seen] == pytest.approx(gaps, abs=0.3)

    def test_a_jump_is_a_jump(self):
        first, second = points(face()), points(face(), turned(yaw=30, shift=(0.1, 0)))
        assert np.allclose(self.steadied(np.stack([first] * 5 + [second] * 5))[5], second, atol=1e-9)
