"""Groups of options: their fields are options of the command, and one option is the same in every command."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from vivface.cli.grouping import grouped
from vivface.cli.main import app as vivface_app


@dataclass
class Paint:
    PANEL: ClassVar[str] = "How it is painted"

    colour: Annotated[str, typer.Option(help="Of the wall.")] = "white"
    coats: Annotated[int | None, typer.Option("--coats", "-c", min=1, help="How many.")] = None


@dataclass
class OilPaint(Paint):
    thinner: Annotated[bool, typer.Option("--thinner", help="With turpentine.")] = False


@pytest.fixture
def app():
    seen = []
    app = typer.Typer()

    @app.command()
    @grouped
    def paint(
        wall: Annotated[str, typer.Argument(help="Which.")],
        paint: OilPaint,
        quickly: Annotated[bool, typer.Option(help="Hurry.")] = False,
    ) -> None:
        """Paint a wall."""
        seen.append((wall, paint, quickly))

    return app, seen


def test_a_group_arrives_whole(app):
    app, seen = app
    assert CliRunner().invoke(app, ["north", "-c", "2", "--quickly", "--thinner"]).exit_code == 0
    assert CliRunner().invoke(app, ["south", "--colour", "red"]).exit_code == 0
    assert seen == [("north", OilPaint("white", 2, True), True), ("south", OilPaint("red", None, False), False)]


def test_checks_of_fields_hold(app):
    app, seen = app
    assert CliRunner().invoke(app, ["north", "--coats", "0"]).exit_code == 2 and not seen


def test_help_names_the_group(app):
    app, _ = app
    shown = CliRunner().invoke(app, ["--help"]).output
    assert "Paint a wall." in shown and "How it is painted" in shown and "With turpentine." in shown
    assert shown.index("--quickly") < shown.index("How it is painted") < shown.index("--colour")


def test_an_option_says_the_same_in_every_command():
    commands = [get_command(vivface_app).commands[name] for name in ("reenact", "batch", "edit")]
    shared = {"refine", "detail", "size", "paste_back", "adapt", "seed", "mark", "manifest", "label", "label_text"}
    shared |= {"checkpoint", "system", "device", "detector", "edit"}
    for name in shared:
        found = [option for command in commands for option in command.params if option.name == name]
        assert len(found) == 3, name
        said = {
            (option.help, option.default, option.multiple, *option.opts, *option.secondary_opts) for option in found
        }
        assert len(said) == 1, name
