"""The whole system of NickChang97/ViVFace: stage I, and stage II if there is one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vivface.convert.conversion import Conversion, ConvertedModel, fill, without_values
from vivface.convert.e4e import check_latents, count_heads, head_names, lateral_names
from vivface.convert.ir_se50 import stem_names, trunk_names, unit_names
from vivface.convert.keymap import KeyMap, parameter_names
from vivface.convert.reading import Source, read
from vivface.convert.stylegan2 import rosinality_generator, set_mean_latent, take_mean_latent
from vivface.errors import CheckpointError
from vivface.models.encoder import HybridEncoder
from vivface.models.refinement import RefinementNetwork
from vivface.models.transformer import DeformationTransformer
from vivface.pipelines.vivface import VivFacePipeline

WHAT = "a ViVFace checkpoint"
NETWORKS = {  # first name in the file -> network
    "encoder": "encoder",
    "decoder": "generator",
    "ss_latent_transformer": "transformer",
    "grid_align": "aligner",
    "residue": "modulator",
    "decoder_layer": "unused",
}
STAGE_1 = ("encoder", "generator", "transformer")
STAGE_2 = ("aligner", "modulator")
UNUSED = "the template from which the transformer's layers were copied; it never runs"


@dataclass
class _Stage:
    """One file: its networks' entries, and the mean latent that it stores."""

    source: Source
    networks: dict[str, dict[str, Tensor]]
    mean_latent: object

    @property
    def has_refinement(self) -> bool:
        return bool(self.networks.keys() & set(STAGE_2))


def convert(stage1: Path, stage2: Path | None = None) -> Conversion:
    """Read a whole pipeline.

    A stage II file holds stage I as well. Where both are given and differ, the values of stage II are taken: they are
    the ones that its refinement network was trained with.

    Args:
        stage1 (`Path`): The stage I file; a stage II file alone gives the whole system, too.
        stage2 (`Path`, *optional*): The stage II file, with the refinement network.

    Raises:
        CheckpointError: If a file is anything else, or an entry does not fit.
    """
    stage, sources, notes = _read_stages(stage1, stage2)
    source, networks = stage.source, stage.networks
    generator = rosinality_generator(networks["generator"])
    latents = count_heads(source, networks["encoder"], "styles")
    codes = count_heads(source, networks["encoder"], "ss_styles")
    check_latents(source, latents, generator)
    encoder = ConvertedModel(without_values(HybridEncoder, num_latents=latents, motion_codes=codes))
    fill(encoder, encoder_keys(latents, codes), networks["encoder"])
    notes += set_mean_latent(source, stage.mean_latent, generator.model, encoder.model)
    transformer = ConvertedModel(without_values(DeformationTransformer))
    fill(transformer, transformer_keys(), networks["transformer"])
    filled = {"generator": generator, "encoder": encoder, "transformer": transformer}
    if stage.has_refinement:
        refinement = ConvertedModel(without_values(RefinementNetwork))
        fill(refinement, aligner_keys(), networks.get("aligner", {}), inside=refinement.model.aligner)
        fill(refinement, modulator_keys(), networks.get("modulator", {}), inside=refinement.model.modulator)
        filled["refinement"] = refinement

    models = {name: converted.model for name, converted in filled.items()}
    try:
        pipeline = VivFacePipeline(**models, image_size=encoder.model.config.image_size, crop="ffhq", neutral="zero")
    except ValueError as error:
        raise CheckpointError(f"The networks of '{source.path}' do not fit together ({error}).") from error
    return Conversion("vivface", sources, filled, pipeline, notes)


def _read_stages(stage1: Path, stage2: Path | None) -> tuple[_Stage, list[Source], list[str]]:
    """The stage whose values are taken, every file that was read, and notes."""
    first = _read_stage(stage1)
    if stage2 is None:
        notes = [] if first.has_refinement else ["without a stage II file the pipeline has no refinement."]
        return first, [first.source], notes
    if first.has_refinement:
        raise CheckpointError(f"'{stage1}' is a stage II file; give the stage I file first, or this one alone.")
    second = _read_stage(stage2)
    if not second.has_refinement:
        raise CheckpointError(f"'{stage2}' is a stage I file; expected a stage II file, with residue and grid_align.")
    notes = []
    if different := _different(first.networks, second.networks):
        notes.append(
            f"{different} entries of stage I differ between the files; those of {second.source.name} are used."
        )
    first.source.content = None  # its mapped pages may go
    second.mean_latent = first.mean_latent if second.mean_latent is None else second.mean_latent
    return second, [first.source, second.source], notes


def _read_stage(file: Path) -> _Stage:
    """Mean latent and entries by network; all networks of stage I are there."""
    source = read(file)
    entries = source.network(WHAT, ("state_dict",), beside=("latent_avg",))
    mean_latent = take_mean_latent(source, entries)
    networks = split(entries)
    if missing := [name for name in STAGE_1 if name not in networks]:
        raise CheckpointError(f"'{source.path}' has no entries of the {', '.join(missing)}: check which file it is.")
    if unused := networks.pop("unused", None):
        source.ignored[f"{len(unused)} entries decoder_layer.*"] = UNUSED
    return _Stage(source, networks, mean_latent)


def split(state_dict: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The file's `state_dict` -> entries by network, prefixes removed.

    Networks: "encoder", "generator", "transformer"; in stage II files also "aligner" and "modulator"; "unused".

    Raises:
        CheckpointError: If an entry belongs to none.
    """
    networks: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state_dict.items():
        first, _, rest = name.partition(".")
        if first not in NETWORKS:
            raise CheckpointError(f"The checkpoint has {name}, which belongs to no network of a ViVFace checkpoint.")
        networks.setdefault(NETWORKS[first], {})[rest] = tensor
    return networks


def _different(first: dict[str, dict[str, Tensor]], second: dict[str, dict[str, Tensor]]) -> int:
    """How many entries of stage I have other values, or are missing, in the second file."""
    count = 0
    for network in STAGE_1:
        for name, tensor in first[network].items():
            other = second[network].get(name)
            count += other is None or not torch.equal(tensor, other)
    return count


# Names ---------------------------------------------------------------------------------------------------------------


def encoder_keys(num_latents: int, motion_codes: int = 10, units: Sequence[int] = (3, 4, 14, 3)) -> KeyMap:
    """Entries of the encoder; `latent_avg` is at the file's top level."""
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
