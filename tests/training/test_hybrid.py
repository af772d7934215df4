"""Hybrid latent spaces as options of stage I: the sum of codes, the terms of the paper, what is trained, validation."""

import json

import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator

from tests.training.people import write_people
from training import losses
from training.preset import PRESET_FOLDER, parse_options, read_preset
from training.stages import stage_class
from training.stages.reenactment import ReenactmentOptions
from training.train import main
from training.validation import Validation
from vivface.errors import OptionError


def make_stage(people, *changes: str):
    preset = read_preset("tiny-hybrid", [f"data.folders=[{people}]", *changes])
    torch.manual_seed(0)
    return stage_class(preset.stage)(preset, Accelerator(cpu=True))


@pytest.fixture(scope="module")
def stage(people):
    return make_stage(people)


@pytest.fixture(scope="module")
def batch(stage):
    return stage.dataset()[0]


class TestTerms:
    def test_identity_and_motion_are_added_up(self, stage, batch):
        """Eq. 3, and no transformer is built."""
        assert "transformer" not in stage.networks
        with torch.no_grad():
            (image,), codes = stage.drive(stage.networks, batch["source"], [batch["same"]])
            expected = stage.networks["generator"](codes.identity, codes.motions[0])
        assert codes.memory is None
        torch.testing.assert_close(image, F.adaptive_avg_pool2d(expected, 64), atol=1e-5, rtol=1e-4)

    @pytest.mark.parametrize("level", [0.0, 1.0])
    def test_reconstruction_of_features(self, stage, batch, level):
        """Eq. 13: nothing under an empty mask, eq. 5 and 6 once more under a full one."""
        masks = {name: torch.full_like(batch[name], level) for name in ("source_mask", "same_mask")}
        with torch.no_grad():
            terms = stage.losses(stage.networks, batch | masks)[0]
        for name in ("self", "same"):
            whole = sum(terms[f"{name}/{part}"] for part in ("pixel", "features", "gradient_variance"))
            expected = level * stage.options.regions * whole
            torch.testing.assert_close(terms[f"{name}/regions"], expected, atol=1e-6, rtol=1e-5)

    def test_codes_are_measured_by_norms(self, stage, batch):
        """Eq. 10 and 12, from the stage's own codes."""
        with torch.no_grad():
            terms, codes, images = stage.losses(stage.networks, batch)
            again = stage.networks["encoder"](images["cross"], memory=False)
        options, w = stage.options, codes.identity
        norm = (again.identity - w).flatten(1).norm(dim=1).mean()
        torch.testing.assert_close(terms["identity_consistency"], options.identity_consistency * norm)
        torch.testing.assert_close(terms["delta"], options.delta * losses.delta_size(w))
        size = codes.motions[1].norm(dim=2).sum(1).mean()
        torch.testing.assert_close(terms["motion_norm"], options.motion_norm * size)

    def test_both_codes_in_w_plus(self, people, batch):
        """The ablation: motion moves the first vectors of w, and through A every layer that reads them."""
        stage = make_stage(people, "options.motion_space=w_plus")
        with torch.no_grad():
            (image,), codes = stage.drive(stage.networks, batch["source"], [batch["same"]])
            w = codes.identity.clone()
            w[:, : codes.motions[0].shape[1]] += codes.motions[0]
            expected = stage.networks["generator"](w)
        torch.testing.assert_close(image, F.adaptive_avg_pool2d(expected, 64), atol=1e-5, rtol=1e-4)

    def test_contradictions(self, people):
        with pytest.raises(OptionError, match="neutral is 'transformed'"):
            make_stage(people, "options.neutral=transformed")
        with pytest.raises(OptionError, match="transformer=false"):
            make_stage(people, "options.transformer=true", "options.motion_space=w_plus")


class TestTrained:
    def test_heads_alone_in_the_second_step(self, people, batch):
        stage = make_stage(people, "options.trained=heads", "optimizers.main.kind=adam", "options.adversarial=0.0")
        encoder = stage.networks["encoder"]
        before = {name: value.clone() for name, value in encoder.state_dict().items()}
        stage.step(batch)
        changed = {name for name, value in encoder.state_dict().items() if not torch.equal(value, before[name])}
        assert changed and all(name.startswith(("identity_heads.", "motion_heads.")) for name in changed)
        assert any(name.startswith("identity_heads.") for name in changed)

    def test_training_lowers_the_loss(self, people, batch):
        stage = make_stage(people, "optimizers.main={kind: adam, lr: 0.002}", "options.adversarial=0.0")
        values = [float(stage.step(batch)["loss"]) for _ in range(12)]
        assert sum(values[-3:]) < 0.9 * sum(values[:3])


class TestValidation:
    def test_other_people_are_scored_while_training(self, people, tmp_path, one_thread):
        others = write_people(tmp_path / "others", groups=1, people=2)
        changes = ["loop.steps=3", "loop.validate_every=2", "loop.validation_batches=1", f"data.validation=[{others}]"]
        options = [word for change in [f"data.folders=[{people}]", *changes] for word in ("--set", change)]
        main(["--preset", "tiny-hybrid", *options, "--output", str(tmp_path / "run")])
        lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
        scored = [line for line in lines if "validation/loss" in line]
        assert [line["step"] for line in scored] == [0, 2, 3]
        assert {"validation/psnr/same", "validation/likeness/cross", "validation/self/regions"} <= set(scored[0])
        assert scored[0]["validation/loss"] != scored[1]["validation/loss"]

    def test_without_people_it_is_refused(self, people):
        with pytest.raises(OptionError, match="data.validation"):
            Validation(make_stage(people, "loop.validate_every=1"))


def test_presets_of_the_paper():
    """Its schedule of two steps, and its ablations, each with one change."""
    first, second = (read_preset(f"hybrid-1024-{name}") for name in ("celebvhq", "hdtf"))
    assert (first.loop.steps, second.loop.steps) == (200_000, 20_000)
    assert second.options["trained"] == "heads" and second.optimizers["main"].lr < first.optimizers["main"].lr
    for size in (1024, 128):
        whole = read_preset("hybrid-1024-celebvhq" if size == 1024 else "hybrid-128")
        for name, change in (("no-identity", {"identity": 0.0}), ("w-plus", {"motion_space": "w_plus"})):
            assert read_preset(f"hybrid-{size}-{name}").options == whole.options | change
    for path in PRESET_FOLDER.glob("*hybrid*.yaml"):
        options = parse_options(ReenactmentOptions, read_preset(path.stem).options, "options")
        assert not options.transformer and options.norms == "plain" and options.motion_consistency == 0
