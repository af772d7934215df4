"""`vivface convert styleflow`: the layout of the released file, and its equation written out again."""

import pytest
import torch

from tests.convert.command import convert, refused
from vivface.models import StyleFlow

DIM, LAYERS = 10, 3


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    """A state dict of the official layout, small."""
    random = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return 0.3 * torch.randn(*shape, generator=random)

    entries = {}
    for norm in ("chain.0", "chain.2"):
        entries |= {f"{norm}.{name}": draw(DIM) for name in ("weight", "bias", "running_mean")}
        entries |= {f"{norm}.running_var": draw(DIM).abs() + 0.5, f"{norm}.step": torch.tensor([321.0])}
    entries |= {"chain.1.sqrt_end_time": torch.tensor(1.1), "chain.1.odefunc._num_evals": torch.tensor(38.0)}
    for number in range(LAYERS):
        name = f"chain.1.odefunc.diffeq.layers.{number}"
        entries |= {f"{name}._layer.weight": draw(DIM, DIM), f"{name}._layer.bias": draw(DIM)}
        entries |= {f"{name}._hyper_bias.weight": draw(DIM, 18)}
        entries |= {f"{name}._hyper_gate.weight": draw(DIM, 18), f"{name}._hyper_gate.bias": draw(DIM)}
    return entries


def by_hand(weights: dict[str, torch.Tensor], w: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
    """z of codes `(rows, dim)`: norm, 400 midpoint steps, norm."""

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        x = (x - weights[f"{name}.running_mean"]) * torch.exp(-0.5 * torch.log(weights[f"{name}.running_var"] + 1e-4))
        return x * torch.exp(weights[f"{name}.weight"]) + weights[f"{name}.bias"]

    def slope(time: float, y: torch.Tensor) -> torch.Tensor:
        context = torch.cat([torch.tensor([time]), condition])
        for number in range(LAYERS):
            layer = {k.rpartition(f"layers.{number}.")[2]: v for k, v in weights.items() if f"layers.{number}." in k}
            gate = torch.sigmoid(layer["_hyper_gate.weight"] @ context + layer["_hyper_gate.bias"])
            y = (y @ layer["_layer.weight"].T + layer["_layer.bias"]) * gate + layer["_hyper_bias.weight"] @ context
            y = torch.tanh(y) if number < LAYERS - 1 else y
        return y

    y, end, steps = norm(w, "chain.0"), 1.1**2, 400
    for number in range(steps):
        time, step = end * number / steps, end / steps
        y = y + step * slope(time + step / 2, y + step / 2 * slope(time, y))
    return norm(y, "chain.2")


def test_the_released_layout(weights, tmp_path):
    torch.save(weights, tmp_path / "modellarge10k.pt")
    outcome = convert("styleflow", tmp_path / "modellarge10k.pt", "-o", tmp_path / "flow", "--verify")
    assert "Left out of modellarge10k.pt: chain.0.step" in outcome.out
    flow = StyleFlow.from_pretrained(tmp_path / "flow")
    assert (flow.config.style_dim, flow.config.conditions, flow.config.layers) == (DIM, 17, LAYERS)
    codes, condition = torch.randn(2, DIM), torch.randn(17)
    with torch.no_grad():
        found = flow(codes[None], condition[None])[0]
    torch.testing.assert_close(found, by_hand(weights, codes, condition), atol=1e-3, rtol=1e-3)


def test_something_else(weights, tmp_path):
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "f.pt")
    assert "StyleFlow" in refused("styleflow", tmp_path / "f.pt", output=tmp_path / "d")
    del weights["chain.1.sqrt_end_time"]
    torch.save(weights, tmp_path / "f.pt")
    assert "sqrt_end_time" in refused("styleflow", tmp_path / "f.pt", output=tmp_path / "d")
