"""Options: types, presets, changes on the command line; and that every preset in the repository can be built."""

import pytest
import torch

from training.arguments import PRESET_FOLDER, DataOptions, OptimizerOptions, Preset, as_tree, fill, read_preset
from training.stages import stage_class
from training.stages.base import build_network
from vivface import models
from vivface.errors import OptionError

CLASSES = {
    "generator": models.StyleGAN2Generator,
    "discriminator": models.StyleGAN2Discriminator,
    "identity": models.IdentityNetwork,
    "encoder": models.HybridEncoder,
    "transformer": models.DeformationTransformer,
    "refinement": models.RefinementNetwork,
    "latent_discriminator": models.LatentDiscriminator,
}
NEEDS_GENERATOR = {"tiny-stage1"}  # its encoder and transformer take their shape from the generator
PRESETS = sorted(path.stem for path in PRESET_FOLDER.glob("*.yaml"))


class TestFill:
    def test_numbers(self):
        options = fill(OptimizerOptions, {"lr": "1e-4", "betas": [0, 0.99], "clip": 5})
        assert (options.lr, options.betas, options.clip) == (1e-4, [0.0, 0.99], 5.0)

    def test_one_folder_is_a_list(self):
        assert fill(DataOptions, {"folders": "people"}).folders == ["people"]

    @pytest.mark.parametrize("value", [{"batch": 1.5}, {"align": 1}, {"lr": 1}, {"augment": 3}, {"folders": [1]}, 7])
    def test_wrong_values(self, value):
        with pytest.raises(OptionError):
            fill(DataOptions, value)

    def test_defaults_are_not_shared(self):
        assert DataOptions().folders is not DataOptions().folders
        assert DataOptions().augment is not DataOptions().augment


class TestPresets:
    @pytest.mark.parametrize("name", PRESETS)
    def test_can_be_built(self, name):
        preset = read_preset(name)
        kind = stage_class(preset.stage)
        fill(kind.options_class, preset.options)
        assert preset.description and preset.data.folders
        for network, arguments in preset.networks.items():
            if "pretrained" in arguments or name in NEEDS_GENERATOR:
                continue
            if network == "discriminator":  # the stage gives it the generator's size
                arguments = {"size": preset.networks["generator"]["size"], **arguments}
            with torch.device("meta"):
                build_network(CLASSES[network], arguments, network)

    def test_changes_reach_deep(self):
        preset = read_preset("tiny-supervised", ["data.augment.appearance=0.25", "options.regions.eyes=2"])
        assert preset.data.augment.appearance == 0.25
        assert preset.options["regions"] == {"eyes": 2}

    def test_no_is_a_precision(self):
        preset = read_preset("tiny-generator", ["loop.precision=no", "loop.compile=false"])
        assert preset.loop.precision == "no"
        assert preset.loop.compile is False

    def test_written_preset_reads_back(self, tmp_path):
        import yaml

        preset = read_preset("tiny-supervised")
        (tmp_path / "again.yaml").write_text(yaml.safe_dump(as_tree(preset)))
        assert read_preset(str(tmp_path / "again.yaml")) == preset

    def test_unknown_preset_names_the_known(self):
        with pytest.raises(OptionError, match="bundled-128"):
            read_preset("bundled")

    def test_preset_is_of_the_declared_kind(self):
        assert isinstance(read_preset("tiny-generator"), Preset)
