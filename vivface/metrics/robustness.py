"""Robustness: how much a score depends on which frame is the source (ViVFace, table 4)."""

from __future__ import annotations

import statistics
from collections import defaultdict


class Robustness:
    """Mean and spread over runs; the score of a run is the mean over its videos."""

    def __init__(self):
        self._runs: dict[int, list[float]] = defaultdict(list)

    def update(self, run: int, score: float) -> None:
        """Take the score of a video in a run in."""
        self._runs[run].append(score)

    def compute(self) -> tuple[float, float] | None:
        """Mean and sample standard deviation (divided by runs - 1) over runs; None with fewer than 2 runs."""
        if len(self._runs) < 2:
            return None
        means = [statistics.fmean(scores) for scores in self._runs.values()]
        return statistics.fmean(means), statistics.stdev(means)
