"""The identity network at a small size."""

import pytest
import torch

from tests.models.roundtrip import check_half_storage, check_round_trip
from vivface.models import IdentityNetwork
from vivface.models.identity import feature_distance

CONFIG = {"widths": (4, 4, 8, 12, 16), "units": (1, 1, 1, 1), "embedding_dim": 20, "image_size": 48}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return IdentityNetwork(**CONFIG).eval().requires_grad_(False)


class TestOutput:
    def test_embeddings_have_length_one(self, network):
        embedding = network(torch.randn(3, 3, 48, 48))
        assert embedding.shape == (3, 20)
        assert torch.allclose(embedding.norm(dim=1), torch.ones(3))

    def test_features(self, network):
        shapes = [f.shape for f in network.features(torch.randn(1, 3, 64, 64))]
        assert shapes == [(1, 4, 32, 32), (1, 8, 16, 16), (1, 12, 8, 8), (1, 16, 4, 4)]

    @pytest.mark.parametrize("side", [128, 256, 512])
    def test_crop_covers_the_same_part_at_every_size(self, network, side):
        """A ramp from 0 to 1: the crop runs from 32/256 to 220/256 across, from 35/256 to 223/256 down."""
        ramp = (torch.arange(side) + 0.5) / side
        across = network.crop(ramp.expand(1, 3, side, side))
        down = network.crop(ramp[:, None].expand(1, 3, side, side))
        half_pixel = 188 / 256 / 48 / 2
        assert across.shape == (1, 3, 48, 48)
        assert across[0, 0, 0, 0] == pytest.approx(32 / 256 + half_pixel, abs=0.01)
        assert across[0, 0, 0, -1] == pytest.approx(220 / 256 - half_pixel, abs=0.01)
        assert down[0, 0, 0, 0] == pytest.approx(35 / 256 + half_pixel, abs=0.01)
        assert down[0, 0, -1, 0] == pytest.approx(223 / 256 - half_pixel, abs=0.01)

    def test_embed_is_crop_and_forward(self, network):
        image = torch.randn(2, 3, 128, 128)
        assert torch.equal(network.embed(image), network(network.crop(image)))


class TestCompare:
    def test_equals_differ_in_nothing_and_opposites_most(self, network):
        crop = torch.rand(2, 3, 48, 48) * 2 - 1
        same, near, far = (torch.stack(network.compare(crop.lerp(-crop, part), crop)) for part in (0.0, 0.1, 1.0))
        assert same.abs().max() < 1e-5 and (near > 0).all() and (near < far).all()

    def test_embedding_part_is_one_minus_cosine(self, network):
        first, second = torch.randn(2, 3, 48, 48), torch.randn(2, 3, 48, 48)
        expected = 1 - (network(first) * network(second)).sum(1).mean()
        assert network.compare(first, second)[0].item() == pytest.approx(expected.item(), abs=1e-5)

    def test_features_count_as_directions(self):
        made, wanted = torch.tensor([3.0, 0.0]).view(1, 2, 1, 1), torch.tensor([0.0, 5.0]).view(1, 2, 1, 1)
        assert feature_distance([made], [wanted]).item() == pytest.approx(2.0)  # at a right angle, whatever the length
        assert feature_distance([made, made], [wanted, 7 * made]).item() == pytest.approx(1.0)

    def test_gradients_flow_to_the_picture_alone(self, network):
        image, target = (torch.randn(1, 3, 48, 48, requires_grad=True) for _ in range(2))
        sum(network.compare(image, target)).backward()
        assert image.grad.abs().max() > 0 and target.grad is None


class TestTraining:
    def test_every_parameter_learns(self):
        network = IdentityNetwork(**CONFIG)
        network(torch.randn(4, 3, 48, 48)).sin().sum().backward()
        assert [name for name, p in network.named_parameters() if p.grad is None] == []


class TestErrors:
    def test_config(self):
        with pytest.raises(ValueError, match="multiple of 16"):
            IdentityNetwork(**CONFIG | {"image_size": 50})

    def test_image(self, network):
        with pytest.raises(ValueError, match="3, 48, 48"):
            network(torch.randn(1, 3, 64, 64))


class TestSaving:
    def test_round_trip(self, network, tmp_path):
        loaded = check_round_trip(network, tmp_path)
        image = torch.randn(1, 3, 64, 64)
        assert torch.equal(loaded.embed(image), network.embed(image))

    def test_half_precision(self, tmp_path):
        check_half_storage(IdentityNetwork(**CONFIG), tmp_path)
