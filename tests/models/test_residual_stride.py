"""Strided residual units: same result as a strided shortcut, and none of our networks has a strided 1x1 convolution."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vivface.models import HybridEncoder, IdentityNetwork, RefinementNetwork
from vivface.models.layers.residual import ResidualUnit


def test_shortcut_equals_a_strided_convolution():
    torch.manual_seed(0)
    unit = ResidualUnit(4, 6, stride=2).eval()
    image = torch.randn(2, 4, 9, 8)
    conv, norm = unit.shortcut
    branch = unit.norm2(unit.conv2(unit.activation(unit.conv1(unit.norm1(image)))))
    expected = branch + norm(F.conv2d(image, conv.weight, stride=2))
    assert torch.allclose(unit(image), expected, atol=1e-6)


@pytest.mark.parametrize("network_class", [HybridEncoder, IdentityNetwork, RefinementNetwork])
def test_no_strided_pointwise_convolution(network_class):
    """oneDNN's backward pass of such a convolution writes out of bounds in channels-last order."""
    with torch.device("meta"):
        network = network_class()
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert convolutions
    assert not [c for c in convolutions if c.kernel_size == (1, 1) and c.stride != (1, 1)]
