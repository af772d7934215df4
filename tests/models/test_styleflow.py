"""StyleFlow: the solver against a known solution, the way there and back, and turned heads."""

import pytest
import torch

from vivface.editing.codec_basis import UNIT
from vivface.editing.head_pose import COARSE_ROWS, DirectionPose, FlowPose
from vivface.models.styleflow import StyleFlow, integrate
from vivface.models.stylegan2 import StyleGAN2Generator


@pytest.fixture(scope="module")
def flow() -> StyleFlow:
    torch.manual_seed(0)
    network = StyleFlow(style_dim=12, layers=3).eval()
    for norm in (network.first_norm, network.last_norm):
        torch.nn.init.normal_(norm.weight, std=0.1)
        torch.nn.init.normal_(norm.bias, std=0.1)
        norm.running_mean.normal_(std=0.3)
        norm.running_var.uniform_(0.5, 2.0)
    return network.requires_grad_(False)


def test_solver_against_the_matrix_exponential():
    matrix = torch.tensor([[0.0, 2.0], [-2.0, -0.3]], dtype=torch.float64)
    start, zero, end = torch.tensor([[1.0, -0.5]]).double(), torch.zeros(()).double(), torch.tensor(1.7).double()
    solved = integrate(lambda time, y: y @ matrix.T, start, zero, end, 1e-8)
    expected = start @ torch.linalg.matrix_exp(1.7 * matrix).T
    torch.testing.assert_close(solved, expected, atol=1e-6, rtol=0)


def test_solver_with_time():
    solved = integrate(lambda time, y: time.expand_as(y), torch.zeros(1, 1), torch.zeros(()), torch.tensor(2.0), 1e-5)
    torch.testing.assert_close(solved, torch.tensor([[2.0]]))


def test_there_and_back(flow):
    codes, condition = torch.randn(2, 3, 12), torch.randn(2, 17)
    z = flow(codes, condition)
    assert (z - codes).abs().mean() > 0.1
    torch.testing.assert_close(flow(z, condition, reverse=True), codes, atol=1e-3, rtol=0)


def test_condition_matters(flow):
    codes, condition = torch.randn(1, 2, 12), torch.zeros(1, 17)
    other = condition.clone()
    other[0, 11] = 20.0
    assert (flow(codes, condition) - flow(codes, other)).abs().max() > 1e-2


def test_the_published_shapes():
    with torch.device("meta"):
        network = StyleFlow()
    assert len(network.velocity.layers) == 6
    layer = network.velocity.layers[0]
    assert layer.linear.weight.shape == (512, 512)
    assert layer.gate.weight.shape == layer.bias.weight.shape == (512, 18) and layer.bias.bias is None


def test_wrong_shapes(flow):
    with pytest.raises(ValueError, match="codes"):
        flow(torch.zeros(1, 12), torch.zeros(1, 17))
    with pytest.raises(ValueError, match="condition"):
        flow(torch.zeros(2, 1, 12), torch.zeros(1, 17))


@pytest.fixture(scope="module")
def generator() -> StyleGAN2Generator:
    torch.manual_seed(1)
    return StyleGAN2Generator(size=32, style_dim=12, mapping_layers=1, channels=[8] * 4, motion_codes=6).requires_grad_(
        False
    )


class TestFlowPose:
    def test_no_turn_changes_nothing(self, flow, generator):
        w_plus = generator.sample_latents(1)
        styles = FlowPose(flow).styles(generator, w_plus, torch.zeros(1), torch.zeros(1))
        for found, own in zip(styles, generator.to_stylespace(w_plus), strict=True):
            torch.testing.assert_close(found, own, atol=1e-2, rtol=0)

    def test_only_coarse_rows_turn_and_gradients_flow(self, flow, generator):
        w_plus = generator.sample_latents(1)
        yaw = torch.tensor([15.0, -15.0], requires_grad=True)
        styles = FlowPose(flow).styles(generator, w_plus, yaw, torch.zeros(2))
        own = generator.to_stylespace(w_plus)
        for index, found, before in zip(generator.layer_latents, styles, own, strict=True):
            moved = (found - before).abs().max() > 1e-4
            assert moved == (index < COARSE_ROWS)
        (gradient,) = torch.autograd.grad(styles[0].sum(), yaw)
        assert gradient.all()


def test_directions_are_straight(generator):
    turn, nod = torch.randn(8, 12), torch.randn(8, 12)
    w_plus = generator.sample_latents(1)
    yaw, pitch = torch.tensor([UNIT, 0.0, -10.0]), torch.tensor([0.0, UNIT, 5.0])
    styles = DirectionPose(turn, nod).styles(generator, w_plus, yaw, pitch)
    expected = generator.to_stylespace(w_plus + torch.stack([turn, nod, -0.5 * turn + 0.25 * nod]))
    for found, wanted in zip(styles, expected, strict=True):
        torch.testing.assert_close(found, wanted)
