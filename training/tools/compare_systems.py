"""Several evaluations in one table: `python -m training.tools.compare_systems FOLDER... -o TABLE.md`.

FOLDER is what `vivface evaluate --output FOLDER` wrote; its name heads the column. Published numbers stand beside ours,
and below the table what each column was computed with.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from training.tools.programs import program_parser, run_program
from vivface.errors import OptionError
from vivface.files import complete_file
from vivface.metrics.tables import comparison


def main(arguments: list[str] | None = None) -> None:
    """Read, write, print.

    Args:
        arguments (`list[str]`, *optional*): Command line; that of the process by default.

    Raises:
        OptionError: If a folder holds no evaluation, or one of another protocol.
    """
    options = parse_arguments(arguments)
    tables = {folder.name: read_table(folder) for folder in options.folders}
    protocols = {table["protocol"] for table in tables.values()}
    if len(protocols) > 1:
        raise OptionError(f"The folders are of several protocols ({', '.join(sorted(protocols))}): give those of one.")
    text = comparison(protocols.pop(), {name: table["mean"] for name, table in tables.items()})
    lines = []
    for name, table in tables.items():
        scored = [row for row in table["rows"] if "scores" in row]
        frames = sum(row["scored"] for row in scored)
        lines.append(f"- {name}: {len(scored)} of {len(table['rows'])} pairs scored, {frames} frames")
    text += "\n" + "\n".join(lines) + "\n"
    with complete_file(options.output) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(text)


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    parser = program_parser("compare_systems", __doc__)
    parser.add_argument("folders", type=Path, nargs="+", help="folders that vivface evaluate wrote")
    parser.add_argument("-o", "--output", type=Path, required=True, help="Markdown file")
    return parser.parse_args(arguments)


def read_table(folder: Path) -> dict:
    """What `vivface evaluate` wrote.

    Raises:
        OptionError: If it did not write there, or is not done.
    """
    file = folder / "table.json"
    if not file.is_file():
        raise OptionError(f"'{folder}' holds no table.json: give folders that `vivface evaluate --output` wrote.")
    return json.loads(file.read_text(encoding="utf-8"))


if __name__ == "__main__":
    run_program(main)
