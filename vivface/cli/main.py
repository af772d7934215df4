"""The command line, one command a file: `vivface --help` names them.

Errors a user can cause are one sentence on stderr and exit status 2. Heavy imports wait until a command runs.
"""

import signal
import sys
from typing import Annotated

import typer

from vivface import __version__
from vivface.cli.batch import batch
from vivface.cli.bench import bench
from vivface.cli.console import show_error
from vivface.cli.convert import app as convert
from vivface.cli.decode import decode
from vivface.cli.edit import edit
from vivface.cli.encode import encode
from vivface.cli.evaluate import evaluate
from vivface.cli.export import export
from vivface.cli.motion import app as motion
from vivface.cli.puppeteer import puppeteer
from vivface.cli.push import push
from vivface.cli.reenact import reenact
from vivface.cli.verify import verify
from vivface.errors import VivFaceError
from vivface.runtime import keep_freed_memory

app = typer.Typer(
    help="One portrait and one driving video: the portrait moves, speaks and looks as the video does.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("reenact")(reenact)
app.command("batch")(batch)
app.command("edit")(edit)
app.add_typer(motion, name="motion")
app.add_typer(convert, name="convert")
app.command("export")(export)
app.command("push")(push)
app.command("bench")(bench)
app.command("evaluate")(evaluate)
app.command("encode")(encode)
app.command("decode")(decode)
app.command("puppeteer")(puppeteer)
app.command("verify")(verify)


def main() -> None:
    """Run the command line; an error of the user ends it with one sentence and status 2."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as Ctrl-C: unfinished files are removed on the way out
    keep_freed_memory()
    try:
        app()
    except VivFaceError as error:
        show_error(error)
        sys.exit(2)


def _version(asked: bool) -> None:
    if asked:
        print(f"vivface {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options before the command."""


if __name__ == "__main__":
    main()
