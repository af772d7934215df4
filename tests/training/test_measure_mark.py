"""The program that measures the mark."""

import re

from tests.clips import write_face_clip
from training.tools import measure_mark


def test_what_it_survives(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(measure_mark, "PLACES", 1)
    monkeypatch.setattr(measure_mark, "FRAMES", 2)
    changes = list(measure_mark.CHANGES.items())
    monkeypatch.setattr(measure_mark, "CHANGES", dict([changes[0], *changes[5:6], *changes[9:10]]))
    clip = write_face_clip(tmp_path / "clip.mp4", frames=3, size=256)
    measure_mark.main([str(clip), "--sizes", "256"])
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 2 + 3 + 1 and all("1/1 (1 read)" in row for row in rows[2:5])
    assert float(re.search(r"\| ([\d.]+) \|$", rows[-1])[1]) > 42
