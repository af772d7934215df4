"""The IR-SE-50 identity network of TreB1eN/InsightFace_Pytorch (`model_ir_se50.pth`)."""

from pathlib import Path

from vivface.convert.conversion import Conversion, Part, fill, without_values
from vivface.convert.keys import arcface
from vivface.convert.reading import read
from vivface.models.identity import IdentityNetwork


def convert(file: Path) -> Conversion:
    """Read the identity network; the file is its bare state dict.

    Raises:
        CheckpointError: If the file is anything else, or an entry does not fit.
    """
    source = read(file)
    part = Part(without_values(IdentityNetwork))
    fill(part, arcface.identity_keys(), source.tensors(source.content, "its top level"))
    return Conversion("ir-se50", [source], {"": part})
