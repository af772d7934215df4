"""`vivface evaluate`: the tables of the papers, for any system, on one's own videos."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from vivface.cli.grouping import grouped
from vivface.cli.options import Adapt, SystemLoading
from vivface.errors import OptionError
from vivface.metrics.protocols import FRAMES, Protocol, make_pairs


@grouped
def evaluate(
    media: Annotated[
        Path, typer.Argument(help="Folder of videos; for cross and extreme also a CSV file of source,driving lines.")
    ],
    loading: SystemLoading,
    protocol: Annotated[Protocol, typer.Option(help="What is measured; see docs/metrics.md.")] = Protocol.SAME,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for tables, videos, plots; a stopped run goes on there.")
    ] = Path("evaluation"),
    sources: Annotated[
        Path | None, typer.Option(help="Folder of portraits for cross and extreme; default: the other videos.")
    ] = None,
    frames: Annotated[int, typer.Option(min=3, help="Most frames of each video, from its first.")] = FRAMES,
    count: Annotated[
        int, typer.Option(min=2, help="robustness: videos and source frames of each; extreme: sources a video.")
    ] = 5,
    seed: Annotated[int, typer.Option(help="Of the pairs that are drawn.")] = 0,
    weights: Annotated[
        Path | None,
        typer.Option(help="Folder with the papers' networks; where one is missing, a stand-in serves."),
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch the weights of LPIPS and FID.")] = False,
    refine: Annotated[bool, typer.Option(help="Second stage: restore detail of the portrait.")] = True,
    detail: Annotated[
        bool,
        typer.Option("--detail/--no-detail", help="Score the photograph, moved, instead of the generator's images."),
    ] = False,
    adapt: Adapt = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin again in a folder that is used.")] = False,
) -> None:
    """Score a system on videos and print its table."""
    from vivface.cli.console import console, escaped
    from vivface.cli.evaluation import STATE, Evaluation
    from vivface.metrics.average import needs
    from vivface.metrics.judges import load_judges

    for module in ("torchmetrics", "matplotlib"):
        needs(module)
    pairs = make_pairs(protocol, media, sources, seed, count)
    prepare(output, STATE, overwrite)
    pipeline = loading.load()
    recognizer = getattr(pipeline, "recognizer", None)
    judges = load_judges(recognizer, weights, download, pipeline.device)
    evaluation = Evaluation(pipeline, judges, protocol, output, frames, adapt, refine, detail)
    state = evaluation.run(pairs, lambda line: console.print(escaped(line), soft_wrap=True))
    print(evaluation.write(pairs, state, loading.checkpoint or f"bundled {type(pipeline).__name__}", media.name))
    if not any("scores" in row for row in state.rows):
        raise OptionError(f"None of the {len(pairs)} pairs could be scored: see why in '{output / 'table.md'}'.")


def prepare(folder: Path, state: str, overwrite: bool) -> None:
    """Make the folder, or empty it of an earlier evaluation.

    Raises:
        OptionError: If it cannot be made, or holds something else.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(f"Cannot write '{folder}': {error.strerror}.") from error
    ours = (folder / state).exists()
    if not ours and any(path.name not in OWN for path in folder.iterdir()):
        raise OptionError(f"'{folder}' holds other files: give an empty or a new folder with --output.")
    if overwrite and ours:
        for name in OWN:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        (folder / state).unlink()


OWN = (
    "sources", "results", "plots", "reversed", "errors", "table.md", "table.json", "model-index.json", "sheet.png",
    "heat_map.png",
)  # fmt: skip
