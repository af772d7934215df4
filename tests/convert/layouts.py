"""Checkpoints in the published layouts that cost nothing: every entry has its name, shape and type, and one value."""

import json
from pathlib import Path

import torch

Tree = dict


def cheap(manifest: Path) -> Tree:
    """Zeros, each stored as one number with strides of zero; the constants of the architecture are what they are."""
    tree: Tree = {}
    for key, shape, dtype, kind in json.loads(manifest.read_text()):
        *containers, name = key.split("/")
        level = tree
        for container in containers:
            level = level.setdefault(container, {})
        if kind.startswith("blur"):
            taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
            level[name] = torch.outer(taps, taps) / 64 * float(kind.partition(":")[2])
        else:
            level[name] = torch.zeros((), dtype=getattr(torch, dtype)).expand(shape)
    return tree


def training_state() -> Tree:
    """What the authors' trainers save beside the weights."""
    return {
        "opts": {"learning_rate": 1e-4, "exp_dir": "out", "stylegan_size": 256},
        "global_step": 100_000,
        "optimizer": {"state": {0: {"step": 3, "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-4}]},
        "discriminator_state_dict": {"mlp.0.weight": torch.zeros(2, 2)},
        "discriminator_optimizer_state_dict": {"state": {}, "param_groups": []},
    }


def nvidia_names(g_ema: dict[str, torch.Tensor], latent_avg: torch.Tensor) -> dict[str, torch.Tensor]:
    """A generator's tensors from rosinality's names and shapes to NVIDIA's."""
    blocks = len([name for name in g_ema if name.startswith("to_rgbs.") and name.endswith(".upsample.kernel")])
    convs, to_rgbs = {"conv1": "b4.conv1"}, {"to_rgb1": "b4.torgb"}
    for k in range(blocks):
        convs |= {f"convs.{2 * k}": f"b{8 << k}.conv0", f"convs.{2 * k + 1}": f"b{8 << k}.conv1"}
        to_rgbs[f"to_rgbs.{k}"] = f"b{8 << k}.torgb"
    fir = g_ema["to_rgbs.0.upsample.kernel"] / 4

    named = {"mapping.w_avg": latent_avg, "synthesis.b4.const": g_ema["input.input"][0]}
    for i in range(8):
        for entry in ("weight", "bias"):
            named[f"mapping.fc{i}.{entry}"] = g_ema[f"style.{i + 1}.{entry}"]
    for k in range(-1, blocks):
        named[f"synthesis.b{8 << k if k >= 0 else 4}.resample_filter"] = fir.clone()
    for i, (theirs, ours) in enumerate(convs.items()):
        layer = f"synthesis.{ours}"
        named[f"{layer}.weight"] = g_ema[f"{theirs}.conv.weight"][0]
        named[f"{layer}.bias"] = g_ema[f"{theirs}.activate.bias"]
        named[f"{layer}.noise_strength"] = g_ema[f"{theirs}.noise.weight"].reshape(())
        named[f"{layer}.noise_const"] = g_ema[f"noises.noise_{i}"][0, 0]
        named[f"{layer}.resample_filter"] = fir.clone()
        for entry in ("weight", "bias"):
            named[f"{layer}.affine.{entry}"] = g_ema[f"{theirs}.conv.modulation.{entry}"]
    for theirs, ours in to_rgbs.items():
        layer = f"synthesis.{ours}"
        named[f"{layer}.weight"] = g_ema[f"{theirs}.conv.weight"][0]
        named[f"{layer}.bias"] = g_ema[f"{theirs}.bias"].reshape(3)
        for entry in ("weight", "bias"):
            named[f"{layer}.affine.{entry}"] = g_ema[f"{theirs}.conv.modulation.{entry}"]
    return named
