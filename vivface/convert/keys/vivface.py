"""The networks in the checkpoints of NickChang97/ViVFace, stages I and II."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from vivface.convert.keys.arcface import stem_names, trunk_names, unit_names
from vivface.convert.keys.e4e import head_names, lateral_names
from vivface.convert.keys.keymap import KeyMap, parameter_names
from vivface.errors import CheckpointError

# Prefix in the file -> part. The dot after "decoder_layer" matters: its name starts like the decoder's.
PREFIXES = {
    "encoder.module.": "encoder",
    "decoder.module.": "generator",
    "ss_latent_transformer.": "transformer",
    "grid_align.": "aligner",
    "residue.": "modulator",
    "decoder_layer.": "unused",  # the template from which the transformer's layers were copied; never run
}


def split(state_dict: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The file's `state_dict` -> entries by part, prefixes removed.

    Parts: "encoder", "generator", "transformer"; in stage II files also "aligner" and "modulator"; "unused".

    Raises:
        CheckpointError: If an entry belongs to no part.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state_dict.items():
        for prefix, part in PREFIXES.items():
            if name.startswith(prefix):
                parts.setdefault(part, {})[name.removeprefix(prefix)] = tensor
                break
        else:
            raise CheckpointError(f"The checkpoint has {name}, which belongs to no part of a ViVFace checkpoint.")
    return parts


def encoder_keys(num_latents: int, motion_codes: int = 10, units: Sequence[int] = (3, 4, 14, 3)) -> KeyMap:
    """Entries of the encoder; `latent_avg` stands at the file's top level."""
    names = trunk_names(units) | lateral_names()
    names |= head_names("styles", "identity_heads", num_latents)
    names |= head_names("ss_styles", "motion_heads", motion_codes)
    return KeyMap(names, elsewhere=frozenset({"latent_avg"}))


def transformer_keys(layers: int = 4) -> KeyMap:
    """Entries of the deformation transformer."""
    names = {}
    for i in range(layers):
        official, ours = f"layers.{i}", f"blocks.{i}"
        for theirs, attention in (("self_attn", "self_attention"), ("multihead_attn", "cross_attention")):
            for entry in ("weight", "bias"):
                names[f"{official}.{theirs}.in_proj_{entry}"] = f"{ours}.{attention}.in_proj.{entry}"
            names |= parameter_names(f"{official}.{theirs}.out_proj", f"{ours}.{attention}.out_proj")
        for entry in ("linear1", "linear2", "norm1", "norm2", "norm3"):
            names |= parameter_names(f"{official}.{entry}", f"{ours}.{entry}")
    return KeyMap(names)


def aligner_keys() -> KeyMap:
    """Entries of `RefinementNetwork.aligner`."""
    names = stem_names("conv_layer1", "stem")
    for i in range(3):
        for unit in range(3):
            # Going down, the first unit of a stage widens; going up, the first two change the width
            names |= unit_names(f"conv_layer{i + 2}.{unit}", f"down{i + 1}.{unit}", unit == 0, squeeze_excite=False)
            names |= unit_names(f"dconv_layer{i + 1}.{unit}", f"up{i + 1}.{unit}", unit < 2, squeeze_excite=False)
    return KeyMap(names)


def modulator_keys() -> KeyMap:
    """Entries of `RefinementNetwork.modulator`."""
    names = stem_names("conv_layer1", "stem")
    for i in range(2):
        for unit in range(3):
            names |= unit_names(f"conv_layer{i + 2}.{unit}", f"downs.{i}.{unit}", unit == 0, squeeze_excite=False)
    for branch in ("scale", "shift"):
        names |= parameter_names(f"condition_{branch}3.0", f"{branch}1")
        names |= parameter_names(f"condition_{branch}3.2", f"{branch}2")
    return KeyMap(names)


def latent_discriminator_keys(layers: int = 4) -> KeyMap:
    """Entries of `discriminator_state_dict`; activations take every second place of the official list."""
    names = {}
    for i in range(layers):
        names |= parameter_names(f"mlp.{2 * i}", f"linears.{i}")
    return KeyMap(names)
