"""What stages are built of: averaged weights, freezing, pools of codes, directions, perceptual distance, reenacting."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from tests.tiny import make_tiny_pipeline
from training.arguments import LoopOptions
from training.code_pool import CodePool
from training.networks import build_network, freeze_batch_norm, frozen, net2net_expand, reenact, take
from training.optim import Average
from training.perceptual import FeatureDistance, build_perceptual
from training.stages.base import tile
from training.stages.learner import Progress
from vivface.errors import OptionError
from vivface.models import HybridEncoder, IdentityNetwork, StyleGAN2Generator
from vivface.models.refinement import generate_refined
from vivface.models.stylegan2 import SynthesisState


class TestBase:
    def test_average_follows_with_its_half_life(self):
        network = nn.BatchNorm1d(1)
        average = Average(network, half_life=20.0, rampup=0.0)
        with torch.no_grad():
            network.weight.fill_(3.0)
            network.running_mean.fill_(5.0)
        for _ in range(2):
            average.update(network, batch=10, images=0)  # 20 images: one half-life
        assert average.network.weight.item() == pytest.approx(2.0)
        assert average.network.running_mean.item() == 5.0  # statistics are copied
        assert not average.network.training and not average.network.weight.requires_grad

    def test_average_is_short_at_first(self):
        network = nn.Linear(1, 1)
        average = Average(network, half_life=1e9, rampup=0.05)
        nn.init.ones_(network.weight)
        average.update(network, batch=10, images=10)
        assert average.network.weight.item() == pytest.approx(1.0, abs=1e-5)

    def test_progress_by_steps_or_clock(self):
        loop = LoopOptions(steps=100, minutes=2.0)
        assert Progress(step=50).fraction(loop) == 0.5
        assert Progress(step=50, seconds=90.0).fraction(loop) == 0.75
        assert Progress(seconds=999.0).fraction(loop) == 1.0

    def test_frozen_lets_gradients_through_and_restores(self):
        network = nn.Linear(2, 2)
        network.bias.requires_grad_(False)
        x = torch.ones(1, 2, requires_grad=True)
        with frozen(network):
            network(x).sum().backward()
        assert x.grad is not None and network.weight.grad is None
        assert network.weight.requires_grad and not network.bias.requires_grad

    def test_network_from_a_folder(self, tmp_path):
        saved = IdentityNetwork((4, 4, 4, 4, 4), (1, 1, 1, 1), embedding_dim=4, image_size=32)
        for subfolder in ("recognizer", "identity"):  # the second as earlier runs called it
            saved.save_pretrained(tmp_path / subfolder)
            arguments = {"pretrained": str(tmp_path), "subfolder": subfolder}
            loaded = build_network(IdentityNetwork, arguments, "recognizer")
            assert torch.equal(loaded.state_dict()["trunk.stem.0.weight"], saved.state_dict()["trunk.stem.0.weight"])
        with pytest.raises(OptionError, match="the folder decides"):
            build_network(IdentityNetwork, {"pretrained": str(tmp_path), "widths": [1]}, "recognizer")
        with pytest.raises(OptionError, match="no folder"):
            build_network(IdentityNetwork, {"pretrained": str(tmp_path / "nowhere")}, "recognizer")

    def test_tile(self):
        grid = tile([[torch.ones(3, 4, 4), -torch.ones(3, 4, 4)], [np.full((4, 4, 3), 7, np.uint8)]])
        assert grid.shape == (8, 8, 3)
        assert [grid[y, x, 0] for y in (0, 4) for x in (0, 4)] == [255, 0, 7, 0]


class TestCodePool:
    def test_half_of_a_full_pools_answers_are_old(self):
        random.seed(0)
        pool = CodePool(4)
        first = torch.zeros(4, 2)
        assert torch.equal(pool.exchange(first), first)  # while it fills
        later = pool.exchange(torch.ones(4, 2))
        assert later.shape == (4, 2) and 0 < later.mean() < 1
        assert len(pool.codes) == 4

    def test_one_vector_of_each_code(self):
        (code,) = CodePool(0).exchange(torch.arange(6.0).view(1, 3, 2)).tolist()
        assert code in [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]

    def test_no_memory(self):
        codes = torch.randn(5, 2)
        pool = CodePool(0)
        assert torch.equal(pool.exchange(codes), codes) and pool.codes == []


class TestTrunk:
    """The encoder starts from the identity network's trunk, as the published one does."""

    shape = {"widths": (4, 4, 4, 8, 8), "units": (1, 1, 1, 1)}
    encoder = {"image_size": 32, "num_latents": 4, "motion_codes": 2, "style_dim": 8, **shape}

    def test_weights_and_statistics_are_those_of_the_recognizer(self, tmp_path):
        recognizer = IdentityNetwork(**self.shape, embedding_dim=4, image_size=32)
        recognizer.trunk.stem[1].running_mean.fill_(3.0)
        recognizer.save_pretrained(tmp_path / "recognizer")
        trunk = {"pretrained": str(tmp_path), "subfolder": "recognizer"}
        network = build_network(HybridEncoder, {**self.encoder, "trunk": trunk}, "encoder")
        expected, found = recognizer.trunk.state_dict(), network.trunk.state_dict()
        assert all(torch.equal(found[name], value) for name, value in expected.items())

    def test_what_does_not_fit_is_refused(self, tmp_path):
        IdentityNetwork((4, 4, 4, 4, 4), (1, 1, 1, 1), embedding_dim=4, image_size=32).save_pretrained(tmp_path)
        with pytest.raises(OptionError, match=r"widths \[4, 4, 4, 4, 4\].* expected \[4, 4, 4, 8, 8\]"):
            build_network(HybridEncoder, {**self.encoder, "trunk": {"pretrained": str(tmp_path)}}, "encoder")
        generator = {"size": 8, "style_dim": 4, "mapping_layers": 1, "channels": [4, 4], "motion_codes": 2}
        with pytest.raises(OptionError, match="has no trunk"):
            build_network(StyleGAN2Generator, {**generator, "trunk": {"pretrained": str(tmp_path)}}, "generator")


