"""Optimisers and learning rates."""

import pytest
import torch

from training.arguments import OptimizerOptions
from training.optim import Ranger, build_optimizer, learning_rate


class TestOptimizers:
    @pytest.mark.parametrize("kind", ["adam", "adamw", "radam", "ranger"])
    def test_every_kind_goes_downhill(self, kind):
        weight = torch.nn.Parameter(torch.tensor([3.0]))
        optimizer = build_optimizer([weight], OptimizerOptions(kind=kind, lr=0.1))
        for _ in range(150):
            optimizer.zero_grad()
            weight.square().sum().backward()
            optimizer.step()
        assert weight.abs().item() < 1.0

    def test_ranger_centres_gradients_of_matrices(self):
        matrix, vector = torch.nn.Parameter(torch.zeros(2, 3)), torch.nn.Parameter(torch.zeros(3))
        matrix.grad, vector.grad = torch.tensor([[1.0, 2.0, 3.0], [4.0, 4.0, 4.0]]), torch.tensor([1.0, 2.0, 3.0])
        Ranger([matrix, vector], lr=1e-3).step()
        assert torch.equal(matrix.grad, torch.tensor([[-1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]))
        assert torch.equal(vector.grad, torch.tensor([1.0, 2.0, 3.0]))

    def test_ranger_looks_back_every_period(self):
        """Its weights are RAdam's until the period ends; there they go part of the way back to the slow ones."""
        fast, slow = torch.nn.Parameter(torch.ones(1)), 1.0  # the weights before the first step
        plain = torch.nn.Parameter(torch.ones(1))
        ranger, radam = Ranger([fast], lr=0.1, alpha=0.5, period=3), torch.optim.RAdam([plain], lr=0.1)
        for step in (1, 2, 3):
            for weight, optimizer in ((fast, ranger), (plain, radam)):
                weight.grad = torch.ones(1)
                optimizer.step()
            if step < 3:
                assert fast.item() == pytest.approx(plain.item())
        assert fast.item() == pytest.approx((slow + plain.item()) / 2)


class TestLearningRate:
    def test_warmup_then_constant(self):
        options = OptimizerOptions(lr=1.0, warmup=4)
        assert [learning_rate(options, step, 0.5) for step in (0, 1, 3, 9)] == [0.25, 0.5, 1.0, 1.0]

    @pytest.mark.parametrize(("decay", "middle"), [("linear", 0.55), ("cosine", 0.55), ("constant", 1.0)])
    def test_decay_over_the_last_part(self, decay, middle):
        options = OptimizerOptions(lr=1.0, decay=decay, decay_from=0.5, final=0.1)
        assert learning_rate(options, 5, 0.5) == pytest.approx(1.0)
        assert learning_rate(options, 5, 0.75) == pytest.approx(middle)
        assert learning_rate(options, 5, 1.0) == pytest.approx(1.0 if decay == "constant" else 0.1)
