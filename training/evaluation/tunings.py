"""The table of a comparison of tunings: likeness, motion and time of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.evaluation.scores import Row, mean
from vivface.errors import MediaError

#: Columns: name in a row -> heading and number of decimals.
MEASURES = {
    "id_l2": ("identity ↓", 3),
    "margin": ("margin ↑", 3),
    **{name: (f"{name} r / gain", 2) for name in ("yaw", "pitch", "mouth", "eyes", "brows")},
    "psnr": ("PSNR, own clip ↑", 2),
    "seconds": ("CPU seconds", 0),
}
MOTIONS = ("yaw", "pitch", "mouth", "eyes", "brows")


def read_report(report: dict) -> Row:
    """The numbers of a scorer's report that the table shows; a motion that the driver does not make is left out.

    Args:
        report (`dict`): Of the scoring program, see `training.tools.evaluate`.

    Raises:
        MediaError: If the result could not be scored.
    """
    if "error" in report:
        raise MediaError(f"The result cannot be scored ({report['error']}): give another pair.")
    expression, pose = (report["dlib"][part]["per_measure"] for part in ("expression", "pose"))
    found = {"yaw": [pose["yaw"]], "pitch": [pose["pitch"]], "mouth": [expression["mouth_open"]]}
    found |= {"eyes": [expression["ear_l"], expression["ear_r"]], "brows": [expression["brow"]]}
    row: Row = {"id_l2": report["identity"]["l2"], "margin": report["identity"]["margin"]}
    for name, measures in found.items():
        moved = [each for each in measures if each["driving_active"]]
        if moved:
            row[name] = mean([each["r"] or 0.0 for each in moved])
            row[f"{name}_gain"] = mean([each["gain"] or 0.0 for each in moved])
    if report["inputs"]["mode"] == "same":
        row["psnr"] = report["image"]["clip"]["psnr"]
    return row


def tunings_table(rows: Sequence[Row], tunings: Sequence[str]) -> str:
    """Markdown: means of every tuning over photographs, people and all, and in how many pairs one beats another.

    Args:
        rows (sequence of `dict`): Of `compare`.
        tunings (sequence of `str`): In the order of the lines.
    """
    heads = ["media", "tuning", "pairs", *(heading for heading, _ in MEASURES.values())]
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    kinds = list(dict.fromkeys(str(row["kind"]) for row in rows))
    for kind in [*kinds, "all"] if len(kinds) > 1 else kinds:
        for name in tunings:
            own = [r for r in rows if r["tuning"] == name and kind in ("all", r["kind"]) and "error" not in r]
            if own:
                cells = [_cell(own, measure, digits) for measure, (_, digits) in MEASURES.items()]
                lines.append(f"| {' | '.join([kind, name, str(len(own)), *cells])} |")
    lines += ["", *_duels(rows, tunings)]
    failed = [f"- {row['name']}, {row['tuning']}: {row['error']}" for row in rows if "error" in row]
    return "\n".join([*lines, *failed]) + "\n"


def _cell(rows: Sequence[Row], measure: str, digits: int) -> str:
    value = mean([row.get(measure) for row in rows])
    if value is None:
        return "–"
    if measure not in MOTIONS:
        return f"{value:.{digits}f}"
    count = sum(measure in row for row in rows)
    return f"{value:.{digits}f} / {mean([row.get(f'{measure}_gain') for row in rows]):.{digits}f} ({count})"


def _duels(rows: Sequence[Row], tunings: Sequence[str]) -> list[str]:
    """For each two tunings, in how many pairs the second is nearer to the source, and keeps more motion."""
    table = {(row["name"], row["tuning"]): row for row in rows if "error" not in row}
    names = list(dict.fromkeys(name for name, _ in table))
    lines = []
    for number, first in enumerate(tunings):
        for second in tunings[number + 1 :]:
            both = [(table[n, first], table[n, second]) for n in names if (n, first) in table and (n, second) in table]
            if not both:
                continue
            nearer = sum(b["id_l2"] < a["id_l2"] for a, b in both)
            moving = [(_motion(a), _motion(b)) for a, b in both if _motion(a) is not None]
            more = sum(b > a for a, b in moving)
            lines.append(
                f"- {second} against {first}: identity better in {nearer} of {len(both)} pairs, mean correlation of "
                f"motions higher in {more} of {len(moving)}"
            )
    return lines


def _motion(row: Row) -> float | None:
    values = [row[name] for name in MOTIONS if name in row]
    return float(np.mean(values)) if values else None
