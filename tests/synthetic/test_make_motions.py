"""The motions of the library, before they are rendered."""

import numpy as np
import pytest

from training.synthetic.make_motions import ALL, FPS, motion_of
from training.synthetic.motion import CONTROLS, POSE_LIMITS


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_motion_can_be_looped(name):
    controls, pose = motion_of(name)
    assert controls.shape == (len(pose), len(CONTROLS)) and pose.shape[1] == 3
    assert 2 <= len(pose) / FPS <= 4
    assert np.abs(controls[0] - controls[-1]).max() < 0.05 and np.abs(pose[0] - pose[-1]).max() < 0.1
    assert (np.abs(pose) <= POSE_LIMITS).all() and np.abs(controls).max() <= 1
    assert np.abs(np.diff(controls, axis=0)).max() < 0.75 and np.abs(np.diff(pose, axis=0)).max() < 4  # no jump


def test_they_differ_in_what_moves():
    of = {name: motion_of(name) for name in ALL}
    jaw, smile = (CONTROLS.index(name) for name in ("jaw_open", "smile_left"))
    span = {name: np.ptp(pose, axis=0) for name, (_, pose) in of.items()}
    assert span["nod"][1] > 10 and span["look-around"][0] > 30
    assert of["talk"][0][:, jaw].max() > 0.3 > of["nod"][0][:, jaw].max()
    assert of["smile"][0][:, smile].max() > 0.6 and of["laugh"][0][:, [jaw, smile]].max(0).min() > 0.3
