"""The benchmark: every part is measured, and the sums are sound."""

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from vivface.cli import bench


def test_measures_every_part(tiny_checkpoint, portrait, face_clip, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    numbers = tmp_path / "numbers.json"
    app = bench.typer.Typer()
    app.command()(bench.run)
    arguments = ["--checkpoint", tiny_checkpoint, "--source", portrait, "--driving", face_clip, "--frames", 9]
    arguments += ["--paste-back", "--json", numbers]
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    assert "frames per second" in done.output and "GFLOP/s" in done.output and "15 s a frame" in done.output

    result = json.loads(numbers.read_text())
    assert result["frames"] == 9 and result["size"] == 64
    assert result["frames_per_second"] == pytest.approx(1 / result["seconds_per_frame"])
    names = [part["name"] for part in result["parts"]]
    assert names == [
        "find the face (once)",
        "track the face",
        "crop",
        "encode motion (E)",
        "adapt motion (T)",
        "generate (G)",
        "refine (R)",
        "generate again, from R on",
        "paste back",
        "encode the video",
    ]
    parts = {part["name"]: part for part in result["parts"]}
    assert all(part["milliseconds"] > 0 for part in parts.values())
    assert 0 < parts["generate again, from R on"]["gflop"] < parts["generate (G)"]["gflop"]


def test_convolution_rate_is_plausible():
    assert 0.1 < bench.convolution_rate(seconds=0.1) < 1e6


@torch.no_grad()
def test_published_size_has_the_published_work():
    """GFLOP a frame at 1024: 93 in E (motion only), 151 in G, 59 in R, counted without computing."""
    with torch.device("meta"):
        pipeline = bench.random_ffhq_1024()
        image, w_plus = torch.empty(1, 3, 256, 256), torch.empty(1, 18, 512)
    calls = {
        93: lambda: pipeline.encoder(image, identity=False, memory=False),
        151: lambda: pipeline.generator(w_plus),
        59: lambda: pipeline.refinement(image, image),
    }
    for gflop, call in calls.items():
        with FlopCounterMode(display=False) as counter:
            call()
        assert counter.get_total_flops() / 1e9 == pytest.approx(gflop, abs=0.6)
