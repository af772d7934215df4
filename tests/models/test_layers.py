"""Fast operations against their literal forms."""

import pytest
import torch
import torch.nn.functional as F

from tests.models import plain
from vivface.models.layers.equalized import EqualizedConv2d, EqualizedLinear
from vivface.models.layers.fir import blur, blur_downsample, upsample_fir
from vivface.models.layers.modulated import modulated_conv2d
from vivface.models.layers.residual import ResidualTrunk, ResidualUnit


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def close(a, b, tolerance=1e-5):
    assert a.shape == b.shape
    return torch.allclose(a, b, rtol=0, atol=tolerance * b.abs().max().item())


class TestFir:
    @pytest.mark.parametrize("shape", [(2, 3, 8, 8), (1, 5, 4, 7), (1, 1, 1, 1)])
    def test_upsample(self, shape):
        x = torch.randn(shape)
        assert close(upsample_fir(x), plain.upfirdn(x, plain.fir_kernel() * 4, up=2, down=1, before=2, after=1))

    @pytest.mark.parametrize(("padding", "gain"), [(1, 4.0), (2, 1.0)])
    def test_blur(self, padding, gain):
        x, bias = torch.randn(2, 3, 9, 7), torch.randn(3)
        wanted = plain.upfirdn(x, plain.fir_kernel() * gain, up=1, down=1, before=padding, after=padding)
        assert close(blur(x, padding, gain), wanted)
        assert close(blur(x, padding, gain, bias=bias), wanted + bias[:, None, None])

    def test_downsample(self):
        x = torch.randn(2, 3, 8, 6)
        assert close(blur_downsample(x), plain.upfirdn(x, plain.fir_kernel(), up=1, down=2, before=1, after=1))

    def test_gradient(self):
        x = torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(upsample_fir, x)
        assert torch.autograd.gradcheck(lambda t: blur(t, padding=1, gain=4.0), x)
        assert torch.autograd.gradgradcheck(lambda t: blur(t, padding=1, gain=4.0).square(), x)


