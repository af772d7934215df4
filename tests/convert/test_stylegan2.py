"""`vivface convert stylegan2`: rosinality's and NVIDIA's files become the generator of the reference arrays."""

import argparse
import hashlib
import json

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors import safe_open
from safetensors.torch import load_file

from tests.convert.command import convert, refused
from tests.convert.layouts import cheap, nvidia_names
from tests.convert.nvidia_pickle import EasyDict, network, write
from tests.parity.compare import CODE, assert_close, assert_matches
from vivface.models import StyleGAN2Generator

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def weights(checkpoint):
    return checkpoint("stylegan2/manifest_64.json")


def check_golden(folder, golden):
    generator = StyleGAN2Generator.from_pretrained(folder).eval()
    stored = golden("stylegan2/golden_64.npz")
    with torch.no_grad():
        assert_close(generator.mapping(stored["z"]), stored["w"], CODE)
        assert_matches(generator(stored["wplus"]), stored, "image")
        w = generator.truncate(generator.mapping(stored["z"]), 0.7)
        assert_matches(generator(w[:, None].expand(-1, 10, -1)), stored, "image_trunc07")


@pytest.fixture(scope="module")
def converted(weights, tmp_path_factory):
    """Folder with rosinality's file and what became of it, and what the command said."""
    folder = tmp_path_factory.mktemp("rosinality")
    torch.save(weights, folder / "generator.pt")
    outcome = convert("stylegan2", folder / "generator.pt", "-o", folder / "generator", "--verify")
    return folder, outcome


class TestRosinality:
    def test_golden(self, converted, golden):
        check_golden(converted[0] / "generator", golden)

    def test_summary(self, converted):
        words = converted[1].out.split()
        assert "StyleGAN2Generator" in words and "27,032,600" in words and "91" in words
        assert "verified" in converted[1].out

    def test_record_and_card(self, converted):
        folder, _ = converted
        record = json.loads((folder / "generator" / "conversion.json").read_text())
        sha256 = hashlib.sha256((folder / "generator.pt").read_bytes()).hexdigest()
        assert record["converter"] == "stylegan2" and record["files"][0]["sha256"] == sha256
        card = ModelCard.load(folder / "generator" / "README.md")
        assert card.data.license == "other" and card.data.license_name == "nvidia-source-code-license-nc"
        assert "Tero Karras" in card.text and "CVPR 2020" in card.text and sha256 in card.text

    def test_only_the_result_is_left(self, converted):
        assert sorted(p.name for p in converted[0].iterdir()) == ["generator", "generator.pt"]
        names = {p.name for p in (converted[0] / "generator").iterdir()}
        assert names == {"config.json", WEIGHTS, "conversion.json", "README.md"}

    def test_training_state_is_left_out_and_said_so(self, weights, tmp_path):
        state = {"g": {}, "d": {}, "g_optim": {}, "d_optim": {}, "args": argparse.Namespace(size=64), "ada_aug_p": 0.1}
        torch.save(weights | state, tmp_path / "000100.pt")
        outcome = convert("stylegan2", tmp_path / "000100.pt", "-o", tmp_path / "out")
        for name in state:
            assert f"000100.pt: {name} (training state" in outcome.out
        assert StyleGAN2Generator.from_pretrained(tmp_path / "out").config.size == 64

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
    def test_dtype_and_variant(self, weights, tmp_path, dtype):
        torch.save(weights, tmp_path / "generator.pt")
        options = ["--dtype", dtype, "--variant", "half", "--verify"]
        convert("stylegan2", tmp_path / "generator.pt", "-o", tmp_path / "out", *options)
        stored = load_file(tmp_path / "out" / "diffusion_pytorch_model.half.safetensors")
        expected = weights["g_ema"]["conv1.conv.weight"][0].to(getattr(torch, dtype))
        assert torch.equal(stored["conv1.weight"], expected)
        StyleGAN2Generator.from_pretrained(tmp_path / "out", variant="half")

    def test_there_already(self, weights, tmp_path):
        torch.save(weights, tmp_path / "generator.pt")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine.txt").write_text("keep")
        assert "--overwrite" in refused("stylegan2", tmp_path / "generator.pt", output=tmp_path / "out")
        convert("stylegan2", tmp_path / "generator.pt", "-o", tmp_path / "out", "--overwrite")
        assert not (tmp_path / "out" / "mine.txt").exists() and (tmp_path / "out" / WEIGHTS).is_file()


