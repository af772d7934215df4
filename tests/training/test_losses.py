"""Losses: values known in advance, limits, gradients."""

import math

import pytest
import torch
import torch.nn.functional as F

from training import losses


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


class TestGradientVariance:
    def test_equal_images(self):
        image = torch.randn(2, 3, 32, 32)
        assert losses.gradient_variance(image, image) == 0

    def test_sees_blur(self):
        image = torch.rand(1, 3, 32, 32)
        assert losses.gradient_variance(F.avg_pool2d(image, 3, 1, 1), image) > 0.01

    def test_does_not_see_the_sign(self):
        image = torch.rand(1, 3, 32, 32)
        assert losses.gradient_variance(-image, image) < 1e-10

    def test_of_one_patch(self):
        """A vertical edge in an 8x8 image, by hand: grey steps from 0 to 1 between columns 3 and 4."""
        image = torch.zeros(1, 3, 8, 8)
        image[:, :, :, 4:] = 1
        grey = sum(losses.GREY)
        across = torch.zeros(8, 8)
        across[:, 3:5] = 4 * grey
        across[:, 7] = -4 * grey
        across[[0, 7]] *= 0.75
        down = torch.zeros(8, 8)
        down[0, 4:] = 4 * grey
        down[7, 4:] = -4 * grey
        down[[0, 7], 3] = torch.tensor([grey, -grey])
        down[[0, 7], 4] *= 0.75
        down[[0, 7], 7] *= 0.75
        wanted = across.var() ** 2 + down.var() ** 2
        assert torch.allclose(losses.gradient_variance(image, torch.zeros_like(image)), wanted)


class TestCodes:
    """Hybrid latent spaces, eq. 10-12, by hand."""

    def test_distance(self):
        code, other = torch.zeros(2, 3, 4), torch.zeros(2, 3, 4)
        code[0, 0, 0], code[0, 2, 1] = 3.0, 4.0  # ||.|| = 5 over the whole code; the second of the batch is equal
        assert losses.code_distance(code, other, "plain") == pytest.approx(2.5)
        assert losses.code_distance(code, other) == pytest.approx(25 / 24)

    def test_size_is_a_sum_over_codes(self):
        codes = torch.zeros(2, 3, 4)
        codes[0, 0, :2], codes[1, 1] = torch.tensor([3.0, 4.0]), torch.tensor([1.0, 1, 1, 1])
        codes[1, 2, 0] = -2.0
        assert losses.code_size(codes, "plain") == pytest.approx((5 + 2 + 2) / 2)
        assert losses.code_size(codes) == pytest.approx((25 + 4 + 4) / 24)

    def test_deltas_are_offsets_from_the_first_vector(self):
        w = torch.ones(2, 3, 4, requires_grad=True)
        assert losses.delta_size(w) == 0
        moved = w.detach().clone()
        moved[0, 0] -= 2.0  # both others of this one are 4 away
        moved[1, 2, 3] += 3.0
        assert losses.delta_size(moved) == pytest.approx((4 + 4 + 3) / 2)
        losses.delta_size(w).backward()
        assert w.grad.isfinite().all()


class TestIdentity:
    def test_limits(self):
        a = F.normalize(torch.randn(4, 8), dim=1)
        assert losses.identity_loss(a, a) == pytest.approx(0, abs=1e-6)
        assert losses.identity_loss(a, -a) == pytest.approx(2, abs=1e-6)

    def test_margin_is_an_angle(self):
        """One person at 60 degrees, another at 90: logits are cos(60 + margin) and 0."""
        centres = torch.tensor([[0.5, math.sqrt(0.75)], [0.0, -3.0]])
        embedding, labels, margin = torch.tensor([[1.0, 0.0]]), torch.tensor([0]), 0.3
        logits = 10 * torch.tensor([[math.cos(math.pi / 3 + margin), 0.0]])
        made = losses.angular_margin_loss(embedding, centres, labels, scale=10, margin=margin)
        assert torch.allclose(made, F.cross_entropy(logits, labels), atol=1e-5)

    def test_margin_never_rewards_a_larger_angle(self):
        angles = torch.linspace(0.01, math.pi - 0.01, 200)
        embeddings = torch.stack([angles.cos(), angles.sin()], dim=1)
        centres = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
        label = torch.tensor([0])
        made = torch.stack([losses.angular_margin_loss(e[None], centres, label) for e in embeddings])
        assert (made.diff() > -1e-6).all()

    def test_margin_gradient_is_finite_at_the_centre(self):
        centres = torch.eye(3, requires_grad=True)
        losses.angular_margin_loss(torch.eye(3), centres, torch.arange(3)).backward()
        assert centres.grad.isfinite().all()


class TestAdversarial:
    def test_undecided(self):
        zero = torch.zeros(4, 1)
        assert losses.discriminator_loss(zero, zero) == pytest.approx(2 * math.log(2))
        assert losses.generator_loss(zero) == pytest.approx(math.log(2))

    def test_directions(self):
        one = torch.ones(4, 1)
        assert losses.discriminator_loss(one, -one) < losses.discriminator_loss(-one, one)
        assert losses.generator_loss(one) < losses.generator_loss(-one)

    def test_r1_of_a_linear_judge(self):
        real, weight = torch.randn(5, 7, requires_grad=True), torch.randn(7, 1, requires_grad=True)
        penalty = losses.r1_penalty(real @ weight, real)
        assert torch.allclose(penalty, weight.square().sum())
        penalty.backward()
        assert torch.allclose(weight.grad, 2 * weight)

    def test_path_length_of_a_linear_generator(self):
        """J is a matrix with orthonormal columns: E ||J^T y||^2 = columns / pixels."""
        matrix = torch.linalg.qr(torch.randn(3 * 16 * 16, 6))[0]
        w = torch.randn(2000, 1, 6, requires_grad=True)
        image = (w[:, 0] @ matrix.T).view(-1, 3, 16, 16)
        lengths = losses.path_lengths(image, w, torch.Generator().manual_seed(0))
        assert lengths.square().mean().item() == pytest.approx(6 / 256, rel=0.05)

    def test_path_length_penalty_pulls_to_the_mean(self):
        lengths = torch.tensor([1.0, 3.0], requires_grad=True)
        penalty, mean = losses.path_length_penalty(lengths, torch.tensor(2.0), decay=0.01)
        assert penalty == 1 and mean == 2 and not mean.requires_grad
        penalty, mean = losses.path_length_penalty(lengths, torch.tensor(0.0), decay=0.5)
        assert mean == 1 and penalty == 2
        penalty.backward()
        assert lengths.grad.tolist() == [0, 2]
