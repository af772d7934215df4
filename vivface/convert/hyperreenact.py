"""The whole system of StelaBou/HyperReenact: its hypernetwork, and the four networks that it works with.

hypernetwork    entries hypernet.* under `state_dict`
generator       rosinality's StyleGAN2 (`g_ema`)
inversion       e4e's encoder (`e`); its codes get no mean latent
appearance      IR-SE-50, as `vivface convert ir-se50` reads it
pose            DECA's checkpoint (`E_flame`), of which the ResNet-50 is kept
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from vivface.convert.conversion import Conversion, ConvertedModel, fill, without_values
from vivface.convert.e4e import check_latents, count_heads, encoder_keys
from vivface.convert.ir_se50 import WHAT as IR_SE50
from vivface.convert.ir_se50 import identity_keys
from vivface.convert.keymap import KeyMap, batch_norm_names, parameter_names
from vivface.convert.reading import Source, read
from vivface.convert.stylegan2 import NETWORKS, rosinality_generator, set_mean_latent, take_mean_latent
from vivface.convert.stylegan2 import WHAT as STYLEGAN2
from vivface.errors import CheckpointError
from vivface.models.encoder import HybridEncoder
from vivface.models.hypernetwork import ReenactmentHypernetwork, SharedBlock
from vivface.models.identity import IdentityNetwork
from vivface.models.pose_encoder import PoseEncoder
from vivface.models.stylegan2 import published_channels
from vivface.pipelines.hyperreenact import HyperReenactPipeline

WHAT = "a HyperReenact checkpoint"
INVERSION = "HyperReenact's e4e checkpoint"
POSE = "a DECA checkpoint"
SHARED = "shared_weight_hypernet"  # the shared matrices' own name in the file
MATRICES = ("w1", "b1", "w2", "b2")
FLAME = "DECA's readout of face parameters, of which HyperReenact reads nothing"
DECA_REST = {"E_detail": "DECA's detail encoder", "D_detail": "DECA's detail decoder", "opt": "training state"}


def convert(hypernetwork: Path, generator: Path, inversion: Path, appearance: Path, pose: Path) -> Conversion:
    """Read a whole pipeline.

    Args:
        hypernetwork (`Path`): The authors' hypernetwork (entry `state_dict`).
        generator (`Path`): The StyleGAN2 generator that it was trained for (entry `g_ema`).
        inversion (`Path`): The e4e encoder of that generator (entry `e`).
        appearance (`Path`): The IR-SE-50 identity network.
        pose (`Path`): DECA's checkpoint (entry `E_flame`).

    Raises:
        CheckpointError: If a file is anything else, an entry does not fit, or the networks do not fit together.
    """
    filled, sources, notes = {}, [], []

    source = read(generator)
    entries = source.network(STYLEGAN2, NETWORKS, beside=("latent_avg",))
    stored = take_mean_latent(source, entries)
    filled["generator"] = made = rosinality_generator(entries)
    notes += set_mean_latent(source, stored, made.model)
    sources.append(source)

    source = read(inversion)
    filled["inversion"] = _inversion(source, made)
    sources.append(source)

    source = read(appearance)
    filled["appearance"] = ConvertedModel(without_values(IdentityNetwork))
    fill(filled["appearance"], identity_keys(), source.network(IR_SE50, ("state_dict", "model")))
    sources.append(source)

    source = read(pose)
    filled["pose"] = _pose_encoder(source)
    sources.append(source)

    source = read(hypernetwork)
    config = made.model.config
    channels = config.channels or published_channels(config.size, config.channel_multiplier)
    filled["hypernetwork"] = _hypernetwork(source, channels)
    sources.insert(0, source)

    models = {name: converted.model for name, converted in filled.items()}
    try:
        pipeline = HyperReenactPipeline(**models)
    except ValueError as error:
        raise CheckpointError(f"The files do not belong together ({str(error).rstrip('.')}).") from error
    notes.append(
        "codes are truncated toward the generator's mean latent; the authors' program draws another mean of 4096 "
        "random latents at every start, so results differ slightly from run to run there."
    )
    notes.append("DECA's weights, from which `pose` comes, are licensed for non-commercial scientific research only.")
    return Conversion("hyperreenact", sources, filled, pipeline, notes)


def _inversion(source: Source, generator: ConvertedModel) -> ConvertedModel:
    """The encoder. Its mean latent is zero: the authors add none."""
    entries = source.network(INVERSION, ("e",))
    latents = count_heads(source, entries, "styles")
    check_latents(source, latents, generator)
    converted = ConvertedModel(without_values(HybridEncoder, num_latents=latents, motion_codes=0))
    fill(converted, encoder_keys(latents, 0), entries)
    converted.model.latent_avg = torch.zeros(converted.model.config.style_dim)
    return converted


def _pose_encoder(source: Source) -> ConvertedModel:
    """DECA's ResNet-50; what DECA makes of its map is left out."""
    entries = source.network(POSE, ("E_flame",), beside=tuple(DECA_REST))
    source.ignored |= {name: reason for name, reason in DECA_REST.items() if name in source.content}
    network: dict[str, Tensor] = {}
    for name, tensor in entries.items():
        first, _, rest = name.partition(".")
        if first == "encoder":
            network[rest] = tensor
        elif first == "layers":
            source.ignored["E_flame/layers.*"] = FLAME
        else:
            raise CheckpointError(f"'{source.path}' has {name}; expected only entries of DECA's ResNet-50 encoder.")
    converted = ConvertedModel(without_values(PoseEncoder))
    fill(converted, pose_keys(), network)
    return converted


