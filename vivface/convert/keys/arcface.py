"""IR-SE networks in the layout of TreB1eN/InsightFace_Pytorch (`model_ir_se50.pth`), and parts that others share."""

from collections.abc import Sequence

from vivface.convert.keys.keymap import KeyMap, batch_norm_names, parameter_names


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
