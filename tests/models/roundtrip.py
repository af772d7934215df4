"""What every network must survive: saving, loading, half-precision storage."""

from pathlib import Path

import torch
from diffusers import ModelMixin


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
    """Saved in half precision, loaded in single precision: every entry is the rounded one."""
    rounded = {k: v.half().float() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    model.half().save_pretrained(folder / "half")
    size = (folder / "half" / "diffusion_pytorch_model.safetensors").stat().st_size
    assert size < 2.2 * sum(v.numel() for v in rounded.values()) + 50_000
    loaded = type(model).from_pretrained(folder / "half", torch_dtype=torch.float32)
    assert loaded.dtype == torch.float32
    assert all(torch.equal(tensor, rounded[name]) for name, tensor in loaded.state_dict().items())


def _as_json(config: dict) -> dict:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in config.items()}
