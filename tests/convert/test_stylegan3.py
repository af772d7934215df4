"""`vivface convert stylegan3`: NVIDIA's files become the generator of the reference arrays."""

import json

import pytest
import torch
from safetensors import safe_open

from tests.convert.command import convert, refused
from tests.convert.layouts import nvidia_names
from tests.convert.nvidia_pickle import EasyDict, network, write
from tests.parity.compare import IMAGE, assert_close
from vivface.convert.stylegan3 import generator_config, generator_keys
from vivface.models import StyleGAN3Generator
from vivface.models.stylegan3 import layer_signals, published_channels

WEIGHTS = "diffusion_pytorch_model.safetensors"
# The released files: FFHQ, FFHQ-U, MetFaces and MetFaces-U at 1024, AFHQ at 512, FFHQ-U at 256; T and R of each
RELEASED = [(size, configuration) for size in (1024, 512, 256) for configuration in "TR"]
BASES = {1024: 32768, 512: 32768, 256: 16384}  # `channel_base` of T; R has twice as much


@pytest.fixture(params=["T", "R"])
def letter(request):
    return request.param.lower()


@pytest.fixture
def tensors(letter, checkpoint):
    return dict(checkpoint(f"stylegan3/manifest_{letter}.json"))


def official_tensors(size, configuration):
    """Cheap tensors with the names and shapes of a released file."""
    with torch.device("meta"):
        generator = StyleGAN3Generator(size, configuration)
    keys, state = generator_keys(generator), generator.state_dict()
    return keys.constants | {name: torch.zeros(()).expand(state[ours].shape) for name, ours in keys.names.items()}


def save(path, tensors, **others):
    return write(path, {"G_ema": network("Generator", tensors), **others})


class TestGolden:
    @pytest.mark.parametrize("protocol", [3, 4])
    def test_image(self, letter, tensors, golden, tmp_path, protocol):
        ran = f"open({str(tmp_path / 'ran')!r}, 'w')"
        content = {
            "G": network("Generator", {"mapping.w_avg": torch.zeros(64)}, ran),
            "D": network("Discriminator", {"b4.fc.weight": torch.zeros(2, 2)}, ran),
            "G_ema": network("Generator", tensors, ran),
            "training_set_kwargs": EasyDict(path="ffhq.zip", resolution=64),
            "augment_pipe": None,
        }
        write(tmp_path / "snapshot.pkl", content, protocol)
        outcome = convert("stylegan3", tmp_path / "snapshot.pkl", "-o", tmp_path / "out", "--verify")
        assert not (tmp_path / "ran").exists()
        assert "snapshot.pkl: D (" in outcome.out and "verified" in outcome.out

        stored = golden(f"stylegan3/golden_{letter}.npz")
        generator = StyleGAN3Generator.from_pretrained(tmp_path / "out")
        with torch.no_grad():
            w = generator.truncate(generator.mapping(stored["z"]), 1.0)
            assert_close(generator(w[:, None].expand(-1, 16, -1)), stored["image"], IMAGE)
            assert_close(generator.truncate(w, 0.7), stored["ws_psi07"][:, 0], IMAGE)

    def test_half_precision_storage(self, tensors, tmp_path):
        save(tmp_path / "a.pkl", tensors)
        convert("stylegan3", tmp_path / "a.pkl", "-o", tmp_path / "out", "--dtype", "float16", "--verify")
        with safe_open(tmp_path / "out" / WEIGHTS, "pt") as file:
            assert torch.equal(file.get_tensor("input.phases"), tensors["synthesis.input.phases"].half())


