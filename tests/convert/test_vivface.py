"""`vivface convert vivface`: the two stages become a pipeline that computes what the reference computed."""

import json

import pytest
import torch
import torch.nn.functional as F
from huggingface_hub import ModelCard
from safetensors import safe_open

from tests.conftest import REPOSITORY
from tests.convert.command import convert, run
from tests.convert.layouts import cheap, training_state
from tests.parity.compare import CODE, assert_close, assert_matches
from vivface import VivFacePipeline
from vivface.models import DeformationTransformer, HybridEncoder, RefinementNetwork, StyleGAN2Generator

STAGE_2 = ("residue.", "grid_align.")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def converted(checkpoint, tmp_path_factory):
    """Folder of the pipeline, and what the command said. Stage I's file is stage II's without its own parts."""
    folder = tmp_path_factory.mktemp("vivface")
    weights = checkpoint("vivface_stage2/manifest.json")
    torch.save(weights | training_state(), folder / "stage2.pt")
    state_dict = {name: t for name, t in weights["state_dict"].items() if not name.startswith(STAGE_2)}
    assert len(state_dict) == 910
    torch.save({"state_dict": state_dict, "opts": {}, "latent_avg": weights["latent_avg"]}, folder / "stage1.pt")
    del weights, state_dict
    outcome = convert(
        "vivface", folder / "stage1.pt", "--stage2", folder / "stage2.pt", "-o", folder / "pipeline", "--verify"
    )
    (folder / "stage1.pt").unlink()
    (folder / "stage2.pt").unlink()
    return folder / "pipeline", outcome


@pytest.fixture(scope="module")
def pipeline(converted):
    pipeline = VivFacePipeline.from_pretrained(converted[0])
    pipeline._evaluate()
    return pipeline


@torch.no_grad()
def test_goldens(pipeline, golden, images):
    stage1, stage2 = golden("vivface_stage1/golden.npz"), golden("vivface_stage2/golden.npz")
    generator, refinement = pipeline.generator, pipeline.refinement
    source, driving = pipeline.encoder(images[:1]), pipeline.encoder(images[1:2])
    assert_close(source.identity, stage1["source_w"], CODE)
    assert_close(driving.motion, stage1["driving_generic"], CODE)
    motion = pipeline.transformer(driving.motion, source.memory)
    assert_close(motion, stage1["cross_ss"], CODE)
    styles = generator.add_motion(generator.to_stylespace(source.identity), motion)
    state = generator(styles=styles, stop_after=generator.refinement_layer)
    cross = generator(styles=styles, resume=state)
    assert_matches(cross, stage1, "cross")
    change = refinement(F.interpolate(cross, (256, 256), mode="bilinear"), images[:1])
    assert_matches(change.aligned, stage2, "aligned")
    state.feature = refinement.fuse(state.feature, change.scale, change.shift)
    assert_matches(generator(styles=styles, resume=state), stage2, "refined")


def test_settings(pipeline):
    settings = {name: pipeline.config[name] for name in ("image_size", "crop", "neutral", "adapt_steps")}
    assert settings == {"image_size": 256, "crop": "ffhq", "neutral": "zero", "adapt_steps": 0}


def test_what_was_left_out(converted):
    for name in ("opts", "optimizer", "discriminator_state_dict", "18 entries decoder_layer.*"):
        assert f"Left out of stage2.pt: {name} (" in converted[1].out
    assert "differ between the files" not in converted[1].out


def test_card(converted):
    card = ModelCard.load(converted[0] / "README.md")
    assert card.data.pipeline_tag == "image-to-video" and card.data.license == "other"
    assert "NickChang97/ViVFace" in card.text and "AAAI 2025" in card.text and "state no licence" in card.text


def test_reenact(converted, tmp_path):
    """The main command takes the converted folder."""
    outcome = run(
        *("reenact", REPOSITORY / "examples" / "portrait.png", REPOSITORY / "examples" / "driving.mp4"),
        *("-o", tmp_path / "out.mp4", "--checkpoint", converted[0], "--duration", "0.1", "--batch-size", "1"),
    )
    assert outcome.status == 0, outcome.err
    assert (tmp_path / "out.mp4").stat().st_size > 1000


def test_layout_1024(parity_dir, tmp_path):
    torch.save(cheap(parity_dir / "vivface_stage1/layout_1024.json") | training_state(), tmp_path / "stage1.pt")
    torch.save(cheap(parity_dir / "vivface_stage2/layout_1024.json") | training_state(), tmp_path / "stage2.pt")
    out = tmp_path / "pipeline"
    files = [tmp_path / "stage1.pt", "--stage2", tmp_path / "stage2.pt"]
    convert("vivface", *files, "-o", out, "--dtype", "float16")
    networks = {
        "generator": StyleGAN2Generator,
        "encoder": HybridEncoder,
        "transformer": DeformationTransformer,
        "refinement": RefinementNetwork,
    }
    index = json.loads((out / "model_index.json").read_text())
    for name, network in networks.items():
        assert index[name][1] == network.__name__
        with torch.device("meta"):
            expected = {key: tensor.shape for key, tensor in network().state_dict().items()}
        found = {}
        for path in (out / name).glob("*.safetensors"):
            with safe_open(path, "pt") as file:
                found |= {key: torch.Size(file.get_slice(key).get_shape()) for key in file.keys()}
        assert found == expected


def test_stage_1_alone(parity_dir, tmp_path):
    torch.save(cheap(parity_dir / "vivface_stage1/manifest.json"), tmp_path / "stage1.pt")
    outcome = convert("vivface", tmp_path / "stage1.pt", "-o", tmp_path / "out", "--dtype", "float16")
    assert "no refinement" in outcome.out
    assert json.loads((tmp_path / "out" / "model_index.json").read_text())["refinement"] == [None, None]


def test_files_that_differ_are_told(parity_dir, tmp_path):
    stage1 = cheap(parity_dir / "vivface_stage1/manifest.json")
    stage1["state_dict"]["encoder.module.body.0.res_layer.0.running_mean"] = torch.ones(64)
    torch.save(stage1, tmp_path / "stage1.pt")
    torch.save(cheap(parity_dir / "vivface_stage2/manifest.json"), tmp_path / "stage2.pt")
    files = [tmp_path / "stage1.pt", "--stage2", tmp_path / "stage2.pt"]
    outcome = convert("vivface", *files, "-o", tmp_path / "out", "--dtype", "float16")
    assert "1 entries of stage I differ between the files; those of stage2.pt are used" in outcome.out


@pytest.mark.parametrize("form", ["without ddp", "whole ddp", "bare"])
def test_as_training_saves_it(parity_dir, tmp_path, form):
    """The authors' files have `module.` after `encoder` and `decoder`; others have it elsewhere or nowhere."""
    content = cheap(parity_dir / "vivface_stage1/manifest.json")
    plain = {name.replace(".module.", "."): tensor for name, tensor in content["state_dict"].items()}
    if form == "without ddp":
        content = {"state_dict": plain, "optimizer": {"state": {0: torch.zeros(2)}}}
    elif form == "whole ddp":
        content = {"state_dict": {f"module.{name}": tensor for name, tensor in plain.items()}, "step": 4}
    else:
        content = plain
    torch.save(content, tmp_path / "stage1.pt")
    outcome = convert("vivface", tmp_path / "stage1.pt", "-o", tmp_path / "out", "--dtype", "float16", "--verify")
    assert "mean latent: it was computed" in outcome.out
