"""`vivface push`: a checkpoint's folder to the Hugging Face Hub."""

from pathlib import Path
from typing import Annotated

import typer


def push(
    folder: Annotated[Path, typer.Argument(help="The checkpoint's folder.")],
    repo: Annotated[str, typer.Argument(help="OWNER/NAME on the Hub; created if it is not there.")],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Open a pull request instead of committing.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch to commit to.")] = None,
    message: Annotated[str | None, typer.Option("--message", "-m", help="Of the commit.")] = None,
    modular: Annotated[
        str | None,
        typer.Option(metavar="OWNER/NAME", help="Also upload modular blocks, for `diffusers-cli run`, here."),
    ] = None,
) -> None:
    """Upload a checkpoint with its card; log in before with `hf auth login`."""
    from vivface.hub.push import push_folder, push_modular

    pushed = push_folder(folder, repo, private=private or None, create_pr=create_pr, revision=revision, message=message)
    for name in pushed.left:
        typer.echo(f"Not uploaded, as it belongs to no checkpoint: {name}", err=True)
    typer.echo(f"{pushed.repo_id}: {len(pushed.files)} files, {pushed.url}")
    if modular is not None:
        pushed = push_modular(folder, modular, pushed.repo_id, private=private or None)
        typer.echo(f"{pushed.repo_id}: {len(pushed.files)} files, {pushed.url}")
