"""Training of dense motion: pairs whose flow is true, and a stage that learns, evaluates and resumes."""

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from training.data.motion_pairs import MotionPairs, MotionShards
from training.preset import read_preset
from training.stages.dense_motion import flow_errors
from training.synthetic import render_motion
from training.synthetic.correspondence import BACKGROUND, SKIN
from training.train import main
from vivface.errors import OptionError
from vivface.models import DenseMotionNetwork
from vivface.models.landmark_warp import thin_plate_flow, warp

SEED, SIZE = 950_200, 64


@pytest.fixture(scope="module")
def folder(kit, opengl, assets_dir: Path, cache_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four people in two groups, six frames of 160 x 160 pixels."""
    folder = tmp_path_factory.mktemp("motion")
    render_motion.main(
        ["--assets", str(assets_dir), "--cache", str(cache_dir), "--out", str(folder), "--group-size", "2"]
        + ["--groups", "2", "--frames", "6", "--size", "160", "--seed", str(SEED), "--workers", "1"]
    )
    return folder


@pytest.fixture(scope="module")
def shards(folder: Path) -> MotionShards:
    return MotionShards([str(folder)], 1.0)


def make_pairs(shards: MotionShards, plain: bool) -> MotionPairs:
    preset = read_preset("bundled-128-dense-motion", [f"data.size={SIZE}", "data.batch=4"])
    return MotionPairs(shards, preset.data, seed=0, plain=plain)


class TestPairs:
    def test_the_portrait_warped_by_the_flow_shows_the_target(self, shards):
        """The driven image is the target in another light: compared by its details."""
        batch = make_pairs(shards, plain=True)[0]
        moved = warp(batch["portrait"], batch["flow"])
        where = batch["visible"] * (batch["parts"] == SKIN)

        def likeness(image: torch.Tensor) -> float:
            a, b = (details(x) * where for x in (image, batch["driven"]))
            return float((a * b).sum() / (a.square().sum() * b.square().sum()).sqrt())

        assert likeness(moved) > likeness(batch["portrait"]) + 0.2

    def test_landmarks_move_as_the_flow_says(self, shards):
        batch = make_pairs(shards, plain=True)[1]
        flow = thin_plate_flow(batch["landmarks"], batch["portrait_landmarks"], SIZE)
        errors = flow_errors(flow, batch)
        still = flow_errors(torch.zeros_like(flow), batch)
        assert errors["epe_lips"] < 0.15 * still["epe_lips"]
        assert errors["gain_lips"] > 0.8 and still["gain_lips"] == 0

    def test_an_item_depends_on_seed_and_index_alone(self, folder, shards):
        again = MotionShards([str(folder)], 0.001)  # keeps no more than one person in memory
        a, b, other = make_pairs(shards, False)[3], make_pairs(again, False)[3], make_pairs(shards, False)[4]
        assert all(torch.equal(a[name], b[name]) for name in a)
        assert not torch.equal(a["portrait"], other["portrait"])

    def test_shapes_and_ranges(self, shards):
        cues = set()
        for index in range(60):
            batch = make_pairs(shards, plain=False)[index]
            assert batch["portrait"].shape == batch["driven"].shape == (4, 3, SIZE, SIZE)
            assert batch["flow"].shape == (4, 2, SIZE, SIZE) and batch["landmarks"].shape == (4, 68, 2)
            assert batch["portrait"].min() >= -1 and batch["portrait"].max() <= 1
            assert not batch["visible"][batch["parts"] == BACKGROUND].any()
            assert batch["landmarks"].abs().median() < 1
            cues.add((bool(batch["has_images"]), bool(batch["has_landmarks"])))
        assert cues == {(True, True), (True, False), (False, True)}  # never none

    def test_a_folder_without_shards_is_refused(self, tmp_path):
        with pytest.raises(OptionError, match="hold no shards"):
            MotionShards([str(tmp_path)], 1.0)


def details(image: torch.Tensor) -> torch.Tensor:
    """Brightness without its large scale, which the light makes, and without its finest, which a generator lacks."""
    grey = [g.mean(0).numpy() for g in image]
    return torch.from_numpy(np.stack([[cv2.GaussianBlur(g, (0, 0), 1) - cv2.GaussianBlur(g, (0, 0), 3)] for g in grey]))


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps, and two more after a resume."""
    output = tmp_path_factory.mktemp("runs") / "run"
    threads = torch.get_num_threads()
    arguments = ["--preset", "tiny-dense-motion", "--output", str(output), "--set", f"data.folders=[{folder}]"]
    arguments += ["--set", f"options.held_out=[{folder}]"]
    main([*arguments, "--max-steps", "2"])
    main([*arguments, "--resume", "latest"])
    torch.set_num_threads(threads)
    return output


class TestStage:
    def test_logs_losses_and_the_evaluation(self, run: Path):
        lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == [1, 2, 3, 4]
        assert all(math.isfinite(value) for line in lines for value in line.values())
        assert {"flow", "structure", "matched", "mask", "occlusion"} <= lines[0].keys()
        last = lines[-1]
        assert last["held_out/spline/epe_lips"] < last["held_out/still/epe_lips"]
        assert {f"held_out/{cue}/epe" for cue in ("both", "landmarks", "images")} <= last.keys()

    def test_saves_a_network_and_shows_samples(self, run: Path):
        network = DenseMotionNetwork.from_pretrained(run / "checkpoint" / "dense_motion")
        assert network.config.image_size == 32
        assert cv2.imread(str(run / "samples" / "00000004.png")).std() > 0

    def test_a_few_steps_lower_the_loss(self, folder: Path, tmp_path: Path):
        threads = torch.get_num_threads()
        changes = [f"data.folders=[{folder}]", "loop.steps=60", "loop.log_every=20", "optimizers.main.lr=0.005"]
        changes += ["data.batch=4", "optimizers.main.decay=constant"]
        main(["--preset", "tiny-dense-motion", "--output", str(tmp_path), *(f"--set={c}" for c in changes)])
        torch.set_num_threads(threads)
        lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
        assert lines[-1]["mask"] < 0.85 * lines[0]["mask"]
        assert lines[-1]["flow"] < 0.85 * lines[0]["flow"]

    def test_another_size_is_refused(self, folder: Path):
        with pytest.raises(OptionError, match="data.size is 64"):
            main(["--preset", "tiny-dense-motion", "--dry-run", f"--set=data.folders=[{folder}]", "--set=data.size=64"])
