"""`vivface convert ir-se50`: the identity network as it is published, in PyTorch's old format."""

import torch
from huggingface_hub import ModelCard

from tests.convert.command import convert
from tests.parity.compare import EMBEDDING, assert_close
from vivface.models import IdentityNetwork


def test_golden(checkpoint, golden, images, tmp_path):
    weights = checkpoint("arcface/manifest.json")
    torch.save(weights, tmp_path / "model_ir_se50.pth", _use_new_zipfile_serialization=False)
    outcome = convert("ir-se50", tmp_path / "model_ir_se50.pth", "-o", tmp_path / "identity", "--verify")
    assert "43,797,696" in outcome.out
    network = IdentityNetwork.from_pretrained(tmp_path / "identity").eval()
    with torch.no_grad():
        assert_close(network.embed(images[:2]), golden("arcface/golden.npz")["embedding"], absolute=EMBEDDING)
    assert "TreB1eN" in ModelCard.load(tmp_path / "identity" / "README.md").text