class TestModulatedConvolution:
    @pytest.mark.parametrize("method", ["auto", "weights", "activations"])
    @pytest.mark.parametrize(
        ("kernel", "upsample", "demodulate"), [(3, False, True), (3, True, True), (1, False, False)]
    )
    def test_forms_agree(self, method, kernel, upsample, demodulate):
        x, style = torch.randn(3, 6, 7, 5), 1 + 0.5 * torch.randn(3, 6)
        weight, bias = torch.randn(4, 6, kernel, kernel), torch.randn(4)
        wanted = plain.modulated_conv2d(x, weight, style, demodulate, upsample)
        options = {"demodulate": demodulate, "upsample": upsample, "method": method}
        with torch.no_grad():
            assert close(modulated_conv2d(x, weight, style, **options), wanted)
            made = modulated_conv2d(x, weight, style, gain=1.5, bias=bias, **options)
        assert close(made, 1.5 * wanted + bias[:, None, None])

    @pytest.mark.parametrize("method", ["weights", "activations"])
    @pytest.mark.parametrize("upsample", [False, True])
    def test_gradients_agree(self, method, upsample):
        x, style, weight = torch.randn(2, 4, 5, 5), 1 + 0.5 * torch.randn(2, 4), torch.randn(3, 4, 3, 3)
        inputs = [t.requires_grad_() for t in (x, weight, style)]
        wanted = torch.autograd.grad(plain.modulated_conv2d(*inputs, True, upsample).square().sum(), inputs)
        made = torch.autograd.grad(modulated_conv2d(*inputs, upsample=upsample, method=method).square().sum(), inputs)
        assert all(close(a, b, 1e-4) for a, b in zip(made, wanted, strict=True))

    @pytest.mark.parametrize("method", ["auto", "weights", "activations"])
    @pytest.mark.parametrize(("upsample", "demodulate"), [(False, True), (True, True), (False, False)])
    def test_offsets_change_the_weight_of_every_sample(self, method, upsample, demodulate):
        x, style, weight = torch.randn(3, 6, 7, 5), 1 + 0.5 * torch.randn(3, 6), torch.randn(4, 6, 3, 3)
        offset = 0.3 * torch.randn(3, 4, 6)
        wanted = torch.cat(
            [
                plain.modulated_conv2d(
                    x[i : i + 1], weight * (1 + offset[i, :, :, None, None]), style[i : i + 1], demodulate, upsample
                )
                for i in range(3)
            ]
        )
        options = {"demodulate": demodulate, "upsample": upsample, "method": method}
        with torch.no_grad():
            assert close(modulated_conv2d(x, weight, style, offset=offset, **options), wanted)
            one = modulated_conv2d(x, weight, style, offset=offset[:1], **options)
            assert close(one[:1], wanted[:1]) and not close(one[1:], wanted[1:])

    @pytest.mark.parametrize("method", ["weights", "activations"])
    @pytest.mark.parametrize("upsample", [False, True])
    def test_zero_offsets_change_no_bit(self, method, upsample):
        x, style, weight = torch.randn(1, 6, 7, 5), 1 + 0.5 * torch.randn(1, 6), torch.randn(4, 6, 3, 3)
        options = {"upsample": upsample, "method": method}
        with torch.no_grad():
            made = modulated_conv2d(x, weight, style, offset=torch.zeros(1, 4, 6), **options)
            assert torch.equal(made, modulated_conv2d(x, weight, style, **options))

    @pytest.mark.parametrize("method", ["weights", "activations"])
    def test_gradients_of_offsets_agree(self, method):
        inputs = [torch.randn(1, 4, 5, 5), 1 + 0.5 * torch.randn(1, 4), 0.3 * torch.randn(1, 3, 4)]
        x, style, offset = (t.requires_grad_() for t in inputs)
        weight = torch.randn(3, 4, 3, 3)
        wanted = plain.modulated_conv2d(x, weight * (1 + offset[0, :, :, None, None]), style, True, False)
        made = modulated_conv2d(x, weight, style, offset=offset, method=method)
        wanted, made = (torch.autograd.grad(y.square().sum(), (x, style, offset)) for y in (wanted, made))
        assert all(close(a, b, 1e-4) for a, b in zip(made, wanted, strict=True))

    def test_a_picture_larger_than_the_weight_modulates_weights(self, monkeypatch):
        seen = []
        monkeypatch.setattr(
            F, "conv2d", lambda x, w, *a, _conv=F.conv2d, **k: seen.append(len(x)) or _conv(x, w, *a, **k)
        )
        weight, style = torch.randn(8, 8, 3, 3), torch.randn(2, 8)
        with torch.no_grad():
            modulated_conv2d(torch.randn(2, 8, 4, 4), weight, style)
            modulated_conv2d(torch.randn(2, 8, 16, 16), weight, style)
        modulated_conv2d(torch.randn(2, 8, 16, 16), weight, style)
        assert seen == [2, 1, 1, 2]  # small, large (sample by sample), large while training

    def test_unknown_method(self):
        with pytest.raises(ValueError, match="sideways"):
            modulated_conv2d(torch.randn(1, 2, 4, 4), torch.randn(2, 2, 3, 3), torch.ones(1, 2), method="sideways")


class TestEqualized:
    def test_linear(self):
        layer = EqualizedLinear(16, 8, bias_init=1.0, lr_multiplier=0.01)
        x = torch.randn(4, 16)
        assert layer.weight.std() > 50  # stored large, so that it moves little
        assert close(layer(x), F.linear(x, layer.weight * 0.01 / 4, layer.bias * 0.01))
        assert torch.allclose(layer(torch.zeros(1, 16)), torch.ones(1, 8))

    def test_activation(self):
        linear, conv = EqualizedLinear(16, 8, activate=True), EqualizedConv2d(3, 8, 3, activate=True)
        torch.nn.init.normal_(conv.bias)
        x, image = torch.randn(4, 16), torch.randn(2, 3, 6, 6)
        assert close(linear(x), F.leaky_relu(F.linear(x, linear.weight / 4), 0.2) * 2**0.5)
        wanted = F.leaky_relu(F.conv2d(image, conv.weight / 27**0.5, conv.bias, padding=1), 0.2) * 2**0.5
        assert close(conv(image), wanted)


class TestResidual:
    def test_shortcut_subsamples_where_channels_stay(self):
        unit = ResidualUnit(8, 8, stride=2, squeeze_excite=True).eval()
        torch.nn.init.zeros_(unit.norm2.weight)
        x = torch.randn(1, 8, 6, 6)
        assert torch.equal(unit(x), x[:, :, ::2, ::2])

    def test_trunk_halves_at_every_stage(self):
        trunk = ResidualTrunk((4, 4, 8), (1, 2)).eval()
        assert [f.shape for f in trunk(torch.randn(1, 3, 32, 32))] == [(1, 4, 16, 16), (1, 8, 8, 8)]

    def test_lengths_must_fit(self):
        with pytest.raises(ValueError, match="one more width"):
            ResidualTrunk((4, 8), (1, 2))
