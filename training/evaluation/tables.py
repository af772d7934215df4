"""Tables of scores, and the goals of the project."""

from __future__ import annotations

import numpy as np

from training.evaluation.scores import Row, mean

GOALS = {  # of the means over synthetic people, by mode
    "cross": {"yaw": 0.9, "pitch": 0.8, "mouth_open": 0.8, "eye_open": 0.6, "closer_to_source": 0.95},
    "same": {"psnr_same": 20.0},
}
PAIR_GOALS = {"face_found": 0.95, "yaw": 0.6, "mouth_open": 0.4}  # of every pair of real media
PAIR_COLUMNS = (
    "face_found", "yaw", "pitch", "roll", "mouth_open", "eye_open", "jitter_ratio", "id_l2", "closer_to_source",
)  # fmt: skip


def mean_table(rows: list[Row]) -> dict[str, float]:
    """The mean of every number over the rows that have it; `failed` counts rows that could not be scored."""
    names = dict.fromkeys(name for row in rows for name, value in row.items() if not isinstance(value, str))
    table = {name: mean(row.get(name) for row in rows) for name in names}
    return {"failed": float(sum("error" in row for row in rows))} | {k: v for k, v in table.items() if v is not None}


def format_means(table: dict[str, float], goals: dict[str, float]) -> str:
    """One line per measure, with its goal."""
    lines = [f"{'measure':20s} {'mean':>8s} {'goal':>6s}"]
    for name, value in table.items():
        goal = goals.get(name)
        verdict = "" if goal is None else "ok" if value >= goal else "below"
        lines.append(f"{name:20s} {value:8.3f} {'' if goal is None else goal:>6} {verdict}".rstrip())
    return "\n".join(lines)


def format_pairs(rows: list[Row], goals: dict[str, float]) -> str:
    """One line per pair. `!` follows a number below its goal, `-` stands where the driving face hardly moves."""
    width = max(len(str(row["name"])) for row in rows)
    head = " ".join(f"{name:>16s}" for name in PAIR_COLUMNS)
    lines = [f"{'pair':{width}s} {head}  frames times audio"]
    for row in rows:
        if "error" in row:
            lines.append(f"{row['name']:{width}s} {row['error']}")
            continue
        cells = []
        for name in PAIR_COLUMNS:
            value = row.get(name)
            low = value is not None and value < goals.get(name, -np.inf)
            cells.append(f"{'-' if value is None else f'{value:.3f}' + '!' * low:>16s}")
        kept = " ".join("ok   " if row[name] else "DIFFERS" for name in ("same_frames", "same_times", "same_audio"))
        lines.append(f"{row['name']:{width}s} {' '.join(cells)}  {kept}".rstrip())
    return "\n".join(lines)