class TestReleasedConfigurations:
    @pytest.mark.parametrize(("size", "configuration"), RELEASED)
    def test_config_is_found(self, size, configuration):
        entries = official_tensors(size, configuration)
        config = generator_config(entries)
        assert config == {"size": size, "configuration": configuration, "style_dim": 512, "mapping_layers": 2}
        with torch.device("meta"):
            generator = StyleGAN3Generator(**config)
        assert generator_keys(generator).translate(entries, generator).keys() == generator.state_dict().keys()

    @pytest.mark.parametrize(("size", "configuration"), RELEASED)
    def test_channels(self, size, configuration):
        """The rule of the released training script, written down again."""
        factor = 2 if configuration == "R" else 1
        expected = []
        for i in range(14):
            cutoff = 2 * (size / 4) ** min(i / 12, 1)
            expected.append(round(min(BASES[size] * factor / 2 / cutoff, 512 * factor)))
        assert published_channels(size, configuration) == expected

    def test_whole_file_at_256(self, tmp_path):
        with torch.device("meta"):
            shapes = {name: t.shape for name, t in StyleGAN3Generator(256, "R").state_dict().items()}
        entries = {name: tensor.clone() for name, tensor in official_tensors(256, "R").items()}
        save(tmp_path / "stylegan3-r-ffhqu-256x256.pkl", entries)
        options = ["-o", tmp_path / "out", "--dtype", "float16"]
        convert("stylegan3", tmp_path / "stylegan3-r-ffhqu-256x256.pkl", *options)
        config = json.loads((tmp_path / "out" / "config.json").read_text())
        assert config["size"] == 256 and config["configuration"] == "R" and config["channels"] is None
        with safe_open(tmp_path / "out" / WEIGHTS, "pt") as file:
            assert {name: torch.Size(file.get_slice(name).get_shape()) for name in file.keys()} == shapes

    def test_layer_names_of_the_official_layout(self, parity_dir):
        for letter in "tr":
            layout = cheap_names(parity_dir / f"stylegan3/layout_{letter}_official_1024.json")
            assert {name: tuple(t.shape) for name, t in official_tensors(1024, letter.upper()).items()} == layout

    def test_signals_of_1024(self):
        signals = layer_signals(1024, published_channels(1024, "R"))
        assert [s.size for s in signals] == [36, 36, 52, 52, 84, 148, 148, 276, 276, 532, 1044, 1044, 1044, 1024, 1024]


def cheap_names(manifest):
    return {key: tuple(shape) for key, shape, _, _ in json.loads(manifest.read_text())}


class TestRefused:
    def refused(self, tmp_path, tensors):
        return refused("stylegan3", save(tmp_path / "a.pkl", tensors), output=tmp_path / "out")

    def test_missing_entry(self, tmp_path, tensors):
        del tensors["synthesis.input.phases"]
        assert "synthesis.input.phases" in self.refused(tmp_path, tensors)

    def test_missing_layer(self, tmp_path, tensors):
        kept = {name: t for name, t in tensors.items() if not name.startswith("synthesis.L7_")}
        assert "14 of the 15 layers" in self.refused(tmp_path, kept)

    def test_unknown_entry(self, tmp_path, tensors):
        assert "synthesis.extra" in self.refused(tmp_path, tensors | {"synthesis.extra": torch.zeros(2)})

    def test_shape(self, tmp_path, tensors):
        tensors["synthesis.input.freqs"] = tensors["synthesis.input.freqs"][:-1]
        assert "synthesis.input.freqs" in self.refused(tmp_path, tensors)

    def test_other_filters(self, tmp_path, tensors):
        name = next(name for name in tensors if name.endswith("down_filter"))
        tensors[name] = tensors[name] * 1.01
        assert name in self.refused(tmp_path, tensors)

    def test_other_transform(self, tmp_path, tensors):
        tensors["synthesis.input.transform"] = torch.eye(3).flip(0)
        assert "synthesis.input.transform" in self.refused(tmp_path, tensors)

    def test_other_kernel_size(self, tmp_path, tensors):
        name = next(n for n in tensors if n.startswith("synthesis.L0_") and tensors[n].ndim == 4)
        tensors[name] = torch.zeros(*tensors[name].shape[:2], 5, 5)
        assert "size 5" in self.refused(tmp_path, tensors)

    def test_odd_size(self, tmp_path, tensors):
        renamed = {name.replace("L14_64_", "L14_63_"): tensor for name, tensor in tensors.items()}
        assert "63" in self.refused(tmp_path, renamed)

    def test_not_finite(self, tmp_path, tensors):
        tensors["mapping.w_avg"] = torch.full_like(tensors["mapping.w_avg"], torch.nan)
        assert "finite" in self.refused(tmp_path, tensors)

    def test_classes(self, tmp_path, tensors):
        tensors["mapping.embed.weight"] = torch.zeros(2, 2)
        assert "class labels" in self.refused(tmp_path, tensors)

    def test_the_other_generation(self, tmp_path, tensors, checkpoint):
        assert "convert stylegan3" in refused("stylegan2", save(tmp_path / "a.pkl", tensors), output=tmp_path / "out")
        older = checkpoint("stylegan2/manifest_64.json")
        older = nvidia_names(older["g_ema"], older["latent_avg"])
        assert "convert stylegan2" in self.refused(tmp_path, older)

    def test_a_file_of_torch(self, tmp_path, tensors):
        torch.save(tensors, tmp_path / "a.pt")
        assert "G_ema" in refused("stylegan3", tmp_path / "a.pt", output=tmp_path / "out")
