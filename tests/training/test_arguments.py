"""Options: types, presets and their bases, changes on the command line; and that every preset can be built."""

import pytest
import torch
import yaml

from training.arguments import DataOptions, OptimizerOptions, Options, Preset, option
from training.networks import build_network
from training.preset import PRESET_FOLDER, explain, merge_trees, parse_options, read_preset
from training.stages import stage_class
from vivface import models
from vivface.errors import OptionError

CLASSES = {
    "generator": models.StyleGAN2Generator,
    "discriminator": models.StyleGAN2Discriminator,
    "recognizer": models.IdentityNetwork,
    "encoder": models.HybridEncoder,
    "transformer": models.DeformationTransformer,
    "refinement": models.RefinementNetwork,
    "latent_discriminator": models.LatentDiscriminator,
    "dense_motion": models.DenseMotionNetwork,
    "face_state": models.FaceStateNetwork,
    "inversion": models.HybridEncoder,
    "appearance": models.IdentityNetwork,
    "hypernetwork": models.ReenactmentHypernetwork,
}
STYLEGAN3 = {"stylegan3", "stylegan3_inversion"}  # stages with another generator
NEEDS_GENERATOR = {"tiny-stage1", "tiny-hybrid"}  # encoder and transformer take their shape from it
PRESETS = sorted(path.stem for path in PRESET_FOLDER.glob("*.yaml"))


class Inner(Options):
    """A model inside another."""

    amount: float = option(1.0, "how much")


class Outer(Options):
    """A model with every kind of field."""

    name: str = option("x", "what it is called")
    inner: Inner = option(Inner, "nested")
    many: dict[str, Inner] = option({}, "named")


class TestParse:
    def test_numbers(self):
        options = parse_options(OptimizerOptions, {"lr": 1, "betas": [0, 0.99], "clip": 5}, "optimizers.main")
        assert (options.lr, options.betas, options.clip) == (1.0, [0.0, 0.99], 5.0)

    def test_one_folder_is_a_list(self):
        assert parse_options(DataOptions, {"folders": "people"}, "data").folders == ["people"]

    @pytest.mark.parametrize(
        ("tree", "sentence"),
        [
            ({"nam": "a"}, "options has no option 'nam', expected one of: name, inner, many"),
            ({"inner": {"amoun": 1}}, "options.inner has no option 'amoun', expected one of: amount"),
            ({"many": {"a": {"b": 1}}}, "options.many.a has no option 'b', expected one of: amount"),
            ({"name": 3}, "options.name is 3, expected a valid string"),
            ({"many": {"a": {"amount": "much"}}}, "options.many.a.amount is 'much', expected a valid number"),
            ({"inner": {"amount": True}}, "options.inner.amount is True, expected a valid number"),
            ({"inner": {"amount": float("nan")}}, "options.inner.amount is nan, expected a finite number"),
            ({"inner": 3}, "options.inner is 3, expected a valid dictionary"),
            (7, "options is 7, expected a valid dictionary"),
        ],
    )
    def test_faults_are_one_sentence(self, tree, sentence):
        with pytest.raises(OptionError) as error:
            parse_options(Outer, tree, "options")
        assert str(error.value) == sentence

    @pytest.mark.parametrize("value", [{"batch": 1.5}, {"align": 1}, {"kind": "books"}, {"crop": "centred"}])
    def test_values_are_not_converted(self, value):
        with pytest.raises(OptionError):
            parse_options(DataOptions, value, "data")

    def test_defaults_are_not_shared(self):
        assert DataOptions().folders is not DataOptions().folders
        assert DataOptions().augment is not DataOptions().augment

    def test_explanation_reaches_nested_models(self):
        assert explain(Outer).splitlines() == [
            "name = 'x': what it is called",
            "inner: nested",
            "    amount = 1.0: how much",
            "many: named",
            "    amount = 1.0: how much",
        ]


