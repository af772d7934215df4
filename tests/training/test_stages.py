"""Every stage trains, saves, resumes, and ends where a run without a break ends."""

import json
import math

import cv2
import pytest
import torch

from tests.training.conftest import STAGES, preset_of
from training import ground_truth
from training.train import main
from vivface import models

NETWORKS = {
    "generator": {"generator": "StyleGAN2Generator", "discriminator": "StyleGAN2Discriminator"},
    "recognizer": {"recognizer": "IdentityNetwork"},
    "autodecoder": {
        "generator": "StyleGAN2Generator",
        "transformer": "DeformationTransformer",
        "motion_labels": "MotionLabelEncoder",
        "identity_embeddings": "IdentityEmbeddings",
    },
    "encoder": {"encoder": "HybridEncoder"},
    "supervised": {
        "generator": "StyleGAN2Generator",
        "encoder": "HybridEncoder",
        "transformer": "DeformationTransformer",
        "refinement": "RefinementNetwork",
        "motion_labels": "MotionLabelEncoder",
    },
    "stage1": {
        "generator": "StyleGAN2Generator",
        "encoder": "HybridEncoder",
        "transformer": "DeformationTransformer",
        "latent_discriminator": "LatentDiscriminator",
    },
}
NETWORKS["hybrid"] = {name: kind for name, kind in NETWORKS["stage1"].items() if name != "transformer"}
NETWORKS["stage2"] = {  # the frozen ones too: its checkpoint is a whole system
    name: kind for name, kind in NETWORKS["supervised"].items() if name != "motion_labels"
}


def load(folder, stage: str) -> dict[str, torch.Tensor]:
    """All weights of a run's checkpoint."""
    weights = {}
    for name, kind in NETWORKS[stage].items():
        module = ground_truth if hasattr(ground_truth, kind) else models
        network = getattr(module, kind).from_pretrained(folder / "checkpoint" / name)
        weights |= {f"{name}.{key}": value for key, value in network.state_dict().items()}
    return weights


@pytest.mark.parametrize("stage", STAGES)
class TestTrainAndResume:
    def test_both_pieces_end_well(self, runs, stage):
        run = runs[stage].result()
        assert run.first.returncode == 0, run.first.stderr[-2000:]
        assert run.second.returncode == 0, run.second.stderr[-2000:]
        assert "step 2 " in run.first.stdout and "step 3 " not in run.first.stdout
        assert "step 3 " in run.second.stdout and "step 2 " not in run.second.stdout

    def test_log_goes_on(self, runs, stage):
        folder = runs[stage].result().folder
        lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == [1, 2, 3, 4]
        images = [line["images"] for line in lines]
        assert images == [images[0] * k for k in (1, 2, 3, 4)] and images[0] > 0
        assert all(math.isfinite(value) for line in lines for value in line.values())
        assert lines[0]["minutes"] < lines[-1]["minutes"]

    def test_writes_what_it_promises(self, runs, stage):
        folder = runs[stage].result().folder
        assert sorted(p.name for p in (folder / "checkpoint").iterdir()) == sorted(NETWORKS[stage])
        assert (folder / "preset.yaml").is_file() and (folder / "state").is_dir()
        assert not [p for p in folder.iterdir() if p.name.startswith(".")]
        assert cv2.imread(str(folder / "samples" / "00000004.png")).std() > 0

    def test_resumed_run_equals_one_without_a_break(self, runs, stage, people, tmp_path, one_thread):
        main([*preset_of(stage, people), "--output", str(tmp_path / "whole"), "--log-with", "none"])
        resumed, whole = load(runs[stage].result().folder, stage), load(tmp_path / "whole", stage)
        assert resumed.keys() == whole.keys()
        assert [key for key in whole if not torch.equal(resumed[key], whole[key])] == []