def _hypernetwork(source: Source, generator_channels: list[int]) -> ConvertedModel:
    """The hypernetwork. The file names its shared matrices eight times; all have to be one."""
    entries = source.network(WHAT, ("state_dict",))
    if foreign := [name for name in entries if not name.startswith("hypernet.")]:
        raise CheckpointError(f"'{source.path}' has {foreign[0]}; expected only entries of a hypernetwork.")
    entries = {name.removeprefix("hypernet."): tensor for name, tensor in entries.items()}
    converted = ConvertedModel(without_values(ReenactmentHypernetwork, generator_channels=tuple(generator_channels)))
    own, converted.constants = _without_aliases(source, entries, converted.model)
    fill(converted, hypernetwork_keys(converted.model), own)
    return converted


def _without_aliases(
    source: Source, entries: Mapping[str, Tensor], model: ReenactmentHypernetwork
) -> tuple[dict[str, Tensor], int]:
    """The entries with the shared matrices under their own name only, and how many other names they had."""
    own, count = dict(entries), 0
    for place, block in model.blocks.items():
        for matrix in MATRICES if isinstance(block, SharedBlock) else ():
            alias, name = f"refinement_blocks.{place}.hypernet.{matrix}", f"{SHARED}.{matrix}"
            if alias not in own:
                raise CheckpointError(f"'{source.path}' lacks {alias}; expected the shared matrices in every block.")
            if not _equal(own.pop(alias), own.get(name)):
                raise CheckpointError(
                    f"'{source.path}' holds other values under {alias} than under {name}, which should be one tensor: "
                    "check which file it is."
                )
            count += 1
    return own, count


def _equal(a: Tensor, b: Tensor | None) -> bool:
    if b is None:
        return False
    same = a.data_ptr() == b.data_ptr() and a.shape == b.shape and a.stride() == b.stride() and a.dtype == b.dtype
    return same or a.is_meta or torch.equal(a, b)


# Names ---------------------------------------------------------------------------------------------------------------


def hypernetwork_keys(model: ReenactmentHypernetwork) -> KeyMap:
    """Entries of the hypernetwork, without its prefix and without the other names of the shared matrices."""
    names = parameter_names("conv_transf", "pose_projection")
    for official, ours in (("spade_pose", "pose_modulation"), ("spade_app", "appearance_modulation")):
        for conv in ("gamma", "beta"):
            names |= parameter_names(f"blend_module.{official}.conv_{conv}", f"{ours}.{conv}")
    names |= {f"{SHARED}.{matrix}": f"shared.{matrix}" for matrix in MATRICES}
    for place, block in model.blocks.items():
        official, ours = f"refinement_blocks.{place}", f"blocks.{place}"
        for i in range(len(block.stem.convs)):  # activations lie between
            names |= parameter_names(f"{official}.convs.{2 * i}", f"{ours}.stem.convs.{i}")
        last = "linear" if isinstance(block, SharedBlock) else "output"
        names |= parameter_names(f"{official}.{last}", f"{ours}.{last}")
    return KeyMap(names)


def pose_keys(units: tuple[int, ...] = (3, 4, 6, 3)) -> KeyMap:
    """Entries of the pose encoder; ours have the names that torchvision gives them."""
    names = {"conv1.weight": "conv1.weight"} | batch_norm_names("bn1", "bn1")
    for stage, count in enumerate(units):
        for unit in range(count):
            layer = f"layer{stage + 1}.{unit}"
            for i in (1, 2, 3):
                names[f"{layer}.conv{i}.weight"] = f"{layer}.conv{i}.weight"
                names |= batch_norm_names(f"{layer}.bn{i}", f"{layer}.bn{i}")
            if unit == 0:
                names[f"{layer}.downsample.0.weight"] = f"{layer}.downsample.0.weight"
                names |= batch_norm_names(f"{layer}.downsample.1", f"{layer}.downsample.1")
    return KeyMap(names)
