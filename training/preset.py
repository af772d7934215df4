"""Reading presets: YAML files that fill the models of `training.arguments`.

A preset may name a `base`, another preset whose values it changes: mappings are merged key by key, except that an
entry of `networks` replaces that of the base as a whole, and null removes a key.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from training.arguments import Options, Preset
from vivface.errors import OptionError, first_line

PRESET_FOLDER = Path(__file__).parent / "presets"

Model = TypeVar("Model", bound=Options)


class PresetLoader(yaml.SafeLoader):
    """Safe YAML with the booleans and numbers of YAML 1.2: `no` is a string and `1e-4` is a number."""


def _resolve(tag: str, pattern: str, first: str) -> None:
    name = f"tag:yaml.org,2002:{tag}"
    for character, rules in PresetLoader.yaml_implicit_resolvers.items():
        PresetLoader.yaml_implicit_resolvers[character] = [rule for rule in rules if rule[0] != name]
    PresetLoader.add_implicit_resolver(name, re.compile(pattern), list(first))


PresetLoader.yaml_implicit_resolvers = dict(yaml.SafeLoader.yaml_implicit_resolvers)
_resolve("bool", r"^(?:true|false|True|False)$", "tTfF")
_resolve("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.inf$|^\.nan$", "-+.0123456789")


def read_preset(name: str, changes: list[str] | None = None) -> Preset:
    """Read a preset by name (a file of `training/presets`) or path, with `key=value` changes applied.

    Args:
        name (`str`): `tiny-generator`, or a path to a YAML file.
        changes (`list[str]`, *optional*): `data.size=128`, `loop.steps=10`, ...; values are read as YAML.

    Raises:
        OptionError: If there is no such preset, or a key or value is wrong.
    """
    tree = _read_tree(name, PRESET_FOLDER, ())
    for change in changes or []:
        key, equals, text = change.partition("=")
        if not equals:
            raise OptionError(f"--set {change} has no '=', expected key=value as in --set loop.steps=10")
        place = tree
        *parents, last = key.split(".")
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise OptionError(f"--set {key}: {parent!r} is a single value, it has no option {last!r}")
        try:
            place[last] = yaml.load(text, PresetLoader)
        except yaml.YAMLError as error:
            raise OptionError(f"--set {change} has a value that is not valid YAML ({first_line(error)})") from error
    return parse_options(Preset, tree, "preset")


def _read_tree(name: str, folder: Path, children: tuple[Path, ...]) -> dict[str, Any]:
    """A preset file merged over its base; `folder` is where a relative path starts if it is not the working folder."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else PRESET_FOLDER / f"{name}.yaml"
    if children and not path.is_file():
        path = folder / path
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in PRESET_FOLDER.glob("*.yaml")))
        raise OptionError(f"there is no preset {name!r}, give a .yaml file or one of: {known}")
    path = path.resolve()
    if path in children:
        raise OptionError(f"{path} is its own base through {children[-1]}, expected a chain of presets that ends")
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), PresetLoader) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise OptionError(f"{path} is not valid YAML ({first_line(error)})") from error
    if not isinstance(tree, dict):
        raise OptionError(f"{path} holds {tree!r}, expected a mapping with the options of a preset")
    base = tree.pop("base", None)
    if base is None:
        return tree
    if not isinstance(base, str):
        raise OptionError(f"{path}: base is {base!r}, expected the name or path of a preset")
    return merge_trees(_read_tree(base, path.parent, (*children, path)), tree)


def merge_trees(base: dict[str, Any], changes: dict[str, Any], whole: bool = False) -> dict[str, Any]:
    """`base` with `changes`: mappings are merged, entries of `networks` are replaced whole, null removes a key."""
    merged = dict(base)
    for key, value in changes.items():
        if value is None and key in merged:
            del merged[key]
        elif isinstance(value, dict) and isinstance(merged.get(key), dict) and not whole:
            merged[key] = merge_trees(merged[key], value, whole=key == "networks")
        else:
            merged[key] = value
    return merged


def parse_options(model: type[Model], tree: Any, where: str) -> Model:
    """Check plain values against a model.

    Args:
        model (subclass of `Options`): What to fill.
        tree (`dict`): Plain values; a nested mapping for each nested model.
        where (`str`): Name of the tree in messages; `"preset"` for the root, which is left out before a key.

    Raises:
        OptionError: If a key is unknown or a value has another type; one sentence about the first fault.
    """
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise OptionError(_sentence(model, error.errors()[0], where)) from None


def _sentence(model: type[Options], fault: dict[str, Any], where: str) -> str:
    *parents, last = (None, *fault["loc"])
    prefix = [] if where == "preset" else [where]
    if fault["type"] == "extra_forbidden":
        place = ".".join([*prefix, *map(str, parents[1:])]) or where
        return f"{place} has no option {last!r}, expected one of: {', '.join(_fields_at(model, fault['loc'][:-1]))}"
    place = ".".join([*prefix, *map(str, fault["loc"])]) or where
    expected = fault["msg"].removeprefix("Input should be ").partition(" or instance of ")[0]
    return f"{place} is {fault['input']!r}, expected {expected}"


def _fields_at(model: type[Options], location: tuple[str | int, ...]) -> list[str]:
    """Names of the fields of the model at a place inside `model`."""
    kind: Any = model
    for key in location:
        is_model = isinstance(kind, type) and issubclass(kind, BaseModel)
        kind = kind.model_fields[key].annotation if is_model else get_args(kind)[-1]
    return list(kind.model_fields)


def explain(model: type[Options], indent: str = "") -> str:
    """All options of a model with defaults and descriptions, one per line."""
    lines = []
    for name, field in model.model_fields.items():
        kinds = (field.annotation, *get_args(field.annotation))
        nested = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Options)]
        if nested:
            lines += [f"{indent}{name}: {field.description}", explain(nested[0], indent + "    ")]
        else:
            lines.append(f"{indent}{name} = {field.default!r}: {field.description}")
    return "\n".join(lines)
