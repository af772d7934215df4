"""Parts of a motion in their own strengths, lips that stay shut, eye contact and blinks."""

import numpy as np
import pytest

from tests.warping.faces import face, points, turned
from vivface.errors import OptionError
from vivface.faces.pose import angles_of
from vivface.warping.gaps import lip_gaps, with_lid_gaps, with_lip_gaps
from vivface.warping.gaze import iris_places
from vivface.warping.mesh import LOWER_LID, MESH, MOUTH_CORNERS, UPPER_LID, PosedFace
from vivface.warping.parts import Blinks, PartMotion, Parts
from vivface.warping.regions import BROWS, part_weights
from vivface.warping.retargeting import lid_gaps

PORTRAIT = PosedFace.of(points(face()))
DRIVEN = face(lips=14, lids=2.5, brows=4)  # every part moves


def moved(parts: Parts, shape: np.ndarray = DRIVEN, pose=None, seconds: float = 0.0):
    return PartMotion(parts, PORTRAIT)(shape, pose or turned(20, 8, 3, (0.05, 0), 1.1), seconds)


class TestRegions:
    def test_every_point_belongs_to_something(self):
        weights = part_weights()
        assert weights.shape == (478, 3) and np.allclose(weights.sum(1), 1) and (weights >= 0).all()

    def test_lids_irises_brows_and_lips_are_what_they_are(self):
        weights = part_weights()
        assert (weights[[*UPPER_LID, *LOWER_LID, *range(MESH, 478)], 1] > 0.95).all()
        assert (weights[BROWS, 2] > 0.85).all()
        assert (weights[[*MOUTH_CORNERS, 13, 14, 152, 1], 0] > 0.99).all()


class TestStrengths:
    @pytest.mark.parametrize("part, points_of_it", [("mouth", [13, 14, 17, 0]), ("eyes", UPPER_LID), ("brows", [105])])
    def test_a_part_of_strength_zero_is_the_portraits_own(self, part, points_of_it):
        shape, _ = moved(Parts(**{part: 0.0}))
        assert np.allclose(shape[points_of_it], PORTRAIT.shape[points_of_it], atol=0.05)
        others = [p for p in (13, 159, 105) if p not in points_of_it]
        assert np.allclose(shape[others], DRIVEN[others], atol=0.2)

    def test_the_pose_alone(self):
        shape, pose = moved(Parts(pose=0.0))
        assert np.allclose(pose.turn, PORTRAIT.pose.turn) and np.allclose(shape, DRIVEN)
        assert pose.scale == pytest.approx(PORTRAIT.pose.scale) and np.allclose(pose.center, PORTRAIT.pose.center)
        half = moved(Parts(pose=0.5))[1]
        assert np.degrees(angles_of(half.turn))[0] == pytest.approx(10, abs=1.5)

    def test_lips_and_lids_that_meet_go_on_meeting(self):
        shut = face(lips=0, lids=0.3)
        shape, _ = moved(Parts(mouth=2.0, eyes=2.0), shut)
        assert np.abs(lip_gaps(shape)).max() < 0.1 and (lid_gaps(shape) > -1e-6).all()
        wide, _ = moved(Parts(mouth=1.5))
        assert lip_gaps(wide)[4] == pytest.approx(1.5 * lip_gaps(DRIVEN)[4], rel=0.02)

    def test_nothing_asked_changes_nothing(self):
        assert not Parts(seed=3).changes
        shape, pose = moved(Parts())
        assert np.allclose(shape, DRIVEN) and np.allclose(pose.turn, turned(20, 8, 3).turn)

    @pytest.mark.parametrize(
        "wrong", [{"mouth": -1}, {"pose": 4}, {"eyes": "all"}, {"blink_rate": 100}, {"eye_contact": 1}, {"brows": True}]
    )
    def test_values_out_of_range(self, wrong):
        with pytest.raises(OptionError, match=f"`{next(iter(wrong))}`"):
            Parts(**wrong)

    def test_one_strength_of_the_whole_expression(self):
        assert Parts(mouth=0.5, eyes=0.5, brows=0.5, pose=2).expression == 0.5
        assert Parts(mouth=0.5).expression is None and Parts(eye_contact=True).expression is None


class TestHeld:
    def test_lips_stay_shut(self):
        shape, _ = moved(Parts(keep_lips_shut=True))
        assert np.abs(lip_gaps(shape)).max() < 1e-6

    @pytest.mark.parametrize("yaw, pitch", [(20, 0), (-15, 8), (0, 0)])
    def test_eyes_look_into_the_camera(self, yaw, pitch):
        shape, _ = moved(Parts(eye_contact=True), pose=turned(yaw, pitch))
        looks = (iris_places(shape) - iris_places(PORTRAIT.shape)).mean(0)
        assert np.sign(np.round(looks[0], 1)) == np.sign(yaw)  # a head turned to the left of the image looks right
        assert np.sign(np.round(looks[1])) == -np.sign(pitch)
        assert abs(looks[0]) == pytest.approx(10.5 * np.sin(np.radians(abs(yaw))), abs=1.5)

    def test_a_portrait_that_looks_elsewhere_looks_into_the_camera(self):
        aside = face()
        aside[468:, 0] += 5.0
        portrait = PosedFace.of(points(aside))
        shape, _ = PartMotion(Parts(eye_contact=True), portrait)(portrait.shape, portrait.pose, 0.0)
        assert np.abs(iris_places(shape).mean(0)[0]) < 1.0


class TestBlinks:
    def test_as_many_as_asked_at_times_of_the_seed(self):
        def begins(rate: float, seed: int) -> list[float]:
            blinks, times = Blinks(rate, seed), np.arange(0, 300, 0.04)
            shut = np.array([blinks(t) for t in times]) > 0.5
            return times[1:][shut[1:] & ~shut[:-1]].tolist()

        assert len(begins(20, 0)) == pytest.approx(100, rel=0.25)
        assert begins(20, 0) == begins(20, 0) != begins(20, 1)
        assert begins(0, 0) == []

    def test_they_shut_the_lids(self):
        motion = PartMotion(Parts(eyes=0.0, blink_rate=30, seed=1), PORTRAIT)
        gaps = [lid_gaps(motion(DRIVEN, turned(), t)[0])[0] for t in np.arange(0, 6, 0.04)]
        assert min(gaps) < 0.5 and np.median(gaps) == pytest.approx(lid_gaps(PORTRAIT.shape)[0], abs=0.7)

    def test_the_drivers_own_are_taken_out(self):
        motion = PartMotion(Parts(blink_rate=0), PORTRAIT)
        gaps = []
        for t in np.arange(0, 4, 0.04):
            blinks = 2.0 <= t < 2.25
            gaps.append(lid_gaps(motion(face(lids=0.3 if blinks else 6.0), turned(), t)[0]).min())
        assert min(gaps) > 4.5


def test_gaps_are_set_as_asked():
    assert np.allclose(lip_gaps(with_lip_gaps(face(), np.linspace(0, 8, 9))), np.linspace(0, 8, 9), atol=0.01)
    assert np.allclose(lid_gaps(with_lid_gaps(face(), np.array([1.0, 4.0]))), [1.0, 4.0], atol=0.01)
