"""Numbers by gradient descent: losses by hand, what stays, and planted numbers that come back."""

import pytest
import torch

from vivface.metrics.psnr import psnr
from vivface.reenactment.frame_fitting import Before, FrameFitter, Targets, descend, fit_identity


@pytest.fixture(scope="module")
def painter():
    """A smooth little picture whose places answer to 32 values and two angles."""
    random = torch.Generator().manual_seed(0)
    patterns = torch.nn.functional.interpolate(torch.randn(34, 3, 6, 6, generator=random), (24, 24), mode="bicubic")

    def render(pose: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        numbers = torch.cat([pose / 20, values], dim=1)
        return torch.tanh(0.2 * torch.einsum("bn,nchw->bchw", numbers, patterns))

    return render


def targets_of(images: torch.Tensor, blink: list[bool] | None = None) -> Targets:
    maps = torch.ones(len(images), 6, 24, 24)
    return Targets(images, maps, torch.tensor(blink or [False] * len(images)))


def test_descend_finds_a_minimum():
    goal = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    found = descend(lambda x: (x - goal).square().sum(1), torch.zeros(2, 2), 200, 0.1)
    torch.testing.assert_close(found, goal, atol=0.02, rtol=0)


def test_rates_slow_down_and_stop():
    rates = torch.tensor([[1.0, 0.25, 0.0]])
    found = descend(lambda x: x.sum(1), torch.zeros(1, 3), 1, 0.1, rates)
    torch.testing.assert_close(found, torch.tensor([[-0.1, -0.025, 0.0]]))


def test_planted_numbers_come_back(painter):
    random = torch.Generator().manual_seed(1)
    pose, values = torch.randn(2, 2, generator=random) * 10, 0.7 * torch.randn(2, 32, generator=random)
    images = painter(pose, values)
    fitter = FrameFitter(painter, whole=1.0)
    found = fitter.fit_values(targets_of(images), pose, torch.zeros(2, 32), 200)
    assert psnr(painter(pose, found), images).min() > 35


def test_pose_comes_back(painter):
    pose = torch.tensor([[12.0, -8.0], [-15.0, 4.0]])
    nothing = torch.zeros(2, 32)
    maps = torch.zeros(2, 6, 24, 24)
    maps[:, 0] = 1  # all of it face, nothing of it eyes, brows or mouth
    targets = Targets(painter(pose, nothing), maps, torch.zeros(2, dtype=torch.bool))
    found = FrameFitter(painter).fit_pose(targets, torch.zeros(2, 2), 200)
    torch.testing.assert_close(found, pose, atol=0.5, rtol=0)


def test_gaze_stays_in_a_blink(painter):
    gaze = torch.zeros(32, dtype=torch.bool)
    gaze[:4] = True
    images = painter(torch.zeros(2, 2), torch.ones(2, 32))
    found = FrameFitter(painter, gaze=gaze).fit_values(
        targets_of(images, [True, False]), torch.zeros(2, 2), torch.zeros(2, 32), 5
    )
    assert not found[0, :4].any() and found[0, 4:].all() and found[1].all()


def test_frames_do_not_influence_each_other(painter):
    random = torch.Generator().manual_seed(2)
    values = torch.randn(2, 32, generator=random)
    images, pose = painter(torch.zeros(2, 2), values), torch.zeros(2, 2)
    fitter = FrameFitter(painter)
    together = fitter.fit_values(targets_of(images), pose, torch.zeros(2, 32), 10)
    alone = fitter.fit_values(targets_of(images[1:]), pose[1:], torch.zeros(1, 32), 10)
    torch.testing.assert_close(together[1:], alone, atol=1e-4, rtol=1e-4)


def test_loss_by_hand(painter):
    """L2 and IF of three regions (eq. 9-12): all of the picture each, without a recognizer."""
    images, shown = torch.zeros(1, 3, 24, 24), torch.full((1, 3, 24, 24), 0.5)
    before = Before(torch.full_like(images, -0.1), torch.full_like(images, 0.2), torch.ones(1))
    value = FrameFitter(painter).distance(shown, targets_of(images), before=before)
    change = (0.5 - 0.2) - (0.0 + 0.1)
    torch.testing.assert_close(value, torch.tensor([3 * (0.25 + change**2)]))


def test_identity_latent():
    goal = torch.randn(1, 4, 8, generator=torch.Generator().manual_seed(3))
    images = goal.reshape(1, 1, 4, 8).expand(2, 3, -1, -1)
    found = fit_identity(lambda w: w.reshape(1, 1, 4, 8).expand(2, 3, -1, -1), goal + 0.3, images, None, 80)
    torch.testing.assert_close(found, goal, atol=0.02, rtol=0)
