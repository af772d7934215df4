"""What every command prints with: notes and errors on stderr."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

console = Console(stderr=True, highlight=False)


def show_error(message: object) -> None:
    """Print an error of the user."""
    console.print(f"[bold red]Error:[/] {escaped(message)}", soft_wrap=True)


def show_notes(warnings: list[str]) -> None:
    """Print what a user should know."""
    for warning in dict.fromkeys(warnings):
        console.print(f"[yellow]Note:[/] {escaped(warning)}", soft_wrap=True)


def progress_bar() -> Progress:
    """A bar of frames, with frames per second and time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def escaped(text: object) -> str:
    """Text whose brackets are no markup."""
    return str(text).replace("[", r"\[")
