"""A result written with a bar, and the line that says how it went."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vivface.cli.console import progress_bar, show_notes

if TYPE_CHECKING:
    from vivface.reenactment.result import ReenactmentResult, Report

TITLES = {"adapting": "Tuning to the portrait", "searching": "Searching for a face", "rendering": "Rendering frames"}


def save_with_progress(
    result: "ReenactmentResult", output: Path, stage: str = "rendering", ending: str | None = None, **options: Any
) -> None:
    """Write a result as a video, and print how many frames it has and how fast they were made.

    Args:
        result (`ReenactmentResult`): What to write.
        output (`Path`): Where.
        stage (`str`, *optional*, defaults to `"rendering"`): What comes first, of `TITLES`.
        ending (`str`, *optional*): What is printed in place of the frames per second.
        options: As for `ReenactmentResult.save`.
    """
    with progress_bar() as bar:
        task = bar.add_task(TITLES[stage], total=None, rate="")

        def show(progress) -> None:
            rate = f"{result.report.fps:.1f} frames/s" if progress.stage == "rendering" else ""
            title = TITLES[progress.stage]
            bar.update(task, description=title, completed=progress.done, total=progress.total, rate=rate)

        result.save(output, on_progress=show, **options)
    report = result.report
    show_notes(report.warnings)
    ending = f" ({report.fps:.1f} frames per second)" if ending is None else ending
    print(f"{output}: {frames_made(report)}{ending}")


def frames_made(report: "Report") -> str:
    """How many frames were made, and in what time."""
    frames = "1 frame" if report.frames == 1 else f"{report.frames} frames"
    return f"{frames} in {report.seconds:.1f} s"
