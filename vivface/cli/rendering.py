"""A result written with a bar, and the line that says how it went."""

from pathlib import Path
from typing import TYPE_CHECKING

from vivface.cli.console import progress_bar, show_notes

if TYPE_CHECKING:
    from vivface.reenactment.result import ReenactmentResult


def save_with_progress(result: "ReenactmentResult", output: Path) -> None:
    """Write a result as a video, and print how many frames it has and how fast they were made."""
    with progress_bar() as bar:
        task = bar.add_task("Rendering frames", total=None, rate="")

        def show(progress) -> None:
            rate = f"{result.report.fps:.1f} frames/s"
            bar.update(task, completed=progress.done, total=progress.total, rate=rate)

        result.save(output, on_progress=show)
    report = result.report
    show_notes(report.warnings)
    frames = "1 frame" if report.frames == 1 else f"{report.frames} frames"
    print(f"{output}: {frames} in {report.seconds:.1f} s ({report.fps:.1f} frames per second)")
