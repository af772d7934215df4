"""`vivface convert ir-se50`: the identity network as it is published, in PyTorch's old format."""

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from tests.convert.command import convert, refused
from tests.convert.layouts import cheap
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


class TestPrecision:
    """Norms stay in float32; what does not fit is never written."""

    @pytest.fixture
    def weights(self, parity_dir):
        return cheap(parity_dir / "arcface/manifest.json")

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
    def test_large_statistics(self, weights, tmp_path, dtype):
        name = "body.0.res_layer.4.running_var"
        weights[name] = torch.full_like(weights[name], 1e5)
        weights["body.0.res_layer.1.weight"] = torch.randn(weights["body.0.res_layer.1.weight"].shape)
        torch.save(weights, tmp_path / "f.pth")
        outcome = convert("ir-se50", tmp_path / "f.pth", "-o", tmp_path / "d", "--dtype", dtype, "--verify")
        assert "verified" in outcome.out
        stored = load_file(tmp_path / "d" / "diffusion_pytorch_model.safetensors")
        assert all(tensor.isfinite().all() for tensor in stored.values())
        variance = stored["trunk.stages.0.0.norm2.running_var"]
        assert variance.dtype == torch.float32 and (variance == 1e5).all()
        assert stored["trunk.stages.0.0.conv1.weight"].dtype == getattr(torch, dtype)
        assert (IdentityNetwork.from_pretrained(tmp_path / "d").trunk.stages[0][0].norm2.running_var == 1e5).all()

    def test_a_weight_that_does_not_fit(self, weights, tmp_path):
        name = "body.0.res_layer.1.weight"
        weights[name] = torch.full_like(weights[name], 1e5)
        torch.save(weights, tmp_path / "f.pth")
        sentence = refused("ir-se50", tmp_path / "f.pth", "--dtype", "float16", output=tmp_path / "d")
        assert "float16" in sentence and "conv1.weight" in sentence
        convert("ir-se50", tmp_path / "f.pth", "-o", tmp_path / "d", "--dtype", "bfloat16", "--verify")

    @pytest.mark.parametrize("entry", ["body.0.res_layer.4.running_var", "body.0.res_layer.1.weight"])
    def test_doubles_that_do_not_fit_float32(self, weights, tmp_path, entry):
        weights[entry] = torch.full(weights[entry].shape, 1e300, dtype=torch.float64)
        torch.save(weights, tmp_path / "f.pth")
        assert "float32" in refused("ir-se50", tmp_path / "f.pth", output=tmp_path / "d")

    def test_a_file_in_half_precision(self, weights, tmp_path):
        halves = {name: t.half() if t.is_floating_point() else t for name, t in weights.items()}
        torch.save(halves, tmp_path / "f.pth")
        convert("ir-se50", tmp_path / "f.pth", "-o", tmp_path / "d", "--verify")
        stored = load_file(tmp_path / "d" / "diffusion_pytorch_model.safetensors")
        assert {tensor.dtype for tensor in stored.values()} == {torch.float32, torch.int64}


@pytest.mark.parametrize("form", ["ddp", "state_dict", "trainer"])
def test_as_training_saves_it(parity_dir, tmp_path, form):
    weights = cheap(parity_dir / "arcface/manifest.json")
    if form == "ddp":
        content = {f"module.{name}": tensor for name, tensor in weights.items()}
    elif form == "state_dict":
        content = {"state_dict": {f"module._orig_mod.{name}": tensor for name, tensor in weights.items()}, "epoch": 3}
    else:
        content = {"model": weights, "optimizer": {"state": {0: torch.zeros(2)}}, "lr": 0.1}
    torch.save(content, tmp_path / "f.pth")
    convert("ir-se50", tmp_path / "f.pth", "-o", tmp_path / "d", "--dtype", "float16", "--verify")
