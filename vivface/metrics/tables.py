"""Tables of scores: Markdown, and entries of a model card."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from vivface.metrics.names import DIFFERENCES, FRECHET, METRICS, PUBLISHED, PUBLISHED_ROBUSTNESS, STAND_INS, TRUTH
from vivface.metrics.robustness import Robustness

Row = Mapping[str, object]  # `name`, `run`, and `scores` or `error`
ARROWS = {"up": " ↑", "down": " ↓", "": ""}


def means(rows: Sequence[Row], frechet: Mapping[str, float | None]) -> dict[str, float]:
    """Means over the pairs that were scored, and the distances of all pairs, in the order of `METRICS`."""
    found = {}
    for name in METRICS:
        values = [row["scores"][name] for row in rows if "scores" in row and row["scores"].get(name) is not None]
        value = frechet.get(name) if name in FRECHET else statistics.fmean(values) if values else None
        if value is not None:
            found[name] = value
    return found


def spreads(
    rows: Sequence[Row], frechet: Mapping[int, Mapping[str, float | None]] | None = None
) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation over runs, by name.

    Args:
        rows (sequence of `dict`): One a pair.
        frechet (mapping, *optional*): Run -> Frechet distances of its pairs.
    """
    found = {}
    for name in METRICS:
        robustness = Robustness()
        for run, values in (frechet or {}).items():
            if values.get(name) is not None:
                robustness.update(run, values[name])
        for row in rows:
            if "scores" in row and row["scores"].get(name) is not None:
                robustness.update(row["run"], row["scores"][name])
        value = robustness.compute()
        if value is not None:
            found[name] = value
    return found


def by_run(rows: Sequence[Row]) -> dict[int, dict[str, float]]:
    """Means of every run."""
    runs = sorted({row["run"] for row in rows})
    return {run: means([row for row in rows if row["run"] == run], {}) for run in runs}


def markdown(
    protocol: str,
    rows: Sequence[Row],
    frechet: Mapping[str, float | None],
    missing: Mapping[str, str],
    title: str,
    frechet_of_runs: Mapping[int, Mapping[str, float | None]] | None = None,
) -> str:
    """The table of a protocol, with published numbers beside ours where there are any.

    Args:
        protocol (`str`): Which.
        rows (sequence of `dict`): One a pair.
        frechet (`dict[str, float]`): Distances of all pairs.
        missing (`dict[str, str]`): Metric -> why the papers' network is not there.
        title (`str`): What was measured.
        frechet_of_runs (mapping, *optional*): Run -> distances of its pairs, for `robustness`.
    """
    ours, spread = means(rows, frechet), spreads(rows, frechet_of_runs) if protocol == "robustness" else {}
    runs = by_run(rows) if protocol == "reverse" else {}
    published = {data: values.get(protocol, {}) for data, values in PUBLISHED.items() if values.get(protocol)}
    scored = [row for row in rows if "scores" in row]
    frames = sum(row["scored"] for row in scored)
    head = ["metric", "ours", *(["forward", "reverse"] if runs else []), *(f"ViVFace, {d}" for d in published), "what"]
    lines = [
        f"## {title}: {protocol}",
        "",
        f"{len(scored)} of {len(rows)} pairs scored, {frames} frames, crops of 256 x 256.",
        "",
        _line(head),
        _line(["---", *["---:"] * (len(head) - 2), "---"]),
    ]
    for name in _shown(ours, published):
        cells = [name + ARROWS[METRICS[name].better], _value(name, ours, spread)]
        cells += [_number(run.get(name)) for run in runs.values()]
        cells += [_published(values.get(name)) for values in published.values()]
        what = METRICS[name].meaning
        if name not in ours and name in STAND_INS:
            what += f"; weights missing, see {STAND_INS[name]}"
        lines.append(_line([*cells, what]))
    if protocol == "robustness":
        published_spreads = ", ".join(f"{name} {m:g} ± {d:g}" for name, (m, d) in PUBLISHED_ROBUSTNESS.items())
        lines += ["", "Mean ± sample standard deviation over source frames."]
        lines += ["", f"Published for hybrid latent spaces (table 3, HDTF, other videos): {published_spreads}."]
    if published:
        lines += ["", "Differences from the paper:", "", *(f"- {line}" for line in DIFFERENCES)]
    lines += ["", "Not computed with the papers' networks:", "", *(f"- {k}: {v}" for k, v in missing.items())]
    failed = [f"- {row['name']}: {row['error']}" for row in rows if "error" in row]
    return "\n".join(lines + (["", "Not scored:", "", *failed] if failed else [])) + "\n"


def comparison(protocol: str, systems: Mapping[str, Mapping[str, float]]) -> str:
    """Several systems beside one another, with the published numbers, without what the columns mean.

    Args:
        protocol (`str`): Which.
        systems (mapping): Name -> means of an evaluation, in the order of the columns.
    """
    published = {data: values.get(protocol, {}) for data, values in PUBLISHED.items() if values.get(protocol)}
    head = ["metric", *systems, *(f"published: ViVFace, {data}" for data in published)]
    lines = [_line(head), _line(["---", *["---:"] * (len(head) - 1)])]
    for name in _shown({key: 0.0 for values in systems.values() for key in values}, published):
        cells = [_number(values.get(name)) for values in systems.values()]
        cells += [_published(values.get(name)) for values in published.values()]
        lines.append(_line([name + ARROWS[METRICS[name].better], *cells]))
    return "\n".join(lines) + "\n"


def card_metrics(ours: Mapping[str, float], protocol: str) -> list[dict]:
    """Entries for `metrics.json` of a checkpoint, from which its card's model-index is made."""
    return [
        {"name": f"{name} ({protocol})", "value": round(value, 4), "meaning": METRICS[name].meaning}
        for name, value in ours.items()
    ]


def model_index(ours: Mapping[str, float], protocol: str, model: str, data: str) -> list[dict]:
    """The `model-index` of a model card, one result a metric."""
    from huggingface_hub import EvalResult
    from huggingface_hub.repocard_data import eval_results_to_model_index

    results = [
        EvalResult(
            task_type="image-to-video",
            task_name="One-shot face re-enactment",
            dataset_type="videos",
            dataset_name=f"{data} ({protocol})",
            metric_type=name.lower().replace(" ", "_"),
            metric_name=name,
            metric_value=round(value, 4),
        )
        for name, value in ours.items()
    ]
    return eval_results_to_model_index(model, results) if results else []


def _shown(ours: Mapping[str, float], published: Mapping[str, Mapping]) -> list[str]:
    wanted = {name for values in published.values() for name in values} | set(ours)
    wanted -= set() if any(name in ours for name in TRUTH) or published else set(TRUTH)
    return [name for name in METRICS if name in wanted]


def _value(name: str, ours: Mapping[str, float], spread: Mapping[str, tuple[float, float]]) -> str:
    if name in spread:
        return " ± ".join(map(_number, spread[name]))
    return _number(ours.get(name))


def _published(value: float | tuple[float, float] | None) -> str:
    """A printed number, or mean and deviation."""
    return " ± ".join(map(_number, value)) if isinstance(value, tuple) else _number(value)


def _number(value: float | None) -> str:
    """Four significant digits."""
    return "–" if value is None else f"{value:.4g}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