class TestBase:
    def test_mappings_are_merged_networks_replaced_and_null_removes(self):
        base = {"loop": {"steps": 5, "seed": 1}, "networks": {"a": {"size": 8}, "b": {}}, "description": "base"}
        changes = {"loop": {"seed": 2}, "networks": {"a": {"pretrained": "x"}, "b": None}, "description": "child"}
        assert merge_trees(base, changes) == {
            "loop": {"steps": 5, "seed": 2},
            "networks": {"a": {"pretrained": "x"}},
            "description": "child",
        }

    def test_a_preset_shows_only_its_difference(self, tmp_path):
        (tmp_path / "first.yaml").write_text("base: tiny-generator\nloop: {steps: 9}\n")
        (tmp_path / "second.yaml").write_text("base: first.yaml\ndata: {size: 32}\n")
        preset, tiny = read_preset(str(tmp_path / "second.yaml")), read_preset("tiny-generator")
        assert (preset.stage, preset.loop.steps, preset.data.size) == ("generator", 9, 32)
        assert preset.networks == tiny.networks and preset.loop.threads == tiny.loop.threads

    @pytest.mark.parametrize(
        ("base", "sentence"),
        [("loop.yaml", "its own base"), ("nowhere", "there is no preset 'nowhere'"), ("3", "base is 3")],
    )
    def test_bases_that_cannot_be(self, base, sentence, tmp_path):
        (tmp_path / "loop.yaml").write_text(f"base: {base}\n")
        with pytest.raises(OptionError, match=sentence):
            read_preset(str(tmp_path / "loop.yaml"))

    def test_a_file_that_is_no_preset(self, tmp_path):
        (tmp_path / "list.yaml").write_text("[1, 2]\n")
        (tmp_path / "broken.yaml").write_text("a: [1\n")
        for name, sentence in (("list", "expected a mapping"), ("broken", "not valid YAML")):
            with pytest.raises(OptionError, match=sentence):
                read_preset(str(tmp_path / f"{name}.yaml"))


class TestPresets:
    @pytest.mark.parametrize("name", PRESETS)
    def test_can_be_built(self, name):
        preset = read_preset(name)
        kind = stage_class(preset.stage)
        parse_options(kind.options_class, preset.options, "options")
        assert preset.description and preset.data.folders
        for network, arguments in preset.networks.items():
            if "pretrained" in arguments or name in NEEDS_GENERATOR:
                continue
            arguments = {key: value for key, value in arguments.items() if key != "trunk"}  # of a recognizer elsewhere
            if network == "discriminator":  # the stage gives it the generator's size
                arguments = {"size": preset.networks["generator"]["size"], **arguments}
            kind = CLASSES[network]
            if network == "generator" and preset.stage in STYLEGAN3:
                kind = models.StyleGAN3Generator
            with torch.device("meta"):
                build_network(kind, arguments, network)

    def test_changes_reach_deep(self):
        preset = read_preset("tiny-supervised", ["data.augment.appearance=0.25", "options.regions.eyes=2"])
        assert preset.data.augment.appearance == 0.25
        assert preset.options["regions"] == {"eyes": 2}

    def test_yaml_reads_words_and_numbers_as_people_write_them(self):
        preset = read_preset("tiny-generator", ["loop.precision=no", "optimizers.generator.lr=1e-4", "data.align=true"])
        assert (preset.loop.precision, preset.optimizers["generator"].lr, preset.data.align) == ("no", 1e-4, True)

    def test_written_preset_reads_back(self, tmp_path):
        preset = read_preset("tiny-supervised")
        (tmp_path / "again.yaml").write_text(yaml.safe_dump(preset.model_dump()))
        assert read_preset(str(tmp_path / "again.yaml")) == preset

    def test_unknown_preset_names_the_known(self):
        with pytest.raises(OptionError, match="bundled-128"):
            read_preset("bundled")

    def test_preset_is_of_the_declared_kind(self):
        assert isinstance(read_preset("tiny-generator"), Preset)
