"""Attribute directions of other authors: InterFaceGAN's vectors and GANSpace's components.

InterFaceGAN (Shen et al., CVPR 2020): one unit vector an attribute; moving a code along it changes the attribute.
GANSpace (Harkonen et al., NeurIPS 2020): principal components of w, each with the standard deviation of codes along it.
"""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vivface.convert.keymap import listing
from vivface.convert.reading import read
from vivface.editing.directions import AttributeDirections, Direction
from vivface.errors import CheckpointError, OptionError, first_line

NAME = re.compile(r"[a-z0-9][a-z0-9_]*")
VECTOR_REACH = 3.0  # of unit vectors: how far faces stay plausible
COMPONENT_REACH = 2.0  # in standard deviations
# Names of GANSpace's arrays: in its own `.npz` files, and in the `.pt` files of e4e
COMPONENTS, MEANS, DEVIATIONS = ("lat_comp", "comp"), ("lat_mean", "mean"), ("lat_stdev", "lat_std", "std")
OTHERS = ("act_comp", "act_mean", "act_stdev", "var_ratio", "random_stdevs")  # of activations, not of latents


def convert(files: Mapping[str, Path], latents: int = 18) -> AttributeDirections:
    """Read directions and give them names.

    A vector of W counts for every layer. An amount of 1 is the vector as it is stored, or one standard deviation of a
    component; components are called NAME_00, NAME_01, ...

    Args:
        files (`dict[str, Path]`): Name of each direction, or of a set of components, and its file.
        latents (`int`, *optional*, defaults to 18): Vectors of the identity code that the directions are for; 18 at
            1024, 14 at 256.

    Raises:
        CheckpointError: If a file holds anything else.
        OptionError: If a name is no simple word or comes twice.
    """
    directions: list[Direction] = []
    for name, file in files.items():
        if not NAME.fullmatch(name):
            raise OptionError(f"The name '{name}' is no simple word: give NAME=FILE with a-z, 0-9 and '_'.")
        content = _content(file)
        if isinstance(content, dict):
            directions += _components(name, file, content, latents)
        else:
            vector = _per_layer(file, _numbers(file, content), latents)
            directions.append(Direction(name, _label(name), "w_plus", vector, VECTOR_REACH))
    names = [direction.name for direction in directions]
    if twice := [name for name in names if names.count(name) > 1]:
        raise OptionError(f"Two directions are called '{twice[0]}': give another name with NAME=FILE.")
    widths = sorted({direction.vector.shape[-1] for direction in directions})
    if len(widths) > 1:
        raise CheckpointError(
            f"The directions have {' and '.join(map(str, widths))} numbers a layer; expected those of one generator."
        )
    return AttributeDirections(directions)


def _content(file: Path) -> object:
    """An array, a tensor, or a dict of them."""
    if file.suffix not in (".npy", ".npz"):
        return read(file).content
    if not file.is_file():
        raise CheckpointError(f"'{file}' is missing; expected a file of directions.")
    try:
        loaded = np.load(file, allow_pickle=False)  # raises for Python objects, which would be unpickled
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return {key: loaded[key] for key in loaded.files}
    except (ValueError, OSError, EOFError, KeyError, SyntaxError, zipfile.BadZipFile) as error:
        reason = first_line(error)
        if "pickle" in str(error):
            reason = "it holds Python objects, which are not read"
        raise CheckpointError(f"'{file}' is no file of plain numbers ({reason}): check which file it is.") from error


def _components(name: str, file: Path, content: dict, latents: int) -> list[Direction]:
    """GANSpace's components, each as long as the standard deviation of the codes along it."""
    found = []
    for names in (COMPONENTS, DEVIATIONS, MEANS):
        key = next((key for key in names if key in content), None)
        if key is None:
            raise CheckpointError(f"'{file}' lacks {names[0]} of a GANSpace file; it has {listing(content)}.")
        found.append(_numbers(file, content[key]))
    components, deviations, _ = found
    known = {*COMPONENTS, *MEANS, *DEVIATIONS, *OTHERS}
    if unknown := [str(key) for key in content if key not in known]:
        raise CheckpointError(f"'{file}' has {listing(unknown)}, which a GANSpace file does not know.")
    deviations = deviations.flatten()
    if components.ndim < 2 or len(components) != len(deviations):
        raise CheckpointError(
            f"'{file}' has components of shape {tuple(components.shape)} and {len(deviations)} standard deviations; "
            "expected one for each."
        )
    digits = max(2, len(str(len(components) - 1)))
    directions = []
    for i, (component, deviation) in enumerate(zip(components, deviations, strict=True)):
        vector = _per_layer(file, component * deviation, latents)
        label = f"{_label(name)} {i + 1}"
        directions.append(Direction(f"{name}_{i:0{digits}}", label, "w_plus", vector, COMPONENT_REACH))
    return directions


def _per_layer(file: Path, vector: Tensor, latents: int) -> Tensor:
    """`(style_dim,)` or `(latents, style_dim)`, with any axes of length one -> `(latents, style_dim)`."""
    shape = [length for length in vector.shape if length != 1]
    if len(shape) == 1 and shape[0] >= 8:
        return vector.reshape(1, -1).expand(latents, -1)
    if len(shape) == 2 and shape[0] == latents:
        return vector.reshape(shape)
    raise CheckpointError(
        f"'{file}' holds an array of shape {tuple(vector.shape)}; expected a direction of W, such as (1, 512), or of "
        f"W+ with {latents} layers, such as ({latents}, 512)."
    )


def _numbers(file: Path, value: object) -> Tensor:
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        value = torch.from_numpy(np.ascontiguousarray(value.astype(np.float32)))
    if not isinstance(value, Tensor) or not value.is_floating_point() or not torch.isfinite(value).all():
        kind = f"values of type {value.dtype}" if hasattr(value, "dtype") else f"a {type(value).__name__}"
        raise CheckpointError(f"'{file}' holds {kind}; expected finite numbers with a fraction.")
    return value.detach().to(torch.float32)


def _label(name: str) -> str:
    return name.replace("_", " ").capitalize()
