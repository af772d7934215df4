"""The alias-free generator at a small size: filters, tiles, surface, and how it moves."""

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import scipy.special
import torch

from tests.models.roundtrip import check_half_storage, check_round_trip
from vivface.models import StyleGAN3Generator
from vivface.models.layers import filtered
from vivface.models.layers.filtered import FilteredLeakyReLU, lowpass, radial_lowpass
from vivface.models.stylegan3 import image_transform

CHANNELS = [24, 24, 20, 20, 16, 16, 16, 16, 12, 12, 10, 10, 8, 8]


def make(configuration, size=64, channels=CHANNELS):
    torch.manual_seed(0)
    generator = StyleGAN3Generator(size, configuration, 16, 2, channels).eval().requires_grad_(False)
    for layer in generator.layers:
        torch.nn.init.normal_(layer.bias, std=0.1)
    torch.nn.init.normal_(generator.latent_avg)
    return generator


@pytest.fixture(scope="module", params=["T", "R"])
def generator(request):
    return make(request.param)


@pytest.fixture
def w_plus():
    return torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(1))


def same(a, b):
    return torch.allclose(a, b, rtol=0, atol=1e-5 * b.abs().max().item())


def plain(x, layer):
    """The filtered leaky ReLU as its definition reads: every value by a sum over taps, in double precision."""
    x = x.double().numpy()
    before, after = layer.padding
    up, down = layer.up, layer.down
    batch, channels, height, width = x.shape
    stuffed = np.zeros((batch, channels, height * up, width * up))
    stuffed[:, :, ::up, ::up] = x
    stuffed = np.pad(stuffed, ((0, 0), (0, 0), (max(before, 0), max(after, 0)), (max(before, 0), max(after, 0))))
    rows = slice(max(-before, 0), stuffed.shape[2] - max(-after, 0))
    columns = slice(max(-before, 0), stuffed.shape[3] - max(-after, 0))
    y = _correlate(stuffed[:, :, rows, columns], np.outer(layer.up_filter, layer.up_filter)) * up**2
    y = np.clip(np.where(y < 0, 0.2 * y, y) * math.sqrt(2), -256, 256)
    kernel = layer.down_filter if layer.down_filter.ndim == 2 else np.outer(layer.down_filter, layer.down_filter)
    return torch.from_numpy(_correlate(y, kernel)[:, :, ::down, ::down])


def _correlate(x, kernel):
    height, width = x.shape[2] - kernel.shape[0] + 1, x.shape[3] - kernel.shape[1] + 1
    result = np.zeros((*x.shape[:2], height, width))
    for i, row in enumerate(kernel):
        for j, tap in enumerate(row):
            result += tap * x[:, :, i : i + height, j : j + width]
    return result


class TestFilters:
    @pytest.mark.parametrize(("cutoff", "width"), [(2.0, 12.0), (5.0, 6.0), (8.0, 0.2), (15.0, 40.0)])
    def test_lowpass(self, cutoff, width):
        expected = scipy.signal.firwin(12, cutoff, width=width, fs=64)
        np.testing.assert_allclose(lowpass(12, cutoff, width, 64), expected, rtol=0, atol=1e-14)

    @pytest.mark.parametrize(("cutoff", "width"), [(2.0, 12.0), (8.0, 6.0)])
    def test_radial(self, cutoff, width):
        x = (np.arange(12) - 5.5) / 64
        radius = np.hypot(x[:, None], x)
        beta = scipy.signal.kaiser_beta(scipy.signal.kaiser_atten(12, width / 32))
        window = scipy.signal.windows.kaiser(12, beta)
        expected = scipy.special.j1(2 * np.pi * cutoff * radius) / radius * np.outer(window, window)
        made = radial_lowpass(12, cutoff, width, 64)
        np.testing.assert_allclose(made, expected / expected.sum(), rtol=0, atol=2e-8)  # of torch's Bessel function

    def test_radial_response_is_round(self):
        """Frequencies of one length pass alike in every direction; a separable filter lets diagonals through."""
        angles = np.linspace(0, np.pi / 4, 7)
        place = np.arange(12) - 5.5

        def response(kernel):
            waves = [np.cos(2 * np.pi * 0.2 * (np.cos(a) * place + np.sin(a) * place[:, None])) for a in angles]
            return np.ptp([(kernel * wave).sum() for wave in waves])

        one = lowpass(12, 13.0, 10.0, 64)
        assert response(radial_lowpass(12, 13.0, 10.0, 64)) < 0.2 * response(np.outer(one, one))


