"""The notebook runs from top to bottom."""

import json
import sys
from types import ModuleType

import pytest

from tests.conftest import REPOSITORY
from vivface.media import VideoReader

NOTEBOOK = REPOSITORY / "integrations" / "notebook" / "vivface.ipynb"


def cells() -> list[str]:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)  # results are not kept
    return ["".join(cell["source"]) for cell in code]


@pytest.mark.slow
def test_it_runs(tmp_path, monkeypatch, tiny_checkpoint, capsys):
    shown: list[str] = []
    display = ModuleType("IPython.display")
    display.Video = lambda path, embed=False: shown.append(path)
    display.Image = lambda path: shown.append(path)
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setenv("VIVFACE_CHECKPOINT", str(tiny_checkpoint))
    monkeypatch.setenv("VIVFACE_NOTEBOOK_SECONDS", "0.3")
    (tmp_path / "vivface").symlink_to(REPOSITORY / "vivface")  # stands in for a checkout
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for source in cells():
        exec(compile(source, str(NOTEBOOK), "exec"), names)  # noqa: S102 - as a reader would run it
    assert shown == ["side-by-side.mp4", "nod-and-smile.webp"]
    with VideoReader("out.mp4") as film:
        assert film.size == (256, 256) and film.has_audio
    assert "made or changed by a trained model" in capsys.readouterr().out
