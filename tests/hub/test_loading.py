"""Checkpoints: saved and loaded alike; what is missing, foreign or damaged is told in one sentence."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tiny import make_tiny_pipeline
from vivface import CheckpointError, OptionError, VivFacePipeline, load_pipeline

PARTS = ("generator", "encoder", "transformer", "refinement")
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))


def refused(checkpoint: object, **options) -> str:
    """The sentence with which a checkpoint is refused."""
    with pytest.raises(CheckpointError) as error:
        VivFacePipeline.from_pretrained(checkpoint, **options)
    message = str(error.value)
    assert "\n" not in message and message.endswith(".")
    return message


def settings(part) -> str:
    """The constructor's arguments that a part was made with."""
    return json.dumps({key: value for key, value in part.config.items() if not key.startswith("_")}, sort_keys=True)


class TestRoundTrip:
    def test_weights_and_settings_survive(self, tmp_path):
        saved = make_tiny_pipeline(crop="ffhq")
        saved.register_to_config(adapt_steps=7, neutral="transformed")
        saved.save_pretrained(tmp_path)
        loaded = VivFacePipeline.from_pretrained(tmp_path)
        for name in PARTS:
            ours, theirs = getattr(loaded, name).state_dict(), getattr(saved, name).state_dict()
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(ours[key], theirs[key]) for key in ours)
            assert settings(getattr(loaded, name)) == settings(getattr(saved, name))
        assert (loaded.config.crop, loaded.config.adapt_steps, loaded.config.neutral) == ("ffhq", 7, "transformed")

    def test_index_names_small_files_that_only_import_the_package(self, tiny_checkpoint):
        index = json.loads((tiny_checkpoint / "model_index.json").read_text())
        assert index["_class_name"] == ["pipeline_vivface", "VivFacePipeline"]
        assert index["generator"] == ["modeling_stylegan2", "StyleGAN2Generator"]
        text = (tiny_checkpoint / "generator" / "modeling_stylegan2.py").read_text()
        assert "from vivface.models.stylegan2 import StyleGAN2Generator" in text
        assert not list(tiny_checkpoint.rglob("*.bin"))

    def test_configs_do_not_tell_where_parts_came_from(self, tiny_checkpoint, tmp_path):
        VivFacePipeline.from_pretrained(tiny_checkpoint).save_pretrained(tmp_path)
        texts = [path.read_text() for path in tmp_path.rglob("*.json")]
        assert len(texts) == 5 and not any(str(tiny_checkpoint) in text for text in texts)

    def test_without_refinement(self, tmp_path):
        make_tiny_pipeline(refinement=False).save_pretrained(tmp_path)
        pipeline = VivFacePipeline.from_pretrained(tmp_path)
        assert pipeline.refinement is None and pipeline.recognizer is None

    def test_with_an_identity_network(self, tmp_path):
        saved = make_tiny_pipeline(recognizer=True)
        saved.save_pretrained(tmp_path)
        loaded, expected = (
            VivFacePipeline.from_pretrained(tmp_path).recognizer.state_dict(),
            saved.recognizer.state_dict(),
        )
        assert all(torch.equal(loaded[name], expected[name]) for name in expected)
        assert VivFacePipeline.from_pretrained(tmp_path, recognizer=None).recognizer is None

    def test_parts_and_settings_can_be_replaced(self, tiny_checkpoint):
        pipeline = VivFacePipeline.from_pretrained(tiny_checkpoint, refinement=None, adapt_steps=3)
        assert pipeline.refinement is None and pipeline.config.adapt_steps == 3

    def test_half_precision_files_are_computed_in_float32(self, tmp_path):
        make_tiny_pipeline().to(torch.float16).save_pretrained(tmp_path)
        stored = load_file(tmp_path / "generator" / WEIGHTS)
        assert stored["constant"].dtype == torch.float16
        pipeline = VivFacePipeline.from_pretrained(tmp_path)
        assert all(getattr(pipeline, name).dtype == torch.float32 for name in PARTS)

    def test_dtype_and_variant(self, tmp_path):
        make_tiny_pipeline().save_pretrained(tmp_path, variant="fp16")
        pipeline = VivFacePipeline.from_pretrained(tmp_path, variant="fp16", dtype=torch.bfloat16)
        assert all(getattr(pipeline, name).dtype == torch.bfloat16 for name in PARTS)
        assert "encoder" in refused(tmp_path) or "generator" in refused(tmp_path)  # no weights without the variant

    def test_index_of_the_form_for_generic_loaders(self, checkpoint):
        index = json.loads((checkpoint / "model_index.json").read_text())
        index["_class_name"] = ["pipeline_vivface", "VivFacePipeline"]
        index["generator"] = ["modeling_vivface", "StyleGAN2Generator"]
        (checkpoint / "model_index.json").write_text(json.dumps(index))
        assert VivFacePipeline.from_pretrained(checkpoint).generator.config.size == 64


