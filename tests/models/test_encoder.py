"""The encoder at small sizes."""

import pytest
import torch

from tests.models.roundtrip import check_half_storage, check_round_trip
from vivface.models import HybridEncoder

SLIM = {
    "image_size": 64,
    "widths": (8, 8, 12, 16, 24),
    "units": (1, 1, 2, 1),
    "num_latents": 12,
    "motion_codes": 10,
    "style_dim": 24,
    "shared_heads": True,
}


def make(**change):
    torch.manual_seed(0)
    encoder = HybridEncoder(**SLIM | change).eval().requires_grad_(False)
    torch.nn.init.normal_(encoder.latent_avg)
    return encoder


@pytest.fixture(scope="module", params=[True, False], ids=["shared", "separate"])
def encoder(request):
    return make(shared_heads=request.param)


@pytest.fixture
def image():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


class TestOutput:
    def test_shapes(self, encoder, image):
        output = encoder(image)
        assert output.identity.shape == (2, 12, 24)
        assert output.motion.shape == (2, 10, 24)
        assert output.memory.shape == (2, 16, 24)

    def test_at_128_the_memory_has_64_tokens(self):
        assert make(image_size=128)(torch.randn(1, 3, 128, 128)).memory.shape == (1, 64, 24)

    @pytest.mark.parametrize("asked", ["identity", "motion", "memory"])
    def test_parts_alone_are_the_same(self, encoder, image, asked):
        parts = {"identity": False, "motion": False, "memory": False} | {asked: True}
        alone, whole = encoder(image, **parts), encoder(image)
        assert torch.equal(alone[asked], whole[asked])
        assert list(alone.keys()) == [asked]

    def test_memory_is_the_last_feature_row_by_row(self, encoder, image):
        feature = encoder.trunk(image)[-1]  # (2, 24, 4, 4)
        assert torch.allclose(encoder(image).memory[:, 6], feature[:, :, 1, 2], atol=1e-6)

    def test_codes_start_near_mean_and_zero(self, encoder, image):
        output = encoder(image)
        assert (output.identity - encoder.latent_avg).std() < 0.5
        assert output.motion.std() < 0.5
        assert not torch.equal(output.motion[0], output.motion[1])  # yet they tell images apart

    def test_latent_average_moves_every_vector(self, image):
        encoder = make()
        before = encoder(image)
        encoder.latent_avg += 1
        after = encoder(image)
        assert torch.allclose(after.identity, before.identity + 1, atol=1e-5)
        assert torch.equal(after.motion, before.motion)


class TestCost:
    def test_only_what_is_asked_is_computed(self, encoder, image):
        ran = set()
        hooks = [
            module.register_forward_hook(lambda *_, name=name: ran.add(name))
            for name, module in encoder.named_children()
        ]
        expected = {
            "identity": {"trunk", "lateral_c1", "lateral_c2", "identity_heads"},
            "motion": {"trunk", "lateral_c1", "lateral_c2", "motion_heads"},
            "memory": {"trunk"},
        }
        for part, modules in expected.items():
            ran.clear()
            encoder(image, **{"identity": False, "motion": False, "memory": False} | {part: True})
            assert ran == modules
        for hook in hooks:
            hook.remove()

    def test_shared_heads_are_smaller(self):
        shared, separate = make(), make(shared_heads=False)
        assert len(shared.identity_heads.heads) == 3
        assert len(separate.identity_heads.heads) == 12
        assert _count(shared) < _count(separate) / 2

    def test_fewer_codes_than_levels(self):
        encoder = make(motion_codes=2, num_latents=5)
        output = encoder(torch.randn(1, 3, 64, 64))
        assert output.motion.shape == (1, 2, 24)
        assert output.identity.shape == (1, 5, 24)


class TestTraining:
    @pytest.mark.parametrize("shared", [True, False])
    def test_every_parameter_learns(self, image, shared):
        encoder = make(shared_heads=shared).train().requires_grad_(True)
        output = encoder(image)
        (output.identity.sin().sum() + output.motion.sin().sum() + output.memory.sin().sum()).backward()
        assert [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()] == []


class TestErrors:
    @pytest.mark.parametrize(
        ("change", "message"), [({"image_size": 100}, "100"), ({"style_dim": 32}, "32"), ({"widths": (8, 24)}, "five")]
    )
    def test_config(self, change, message):
        with pytest.raises(ValueError, match=message):
            HybridEncoder(**SLIM | change)

    def test_image(self, encoder):
        with pytest.raises(ValueError, match="3, 64, 64"):
            encoder(torch.randn(1, 3, 32, 32))


class TestSaving:
    def test_round_trip(self, encoder, image, tmp_path):
        loaded = check_round_trip(encoder, tmp_path)
        assert torch.equal(loaded(image).identity, encoder(image).identity)

    def test_half_precision(self, tmp_path):
        check_half_storage(make(), tmp_path)


def _count(network):
    return sum(p.numel() for p in network.parameters())
