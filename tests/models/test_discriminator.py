"""The discriminators at small sizes."""

import pytest
import torch

from tests.models.roundtrip import check_half_storage, check_round_trip
from vivface.models import LatentDiscriminator, StyleGAN2Discriminator
from vivface.models.discriminator import _minibatch_deviation

CONFIG = {"size": 32, "channels": [12, 8, 8, 4]}


@pytest.fixture(scope="module")
def discriminator():
    torch.manual_seed(0)
    return StyleGAN2Discriminator(**CONFIG)


class TestImages:
    @pytest.mark.parametrize("batch", [1, 3, 4, 8])
    def test_one_logit_an_image(self, discriminator, batch):
        assert discriminator(torch.randn(batch, 3, 32, 32)).shape == (batch, 1)

    def test_published_layout(self):
        with torch.device("meta"):
            discriminator = StyleGAN2Discriminator(1024)
        # Of the published network, without the fixed filters
        assert sum(p.numel() for p in discriminator.parameters()) == 29_012_513

    def test_equal_images_have_no_deviation(self, discriminator):
        assert (_minibatch_deviation(torch.ones(4, 8, 4, 4)) - 1e-4).abs().max() < 1e-6

    def test_deviation_sees_the_group(self):
        x = torch.randn(8, 2, 4, 4)
        deviation = _minibatch_deviation(x)
        group = x[::2]  # samples 0, 2, 4, 6 share a figure
        expected = (group.var(dim=0, unbiased=False) + 1e-8).sqrt().mean()
        assert torch.allclose(deviation[0], expected) and torch.equal(deviation[0], deviation[2])
        assert not torch.equal(deviation[0], deviation[1])

    def test_r1_reaches_every_parameter(self, discriminator):
        image = torch.randn(4, 3, 32, 32, requires_grad=True)
        (gradient,) = torch.autograd.grad(discriminator(image).sum(), image, create_graph=True)
        discriminator.zero_grad()
        gradient.square().sum().backward()
        unmoved = [name for name, p in discriminator.named_parameters() if p.grad is None or not p.grad.any()]
        # A bias moves the gradient only through an activation's sign or the deviation, and the last one never
        assert all(name.endswith("bias") for name in unmoved)

    @pytest.mark.parametrize(("change", "message"), [({"size": 48}, "48"), ({"channels": [4]}, "1 entries")])
    def test_config(self, change, message):
        with pytest.raises(ValueError, match=message):
            StyleGAN2Discriminator(**CONFIG | change)


class TestLatents:
    def test_one_logit_a_code(self):
        discriminator = LatentDiscriminator(16, 3)
        assert discriminator(torch.randn(5, 16)).shape == (5, 1)
        assert discriminator(torch.randn(5, 10, 16)).shape == (5, 10, 1)


class TestSaving:
    @pytest.mark.parametrize(
        "make",
        [lambda: StyleGAN2Discriminator(**CONFIG), lambda: LatentDiscriminator(16, 3)],
        ids=["images", "latents"],
    )
    def test_round_trip(self, make, tmp_path):
        check_round_trip(make(), tmp_path)
        check_half_storage(make(), tmp_path)