LAYERS = [  # up, down, padding, radial, input height, input width
    (2, 2, (9, 8), False, 38, 38),
    (2, 2, (11, 10), True, 36, 36),
    (4, 2, (-6, -9), False, 38, 38),
    (4, 2, (-2, -5), True, 36, 36),
    (2, 2, (-9, -10), False, 84, 84),
    (2, 2, (11, 10), True, 21, 50),
    (4, 2, (3, 6), False, 33, 12),
]


class TestFilteredLeakyReLU:
    def layer(self, up, down, padding, radial):
        rate = 64
        make = radial_lowpass if radial else lowpass
        up_filter = lowpass(6 * up, rate / up / 4, rate / up / 3, rate)
        return FilteredLeakyReLU(up_filter, make(6 * down, 14.0, 8.0, rate), up, down, padding)

    @pytest.mark.parametrize(("up", "down", "padding", "radial", "height", "width"), LAYERS)
    @pytest.mark.parametrize("tile", [5, 16, 1000])
    def test_tiles_are_the_plain_definition(self, monkeypatch, up, down, padding, radial, height, width, tile):
        monkeypatch.setattr(filtered, "TILE_SIZE", tile)
        monkeypatch.setattr(filtered, "TILE_CHANNELS", 2)
        layer = self.layer(up, down, padding, radial)
        x = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))
        expected = plain(x, layer)
        assert expected.shape[2:] == (layer.output_size(height), layer.output_size(width))
        made = layer(x)
        assert made.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(made.double(), expected, rtol=0, atol=2e-6)
        torch.testing.assert_close(layer(x.double()), expected, rtol=0, atol=1e-12)

    @pytest.mark.parametrize("size", [8.0, 150.0, 2000.0])
    def test_clamp(self, size):
        """Small values spare the pass; values around the limit and beyond it are cut."""
        layer = self.layer(2, 2, (9, 8), False)
        x = size * torch.randn(1, 2, 20, 20, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(layer(x).double(), plain(x, layer), rtol=1e-5, atol=1e-5 * size)
        if size == 2000.0:
            assert layer(x).abs().max() < 400

    def test_gradient_of_clamped_values(self):
        x = (1000 * torch.randn(1, 2, 20, 20, generator=torch.Generator().manual_seed(0))).requires_grad_()
        self.layer(2, 2, (9, 8), False)(x).sum().backward()
        assert x.grad.isfinite().all()

    def test_gradient(self):
        layer = self.layer(4, 2, (-6, -9), True)
        x = torch.randn(1, 2, 20, 20, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(layer, x, nondet_tol=1e-12)


class TestSurface:
    def test_image_and_styles(self, generator, w_plus):
        styles = generator.to_stylespace(w_plus)
        assert [style.shape for style in styles] == [(2, width) for width in [4, 24, *CHANNELS]]
        assert generator.num_latents == len(generator.layer_names) == 16
        image = generator(w_plus)
        assert image.shape == (2, 3, 64, 64)
        assert torch.equal(generator(styles=styles), image)

    @pytest.mark.parametrize("size", [32, 128])
    def test_other_sizes(self, size):
        generator = make("R", size)
        assert generator(generator.sample_latents(1)).shape == (1, 3, size, size)

    def test_a_sample_does_not_depend_on_its_batch(self, generator, w_plus):
        other = torch.cat([w_plus[:1], 10 * w_plus[1:]])
        assert same(generator(other)[:1], generator(w_plus)[:1])

    def test_every_layer_reads_its_own_vector(self, generator, w_plus):
        before = generator.to_stylespace(w_plus)
        for i in range(16):
            changed = w_plus.clone()
            changed[:, i] += 1
            after = generator.to_stylespace(changed)
            assert [k for k in range(16) if not torch.equal(after[k], before[k])] == ([i] if i else [])  # at the start

    def test_samples(self, generator):
        one, other, again = (
            generator.sample_latents(2, 0.7, torch.Generator().manual_seed(seed)) for seed in (0, 1, 0)
        )
        assert torch.equal(one, again) and not torch.equal(one, other)
        assert one.shape == (2, 16, 16)
        assert torch.equal(generator.sample_latents(1, 0.0)[0, 3], generator.latent_avg)

    def test_stop_and_resume_at_every_layer(self, generator, w_plus):
        styles = generator.to_stylespace(w_plus)
        whole = generator(styles=styles)
        for name in generator.layer_names:
            state = generator(styles=styles, stop_after=name)
            if name != "layers.14":
                assert state.layer == name and state.rgb is None
                assert same(generator(styles=styles, resume=state), whole)
        state = generator(styles=styles, stop_after="layers.5")
        changed = generator(styles=styles, resume=replace(state, feature=2 * state.feature))
        assert not same(changed, whole)

    def test_one_code_serves_many_transformations(self, generator, w_plus):
        transform = image_transform(torch.tensor([0.0, 0.3]), torch.tensor([[0.0, 0.0], [0.1, -0.2]]))
        both = generator(w_plus[:1], transform=transform)
        assert same(both[:1], generator(w_plus[:1]))
        assert same(both[1:], generator(w_plus[:1], transform=transform[1]))

    def test_round_trip(self, generator, w_plus, tmp_path):
        loaded = check_round_trip(generator, tmp_path)
        assert torch.equal(loaded(w_plus), generator(w_plus))

    def test_half_storage(self, tmp_path):
        check_half_storage(make("R"), tmp_path)

    def test_bfloat16(self, generator, w_plus, tmp_path):
        generator.save_pretrained(tmp_path)
        half = StyleGAN3Generator.from_pretrained(tmp_path, dtype=torch.bfloat16)
        made, exact = half(w_plus.bfloat16()), generator(w_plus)
        assert made.dtype == torch.bfloat16
        assert (made.float() - exact).abs().mean() < 0.05 * exact.std()


class TestTraining:
    def test_training_form_gives_the_same_image(self, generator, w_plus):
        inference = generator(w_plus)
        trained = generator(w_plus.requires_grad_())
        assert trained.requires_grad
        assert same(trained.detach(), inference)

    @pytest.mark.parametrize("configuration", ["T", "R"])
    def test_every_parameter_learns(self, configuration):
        generator = make(configuration).train().requires_grad_(True)
        w = generator.mapping(torch.randn(2, 16))
        generator(w[:, None].expand(-1, 16, -1)).square().sum().backward()
        assert [name for name, p in generator.named_parameters() if p.grad is None or not p.grad.any()] == []

    def test_running_magnitudes(self, generator, w_plus):
        trained = make(generator.config.configuration)
        state = trained(w_plus, stop_after="input")
        trained(w_plus, magnitude_decay=0.75)
        expected = 0.75 + 0.25 * state.feature.square().mean()
        assert trained.layers[0].magnitude.item() == pytest.approx(expected.item(), rel=1e-5)
        for _ in range(30):  # first layers settle first
            trained(w_plus, magnitude_decay=0.0)
        assert all(layer.magnitude != 1 for layer in trained.layers)
        before = trained.layers[3].magnitude.clone()
        trained(w_plus)
        assert torch.equal(trained.layers[3].magnitude, before)


class TestErrors:
    @pytest.mark.parametrize(
        ("change", "message"),
        [({"size": 48}, "48"), ({"configuration": "S"}, "'S'"), ({"channels": [8, 8]}, "2 entries")],
    )
    def test_config(self, change, message):
        with pytest.raises(ValueError, match=message):
            StyleGAN3Generator(**{"size": 64, "style_dim": 16, "channels": CHANNELS} | change)

    def test_inputs(self, generator, w_plus):
        styles = generator.to_stylespace(w_plus)
        with pytest.raises(ValueError, match="w_plus"):
            generator(w_plus[:, :8])
        with pytest.raises(ValueError, match="neither of `w_plus` and `styles`"):
            generator()
        with pytest.raises(ValueError, match="both of `w_plus` and `styles`"):
            generator(w_plus, styles=styles)
        with pytest.raises(ValueError, match="one a layer"):
            generator(styles=styles[:3])
        with pytest.raises(ValueError, match=r"layers\.99"):
            generator(styles=styles, stop_after="layers.99")
        with pytest.raises(ValueError, match="transform"):
            generator(w_plus, transform=torch.eye(2))
        state = generator(styles=styles, stop_after="layers.3")
        with pytest.raises(ValueError, match="before `resume`"):
            generator(styles=styles, resume=state, transform=torch.eye(3))
        with pytest.raises(ValueError, match="translation"):
            image_transform(0.1, [1.0, 2.0, 3.0])
        with pytest.raises(ValueError, match="rotation"):
            image_transform(torch.zeros(2), torch.zeros(3, 2))


class TestTransform:
    def test_inverse_of_the_motion(self):
        """A point that the motion takes from p to q is found at p by the transformation of q."""
        angle, shift = 0.4, torch.tensor([0.2, -0.1])
        p = torch.tensor([0.25, 0.05])
        turned = torch.tensor(
            [math.cos(angle) * p[0] + math.sin(angle) * p[1], -math.sin(angle) * p[0] + math.cos(angle) * p[1]]
        )  # counterclockwise, as y points down
        q = torch.cat([turned + shift, torch.ones(1)])
        assert torch.allclose(image_transform(angle, shift)[0] @ q, torch.cat([p, torch.ones(1)]), atol=1e-6)

    def test_batch(self):
        made = image_transform(torch.tensor([0.1, 0.2]), (0.3, 0.4))
        assert made.shape == (2, 3, 3)
        assert torch.allclose(made[1], image_transform(0.2, (0.3, 0.4))[0])


def decibels(made, expected, inside):
    """Peak signal to noise ratio over a region, mean over images; the peak is the range of a channel there."""
    made, expected = made[..., inside], expected[..., inside]  # (batch, 3, pixels)
    peak = expected.amax(2) - expected.amin(2)
    return (10 * torch.log10(peak.square() / (made - expected).square().mean(2))).mean().item()


def disc(size, radius):
    place = torch.arange(size) - (size - 1) / 2
    return (place[:, None].square() + place.square()).sqrt() < radius * size


@pytest.fixture(scope="module")
def networks():
    networks = {configuration: make(configuration, channels=[32] * 14) for configuration in "TR"}
    for network in networks.values():  # inputs of unit magnitude, as in training; first layers settle first
        for _ in range(16):
            network(network.sample_latents(4, generator=torch.Generator().manual_seed(1)), magnitude_decay=0.0)
    return networks


class TestEquivariance:
    """How exactly the image moves with its Fourier features, at 64 x 64 with random weights."""

    def render(self, network, **motion):
        w_plus = network.sample_latents(4, 1.0, torch.Generator().manual_seed(3))
        return network(w_plus, transform=image_transform(**motion))

    @pytest.mark.parametrize("configuration", ["T", "R"])
    @pytest.mark.parametrize("pixels", [(3, 0), (0, -5), (8, 8)])
    def test_translation(self, networks, configuration, pixels):
        right, down = pixels
        network = networks[configuration]
        still = self.render(network)
        moved = self.render(network, translation=(right / 64, down / 64))
        expected = still.roll((down, right), (2, 3))
        inside = torch.zeros(64, 64, dtype=torch.bool)
        inside[max(down, 0) : 64 + min(down, 0), max(right, 0) : 64 + min(right, 0)] = True
        value = decibels(moved, expected, inside)
        print(f"{configuration} translation {pixels}: {value:.1f} dB")
        assert value > 50
        assert decibels(still, expected, inside) < value - 20

    def test_quarter_turn(self, networks):
        values = {}
        for configuration, network in networks.items():
            expected = torch.rot90(self.render(network), 1, (2, 3))  # counterclockwise
            turned = self.render(network, rotation=math.pi / 2)
            values[configuration] = decibels(turned, expected, disc(64, 0.5))
        print("quarter turn", values)
        assert values["R"] > 60
        assert values["T"] < 30

    @pytest.mark.parametrize("degrees", [20, -35, 61])
    def test_rotation(self, networks, degrees):
        values = {}
        for configuration, network in networks.items():
            still = self.render(network).double().numpy()
            expected = scipy.ndimage.rotate(still, degrees, axes=(3, 2), reshape=False, order=5, mode="mirror")
            turned = self.render(network, rotation=math.radians(degrees))
            values[configuration] = decibels(turned, torch.from_numpy(expected).float(), disc(64, 0.45))
        print("rotation", degrees, values)
        assert values["R"] > 50
        assert values["T"] < 30
