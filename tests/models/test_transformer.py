"""The transformer at a small size, and against torch's own decoder."""

import pytest
import torch
from torch import nn

from tests.models.roundtrip import check_half_storage, check_round_trip
from vivface.convert.vivface import transformer_keys
from vivface.models import DeformationTransformer

CONFIG = {"style_dim": 16, "layers": 2, "heads": 4, "feed_forward": 24}


@pytest.fixture
def transformer():
    torch.manual_seed(0)
    return DeformationTransformer(**CONFIG).eval().requires_grad_(False)


@pytest.fixture
def codes():
    return torch.randn(3, 10, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def memory():
    return torch.randn(3, 9, 16, generator=torch.Generator().manual_seed(2))


class TestOutput:
    def test_is_a_plain_transformer_decoder(self, codes, memory):
        torch.manual_seed(0)
        layer = nn.TransformerDecoderLayer(16, 4, 24, batch_first=True)
        decoder = nn.TransformerDecoder(layer, 2).eval()
        for parameter in decoder.parameters():
            nn.init.normal_(parameter, std=0.3)
        transformer = DeformationTransformer(**CONFIG).eval()
        transformer.load_state_dict(transformer_keys(2).translate(decoder.state_dict(), transformer))
        with torch.no_grad():
            assert torch.allclose(transformer(codes, memory), decoder(codes, memory), atol=1e-5)

    def test_one_memory_serves_all(self, transformer, codes, memory):
        one = transformer(codes, memory[:1])
        assert torch.allclose(one, transformer(codes, memory[:1].expand(3, -1, -1)), atol=1e-6)

    def test_order_of_the_memory_does_not_matter(self, transformer, codes, memory):
        assert torch.allclose(transformer(codes, memory.flip(1)), transformer(codes, memory), atol=1e-5)

    def test_the_person_matters(self, transformer, codes, memory):
        assert not torch.allclose(transformer(codes, memory[:1]), transformer(codes, memory[1:2]), atol=1e-3)

    def test_starts_with_small_motions(self, transformer, codes, memory):
        assert transformer(codes, memory).std() < 0.3


class TestTraining:
    def test_dropout_in_training_only(self, transformer, codes, memory):
        assert torch.equal(transformer(codes, memory), transformer(codes, memory))
        transformer.train()
        assert not torch.equal(transformer(codes, memory), transformer(codes, memory))

    def test_every_parameter_learns(self, codes, memory):
        transformer = DeformationTransformer(**CONFIG)
        transformer(codes, memory).sin().sum().backward()
        assert [name for name, p in transformer.named_parameters() if p.grad is None or not p.grad.any()] == []


class TestErrors:
    def test_heads(self):
        with pytest.raises(ValueError, match="divisor"):
            DeformationTransformer(style_dim=16, heads=5)

    def test_batches(self, transformer, codes, memory):
        with pytest.raises(ValueError, match="batch of 2"):
            transformer(codes, memory[:2])


class TestSaving:
    def test_round_trip(self, transformer, codes, memory, tmp_path):
        loaded = check_round_trip(transformer, tmp_path)
        assert torch.equal(loaded(codes, memory), transformer(codes, memory))

    def test_half_precision(self, transformer, tmp_path):
        check_half_storage(transformer, tmp_path)