class TestPerceptual:
    network = IdentityNetwork((4, 4, 4, 4, 4), (1, 1, 1, 1), embedding_dim=4, image_size=32).eval()

    def test_zero_between_equals_and_gradients_to_the_image(self):
        distance = FeatureDistance(self.network.requires_grad_(False))
        image, target = torch.rand(2, 3, 64, 64, requires_grad=True), torch.rand(2, 3, 64, 64)
        assert distance(target, target).item() == pytest.approx(0.0, abs=1e-10)
        made = distance(image, target)
        made.backward()
        assert made > 0 and image.grad.abs().sum() > 0

    def test_names(self):
        assert isinstance(build_perceptual("recognizer-features", self.network), FeatureDistance)


class TestExpand:
    @pytest.fixture
    def small(self):
        torch.manual_seed(0)
        encoder = HybridEncoder(32, (4, 6, 8, 12, 16), (1, 1, 2, 1), num_latents=8, motion_codes=3, style_dim=16)
        for module in encoder.modules():  # as after training: statistics and gains of their own
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean, -0.2, 0.2)
                nn.init.uniform_(module.running_var, 0.5, 2.0)
                nn.init.uniform_(module.weight, 0.5, 1.5)
        return encoder.eval()

    def test_an_expanded_encoder_computes_the_same(self, small):
        expanded = net2net_expand(small, widths=[8, 12, 16, 20, 16], units=[1, 2, 3, 2])
        assert expanded.config.widths == [8, 12, 16, 20, 16] and not expanded.training
        image = torch.rand(2, 3, 32, 32) * 2 - 1
        with torch.no_grad():
            old, new = small(image), expanded(image)
        for name in ("identity", "motion", "memory"):
            assert torch.allclose(old[name], new[name], atol=1e-5)

    def test_what_is_new_learns(self, small):
        expanded = net2net_expand(small, widths=[8, 12, 16, 20, 16], units=[1, 2, 3, 2])
        optimizer = torch.optim.Adam(expanded.parameters(), lr=1e-2)
        image, before = torch.rand(2, 3, 32, 32), expanded.trunk.stem[0].weight[4:].clone()
        for _ in range(3):  # a new channel contributes from the second step on, and learns from the third on
            optimizer.zero_grad()
            expanded(image).motion.square().sum().backward()
            optimizer.step()
        assert not torch.equal(expanded.trunk.stem[0].weight[4:], before)
        assert expanded.trunk.stages[2][2].conv1.weight.grad.abs().max() > 0

    def test_a_preset_expands_what_it_loads(self, small, tmp_path):
        small.save_pretrained(tmp_path)
        arguments = {"pretrained": str(tmp_path), "expand": {"units": [1, 1, 2, 2]}}
        expanded = build_network(HybridEncoder, arguments, "encoder")
        assert len(expanded.trunk.stages[3]) == 2
        assert torch.equal(expanded.trunk.stem[0].weight, small.trunk.stem[0].weight)

    @pytest.mark.parametrize(
        "sizes, words",
        [
            ({"width": [8, 8, 8, 16, 16]}, "expand has 'width', expected one of"),
            ({"widths": [2, 6, 8, 12, 16]}, "trunk.stem.0.weight of the old network does not fit"),
            ({"units": [1, 1, 1, 1]}, "trunk.stages.2.1.norm1.weight of the old network does not fit"),
            ({"widths": [4, 6, 8, 16, 16]}, "of the old network does not fit"),  # a shortcut would be lost
            ({"widths": [4, 6, 8, 12, 8]}, "style_dim"),
        ],
    )
    def test_what_cannot_expand(self, small, sizes, words):
        with pytest.raises(OptionError, match=words):
            net2net_expand(small, **sizes)


