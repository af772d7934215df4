"""StyleGAN2 generators in the layout of rosinality/stylegan2-pytorch (`g_ema`; also the decoder of e4e and ViVFace)."""

import torch

from vivface.convert.keys.keymap import KeyMap, parameter_names


def generator_keys(num_latents: int, mapping_layers: int = 8) -> KeyMap:
    """Entries of a generator whose W+ has `num_latents` vectors (18 at 1024). `latent_avg` is stored elsewhere."""
    blocks = num_latents // 2 - 1
    names = {"input.input": "constant"}
    for i in range(mapping_layers):
        names |= parameter_names(f"style.{i + 1}", f"mapping.layers.{i}")  # style.0 normalises
    convs = ["conv1"] + [f"convs.{i}" for i in range(2 * blocks)]
    for i, layer in enumerate(convs):
        names |= {
            f"{layer}.conv.weight": f"{layer}.weight",
            f"{layer}.activate.bias": f"{layer}.bias",
            f"{layer}.noise.weight": f"{layer}.noise_weight",
            f"noises.noise_{i}": f"{layer}.noise_map",
        }
        names |= parameter_names(f"{layer}.conv.modulation", f"{layer}.modulation")
    for layer in ["to_rgb1"] + [f"to_rgbs.{k}" for k in range(blocks)]:
        names |= {f"{layer}.conv.weight": f"{layer}.weight", f"{layer}.bias": f"{layer}.bias"}
        names |= parameter_names(f"{layer}.conv.modulation", f"{layer}.modulation")

    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    fir = torch.outer(taps, taps) / 64 * 4
    constants = {f"convs.{2 * k}.conv.blur.kernel": fir for k in range(blocks)}
    constants |= {f"to_rgbs.{k}.upsample.kernel": fir for k in range(blocks)}
    return KeyMap(names, constants, elsewhere=frozenset({"latent_avg"}))
