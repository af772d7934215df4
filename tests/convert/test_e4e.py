"""`vivface convert e4e`: encoder and generator; the motion heads are new."""

import json

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors import safe_open

from tests.convert.command import convert
from tests.convert.layouts import cheap, training_state
from tests.parity.compare import CODE, assert_close, assert_matches
from vivface.models import HybridEncoder, StyleGAN2Generator


@pytest.mark.slow
def test_golden(checkpoint, golden, images, tmp_path):
    torch.save(checkpoint("e4e/manifest.json"), tmp_path / "e4e.pt")
    convert("e4e", tmp_path / "e4e.pt", "-o", tmp_path / "e4e", "--verify")
    encoder = HybridEncoder.from_pretrained(tmp_path / "e4e", subfolder="encoder").eval()
    generator = StyleGAN2Generator.from_pretrained(tmp_path / "e4e", subfolder="generator").eval()
    stored = golden("e4e/golden.npz")
    with torch.no_grad():
        codes = encoder(images[:1], motion=False, memory=False).identity
        assert_close(codes, stored["wplus"], CODE)
        assert_matches(generator(codes), stored, "image")


@pytest.mark.slow
def test_layout_1024(parity_dir, tmp_path):
    torch.save(cheap(parity_dir / "e4e/layout_1024.json") | training_state(), tmp_path / "e4e.pt")
    outcome = convert("e4e", tmp_path / "e4e.pt", "-o", tmp_path / "e4e", "--dtype", "float16")
    assert "e4e.pt: optimizer (training state" in outcome.out and "motion heads are new" in outcome.out
    with torch.device("meta"):
        expected = HybridEncoder().state_dict()
    files = (tmp_path / "e4e" / "encoder").glob("*.safetensors")
    found, moving = {}, 0.0
    for path in files:
        with safe_open(path, "pt") as file:
            found |= {name: torch.Size(file.get_slice(name).get_shape()) for name in file.keys()}
            moving += sum(file.get_tensor(name).float().std() for name in file.keys() if name == FRESH)
    assert found == {name: tensor.shape for name, tensor in expected.items()}
    assert moving > 0  # new random values, not zeros
    config = json.loads((tmp_path / "e4e" / "generator" / "config.json").read_text())
    assert config["size"] == 1024
    card = ModelCard.load(tmp_path / "e4e" / "README.md")
    assert "Omer Tov" in card.text and "new random values" in card.text


@pytest.mark.slow
@pytest.mark.parametrize("form", ["ddp", "bare", "inside"])
def test_as_training_saves_it(parity_dir, tmp_path, form):
    content = cheap(parity_dir / "e4e/manifest.json")
    entries, average = content["state_dict"], content["latent_avg"]
    if form == "ddp":
        names = {name: name.replace("encoder.", "encoder.module.") for name in entries}
        torch.save({"state_dict": {names[name]: entries[name] for name in entries}, "epoch": 2}, tmp_path / "e4e.pt")
    elif form == "bare":
        torch.save({f"module.{name}": tensor for name, tensor in entries.items()}, tmp_path / "e4e.pt")
    else:
        torch.save({"state_dict": entries | {"latent_avg": average + 1}}, tmp_path / "e4e.pt")
    outcome = convert("e4e", tmp_path / "e4e.pt", "-o", tmp_path / "e4e", "--dtype", "bfloat16")
    assert ("mean latent: it was computed" in outcome.out) == (form != "inside")
    for network, name in ((HybridEncoder, "encoder"), (StyleGAN2Generator, "generator")):
        stored = network.from_pretrained(tmp_path / "e4e", subfolder=name).latent_avg
        assert (stored == (1 if form == "inside" else 0)).all()  # the layout's mapping network is all zeros


FRESH = "motion_heads.heads.0.linears.0.weight"
