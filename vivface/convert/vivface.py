"""The whole system of NickChang97/ViVFace: stage I, and stage II if there is one."""

from pathlib import Path

import torch
from torch import Tensor

from vivface.convert.conversion import Conversion, Part, fill, without_values
from vivface.convert.e4e import check_average, check_latents, count_heads
from vivface.convert.keys import vivface
from vivface.convert.reading import Source, read
from vivface.convert.stylegan2 import TRAINING, fill_average, generator_part
from vivface.errors import CheckpointError
from vivface.models.encoder import HybridEncoder
from vivface.models.refinement import RefinementNetwork
from vivface.models.transformer import DeformationTransformer
from vivface.pipelines.vivface import VivFacePipeline

WHAT = "a ViVFace checkpoint"
IGNORED = {"opts": "the authors' training options"} | dict.fromkeys(
    ("global_step", "optimizer", "discriminator_state_dict", "discriminator_optimizer_state_dict"), TRAINING
)
STAGE_1 = ("encoder", "generator", "transformer")
STAGE_2 = ("aligner", "modulator")
UNUSED = "the template from which the transformer's layers were copied; it never runs"


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
    source = read(stage1)
    average, parts = _split(source)
    notes = []
    if stage2 is None:
        sources = [source]
        if not parts.keys() & set(STAGE_2):
            notes.append("without a stage II file the pipeline has no refinement.")
    else:
        second = read(stage2)
        sources = [source, second]
        if parts.keys() & set(STAGE_2):
            raise CheckpointError(f"'{stage1}' is a stage II file; give the stage I file first, or this one alone.")
        average, both = _split(second)
        if not both.keys() & set(STAGE_2):
            raise CheckpointError(
                f"'{stage2}' is a stage I file; expected a stage II file, with residue and grid_align."
            )
        if different := _different(parts, both):
            notes.append(f"{different} entries of stage I differ between the files; those of {second.name} are used.")
        source.content = None  # its mapped pages may go
        parts, source = both, second

    generator = generator_part(parts["generator"], average)
    latents = count_heads(source, parts["encoder"], "styles")
    codes = count_heads(source, parts["encoder"], "ss_styles")
    check_latents(source, latents, generator)
    encoder = Part(without_values(HybridEncoder, num_latents=latents, motion_codes=codes))
    fill(encoder, vivface.encoder_keys(latents, codes), parts["encoder"])
    fill_average(encoder.model, average)
    transformer = Part(without_values(DeformationTransformer))
    fill(transformer, vivface.transformer_keys(), parts["transformer"])
    filled = {"generator": generator, "encoder": encoder, "transformer": transformer}
    if "aligner" in parts or "modulator" in parts:
        refinement = Part(without_values(RefinementNetwork))
        fill(refinement, vivface.aligner_keys(), parts.get("aligner", {}), inside=refinement.model.aligner)
        fill(refinement, vivface.modulator_keys(), parts.get("modulator", {}), inside=refinement.model.modulator)
        filled["refinement"] = refinement

    networks = {name: part.model for name, part in filled.items()}
    try:
        pipeline = VivFacePipeline(**networks, image_size=encoder.model.config.image_size, crop="ffhq", neutral="zero")
    except ValueError as error:
        raise CheckpointError(f"The parts of '{source.path}' do not fit together ({error}).") from error
    return Conversion("vivface", sources, filled, pipeline, notes)


def _split(source: Source) -> tuple[Tensor, dict[str, dict[str, Tensor]]]:
    """Mean latent and entries by part; all parts of stage I are there."""
    entries, average = source.sections(WHAT, ("state_dict", "latent_avg"), IGNORED)
    parts = vivface.split(source.tensors(entries, "state_dict"))
    if missing := [name for name in STAGE_1 if name not in parts]:
        raise CheckpointError(f"'{source.path}' has no entries of the {', '.join(missing)}: check which file it is.")
    if unused := parts.pop("unused", None):
        source.ignored[f"{len(unused)} entries decoder_layer.*"] = UNUSED
    return check_average(source, average), parts


def _different(first: dict[str, dict[str, Tensor]], second: dict[str, dict[str, Tensor]]) -> int:
    """How many entries of stage I have other values, or are missing, in the second file."""
    count = 0
    for part in STAGE_1:
        for name, tensor in first[part].items():
            other = second[part].get(name)
            count += other is None or not torch.equal(tensor, other)
    return count
