"""Validation curves of runs as a figure and a table."""

import json

import pytest

from training.tools.plot_validation import main
from vivface.errors import OptionError
from vivface.media import load_image


def write_log(folder, **last: float):
    folder.mkdir()
    lines = [{"step": 0, "validation/loss": 2.0, "validation/off": 0.0}, {"step": 1, "loss": 1.5}]
    lines.append({"step": 2} | {f"validation/{name}": value for name, value in last.items()} | {"validation/off": 0.0})
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(folder)


def test_curves_and_table(tmp_path, capsys):
    runs = [write_log(tmp_path / "full", loss=1.0, psnr=20.0), write_log(tmp_path / "less", loss=1.25)]
    main([*runs, "--output", str(tmp_path / "curves.png")])
    out = capsys.readouterr().out
    assert "| | full | less |" in out and "| loss | 2 → 1 | 2 → 1.25 |" in out and "| psnr | 20 → 20 | – |" in out
    assert "off" not in out
    assert load_image(tmp_path / "curves.png").std() > 0


def test_runs_without_validation(tmp_path):
    with pytest.raises(OptionError, match=r"no log\.jsonl"):
        main([str(tmp_path), "--output", str(tmp_path / "a.png")])
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    with pytest.raises(OptionError, match="no validation"):
        main([str(tmp_path), "--output", str(tmp_path / "a.png")])