class TestReenact:
    """One way from codes to images, against the networks called by hand."""

    @pytest.fixture(scope="class")
    @classmethod
    def networks(cls) -> dict:
        pipeline = make_tiny_pipeline(size=128)
        return {name: getattr(pipeline, name).eval() for name in ("generator", "encoder", "transformer", "refinement")}

    @pytest.fixture(scope="class")
    @classmethod
    def codes(cls, networks):
        torch.manual_seed(0)
        with torch.no_grad():
            sources = networks["encoder"](torch.rand(2, 3, 64, 64) * 2 - 1)
            motion = networks["encoder"](torch.rand(6, 3, 64, 64) * 2 - 1, identity=False, memory=False).motion
        return sources.identity, sources.memory, motion

    @torch.no_grad()
    def test_every_source_with_its_motions(self, networks, codes):
        identity, memory, motion = codes
        reference = torch.rand(2, 3, 64, 64) * 2 - 1
        output = reenact(networks, identity, memory, motion, reference=reference)
        for pair in (0, 2, 5):
            source = pair // 3
            deformation = networks["transformer"](motion[pair : pair + 1], memory[source : source + 1])
            generator = networks["generator"]
            image = generator(identity[source : source + 1], deformation)
            assert torch.allclose(output.image[pair], image[0], atol=1e-4)
            styles = generator.add_motion(generator.to_stylespace(identity[source : source + 1]), deformation)
            expected = generate_refined(generator, networks["refinement"], styles, reference[source : source + 1])
            assert torch.allclose(output.refined[pair], expected[1][0], atol=1e-4)
        assert (output.image - output.refined).abs().max() > 1e-3

    @torch.no_grad()
    def test_small_images_and_some_pairs_at_full_size(self, networks, codes):
        whole = reenact(networks, *codes, small_layer="to_rgbs.3")
        some = reenact(networks, *codes, small_layer="to_rgbs.3", rendered=torch.tensor([4, 1]))
        none = reenact(networks, *codes, small_layer="to_rgbs.3", rendered=None)
        assert whole.small.shape == (6, 3, 64, 64) and whole.image.shape == (6, 3, 128, 128)
        assert torch.allclose(some.image, whole.image[[4, 1]], atol=1e-4)
        assert torch.allclose(none.small, whole.small, atol=1e-5) and none.image is None

    @torch.no_grad()
    def test_without_motion_it_is_the_generator(self, networks, codes):
        identity, memory, _ = codes
        image = reenact(networks, identity, memory, None).image
        assert torch.allclose(image, networks["generator"](identity), atol=1e-5)

    def test_rows_of_a_state(self):
        state = SynthesisState("convs.6", torch.arange(4.0).view(4, 1, 1, 1), -torch.arange(4.0).view(4, 1, 1, 1))
        rows = take(state, torch.tensor([3, 1]))
        assert rows.layer == "convs.6" and len(state.feature) == 4
        assert rows.feature.flatten().tolist() == [3.0, 1.0] and rows.rgb.flatten().tolist() == [-3.0, -1.0]

    def test_frozen_statistics_stay_as_they_are(self):
        network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
        freeze_batch_norm(network)
        network(torch.randn(4, 3, 4, 4))
        assert network.training and (network[1].running_mean == 0).all()
