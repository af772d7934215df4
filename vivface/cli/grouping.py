"""Commands whose parameters are groups of options: a dataclass stands for its fields."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Annotated, Any, get_args, get_type_hints

from typer.models import OptionInfo


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """The command as Typer takes it: every field of a parameter that is a dataclass is an option of its own.

    The fields are annotated as options are, `Annotated[type, typer.Option(help=...)]`, and have the options' defaults.
    They stand where the group stood; the help shows them under the group's `PANEL`, if it has one.

    Args:
        command (callable): Whose parameters are arguments, options, and groups.

    Returns:
        callable: Takes arguments and options by name, and gives `command` its groups.
    """
    groups: dict[str, type] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        if is_dataclass(parameter.annotation):
            groups[parameter.name] = parameter.annotation
            parameters += _options(parameter.annotation)
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @wraps(command)
    def call(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        command(**given)

    del call.__wrapped__  # the signature is another
    call.__signature__ = inspect.Signature(parameters)
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


def _options(group: type) -> list[inspect.Parameter]:
    panel, hints = getattr(group, "PANEL", None), get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=_in_panel(hints[field.name], panel),
        )
        for field in fields(group)
    ]


def _in_panel(annotation: Any, panel: str | None) -> Any:
    kind, option = get_args(annotation)
    if panel is None or not isinstance(option, OptionInfo):
        return annotation
    option = copy.copy(option)
    option.rich_help_panel = panel
    return Annotated[kind, option]
