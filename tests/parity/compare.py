"""Networks filled from official entries, and comparison with arrays that are stored whole or reduced."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vivface.convert.keymap import KeyMap

IMAGE = 5e-5  # images and features, of the stored array's maximum
CODE = 2e-5  # codes, of the maximum
EMBEDDING = 5e-6  # absolute


def fill(model: nn.Module, keys: KeyMap, official: dict[str, Tensor], extra: dict[str, Tensor] | None = None) -> None:
    """Give a network, made without values, the official ones: every entry on both sides is used."""
    model.load_state_dict(keys.translate(official, model) | (extra or {}), strict=True, assign=True)


def assert_close(actual: Tensor, stored: Tensor, relative: float = 0.0, absolute: float = 0.0) -> None:
    """|actual - stored| <= relative * max |stored| + absolute, everywhere."""
    assert actual.shape == stored.shape
    limit = relative * stored.abs().max().item() + absolute
    assert (actual - stored).abs().max().item() <= limit


def assert_matches(actual: Tensor, golden: dict[str, Tensor], name: str, relative: float = IMAGE) -> None:
    """Compare with every stored form of an array: `name`, `name_area64`, `name_crop8`, `name_mean_std`, ..."""
    forms = {
        name: actual,
        f"{name}_mean_std": torch.stack([actual.mean(dim=(0, 2, 3)), actual.std(dim=(0, 2, 3))]),
    }
    for side in (8, 32, 64):
        if actual.shape[2] >= side:
            forms[f"{name}_area{side}"] = F.avg_pool2d(actual, actual.shape[2] // side)
            forms[f"{name}_crop{side}"] = _centre(actual, side)
    stored = [form for form in forms if form in golden]
    assert stored, f"nothing stored under {name}"
    for form in stored:
        assert_close(forms[form], golden[form], relative)


def _centre(x: Tensor, side: int) -> Tensor:
    top = (x.shape[2] - side) // 2
    return x[:, :, top : top + side, top : top + side]
