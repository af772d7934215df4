"""`vivface convert hairclip`: the mapper in its published layout computes what the paper's formula says."""

import pytest
import torch
import torch.nn.functional as F

from tests.convert.command import convert, refused
from vivface.models.hair_mapper import HairMapper

ROWS = {"course_mapping": 4, "medium_mapping": 4, "fine_mapping": 10}
FUNCTIONS = ("gamma_function", "beta_function")


def official(depth: int = 5) -> dict[str, torch.Tensor]:
    """A state dict in the layout of `hairclip.pt`, with the entries of other networks beside."""
    draw = torch.Generator().manual_seed(0)
    entries = {}
    for group in ROWS:
        for k in range(depth):
            module = f"mapper.{group}.modulation_module_list.{k}"
            linears = [f"{module}.fc", *(f"{module}.{name}.{i}" for name in FUNCTIONS for i in (0, 3))]
            for name in linears:
                entries[f"{name}.weight"] = torch.randn(512, 512, generator=draw) / 512**0.5
                entries[f"{name}.bias"] = torch.randn(512, generator=draw)
            for name in FUNCTIONS:
                entries[f"{module}.{name}.1.weight"] = torch.randn(512, generator=draw)
                entries[f"{module}.{name}.1.bias"] = torch.randn(512, generator=draw)
    entries["mapper.clip_model.logit_scale"] = torch.zeros(())
    entries["decoder.input.input"] = torch.zeros(1, 512, 4, 4)
    return entries


def by_hand(entries: dict[str, torch.Tensor], group: str, x: torch.Tensor, text: torch.Tensor | None) -> torch.Tensor:
    """One group, one code `(rows, 512)`, by the formulas of sec. 3.2."""

    def linear(name, value):
        return value @ entries[f"{name}.weight"].T + entries[f"{name}.bias"]

    x = x / (x.pow(2).mean(1, keepdim=True) + 1e-8).sqrt()
    for k in range(5):
        module = f"mapper.{group}.modulation_module_list.{k}"
        x = linear(f"{module}.fc", x)
        x = (x - x.mean()) / (x.var(unbiased=False) + 1e-5).sqrt()  # over rows and entries together
        if text is None:
            continue
        values = []
        for name in FUNCTIONS:
            hidden = linear(f"{module}.{name}.0", text)
            hidden = (hidden - hidden.mean()) / (hidden.var(unbiased=False) + 1e-5).sqrt()
            hidden = hidden * entries[f"{module}.{name}.1.weight"] + entries[f"{module}.{name}.1.bias"]
            values.append(linear(f"{module}.{name}.3", F.leaky_relu(hidden, 0.01)))
        x = F.leaky_relu(x * (1 + values[0]) + values[1], 0.01)
    return x


def test_converted_mapper_follows_the_formula(tmp_path):
    entries = official()
    torch.save({"state_dict": entries, "latent_avg": torch.zeros(18, 512), "opts": {"lr": 1.0}}, tmp_path / "h.pt")
    outcome = convert("hairclip", tmp_path / "h.pt", "-o", tmp_path / "mapper", "--verify")
    assert "HairMapper" in outcome.out
    mapper = HairMapper.from_pretrained(tmp_path / "mapper")
    torch.manual_seed(1)
    w, hairstyle, colour = torch.randn(2, 18, 512), torch.randn(2, 512), torch.randn(2, 512)
    with torch.no_grad():
        both, style_only = mapper(w, hairstyle, colour), mapper(w, hairstyle)
    for b in range(2):
        parts = dict(zip(ROWS, w[b].split(list(ROWS.values())), strict=True))
        texts = {"course_mapping": hairstyle[b], "medium_mapping": hairstyle[b], "fine_mapping": colour[b]}
        expected = torch.cat([by_hand(entries, group, parts[group], texts[group]) for group in ROWS])
        torch.testing.assert_close(both[b], expected, atol=2e-4, rtol=1e-3)
        uncoloured = by_hand(entries, "fine_mapping", parts["fine_mapping"], None)
        torch.testing.assert_close(style_only[b, 8:], uncoloured, atol=2e-4, rtol=1e-3)
        assert torch.equal(style_only[b, :8], both[b, :8])


def test_other_files_are_refused(tmp_path):
    torch.save({"state_dict": {"decoder.input.input": torch.zeros(1, 512, 4, 4)}}, tmp_path / "other.pt")
    assert "mapper" in refused("hairclip", tmp_path / "other.pt", output=tmp_path / "mapper")


def test_wrong_shapes_are_refused():
    mapper = HairMapper((1, 1, 2), style_dim=8, text_dim=4, depth=1)
    assert mapper(torch.zeros(1, 4, 8), torch.zeros(1, 4)).shape == (1, 4, 8)
    with pytest.raises(ValueError, match="w_plus"):
        mapper(torch.zeros(1, 5, 8))
    with pytest.raises(ValueError, match="colour"):
        mapper(torch.zeros(1, 4, 8), torch.zeros(1, 4), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="groups"):
        HairMapper((1, 2))