class TestAsTrainingSavesIt:
    """Files of rosinality's train.py and of its users: no mean latent, optimisers, wrappers' names, bare dicts."""

    def state(self, weights, tmp_path, form):
        """A file of a form, its path."""
        g_ema = weights["g_ema"]
        optimiser = {"state": {0: {"step": 3, "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.002}]}
        content = {
            "train.py": {
                "g": {name: torch.zeros_like(tensor) for name, tensor in g_ema.items()},
                "d": {"convs.0.weight": torch.zeros(2)},
                "g_ema": g_ema,
                "g_optim": optimiser,
                "d_optim": optimiser,
                "args": argparse.Namespace(size=64, latent=512, n_mlp=8, path="ffhq.lmdb"),
                "ada_aug_p": torch.tensor(0.1),
            },
            "g_ema": {"g_ema": g_ema},
            "g_ema, g_optim": {"g_ema": g_ema, "g_optim": optimiser},
            "ddp": {"g_ema": {f"module.{name}": tensor for name, tensor in g_ema.items()}},
            "compiled": {"g_ema": {f"_orig_mod.{name}": tensor for name, tensor in g_ema.items()}, "iteration": 5},
            "bare": g_ema,
            "bare ddp": {f"module.{name}": tensor for name, tensor in g_ema.items()},
            "owner": {"state_dict": {f"generator.{name}": tensor for name, tensor in g_ema.items()}},
            "raw": {"g": g_ema, "g_optim": optimiser},
        }[form]
        torch.save(content, tmp_path / "000100.pt")
        return tmp_path / "000100.pt"

    @pytest.mark.parametrize(
        "form",
        ["train.py", "g_ema", "g_ema, g_optim", "ddp", "compiled", "bare", "bare ddp", "owner", "raw"],
    )
    def test_recognised(self, weights, tmp_path, form):
        file = self.state(weights, tmp_path, form)
        outcome = convert("stylegan2", file, "-o", tmp_path / "out", "--verify")
        assert "holds no mean latent: it was computed from the file's own mapping network" in outcome.out
        assert ("no averaged generator" in outcome.out) == (form == "raw")
        generator = StyleGAN2Generator.from_pretrained(tmp_path / "out")
        assert torch.equal(generator.convs[1].weight, weights["g_ema"]["convs.1.conv.weight"][0])
        record = json.loads((tmp_path / "out" / "conversion.json").read_text())
        assert any("mean latent" in note and "seed" in note for note in record["notes"])

    def test_mean_latent(self, weights, tmp_path):
        """The mean of w over other random z is the same to within its standard error, and seeds make it repeatable."""
        file = self.state(weights, tmp_path, "g_ema")
        for name in ("first", "second"):
            convert("stylegan2", file, "-o", tmp_path / name)
        first, second = (StyleGAN2Generator.from_pretrained(tmp_path / name) for name in ("first", "second"))
        assert torch.equal(first.latent_avg, second.latent_avg)
        with torch.no_grad():
            w = first.mapping(torch.randn(10_000, 512, generator=torch.Generator().manual_seed(7)))
        assert ((first.latent_avg - w.mean(0)).abs() < 6 * w.std(0) / 10_000**0.5).all()
        assert (first.latent_avg - w.mean(0)).norm() < 0.02 * (w - w.mean(0)).norm(dim=1).mean()

    def test_two_names_for_one_entry(self, weights, tmp_path):
        twice = weights["g_ema"] | {"module.input.input": weights["g_ema"]["input.input"]}
        torch.save({"g_ema": twice}, tmp_path / "f.pt")
        assert "input.input" in refused("stylegan2", tmp_path / "f.pt", output=tmp_path / "out")

    def test_unknown_tensors_are_named(self, weights, tmp_path):
        torch.save(weights | {"mapper": {"a": torch.zeros(2)}}, tmp_path / "f.pt")
        assert "mapper" in refused("stylegan2", tmp_path / "f.pt", output=tmp_path / "out")


class TestLayouts:
    def test_1024(self, parity_dir, tmp_path):
        torch.save(cheap(parity_dir / "stylegan2/layout_1024.json"), tmp_path / "config-f.pt")
        convert("stylegan2", tmp_path / "config-f.pt", "-o", tmp_path / "out", "--dtype", "float16")
        config = json.loads((tmp_path / "out" / "config.json").read_text())
        assert config["size"] == 1024 and config["channel_multiplier"] == 2 and config["channels"] is None
        with torch.device("meta"):
            expected = {name: t.shape for name, t in StyleGAN2Generator().state_dict().items()}
        with safe_open(tmp_path / "out" / WEIGHTS, "pt") as file:
            assert {name: torch.Size(file.get_slice(name).get_shape()) for name in file.keys()} == expected

    def test_config_e(self, parity_dir, tmp_path):
        weights = cheap(parity_dir / "hyperreenact/manifest_generator.json")
        torch.save({"latent_avg": torch.zeros(512), **weights}, tmp_path / "config-e.pt")
        convert("stylegan2", tmp_path / "config-e.pt", "-o", tmp_path / "out", "--dtype", "float16")
        config = json.loads((tmp_path / "out" / "config.json").read_text())
        assert config["size"] == 256 and config["channel_multiplier"] == 1

    def test_other_widths(self, parity_dir, tmp_path):
        """Channels that no published table has come from the shapes."""
        weights = cheap(parity_dir / "stylegan2/manifest_64.json")
        for name, tensor in weights["g_ema"].items():
            if "blur" not in name and "upsample" not in name and not name.startswith(("style", "noises")):
                shape = [96 if length == 512 else length for length in tensor.shape]
                if "modulation" in name and len(shape) == 2:
                    shape[1] = 512
                weights["g_ema"][name] = torch.zeros(()).expand(shape)
        torch.save(weights, tmp_path / "slim.pt")
        convert("stylegan2", tmp_path / "slim.pt", "-o", tmp_path / "out")
        assert json.loads((tmp_path / "out" / "config.json").read_text())["channels"] == [96] * 5


class TestNvidia:
    @pytest.mark.parametrize("protocol", [3, 4])
    def test_golden(self, weights, golden, tmp_path, protocol):
        tensors = nvidia_names(weights["g_ema"], weights["latent_avg"])
        ran = f"open({str(tmp_path / 'ran')!r}, 'w')"
        content = {
            "G": network("Generator", {"mapping.w_avg": torch.zeros(512)}, ran),
            "D": network("Discriminator", {"b4.fc.weight": torch.zeros(2, 2)}, ran),
            "G_ema": network("Generator", tensors, ran),
            "training_set_kwargs": EasyDict(path="ffhq.zip", resolution=64),
            "augment_pipe": None,
        }
        write(tmp_path / "network-snapshot.pkl", content, protocol)
        outcome = convert("stylegan2", tmp_path / "network-snapshot.pkl", "-o", tmp_path / "out", "--verify")
        assert not (tmp_path / "ran").exists()
        assert "network-snapshot.pkl: D (" in outcome.out
        check_golden(tmp_path / "out", golden)
