"""Checkpoints of training become a pipeline's folder: rounded, checked, with its card, whole or not at all."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.tiny import make_tiny_pipeline
from training.tools.export import check_size, main, metrics_record, read_settings
from vivface import CheckpointError, OptionError, VivFacePipeline

COMPONENTS = ("generator", "encoder", "transformer", "refinement")
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """The folder `checkpoint` of a run, with what the run wrote beside it."""
    run = tmp_path_factory.mktemp("run")
    pipeline = make_tiny_pipeline()
    for name in COMPONENTS:
        getattr(pipeline, name).save_pretrained(run / "checkpoint" / name)
    (run / "preset.yaml").write_text("stage: supervised\ndescription: toy of the supervised stage\n")
    (run / "log.jsonl").write_text('{"step": 1}\n{"step": 90, "images": 720, "minutes": 1.26}\n')
    return run / "checkpoint"


@pytest.fixture(scope="module")
def exported(checkpoint, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    table = {"mean": {"cross": {"yaw": 0.91234, "face_found": 1.0}}, "rows": []}
    (folder / "table.json").write_text(json.dumps(table))
    settings = ["--set", "crop=stable", "image_size=64", "adapt_steps=7"]
    arguments = ["--checkpoint", str(checkpoint), "--output", str(folder / "toy"), *settings]
    main([*arguments, "--metrics", str(folder / "table.json")])
    return folder / "toy"


class TestExport:
    def test_files_hold_half_precision_but_for_batch_norms(self, exported):
        for name in COMPONENTS:
            stored = load_file(exported / name / WEIGHTS)
            network = getattr(VivFacePipeline.from_pretrained(exported), name)
            norms = {module for module, kind in network.named_modules() if isinstance(kind, torch.nn.BatchNorm2d)}
            for key, tensor in stored.items():
                expected = torch.float32 if key.rpartition(".")[0] in norms else torch.float16
                assert tensor.dtype == expected or not tensor.is_floating_point(), key
        assert not list(exported.parent.glob(".*"))  # no temporary files

    def test_pipeline_computes_in_float32_what_was_rounded(self, exported, checkpoint):
        pipeline = VivFacePipeline.from_pretrained(exported)
        for name in COMPONENTS:
            network = getattr(pipeline, name)
            assert network.dtype == torch.float32
            assert all(b.dtype == torch.float32 for b in network.buffers() if b.is_floating_point())
            original = load_file(checkpoint / name / WEIGHTS)
            for key, tensor in network.state_dict().items():
                rounded = original[key].to(load_file(exported / name / WEIGHTS)[key].dtype)
                assert torch.equal(tensor, rounded.to(tensor.dtype))
        config = pipeline.config
        assert (config.crop, config.image_size, config.adapt_steps, config.neutral) == ("stable", 64, 7, "zero")

    def test_card_tells_training_and_metrics(self, exported):
        card = (exported / "README.md").read_text()
        assert "toy of the supervised stage" in card and "720" in card
        assert "yaw (cross)" in card and "0.912" in card and "correlation of yaw" in card
        assert json.loads((exported / "training.json").read_text())["stages"][0]["steps"] == 90

    def test_a_pipeline_is_not_replaced_unasked(self, exported, checkpoint):
        arguments = ["--checkpoint", str(checkpoint), "--output", str(exported)]
        with pytest.raises(OptionError, match="--overwrite"):
            main(arguments)
        (exported / "directions.safetensors").write_bytes(b"of the old encoder")
        main([*arguments, "--overwrite", "--set", "adapt_steps=2"])
        assert VivFacePipeline.from_pretrained(exported).config.adapt_steps == 2
        assert not (exported / "directions.safetensors").exists()


class TestParts:
    def test_later_checkpoints_replace_networks_and_refinement_may_lack(self, checkpoint, tmp_path):
        other = make_tiny_pipeline(seed=5)
        for name in COMPONENTS[:3]:
            getattr(make_tiny_pipeline(), name).save_pretrained(tmp_path / "one" / name)
        other.transformer.save_pretrained(tmp_path / "two" / "transformer")
        folders = [str(tmp_path / "one"), str(tmp_path / "two")]
        main(["--checkpoint", *folders, "--output", str(tmp_path / "out"), "--dtype", "float32"])
        pipeline = VivFacePipeline.from_pretrained(tmp_path / "out")
        assert pipeline.refinement is None and pipeline.recognizer is None
        ours, theirs = pipeline.transformer.state_dict(), other.transformer.state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)

    def test_transformer_may_lack(self, tmp_path):
        for name in ("generator", "encoder"):
            getattr(make_tiny_pipeline(), name).save_pretrained(tmp_path / "run" / name)
        main(["--checkpoint", str(tmp_path / "run"), "--output", str(tmp_path / "out"), "--dtype", "float32"])
        assert VivFacePipeline.from_pretrained(tmp_path / "out").transformer is None

    def test_a_recognizer_comes_from_its_own_run(self, checkpoint, tmp_path):
        network = make_tiny_pipeline(recognizer=True).recognizer
        network.save_pretrained(tmp_path / "run" / "checkpoint" / "recognizer")
        folders = [str(tmp_path / "run" / "checkpoint"), str(checkpoint)]
        main(["--checkpoint", *folders, "--output", str(tmp_path / "out"), "--dtype", "float32"])
        exported = VivFacePipeline.from_pretrained(tmp_path / "out").recognizer.state_dict()
        assert all(torch.equal(exported[key], value) for key, value in network.state_dict().items())


class TestRefused:
    def refused(self, error, match, checkpoint, output, *more):
        with pytest.raises(error, match=match):
            main(["--checkpoint", str(checkpoint), "--output", str(output), *more])
        assert not output.exists() and not output.with_name(f".{output.name}.new").exists()

    def test_no_networks(self, tmp_path):
        self.refused(CheckpointError, "no generator", tmp_path, tmp_path / "out")

    def test_too_large(self, checkpoint, tmp_path):
        self.refused(CheckpointError, "at most 0.01", checkpoint, tmp_path / "out", "--max-megabytes", "0.01")

    def test_image_size_of_another_encoder(self, checkpoint, tmp_path):
        self.refused(CheckpointError, "image_size is 64", checkpoint, tmp_path / "out", "--set", "image_size=128")

    def test_value_out_of_half_precisions_range(self, checkpoint, tmp_path):
        pipeline = make_tiny_pipeline(refinement=False)
        with torch.no_grad():
            pipeline.generator.conv1.bias[0] = 1e6
        for name in COMPONENTS[:3]:
            getattr(pipeline, name).save_pretrained(tmp_path / "run" / name)
        self.refused(CheckpointError, "conv1.bias.*choose float32 or bfloat16", tmp_path / "run", tmp_path / "out")

    def test_another_folder_is_left_alone(self, checkpoint, tmp_path):
        (tmp_path / "photos").mkdir()
        (tmp_path / "photos" / "me.jpg").write_bytes(b"me")
        with pytest.raises(OptionError, match="something other than a pipeline"):
            main(["--checkpoint", str(checkpoint), "--output", str(tmp_path / "photos"), "--overwrite"])
        assert (tmp_path / "photos" / "me.jpg").exists()

    @pytest.mark.parametrize("change", ["size=3", "crop", "adapt_steps=many"])
    def test_settings(self, change):
        with pytest.raises(OptionError, match="--set"):
            read_settings([change])


def test_metrics_in_the_cards_form_stay_as_they_are():
    record = {"dataset": {"name": "a", "type": "b"}, "metrics": []}
    assert metrics_record(record) is record


def test_size_counts_all_weight_files(checkpoint):
    files = list(checkpoint.rglob("*.safetensors"))
    assert len(files) == 4
    assert check_size(checkpoint, 48) == pytest.approx(sum(f.stat().st_size for f in files) / 1e6)
