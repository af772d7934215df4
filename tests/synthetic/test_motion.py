"""Sampled motions: repeatable, in range, smooth where they are a clip."""

import numpy as np
import pytest

from training.synthetic.motion import CONTROLS, INDEX, POSE_LIMITS, controls_from, sample_clip, sample_motions

SIGNED = [INDEX["gaze_x"], INDEX["gaze_y"]]
UNSIGNED = [i for i in range(len(CONTROLS)) if i not in SIGNED]


@pytest.mark.parametrize("sample", [sample_motions, sample_clip])
class TestSamplers:
    def test_a_seed_gives_the_same_motions_and_another_seed_others(self, sample):
        controls, pose = sample(5, 40)
        again, pose_again = sample(5, 40)
        other, _ = sample(6, 40)
        np.testing.assert_array_equal(controls, again)
        np.testing.assert_array_equal(pose, pose_again)
        assert np.abs(controls - other).max() > 0.1

    def test_values_are_in_range(self, sample):
        controls, pose = sample(7, 300)
        assert controls.shape == (300, len(CONTROLS)) and controls.dtype == np.float32
        assert pose.shape == (300, 3) and pose.dtype == np.float32
        assert controls[:, UNSIGNED].min() >= 0 and controls[:, UNSIGNED].max() <= 1
        assert np.abs(controls[:, SIGNED]).max() <= 1.2
        assert (np.abs(pose) <= POSE_LIMITS + 1e-3).all()

    def test_faces_talk_blink_and_turn(self, sample):
        controls, pose = sample(8, 300)
        assert controls[:, INDEX["jaw_open"]].max() > 0.3
        assert controls[:, INDEX["blink_left"]].max() > 0.9
        assert pose[:, 0].std() > 3


def test_a_clip_is_smooth_and_starts_near_neutral():
    controls, pose = sample_clip(9, 100, fps=25)
    assert np.abs(np.diff(pose, axis=0)).max() < 5  # degrees a frame
    assert np.abs(pose[0]).max() < 12
    assert np.abs(np.diff(controls[:, INDEX["jaw_open"]])).max() < 0.35
    first = np.stack([sample_clip(seed, 50)[0][0] for seed in range(100)])
    assert first[:, : INDEX["gaze_x"]].max() < 0.3  # nobody's first picture is in the middle of a word
    assert (np.diff(sample_motions(9, 100)[1], axis=0) ** 2).mean() > 10 * (np.diff(pose, axis=0) ** 2).mean()


class TestControlVector:
    def test_a_name_without_a_side_sets_both(self):
        vector = controls_from(smile=0.5, jaw_open=0.2)
        chosen = {name: float(vector[i]) for name, i in INDEX.items() if vector[i]}
        assert chosen == pytest.approx({"jaw_open": 0.2, "smile_left": 0.5, "smile_right": 0.5})

    def test_an_unknown_name_is_refused(self):
        with pytest.raises(ValueError, match="control is 'snarl'"):
            controls_from(snarl=1.0)
