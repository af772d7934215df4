"""Table and plot of rates and scores."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path

from training.evaluation.video_codecs import QUANTISERS
from vivface.metrics.average import needs

SCORES = {"PSNR": ("PSNR ↑", 2), "SSIM": ("SSIM ↑", 3), "landmark error": ("landmark error, % ↓", 2)}
SCORES |= {"identity": ("identity ↓", 3), "missing": ("missing ↓", 2)}
MARKERS = {"channels": "s", "components": "o", "key picture": "*", "motion codes": "^"}
Rows = Mapping[str, Mapping[str, float]]  # way of coding -> score -> number
Results = Mapping[str, Rows]  # clip -> rows


def averaged(results: Results) -> dict[str, dict[str, float]]:
    """Means over the clips, by way of coding; `clips` counts them."""
    names = list(dict.fromkeys(name for rows in results.values() for name in rows))
    means = {}
    for name in names:
        rows = [rows[name] for rows in results.values() if name in rows]
        means[name] = {key: statistics.fmean(row[key] for row in rows) for key in rows[0]} | {"clips": len(rows)}
    return means


def markdown(results: Results) -> str:
    """The table: means over the clips."""
    heads = ["coded as", "clips", "bytes a frame", "bytes a second", "once", *(head for head, _ in SCORES.values())]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, row in averaged(results).items():
        scores = [f"{row[score]:.{digits}f}" for score, (_, digits) in SCORES.items()]
        costs = [f"{row[name]:.0f}" for name in ("bytes a frame", "bytes a second", "header")]
        lines.append(f"| {' | '.join([name, str(row['clips']), *costs, *scores])} |")
    return "\n".join(lines) + "\n"


def wins(results: Results, ours: str, rate: int) -> str:
    """In how many clips one way of coding beats the video codecs at a rate, score by score."""
    lines = []
    for codec in QUANTISERS:
        pairs = [
            (rows[ours], rows[f"{codec} {rate}"]) for rows in results.values() if {ours, f"{codec} {rate}"} <= {*rows}
        ]
        counts = [
            f"{head[:-2]} {sum((a[score] < b[score]) == head.endswith('↓') and a[score] != b[score] for a, b in pairs)}"
            for score, (head, _) in SCORES.items()
            if score != "missing"
        ]
        lines.append(f"{ours} better than {codec} {rate}, of {len(pairs)} clips: {', '.join(counts)}")
    return "\n".join(lines) + "\n"


def plot(settings: Mapping[str, Results], path: Path) -> None:
    """Curves of the video codecs and points of the codec: a row a setting, a panel a score."""
    plots, no_labels = needs("matplotlib.pyplot"), needs("matplotlib.ticker").NullFormatter()
    shown = [score for score in SCORES if score != "missing"]
    figure, axes = plots.subplots(
        len(settings), 4, figsize=(15, 3.4 * len(settings)), layout="constrained", squeeze=False
    )
    for line, (setting, results) in zip(axes, settings.items(), strict=True):
        means = averaged(results)
        for axis, score in zip(line, shown, strict=True):
            for codec in QUANTISERS:
                points = [(row["bytes a second"], row[score]) for name, row in means.items() if name.startswith(codec)]
                if points:
                    axis.plot(*zip(*sorted(points), strict=True), marker=".", label=codec)
            for name, marker in MARKERS.items():
                if name in means:
                    axis.plot(means[name]["bytes a second"], means[name][score], marker, label=name)
            axis.set(xscale="log", xlabel="bytes a second", title=f"{setting}: {SCORES[score][0]}")
            axis.xaxis.set_minor_formatter(no_labels)
            axis.grid(alpha=0.3)
    axes[0, 0].legend()
    figure.savefig(path, dpi=110)
    plots.close(figure)
