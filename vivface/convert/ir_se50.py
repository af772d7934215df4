"""The IR-SE-50 identity network of TreB1eN/InsightFace_Pytorch (`model_ir_se50.pth`), and names that others share."""

from collections.abc import Sequence
from pathlib import Path

from vivface.convert.conversion import Conversion, ConvertedModel, fill, without_values
from vivface.convert.keymap import KeyMap, batch_norm_names, parameter_names
from vivface.convert.reading import read
from vivface.models.identity import IdentityNetwork

WHAT = "an IR-SE-50 checkpoint"


def convert(file: Path) -> Conversion:
    """Read the identity network; the file is its bare state dict, or has it under `state_dict` or `model`.

    Args:
        file (`Path`): The authors' file.

    Raises:
        CheckpointError: If the file is anything else, or an entry does not fit.
    """
    source = read(file)
    entries = source.network(WHAT, ("state_dict", "model"))
    converted = ConvertedModel(without_values(IdentityNetwork))
    fill(converted, identity_keys(), entries)
    return Conversion("ir-se50", [source], {"": converted})


# Names ---------------------------------------------------------------------------------------------------------------


def identity_keys(units: Sequence[int] = (3, 4, 14, 3)) -> KeyMap:
    """Entries of the identity network."""
    names = trunk_names(units)
    names |= batch_norm_names("output_layer.0", "norm")
    names |= parameter_names("output_layer.3", "linear")
    names |= batch_norm_names("output_layer.4", "output_norm")
    return KeyMap(names)


def trunk_names(units: Sequence[int]) -> dict[str, str]:
    """Stem and body; the official body is one list of units, ours one list a stage."""
    names = stem_names("input_layer", "trunk.stem")
    i = 0
    for stage, count in enumerate(units):
        for unit in range(count):
            widens = stage > 0 and unit == 0  # stage 0 keeps the stem's width
            names |= unit_names(f"body.{i}", f"trunk.stages.{stage}.{unit}", widens, squeeze_excite=True)
            i += 1
    return names


def stem_names(official: str, ours: str) -> dict[str, str]:
    """Convolution, batch norm, PReLU."""
    names = {f"{official}.0.weight": f"{ours}.0.weight", f"{official}.2.weight": f"{ours}.2.weight"}
    return names | batch_norm_names(f"{official}.1", f"{ours}.1")


def unit_names(official: str, ours: str, projects: bool, squeeze_excite: bool) -> dict[str, str]:
    """One residual unit; `projects` when its shortcut is a convolution."""
    branch = f"{official}.res_layer"
    names = batch_norm_names(f"{branch}.0", f"{ours}.norm1")
    names |= {
        f"{branch}.1.weight": f"{ours}.conv1.weight",
        f"{branch}.2.weight": f"{ours}.activation.weight",
        f"{branch}.3.weight": f"{ours}.conv2.weight",
    }
    names |= batch_norm_names(f"{branch}.4", f"{ours}.norm2")
    if squeeze_excite:
        names[f"{branch}.5.fc1.weight"] = f"{ours}.gate.reduce.weight"
        names[f"{branch}.5.fc2.weight"] = f"{ours}.gate.expand.weight"
    if projects:
        names[f"{official}.shortcut_layer.0.weight"] = f"{ours}.shortcut.0.weight"
        names |= batch_norm_names(f"{official}.shortcut_layer.1", f"{ours}.shortcut.1")
    return names
