"""Frechet distances against closed forms."""

import pytest
import torch

from vivface.errors import BackendError
from vivface.metrics.frechet import FeatureSums, FrechetDistance, frechet_distance
from vivface.metrics.fvd import WINDOW, Fvd, i3d_features, load_i3d


def test_gaussians_whose_covariances_commute():
    """|m|^2 + sum (sqrt a - sqrt b)^2 for covariances with the same axes."""
    torch.manual_seed(1)
    axes = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0]
    a, b = torch.rand(6, dtype=torch.float64) + 0.1, torch.rand(6, dtype=torch.float64) + 0.1
    mean = torch.randn(6, dtype=torch.float64)
    expected = mean.square().sum() + (a.sqrt() - b.sqrt()).square().sum()
    found = frechet_distance(mean, (axes * a) @ axes.T, torch.zeros_like(mean), (axes * b) @ axes.T)
    assert found == pytest.approx(float(expected), rel=1e-10)


def test_gaussians_in_the_plane_that_do_not_commute():
    """For 2 x 2 matrices tr sqrt(M) = sqrt(tr M + 2 sqrt det M)."""
    a = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    b = torch.tensor([[1.0, -0.3], [-0.3, 3.0]], dtype=torch.float64)
    mean = torch.tensor([1.0, -2.0], dtype=torch.float64)
    product = a @ b
    root = (product.trace() + 2 * product.det().sqrt()).sqrt()
    expected = 5.0 + float(a.trace() + b.trace() - 2 * root)
    assert frechet_distance(mean, a, 0 * mean, b) == pytest.approx(expected, rel=1e-12)


def test_covariances_without_full_rank():
    line = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    zero = torch.zeros(2, dtype=torch.float64)
    assert frechet_distance(zero, line, zero, line) == pytest.approx(0.0, abs=1e-12)
    assert frechet_distance(zero, line, zero, 4 * line) == pytest.approx(1.0)


def test_sums_are_those_of_all_features_at_once():
    torch.manual_seed(2)
    features = torch.randn(50, 4, dtype=torch.float64) + 1000  # far from zero: sums of squares would lose digits
    sums, rest = FeatureSums(), FeatureSums()
    for part in features[:20].split(3):
        sums.update(part)
    rest.update(features[20:])
    sums.merge(rest)
    sums = FeatureSums.from_state(sums.state())
    assert sums.count == 50
    assert torch.allclose(sums.mean, features.mean(0), rtol=1e-13)
    assert torch.allclose(sums.covariance, torch.cov(features.T), rtol=1e-9)


def test_features_of_known_gaussians():
    torch.manual_seed(3)
    distance = FrechetDistance()
    assert distance.compute() is None
    for _ in range(40):
        distance.update(torch.randn(1000, 3), 2 * torch.randn(1000, 3) + 1)
    assert distance.compute() == pytest.approx(3 * 1 + 3 * (2 - 1) ** 2, rel=0.02)
    assert FrechetDistance.from_state(distance.state()).compute() == distance.compute()


def test_merging_nothing_changes_nothing():
    sums = FeatureSums()
    sums.merge(FeatureSums())
    assert sums.count == 0
    with pytest.raises(ValueError, match="2 or more"):
        _ = sums.covariance


class ColourMeans(torch.nn.Module):
    """With the published network's call: mean and spread over time of the colours."""

    def forward(self, video: torch.Tensor, rescale: bool, resize: bool, return_features: bool) -> torch.Tensor:
        means = video.mean(dim=(3, 4))
        return torch.cat([means.mean(2), means.std(2)], 1)


@pytest.fixture
def i3d(tmp_path) -> torch.nn.Module:
    torch.jit.script(ColourMeans()).save(str(tmp_path / "i3d_torchscript.pt"))
    return load_i3d(tmp_path)


def test_fvd_sees_windows_of_16_frames(i3d):
    torch.manual_seed(4)
    real, made = (torch.rand(WINDOW * 3 + 5, 3, 8, 8) * 2 - 1 for _ in range(2))
    fvd = Fvd(i3d)
    for a, b in zip(real.split(7), made.split(7), strict=True):
        fvd.update(a, b)
    expected = FrechetDistance()
    for k in range(3):
        window = slice(k * WINDOW, (k + 1) * WINDOW)
        expected.update(i3d_features(i3d, real[window]), i3d_features(i3d, made[window]))
    assert fvd.distance.real.count == 3  # the last 5 frames are no window
    assert fvd.compute() == pytest.approx(expected.compute())


def test_i3d_gets_levels_from_0_to_255(i3d):
    window = torch.full((WINDOW, 3, 8, 8), -1.0)
    window[:, 1], window[:, 2] = 0.2, 1.0
    assert i3d_features(i3d, window)[0, :3].tolist() == [0.0, 153.0, 255.0]


def test_windows_do_not_reach_into_the_next_video(i3d):
    fvd = Fvd(i3d)
    frames = torch.zeros(WINDOW - 1, 3, 8, 8)
    for _ in range(2):
        fvd.update(frames, frames)
        fvd.end_video()
    assert fvd.distance.real.count == 0


def test_a_file_that_is_no_i3d(tmp_path):
    (tmp_path / "i3d_torchscript.pt").write_bytes(b"nothing")
    with pytest.raises(BackendError, match="TorchScript"):
        load_i3d(tmp_path)
