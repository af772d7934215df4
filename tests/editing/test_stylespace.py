"""Channels of StyleSpace: eq. 5 and 8 against values by hand, and the selection."""

import math

import pytest
import torch

from tests.tiny import make_tiny_pipeline
from vivface.editing.codec_basis import ATTRIBUTES, Channels
from vivface.editing.stylespace import candidates, deviations, rates, scores, select, sensitivity, shortlist
from vivface.errors import CheckpointError, OptionError
from vivface.models.layers.styled import ToRGB


@pytest.fixture(scope="module")
def generator():
    return make_tiny_pipeline(refinement=False).generator


def test_sensitivity_of_a_linear_generator():
    """|d image / d channel| is known, so Gamma is its mean within the mask, per standard deviation."""
    jacobian = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))  # of 2 layers of 3 channels

    def render(styles: list[torch.Tensor]) -> torch.Tensor:
        return torch.einsum("bn,nchw->bchw", torch.cat(styles, dim=1), jacobian)

    indices = [(layer, channel) for layer in range(2) for channel in range(3)]
    deviation = torch.tensor([0.5, 1.0, 2.0, 1.0, 0.1, 3.0])
    masks = torch.zeros(2, 8, 8)
    masks[0, :4], masks[1, :, 6:] = 1, 0.5
    inside, outside = sensitivity(
        render,
        [torch.randn(1, 3), torch.randn(1, 3)],
        indices,
        deviation,
        masks,
        lambda a, b: [(a - b).abs().mean(1)],
    )
    change = jacobian.abs().mean(1) * deviation[:, None, None]
    for found, mask in ((inside, masks), (outside, 1 - masks)):
        expected = torch.stack([(change * part).mean((1, 2)) for part in mask])
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_shortlist():
    """What moves the masked pixels, by gradients; a channel that moves everything comes after one that moves these."""
    jacobian = torch.zeros(2, 3, 3, 8, 8)
    jacobian[0, 0, :, :4], jacobian[0, 1], jacobian[1, 2, :, :, 6:] = 1.0, 1.2, 1.0
    indices = [(layer, channel) for layer in range(2) for channel in range(3)]
    masks = torch.zeros(2, 8, 8)
    masks[0, :4], masks[1, :, 6:] = 1, 1

    def render(styles: list[torch.Tensor]) -> torch.Tensor:
        return torch.einsum("bln,lnchw->bchw", torch.stack(styles, dim=1), jacobian)

    styles = [torch.zeros(1, 3), torch.zeros(1, 3)]
    assert shortlist(render, styles, indices, torch.ones(6), masks, 2, probes=64) == [0, 5]
    assert shortlist(render, styles, indices, torch.ones(6), masks, 3, probes=64) == [0, 1, 5]


def test_rates():
    found = rates(torch.tensor([2.0, 1.0, 0.0, 5.0]), ["mouth", "mouth", "mouth", "gaze"])
    expected = torch.tensor([math.exp(-1.5), math.exp(-0.75), 1.0, math.exp(-1.5)])
    torch.testing.assert_close(found, expected)
    assert found[0] == pytest.approx(0.2231, abs=1e-4)


def test_what_leaks_counts_less():
    inside = torch.tensor([[[1.0, 1.0, 1.0]]])
    outside = torch.tensor([[[0.1, 0.25, 1.0]]])
    torch.testing.assert_close(scores(inside, outside), torch.tensor([[1.0, 1.0, 0.25]]))


def test_median_over_people():
    inside = torch.tensor([1.0, 9.0, 2.0])[:, None, None]
    assert scores(inside, torch.zeros(3, 1, 1)).item() == 2.0


def test_candidates_are_channels_of_convolutions(generator):
    indices = candidates(generator)
    for layer, channel in indices:
        module = generator.get_submodule(generator.layer_names[layer])
        assert not isinstance(module, ToRGB) and channel < module.weight.shape[1]
        assert generator.layer_latents[layer] < generator.config.motion_codes
    assert len(indices) == len(set(indices))


class TestSelection:
    def test_the_best_and_four_of_each(self):
        scored = torch.rand(5, 100, generator=torch.Generator().manual_seed(0))
        scored[0] *= 100  # the mouth must not take all
        indices = [(0, channel) for channel in range(100)]
        channels = select(scored, scored, indices, torch.arange(1.0, 101.0))
        assert channels.indices.shape == (32, 2) and len(set(map(tuple, channels.indices.tolist()))) == 32
        assert all(channels.attributes.count(name) >= 4 for name in ATTRIBUTES)
        torch.testing.assert_close(channels.deviation, channels.indices[:, 1].float() + 1)
        relative = scored / scored.amax(1, keepdim=True)
        for number, name in enumerate(ATTRIBUTES):
            best = int(relative[number].argmax())
            assert name == channels.attributes[channels.indices[:, 1].tolist().index(best)]

    def test_too_few(self):
        with pytest.raises(OptionError, match="20 channels.*at least 32"):
            select(torch.rand(5, 20), torch.rand(5, 20), [(0, n) for n in range(20)], torch.ones(20))


@pytest.fixture
def channels(generator) -> Channels:
    indices = candidates(generator)[::9][:32]
    styles = generator.to_stylespace(generator.sample_latents(16, generator=torch.Generator().manual_seed(0)))
    names = tuple(ATTRIBUTES[number % 5] for number in range(32))
    return Channels(torch.tensor(indices, dtype=torch.int32), names, torch.rand(32), deviations(styles, indices))


class TestChannels:
    def test_move_and_read(self, generator, channels):
        styles = generator.to_stylespace(generator.sample_latents(2, generator=torch.Generator().manual_seed(1)))
        values = torch.randn(2, 32, generator=torch.Generator().manual_seed(2))
        moved = channels.move(generator, styles, values)
        torch.testing.assert_close(channels.read(moved) - channels.read(styles), values, atol=1e-4, rtol=1e-4)
        chosen = set(map(tuple, channels.indices.tolist()))
        for layer, (before, after) in enumerate(zip(styles, moved, strict=True)):
            for channel in range(before.shape[1]):
                assert (layer, channel) in chosen or torch.equal(before[:, channel], after[:, channel])

    def test_file(self, channels, tmp_path):
        again = Channels.load(channels.save(tmp_path / "codec" / "channels.safetensors"))
        assert torch.equal(again.indices, channels.indices) and again.attributes == channels.attributes
        assert torch.equal(again.deviation, channels.deviation) and torch.equal(again.gamma, channels.gamma)

    def test_damaged_file(self, channels, tmp_path):
        path = channels.save(tmp_path / "channels.safetensors")
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(CheckpointError, match="cannot be read"):
            Channels.load(path)
