"""The generator at a small size."""

from dataclasses import replace

import pytest
import torch

from tests.models.roundtrip import check_half_storage, check_round_trip
from vivface.models import StyleGAN2Generator
from vivface.models.stylegan2 import published_channels

CONFIG = {"size": 64, "style_dim": 16, "mapping_layers": 2, "channels": [24, 16, 16, 8, 8], "motion_codes": 10}


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(0)
    generator = StyleGAN2Generator(**CONFIG).eval().requires_grad_(False)
    for layer in [generator.conv1, *generator.convs]:
        torch.nn.init.constant_(layer.noise_weight, 0.3)  # zero at the start of training
        torch.nn.init.normal_(layer.bias)
    torch.nn.init.normal_(generator.latent_avg)
    return generator


@pytest.fixture
def w_plus():
    return torch.randn(2, 10, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def motion():
    return torch.randn(2, 10, 16, generator=torch.Generator().manual_seed(2))


def same(a, b):
    return torch.allclose(a, b, atol=1e-5 * b.abs().max().item())


class TestShapes:
    def test_image(self, generator, w_plus, motion):
        assert generator(w_plus, motion).shape == (2, 3, 64, 64)

    @pytest.mark.parametrize("size", [8, 32, 128])
    def test_other_sizes(self, size):
        blocks = size.bit_length() - 3
        generator = StyleGAN2Generator(size, 8, 1, channels=[8] * (blocks + 1), motion_codes=4).requires_grad_(False)
        assert generator.num_latents == 2 * (blocks + 1)
        assert generator(generator.sample_latents(1)).shape == (1, 3, size, size)

    def test_stylespace(self, generator, w_plus):
        styles = generator.to_stylespace(w_plus)
        widths = dict(zip(generator.layer_names, [style.shape[1] for style in styles], strict=True))
        assert widths["conv1"] == widths["to_rgb1"] == widths["convs.0"] == 24
        assert widths["convs.1"] == widths["to_rgbs.0"] == widths["convs.2"] == 16
        assert widths["convs.7"] == widths["to_rgbs.3"] == 8

    def test_published_channels(self):
        assert published_channels(1024) == [512, 512, 512, 512, 512, 256, 128, 64, 32]
        assert published_channels(256, 1) == [512, 512, 512, 512, 256, 128, 64]


class TestLatents:
    def test_truncation(self, generator):
        w = torch.randn(3, 16)
        assert torch.equal(generator.truncate(w, 0.0), generator.latent_avg.expand(3, -1))
        assert same(generator.truncate(w, 1.0), w)
        assert same(generator.truncate(w, 0.5), (w + generator.latent_avg) / 2)

    def test_samples_follow_the_seed(self, generator):
        one, other, again = (
            generator.sample_latents(2, 0.7, torch.Generator().manual_seed(seed)) for seed in (0, 1, 0)
        )
        assert torch.equal(one, again)
        assert not torch.equal(one, other)
        assert one.shape == (2, 10, 16)
        assert torch.equal(one[:, 0], one[:, 9])

    def test_every_layer_reads_its_own_vector(self, generator, w_plus):
        indices = {"conv1": 0, "to_rgb1": 1, "convs.0": 1, "convs.1": 2, "to_rgbs.0": 3, "convs.2": 3, "to_rgbs.3": 9}
        before = generator.to_stylespace(w_plus)
        for name, index in indices.items():
            changed = w_plus.clone()
            changed[:, index] += 1
            after = generator.to_stylespace(changed)
            moved = [n for n, a, b in zip(generator.layer_names, after, before, strict=True) if not torch.equal(a, b)]
            assert name in moved
            assert len(moved) <= 2


class TestMotion:
    def test_codes_go_to_conv_and_rgb_of_an_index(self, generator, w_plus):
        styles = generator.to_stylespace(w_plus)
        motion = torch.zeros(2, 10, 16)
        motion[:, 3] = torch.arange(16.0) + 1
        moved = generator.add_motion(styles, motion)
        for name, style, after in zip(generator.layer_names, styles, moved, strict=True):
            expected = motion[:, 3, : style.shape[1]] if name in ("to_rgbs.0", "convs.2") else torch.zeros_like(style)
            assert same(after, style + expected)

    def test_narrow_layer_takes_the_first_entries(self, generator, w_plus):
        styles = generator.to_stylespace(w_plus)
        motion = torch.arange(16.0).expand(2, 10, 16)
        moved = dict(zip(generator.layer_names, generator.add_motion(styles, motion), strict=True))
        before = dict(zip(generator.layer_names, styles, strict=True))
        assert same(moved["convs.7"], before["convs.7"] + torch.arange(8.0))

    def test_wide_layer_keeps_its_last_entries(self, generator, w_plus):
        styles = generator.to_stylespace(w_plus)
        moved = generator.add_motion(styles, torch.ones(2, 10, 16))
        assert same(moved[0][:, :16], styles[0][:, :16] + 1)
        assert torch.equal(moved[0][:, 16:], styles[0][:, 16:])

    def test_one_identity_serves_many_motions(self, generator, w_plus, motion):
        styles = generator.add_motion(generator.to_stylespace(w_plus[:1]), motion)
        assert same(generator(styles=styles), generator(w_plus[:1].expand(2, -1, -1), motion))

    def test_motion_is_added_to_styles_as_to_codes(self, generator, w_plus, motion):
        styles = generator.to_stylespace(w_plus)
        assert torch.equal(generator(styles=styles, motion=motion), generator(w_plus, motion))

    def test_zero_motion_changes_nothing(self, generator, w_plus):
        assert torch.equal(generator(w_plus, torch.zeros(2, 10, 16)), generator(w_plus))


class TestStopAndResume:
    def test_every_layer(self, generator, w_plus, motion):
        styles = generator.add_motion(generator.to_stylespace(w_plus), motion)
        whole = generator(styles=styles)
        for name in generator.layer_names:
            state = generator(styles=styles, stop_after=name)
            assert state.layer == name
            assert same(generator(styles=styles, resume=state), whole)

    def test_two_stops(self, generator, w_plus):
        styles = generator.to_stylespace(w_plus)
        state = generator(styles=styles, stop_after="convs.1")
        state = generator(styles=styles, resume=state, stop_after="convs.5")
        assert same(generator(styles=styles, resume=state), generator(styles=styles))

    def test_resuming_leaves_the_state_alone(self, generator, w_plus):
        styles = generator.to_stylespace(w_plus)
        state = generator(styles=styles, stop_after="convs.3")
        feature, rgb = state.feature.clone(), state.rgb.clone()
        generator(styles=styles, resume=state)
        assert torch.equal(state.feature, feature) and torch.equal(state.rgb, rgb)

    def test_a_changed_feature_changes_the_image(self, generator, w_plus):
        styles = generator.to_stylespace(w_plus)
        state = generator(styles=styles, stop_after=generator.refinement_layer)
        assert state.feature.shape == (2, 8, 64, 64)
        assert state.rgb.shape == (2, 3, 32, 32)
        changed = generator(styles=styles, resume=replace(state, feature=2 * state.feature))
        assert not same(changed, generator(styles=styles))

    def test_below_64_there_is_no_refinement_layer(self):
        with pytest.raises(ValueError, match="size from 64"):
            _ = StyleGAN2Generator(32, 8, 1, channels=[8] * 4, motion_codes=4).refinement_layer


class TestNoise:
    def test_fixed_noise_repeats(self, generator, w_plus):
        assert torch.equal(generator(w_plus), generator(w_plus))

    def test_random_noise_does_not(self, generator, w_plus):
        assert not same(generator(w_plus, noise="random"), generator(w_plus, noise="random"))

    def test_no_noise(self, generator, w_plus):
        silent = StyleGAN2Generator(**CONFIG).eval()
        silent.load_state_dict({k: v * 0 if "noise_weight" in k else v for k, v in generator.state_dict().items()})
        assert same(generator(w_plus, noise="none"), silent(w_plus, noise="random"))
        assert not same(generator(w_plus, noise="none"), generator(w_plus))


class TestTraining:
    def test_training_form_gives_the_same_image(self, generator, w_plus, motion):
        with torch.no_grad():
            inference = generator(w_plus, motion)
        trained = generator(w_plus.requires_grad_(), motion)
        assert trained.requires_grad
        assert same(trained.detach(), inference)

    def test_every_parameter_learns(self, motion):
        torch.manual_seed(0)
        generator = StyleGAN2Generator(**CONFIG)
        w = generator.mapping(torch.randn(2, 16))
        generator(w[:, None].expand(-1, 10, -1), motion).square().sum().backward()
        assert [name for name, p in generator.named_parameters() if p.grad is None or not p.grad.any()] == []

    def test_second_derivatives(self, generator, w_plus):
        """Path length regularisation differentiates a gradient."""
        w_plus.requires_grad_()
        (gradient,) = torch.autograd.grad(generator(w_plus).square().sum(), w_plus, create_graph=True)
        (second,) = torch.autograd.grad(gradient.square().sum(), w_plus)
        assert second.isfinite().all() and second.any()


class TestErrors:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"size": 48}, "48"),
            ({"channels": [8, 8]}, "2 entries"),
            ({"motion_codes": 11}, "11"),
        ],
    )
    def test_config(self, change, message):
        with pytest.raises(ValueError, match=message):
            StyleGAN2Generator(**CONFIG | change)

    def test_inputs(self, generator, w_plus, motion):
        styles = generator.to_stylespace(w_plus)
        with pytest.raises(ValueError, match="w_plus"):
            generator(w_plus[:, :8])
        with pytest.raises(ValueError, match="motion"):
            generator(w_plus, motion[:, :4])
        with pytest.raises(ValueError, match="neither of `w_plus` and `styles`"):
            generator()
        with pytest.raises(ValueError, match="both of `w_plus` and `styles`"):
            generator(w_plus, styles=styles)
        with pytest.raises(ValueError, match="loud"):
            generator(styles=styles, noise="loud")
        with pytest.raises(ValueError, match="convs.99"):
            generator(styles=styles, stop_after="convs.99")
        with pytest.raises(ValueError, match="one a layer"):
            generator(styles=styles[:3])


class TestSaving:
    def test_round_trip(self, generator, w_plus, tmp_path):
        loaded = check_round_trip(generator, tmp_path)
        assert torch.equal(loaded(w_plus), generator(w_plus))

    def test_half_precision(self, tmp_path):
        check_half_storage(StyleGAN2Generator(**CONFIG), tmp_path)

    def test_published_size_has_the_published_config(self):
        with torch.device("meta"):
            generator = StyleGAN2Generator()
        assert generator.num_latents == 18
        assert generator.refinement_layer == "convs.6"
        assert sum(p.numel() for p in generator.mapping.parameters()) == 2_101_248
