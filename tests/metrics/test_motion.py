"""Metrics of motion against values by hand."""

import numpy as np
import pytest
import torch

from vivface.faces.state import STATE_NAMES
from vivface.metrics import face_state
from vivface.metrics.aed import Aed
from vivface.metrics.apd import Apd
from vivface.metrics.correlation import Correlation
from vivface.metrics.gaze import GazeError
from vivface.metrics.jitter import Jitter
from vivface.metrics.keypoint_distance import KeypointDistance
from vivface.metrics.robustness import Robustness


@pytest.mark.parametrize("metric", [Aed, Apd])
def test_code_distances_by_hand(metric):
    distance = metric()
    values = distance.update(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 4.0], [0.0, 1.0]]))
    assert values.tolist() == [1.5, 0.5]
    assert distance.compute() == 1.0
    with pytest.raises(ValueError, match="expected"):
        distance.update(torch.zeros(1, 2), torch.zeros(1, 3))


def test_gaze_error_by_hand():
    error = GazeError()
    error.update(torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2))
    assert error.compute() == 5.0


def test_correlation_is_that_of_numpy():
    random = np.random.default_rng(5)
    a = random.normal(size=(40, 3)) * [1, 10, 0.01] + [0, 500, -3]
    b = a * [1, -2, 5] + random.normal(size=a.shape) * [1, 5, 0.02]
    correlation = Correlation(3)
    for x, y in zip(torch.from_numpy(a), torch.from_numpy(b), strict=True):  # frame by frame
        correlation.update(x[None], y[None])
    expected = [np.corrcoef(a[:, k], b[:, k])[0, 1] for k in range(3)]
    assert correlation.each().tolist() == pytest.approx(expected, abs=1e-6)
    assert correlation.compute() == pytest.approx(np.mean(expected), abs=1e-6)


def test_values_that_stand_still_have_no_correlation():
    time = torch.linspace(0, 1, 20)
    correlation = Correlation(2)
    correlation.update(torch.stack([time, torch.ones(20)], 1), torch.stack([2 * time, time], 1))
    assert correlation.compute() == pytest.approx(1.0)
    assert bool(correlation.each()[1].isnan())
    assert Correlation(2).compute() is None


def test_dk_compares_displacements():
    random = torch.Generator().manual_seed(6)
    start, other = torch.rand(68, 2, generator=random), torch.rand(68, 2, generator=random)
    distance = KeypointDistance()
    assert distance.update(start, other) is None
    distance.update(start + torch.tensor([0.03, 0.0]), other + torch.tensor([0.0, 0.04]))
    assert distance.compute() == pytest.approx(0.05, abs=1e-6)  # 3, 4, 5; the faces' shapes play no part
    distance.reset()
    assert distance.update(other, start) is None
    assert distance.count == 1


def test_jitter_of_uniform_and_of_trembling_motion():
    base, step = torch.zeros(68, 2, dtype=torch.float64), torch.tensor([0.1, 0.2], dtype=torch.float64)
    uniform, trembling = Jitter(), Jitter()
    for k in range(6):
        uniform.update(base + k * step)
        trembling.update(base + (k % 2) * torch.tensor([0.01, 0.0]))
    assert uniform.compute() == pytest.approx(0.0, abs=1e-12)
    assert trembling.compute() == pytest.approx(0.02)
    assert trembling.count == 4


def test_robustness_is_the_spread_over_runs():
    robustness = Robustness()
    for run, scores in enumerate(([1.0, 3.0], [4.0], [3.0, 5.0, 10.0])):
        for score in scores:
            robustness.update(run, score)
    assert robustness.compute() == pytest.approx((4.0, 2.0))  # of 2, 4, 6
    assert Robustness().compute() is None


def test_face_state_picks_its_values():
    state = np.arange(len(STATE_NAMES), dtype=np.float32)
    assert face_state.expression(state).tolist() == [[0, 1, 2, 3, 4, 5]]
    assert face_state.gaze(state).tolist() == [[6, 7]]
    assert face_state.pose(state).tolist() == [[8, 9, 10]]
    turned = state.copy()
    turned[8:] += [30, -12, 6]
    assert face_state.pose_difference(state, turned) == pytest.approx(16.0)
