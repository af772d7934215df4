"""What every network must survive: saving, loading, half-precision storage."""

from pathlib import Path

import torch
from diffusers import ModelMixin

from vivface.models.layers.norm import BatchNorm1d, BatchNorm2d


def check_round_trip(model: ModelMixin, folder: Path) -> ModelMixin:
    """Save and load: same config, same entries, evaluation mode. Returns the loaded model."""
    model.save_pretrained(folder)
    assert (folder / "diffusion_pytorch_model.safetensors").is_file()
    loaded = type(model).from_pretrained(folder)
    assert not loaded.training
    saved_config = {k: v for k, v in model.config.items() if not k.startswith("_")}
    assert {k: loaded.config[k] for k in saved_config} == _as_json(saved_config)
    entries = loaded.state_dict()
    assert entries.keys() == model.state_dict().keys()
    assert all(torch.equal(entries[name], tensor) for name, tensor in model.state_dict().items())
    return loaded


def check_half_storage(model: ModelMixin, folder: Path) -> None:
    """Saved in half precision, loaded in single precision: every entry is the rounded one, and norms are exact."""
    norms = {name for name, module in model.named_modules() if isinstance(module, BatchNorm1d | BatchNorm2d)}
    expected = {
        name: tensor.clone() if _exact(name, tensor, norms) else tensor.half().float()
        for name, tensor in model.state_dict().items()
    }
    model.half().save_pretrained(folder / "half")
    size = (folder / "half" / "diffusion_pytorch_model.safetensors").stat().st_size
    assert size < sum(v.numel() * (4 if _exact(k, v, norms) else 2) for k, v in expected.items()) + 50_000
    loaded = type(model).from_pretrained(folder / "half", torch_dtype=torch.float32)
    assert loaded.dtype == torch.float32
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.state_dict().items())


def _exact(name: str, tensor: torch.Tensor, norms: set[str]) -> bool:
    return name.rpartition(".")[0] in norms or not tensor.is_floating_point()


def _as_json(config: dict) -> dict:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in config.items()}
