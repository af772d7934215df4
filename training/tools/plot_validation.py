"""Draw the validation curves of runs: `python -m training.tools.plot_validation RUN... --output FILE.png`.

Every scalar of `validation/` in the runs' `log.jsonl` gets a panel; runs are told apart by colour. Prints a table of
the first and the last value of each.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from training.tools.programs import program_parser, run_program
from vivface.errors import OptionError
from vivface.media import check_output
from vivface.metrics.average import needs

PREFIX = "validation/"
COLUMNS = 4
Curves = dict[str, list[tuple[int, float]]]  # name -> step and value


def main(arguments: list[str] | None = None) -> None:
    """Read logs, draw, print.

    Args:
        arguments (`list[str]`, *optional*): Command line; that of the process by default.

    Raises:
        OptionError: If a run has no validation.
        BackendError: If matplotlib is not installed.
    """
    options = parse_arguments(arguments)
    runs = {run.name: read_curves(run) for run in options.runs}
    draw(options.output, runs)
    print(table(runs))


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    parser = program_parser("plot_validation", __doc__)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs; their names are the legend")
    parser.add_argument("--output", type=Path, required=True, help="PNG to write")
    options = parser.parse_args(arguments)
    check_output(options.output, (".png",))
    return options


def read_curves(run: Path) -> Curves:
    """The validation scalars of a run that are not 0 throughout.

    Args:
        run (`Path`): Its folder.

    Raises:
        OptionError: If there are none.
    """
    log = run / "log.jsonl"
    if not log.is_file():
        raise OptionError(f"{run} has no log.jsonl: give the folder of a run.")
    curves: Curves = {}
    for line in map(json.loads, log.read_text().splitlines()):
        for name, value in line.items():
            if name.startswith(PREFIX):
                curves.setdefault(name.removeprefix(PREFIX), []).append((line["step"], value))
    curves = {name: points for name, points in curves.items() if any(value for _, value in points)}
    if not curves:
        raise OptionError(f"{log} holds no validation: train with loop.validate_every and data.validation.")
    return curves


def draw(path: Path, runs: Mapping[str, Curves]) -> None:
    """Write the figure.

    Args:
        path (`Path`): PNG.
        runs (mapping): Name -> curves.
    """
    figure_class = needs("matplotlib.figure").Figure  # without pyplot: no display, no state
    names = list(dict.fromkeys(name for curves in runs.values() for name in curves))
    rows = -(-len(names) // COLUMNS)
    figure = figure_class(figsize=(3 * COLUMNS, 2 * rows), layout="constrained")
    axes = figure.subplots(rows, COLUMNS, squeeze=False).flatten()
    for axis, name in zip(axes, names, strict=False):
        for run, curves in runs.items():
            if name in curves:
                axis.plot(*zip(*curves[name], strict=True), label=run, linewidth=1.2)
        axis.set_title(name, fontsize=8)
        axis.tick_params(labelsize=7)
    for axis in axes[len(names) :]:
        axis.set_axis_off()
    axes[0].legend(fontsize=7)
    figure.savefig(path, format="png", dpi=90)


def table(runs: Mapping[str, Curves]) -> str:
    """Markdown: first and last value of every scalar, run by run."""
    names = list(dict.fromkeys(name for curves in runs.values() for name in curves))
    lines = [f"| | {' | '.join(runs)} |", f"|{' --- |' * (len(runs) + 1)}"]
    for name in names:
        cells = [
            f"{curves[name][0][1]:.4g} → {curves[name][-1][1]:.4g}" if name in curves else "–"
            for curves in runs.values()
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_program(main)