class TestServedByTheMainSystem:
    """`--system` builds a system from the main system's checkpoint; what was asked of it holds nonetheless."""

    @pytest.mark.parametrize("system", ["hybrid", "hyperreenact", "codec", "video2stylegan"])
    def test_settings_engine_and_precision(self, system):
        asked = {"engine": "torch:channels-last", "adapt_steps": 7, "dtype": torch.bfloat16}
        pipeline = load_pipeline(system=system, **asked)
        assert pipeline._engine.name == "torch:channels-last" and pipeline.config.adapt_steps == 7
        assert pipeline.generator.dtype == torch.bfloat16
        with pytest.raises(OptionError, match="no option 'precision'"):
            load_pipeline(system=system, precision="half")

    def test_the_photograph_moves_where_asked(self):
        assert load_pipeline(system="hybrid", detail=True).config.detail
        assert not load_pipeline(system="hybrid").config.detail


class TestRefused:
    def test_missing_folder(self, tmp_path):
        assert "no checkpoint folder" in refused(tmp_path / "nowhere")

    def test_file(self, tmp_path):
        (tmp_path / "stage1.pt").write_bytes(b"weights")
        assert "is a file" in refused(tmp_path / "stage1.pt")

    def test_folder_without_index(self, tmp_path):
        assert "model_index.json" in refused(tmp_path)

    def test_damaged_index(self, checkpoint):
        (checkpoint / "model_index.json").write_text("{")
        assert "damaged" in refused(checkpoint)

    def test_another_pipeline(self, checkpoint):
        (checkpoint / "model_index.json").write_text(json.dumps({"_class_name": "DDPMPipeline"}))
        assert "DDPMPipeline" in refused(checkpoint)

    @pytest.mark.parametrize("part", PARTS)
    def test_missing_part(self, checkpoint, part):
        shutil.rmtree(checkpoint / part)
        assert f"'{part}/config.json' is missing" in refused(checkpoint)

    def test_part_that_the_index_does_not_name(self, checkpoint):
        index = json.loads((checkpoint / "model_index.json").read_text())
        del index["encoder"]
        (checkpoint / "model_index.json").write_text(json.dumps(index))
        assert "'encoder'" in refused(checkpoint)

    def test_missing_weights(self, checkpoint):
        (checkpoint / "encoder" / WEIGHTS).unlink()
        assert "'encoder'" in refused(checkpoint)

    def test_truncated_weights(self, checkpoint):
        weights = checkpoint / "encoder" / WEIGHTS
        weights.write_bytes(weights.read_bytes()[:1000])
        assert "'encoder'" in refused(checkpoint)

    def test_pickle_is_not_read(self, checkpoint):
        weights = checkpoint / "encoder" / WEIGHTS
        torch.save(load_file(weights), checkpoint / "encoder" / "diffusion_pytorch_model.bin")
        weights.unlink()
        assert "'encoder'" in refused(checkpoint)

    def test_missing_and_unexpected_keys_are_named(self, checkpoint):
        weights = checkpoint / "encoder" / WEIGHTS
        state = load_file(weights)
        state["lateral_c3.weight"] = state.pop("lateral_c2.weight")
        save_file(state, weights, metadata={"format": "pt"})
        message = refused(checkpoint)
        assert "missing lateral_c2.weight" in message and "unexpected lateral_c3.weight" in message

    def test_shape(self, checkpoint):
        weights = checkpoint / "encoder" / WEIGHTS
        state = load_file(weights)
        state["lateral_c2.weight"] = state["lateral_c2.weight"][:4].clone()
        save_file(state, weights, metadata={"format": "pt"})
        assert "lateral_c2.weight" in refused(checkpoint)

    def test_part_of_another_class(self, checkpoint):
        shutil.rmtree(checkpoint / "encoder")
        shutil.copytree(checkpoint / "transformer", checkpoint / "encoder")
        assert "DeformationTransformer" in refused(checkpoint)

    def test_unknown_hub_id_without_the_hub(self, tmp_path):
        message = refused("nobody/no-such-checkpoint", local_files_only=True, cache_dir=tmp_path)
        assert "nobody/no-such-checkpoint" in message

    def test_unknown_option(self, tiny_checkpoint):
        with pytest.raises(OptionError, match="'precision'"):
            VivFacePipeline.from_pretrained(tiny_checkpoint, precision="half")

    def test_setting_out_of_range(self, tiny_checkpoint):
        with pytest.raises(OptionError, match="crop"):
            VivFacePipeline.from_pretrained(tiny_checkpoint, crop="round")

    @pytest.mark.parametrize("value", [float("inf"), float("nan")])
    def test_weights_that_are_not_finite(self, checkpoint, value):
        """As a checkpoint that was stored in too small a type."""
        weights = load_file(checkpoint / "encoder" / WEIGHTS)
        name = next(name for name, tensor in weights.items() if name.endswith("running_var"))
        weights[name][0] = value
        save_file(weights, checkpoint / "encoder" / WEIGHTS)
        assert f"not finite ({name})" in refused(checkpoint)
