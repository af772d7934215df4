"""Look at what a batch has left."""

import json
from pathlib import Path

from tests.batch.conftest import FRAMES
from tests.clips import read_times


def assert_complete(output: Path, report: dict) -> None:
    """Every clip of `a` and `b` once and whole, `blank` failed, and nothing else in the folder."""
    assert (report["clips"], report["done"], report["failed"], report["open"]) == (9, 6, 3, 0)
    for row in report["records"]:
        portrait, video = row["name"].removesuffix(".mp4").split("--")
        path = output / row["name"]
        if portrait == "blank":
            assert row["status"] == "failed" and "face" in row["error"] and not path.exists()
        else:
            assert row["status"] == "done" and row["frames"] == FRAMES[video] == len(read_times(path))
    expected = {row["name"] for row in report["records"] if row["status"] == "done"}
    assert {path.name for path in output.iterdir()} == {*expected, "records", "report.json", "report.csv"}
    assert {path.stem for path in (output / "records").iterdir()} == {row["name"] for row in report["records"]}
    assert json.loads((output / "report.json").read_text()) == report
    assert len((output / "report.csv").read_text().splitlines()) == 10
