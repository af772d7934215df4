"""Every entry is accounted for: what does not fit is an error that names it."""

import pytest
import torch
from torch import nn

from vivface.convert import e4e, stylegan2, vivface
from vivface.convert.keymap import KeyMap
from vivface.convert.stylegan2 import single_latent
from vivface.errors import CheckpointError
from vivface.models import StyleGAN2Generator


@pytest.fixture
def model():
    return nn.Linear(3, 2)


@pytest.fixture
def official():
    return {"fc.w": torch.randn(1, 2, 3), "fc.b": torch.randn(2), "fc.kernel": torch.ones(4)}


KEYS = KeyMap({"fc.w": "weight", "fc.b": "bias"}, constants={"fc.kernel": torch.ones(4)})


class TestTranslation:
    def test_renames_and_drops_axes_of_length_one(self, model, official):
        translated = KEYS.translate(official, model)
        assert set(translated) == {"weight", "bias"}
        assert torch.equal(translated["weight"], official["fc.w"][0])

    def test_copies_nothing(self, model, official):
        assert KEYS.translate(official, model)["bias"].data_ptr() == official["fc.b"].data_ptr()

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ({"fc.b": None}, "fc.b"),
            ({"fc.kernel": None}, "fc.kernel"),
            ({"fc.extra": torch.ones(1)}, "fc.extra"),
            ({"fc.w": torch.randn(1, 3, 2)}, "fc.w"),
            ({"fc.kernel": torch.zeros(4)}, "fc.kernel"),
        ],
    )
    def test_what_does_not_fit_is_named(self, model, official, change, named):
        changed = {k: v for k, v in (official | change).items() if v is not None}
        with pytest.raises(CheckpointError, match=named):
            KEYS.translate(changed, model)

    def test_an_entry_of_ours_without_a_source_is_named(self, model, official):
        official.pop("fc.b")
        keys = KeyMap({"fc.w": "weight"}, constants=KEYS.constants)
        with pytest.raises(CheckpointError, match="bias"):
            keys.translate(official, model)

    def test_many_names_are_shortened(self, model):
        with pytest.raises(CheckpointError, match="and 15 more that"):
            KEYS.translate(
                {**{f"x{i}": torch.ones(1) for i in range(20)}, **dict.fromkeys(("fc.w", "fc.b", "fc.kernel"))}, model
            )


class TestFamilies:
    def test_a_generator_of_another_size_is_refused(self):
        with torch.device("meta"):
            small, large = (StyleGAN2Generator(size, 16, channels=[8] * n) for size, n in ((64, 5), (128, 6)))
        official = {name: small.state_dict()[ours] for name, ours in stylegan2.generator_keys(10).names.items()}
        official |= stylegan2.generator_keys(10).constants
        assert stylegan2.generator_keys(10).translate(official, small)
        with pytest.raises(CheckpointError, match="convs.8"):
            stylegan2.generator_keys(12).translate(official, large)

    def test_splitting(self):
        names = [
            "encoder.a",
            "decoder.b",
            "decoder_layer.c",
            "ss_latent_transformer.d",
            "residue.e",
            "grid_align.f",
        ]
        parts = vivface.split(dict.fromkeys(names, torch.zeros(1)))
        assert {part: list(entries) for part, entries in parts.items()} == {
            "encoder": ["a"],
            "generator": ["b"],
            "unused": ["c"],
            "transformer": ["d"],
            "modulator": ["e"],
            "aligner": ["f"],
        }
        with pytest.raises(CheckpointError, match="other.g"):
            vivface.split({"other.g": torch.zeros(1)})
        with pytest.raises(CheckpointError, match="optimizer.g"):
            e4e.split({"optimizer.g": torch.zeros(1)})


class TestLatentAverage:
    def test_vector_or_equal_rows(self):
        row = torch.randn(8)
        assert torch.equal(single_latent(row), row)
        assert torch.equal(single_latent(row.expand(5, -1)), row)

    def test_different_rows_are_refused(self):
        with pytest.raises(CheckpointError, match="latent_avg"):
            single_latent(torch.randn(5, 8))
