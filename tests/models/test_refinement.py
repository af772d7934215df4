"""The refinement network at small sizes."""

import pytest
import torch
import torch.nn.functional as F

from tests.models.roundtrip import check_half_storage, check_round_trip
from vivface.models import RefinementNetwork, StyleGAN2Generator
from vivface.models.refinement import generate_refined
from vivface.models.stylegan2 import SynthesisState

CONFIG = {
    "image_size": 64,
    "feature_channels": 12,
    "aligner_widths": (4, 6, 8, 10),
    "modulator_widths": (4, 6, 8),
    "hidden": 10,
    "feature_size": 64,
}


def make(**change):
    torch.manual_seed(0)
    network = RefinementNetwork(**CONFIG | change).eval().requires_grad_(False)
    for layer in (network.modulator.scale2, network.modulator.shift2):
        torch.nn.init.normal_(layer.weight)
    return network


@pytest.fixture(scope="module")
def network():
    return make()


@pytest.fixture
def frame():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def reference():
    return torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))


class TestSynthesis:
    @pytest.fixture(scope="class")
    @classmethod
    def generator(cls):
        torch.manual_seed(3)
        return StyleGAN2Generator(size=64, style_dim=8, mapping_layers=1, channels=[12] * 5, motion_codes=10).eval()

    @torch.no_grad()
    def test_second_picture_has_the_changed_feature(self, network, generator, reference):
        styles = generator.to_stylespace(torch.randn(2, generator.num_latents, 8))
        first, refined = generate_refined(generator, network, styles, reference)
        assert torch.equal(first, generator(styles=styles))
        state, output = generator(styles=styles, stop_after=generator.refinement_layer), network(first, reference)
        feature = state.feature * (1 + output.scale) + output.shift
        expected = generator(styles=styles, resume=SynthesisState(state.layer, feature, state.rgb))
        assert torch.equal(refined, expected) and not torch.allclose(refined, first)

    def test_gradients_reach_styles(self, network, generator, reference):
        styles = [
            s.detach().requires_grad_() for s in generator.to_stylespace(torch.randn(1, generator.num_latents, 8))
        ]
        generate_refined(generator, network, styles, reference)[1].sum().backward()
        assert all(style.grad.abs().sum() > 0 for style in styles)


class TestOutput:
    @pytest.mark.parametrize("change", [{}, {"image_size": 128}, {"modulator_widths": (4, 8)}, {"feature_size": 16}])
    def test_shapes(self, change):
        network = make(**change)
        side, feature = network.config.image_size, network.config.feature_size
        output = network(torch.randn(2, 3, side, side), torch.randn(2, 3, side, side))
        assert output.aligned.shape == (2, 3, side, side)
        assert output.scale.shape == output.shift.shape == (2, 12, feature, feature)

    def test_forward_is_align_then_modulate(self, network, frame, reference):
        output = network(frame, reference)
        aligned = network.align(frame, reference)
        scale, shift = network.modulation(frame, aligned)
        assert torch.equal(output.aligned, aligned)
        assert torch.equal(output.scale, scale) and torch.equal(output.shift, shift)

    def test_one_reference_serves_all(self, network, frame, reference):
        one, many = network(frame, reference), network(frame, reference.expand(2, -1, -1, -1))
        assert torch.equal(one.scale, many.scale)

    def test_large_frames_are_seen_by_plain_bilinear_resampling(self, network, reference):
        large = torch.randn(1, 3, 256, 256)
        middle = F.avg_pool2d(large[:, :, 1:, 1:], kernel_size=2, stride=4)  # the middle 2x2 of every 4x4
        assert torch.allclose(network(large, reference).scale, network(middle, reference).scale, atol=1e-4)

    def test_frame_and_reference_are_not_exchangeable(self, network, frame, reference):
        assert not torch.allclose(network.align(frame[:1], reference), network.align(reference, frame[:1]))

    def test_fuse(self):
        feature, scale, shift = torch.randn(3, 2, 4, 8, 8)
        assert torch.allclose(
            RefinementNetwork.fuse(feature, scale, shift), feature + feature * scale + shift, atol=1e-5
        )


class TestTraining:
    def test_starts_without_a_change(self, frame, reference):
        output = RefinementNetwork(**CONFIG)(frame, reference)
        feature = torch.randn(2, 12, 64, 64)
        assert torch.equal(RefinementNetwork.fuse(feature, output.scale, output.shift), feature)

    def test_every_parameter_learns(self, frame, reference):
        network = make().train().requires_grad_(True)
        output = network(frame, reference)
        (output.aligned.sin().sum() + output.scale.sin().sum() + output.shift.sin().sum()).backward()
        assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


class TestErrors:
    def test_config(self):
        with pytest.raises(ValueError, match="multiple of 8"):
            RefinementNetwork(**CONFIG | {"image_size": 100})


class TestSaving:
    def test_round_trip(self, network, frame, reference, tmp_path):
        loaded = check_round_trip(network, tmp_path)
        assert torch.equal(loaded(frame, reference).shift, network(frame, reference).shift)

    def test_half_precision(self, tmp_path):
        check_half_storage(make(), tmp_path)
