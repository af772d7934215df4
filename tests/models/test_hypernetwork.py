"""The hypernetwork and the pose encoder at small sizes, and what weight offsets do to a generator."""

import pytest
import torch
import torch.nn.functional as F

from tests.models.roundtrip import check_half_storage, check_round_trip
from vivface.models import PoseEncoder, ReenactmentHypernetwork, StyleGAN2Generator
from vivface.models.hypernetwork import layer_channels

CHANNELS = (16, 16, 12, 8)  # of a generator of 32 x 32
CONFIG = {
    "appearance_channels": 10,
    "pose_channels": 14,
    "channels": 10,
    "side": 5,
    "generator_channels": CHANNELS,
    "shared_width": 6,
    "specific_width": 7,
}


def make(**config) -> ReenactmentHypernetwork:
    torch.manual_seed(0)
    network = ReenactmentHypernetwork(**CONFIG | config).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network


@pytest.fixture
def maps():
    random = torch.Generator().manual_seed(1)
    return torch.randn(2, 10, 5, 5, generator=random), torch.randn(2, 14, 5, 5, generator=random)


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(2)
    generator = StyleGAN2Generator(32, 8, 2, channels=list(CHANNELS), motion_codes=4).eval().requires_grad_(False)
    for layer in [generator.conv1, *generator.convs]:
        torch.nn.init.constant_(layer.noise_weight, 0.3)
        torch.nn.init.normal_(layer.bias)
    return generator


@pytest.fixture(scope="module")
def w_plus():
    return torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(3))


def offsets_by(fill, batch=2):
    """Offsets for every convolution: `fill(out, in)` gives one (out, in)."""
    shapes = layer_channels(CHANNELS)
    return [None if shape is None else fill(shape[1], shape[0]).expand(batch, -1, -1) for shape in shapes]


def close(a, b, tolerance=1e-5):
    return a.shape == b.shape and (a - b).abs().max() <= tolerance * b.abs().max()


class TestHypernetwork:
    @torch.no_grad()
    def test_one_offset_a_convolution_in_call_order(self, maps, generator):
        offsets = make()(*maps)
        layers = [generator.get_submodule(name) for name in generator.layer_names]
        for name, layer, offset in zip(generator.layer_names, layers, offsets, strict=True):
            if "rgb" in name:
                assert offset is None
            else:
                assert offset.shape == (2, *layer.weight.shape[:2])

    @torch.no_grad()
    def test_the_definition(self, maps):
        """Both kinds of block, written out for one sample."""
        network = make()
        refined = network.refine(maps[0], network.project(maps[1]))[:1]
        offsets = network(*maps)

        def vector(stem):
            x = F.leaky_relu(F.conv2d(refined, stem.convs[0].weight, stem.convs[0].bias, padding=1), 0.01)
            for conv in stem.convs[1:]:
                x = F.leaky_relu(F.conv2d(x, conv.weight, conv.bias), 0.01)
            return x[0, :, 0, 0]

        block, shared = network.blocks["2"], network.shared  # convs.0, 16 -> 16
        z = block.linear(vector(block.stem))
        hidden = (z @ shared.w2 + shared.b2).reshape(16, 10)
        assert close(offsets[2][0], hidden @ shared.w1 + shared.b1)
        block = network.blocks["5"]  # convs.2, 16 -> 12
        assert close(offsets[5][0], (block.output.weight @ vector(block.stem) + block.output.bias).reshape(12, 16))

    @torch.no_grad()
    @pytest.mark.parametrize("fusion", ["matrix", "elementwise"])
    def test_fusion(self, maps, fusion):
        """With gamma's weights zero and its bias c: c times the map, or c times its column sums in every row."""
        network = make(fusion=fusion)
        for modulation in (network.pose_modulation, network.appearance_modulation):
            modulation.gamma.weight.zero_()
            modulation.beta.weight.zero_()
            modulation.beta.bias.zero_()
        pose = network.project(maps[1])
        c_p, c_a = (m.gamma.bias[:, None, None] for m in (network.pose_modulation, network.appearance_modulation))
        if fusion == "elementwise":
            wanted = c_p * pose + c_a * maps[0]
        else:
            wanted = (c_p * pose.sum(2, keepdim=True) + c_a * maps[0].sum(2, keepdim=True)).expand(-1, -1, 5, -1)
        assert close(network.refine(maps[0], pose), wanted)

    @torch.no_grad()
    def test_one_appearance_serves_many_poses(self, maps):
        network = make()
        one = network(maps[0][:1], maps[1])
        each = [network(maps[0][:1], maps[1][i : i + 1]) for i in range(2)]
        assert all(close(a[1], b[0]) for a, b in zip(one, each[1], strict=True) if a is not None)
        assert all(close(a[0], b[0]) for a, b in zip(one, each[0], strict=True) if a is not None)

    @torch.no_grad()
    def test_a_projected_pose_is_all_that_is_read(self, maps):
        network = make()
        again = network(maps[0], motion=network.project(maps[1]))
        assert all(torch.equal(a, b) for a, b in zip(again, network(*maps), strict=True) if a is not None)

    def test_narrow_appearance_is_brought_to_the_width(self, maps):
        network = make(appearance_channels=6)
        offsets = network(maps[0][:, :6], maps[1])
        assert offsets[0].shape == (2, 16, 16)
        assert make().appearance_projection is None

    def test_shared_matrices_are_one(self, maps, tmp_path):
        """They are saved once and learn from every layer of the first width."""
        network = make()
        names = [name for name in network.state_dict() if name.endswith(("w1", "w2"))]
        assert names == ["shared.w1", "shared.w2"]
        offsets = network(*maps)
        parts = [torch.autograd.grad(offsets[i].sum(), network.shared.w1, retain_graph=True)[0] for i in (0, 2, 3)]
        (whole,) = torch.autograd.grad(sum(offsets[i].sum() for i in (0, 2, 3)), network.shared.w1)
        assert close(whole, sum(parts), 1e-4)

    def test_every_parameter_learns(self, maps):
        network = make()
        sum(offset.square().sum() for offset in network(*maps) if offset is not None).backward()
        assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []

    def test_published_size(self):
        with torch.device("meta"):
            network = ReenactmentHypernetwork()
        assert sum(p.numel() for p in network.parameters()) == 302_628_992
        count = {name: sum(p.numel() for p in block.parameters()) for name, block in network.blocks.items()}
        assert count["0"] == count["9"] == 1_738_112
        assert (count["11"], count["12"], count["14"]) == (70_780_160, 37_160_192, 20_350_208)
        assert (count["15"], count["17"], count["18"]) == (11_945_216, 7_742_720, 5_641_472)

    @pytest.mark.parametrize(("change", "words"), [({"side": 4}, "odd number"), ({"fusion": "sum"}, "'sum'")])
    def test_config_errors(self, change, words):
        with pytest.raises(ValueError, match=words):
            ReenactmentHypernetwork(**CONFIG | change)

    def test_input_errors(self, maps):
        network = make()
        with pytest.raises(ValueError, match="neither of `pose` and `motion`"):
            network(maps[0])
        with pytest.raises(ValueError, match="both of `pose` and `motion`"):
            network(*maps, motion=maps[0])
        with pytest.raises(ValueError, match="`pose` has shape"):
            network(maps[0], maps[0])
        with pytest.raises(ValueError, match="`appearance` has shape"):
            network(maps[1], maps[1])

    def test_saving(self, tmp_path):
        check_round_trip(make(), tmp_path / "plain")
        check_half_storage(make(), tmp_path)


class TestOffsetsOfAGenerator:
    @pytest.fixture(autouse=True)
    def _without_gradients(self):
        with torch.no_grad():
            yield

    def test_zero_is_the_plain_generator_bit_for_bit(self, generator, w_plus):
        zeros = offsets_by(torch.zeros, batch=1)
        for code in w_plus.split(1):
            assert torch.equal(generator(code, offsets=zeros), generator(code))
        assert close(generator(w_plus, offsets=zeros), generator(w_plus), 1e-6)

    def test_what_depends_on_the_output_alone_changes_nothing(self, generator, w_plus):
        """Demodulation divides it out, as long as 1 + offset is positive."""
        offsets = offsets_by(lambda out, _in: torch.linspace(-0.5, 1.5, out)[:, None].expand(out, _in))
        assert close(generator(w_plus, offsets=offsets), generator(w_plus))

    def test_what_depends_on_the_input_alone_scales_the_style(self, generator, w_plus):
        offsets = offsets_by(lambda out, _in: torch.linspace(-0.5, 1.5, _in).expand(out, _in))
        styles = generator.to_stylespace(w_plus)
        scaled = [s if o is None else s * (1 + o[:, 0]) for s, o in zip(styles, offsets, strict=True)]
        made = generator(styles=styles, offsets=offsets)
        assert close(made, generator(styles=scaled))
        assert not close(made, generator(w_plus), 1e-2)

    def test_one_identity_serves_many_offsets(self, generator, w_plus):
        torch.manual_seed(4)
        offsets = [None if o is None else 0.3 * torch.randn_like(o) for o in offsets_by(torch.zeros, batch=3)]
        styles = generator.to_stylespace(w_plus[:1])
        made = generator(styles=styles, offsets=offsets)
        assert made.shape == (3, 3, 32, 32)
        for i in range(3):
            alone = generator(styles=styles, offsets=[None if o is None else o[i : i + 1] for o in offsets])
            assert close(made[i : i + 1], alone)

    def test_training_form_gives_the_same_image(self, generator, w_plus):
        offsets = [None if o is None else 0.3 * torch.randn(o.shape) for o in offsets_by(torch.zeros)]
        inference = generator(w_plus, offsets=offsets)
        with torch.enable_grad():
            leaves = [o if o is None else o.requires_grad_() for o in offsets]
            trained = generator(w_plus, offsets=leaves)
            trained.square().sum().backward()
        assert close(trained.detach(), inference)
        assert all(o.grad.any() for o in leaves if o is not None)

    def test_errors(self, generator, w_plus):
        zeros = offsets_by(torch.zeros)
        with pytest.raises(ValueError, match="`offsets` has 3 entries; expected"):
            generator(w_plus, offsets=zeros[:3])
        with pytest.raises(ValueError, match="for conv1; expected .batch, 16, 16."):
            generator(w_plus, offsets=[zeros[0][:, :4], *zeros[1:]])
        with pytest.raises(ValueError, match="for to_rgb1; expected no offset"):
            generator(w_plus, offsets=[zeros[0], torch.zeros(2, 3, 16), *zeros[2:]])


class TestPoseEncoder:
    @torch.no_grad()
    def test_is_resnet_50_of_torchvision(self):
        models = pytest.importorskip("torchvision.models")
        torch.manual_seed(0)
        reference = models.resnet50(weights=None).eval()
        encoder = PoseEncoder().eval()
        entries = {name: t for name, t in reference.state_dict().items() if not name.startswith("fc.")}
        encoder.load_state_dict(entries)
        image = torch.rand(1, 3, 224, 224)
        x = reference.maxpool(reference.relu(reference.bn1(reference.conv1(image))))
        for layer in (reference.layer1, reference.layer2, reference.layer3, reference.layer4):
            x = layer(x)
        made = encoder(image * 2 - 1)
        assert made.shape == (1, 2048, 7, 7)
        assert close(made, x, 1e-4)

    def test_small(self, tmp_path):
        encoder = check_round_trip(PoseEncoder(64, 4, (1, 1, 2, 1)).eval(), tmp_path)
        assert encoder(torch.rand(2, 3, 64, 64)).shape == (2, encoder.channels, encoder.side, encoder.side)
        assert (encoder.channels, encoder.side) == (128, 2)

    def test_errors(self):
        with pytest.raises(ValueError, match="multiple of 32"):
            PoseEncoder(100)
        with pytest.raises(ValueError, match="four stages"):
            PoseEncoder(64, 4, (1, 1))
        with pytest.raises(ValueError, match="64, 64"):
            PoseEncoder(64, 4, (1, 1, 1, 1))(torch.zeros(1, 3, 32, 32))


class TestRelativeToStyles:
    """Absolute changes of modulated weights, divided by the source's styles."""

    def network(self, relative_to: str) -> ReenactmentHypernetwork:
        torch.manual_seed(0)
        return ReenactmentHypernetwork(8, 8, 8, 3, (8, 8, 8), 4, 4, relative_to=relative_to).eval()

    def test_undoes_the_modulation(self):
        """W s (1 + offset) = W (s + d), but where s is small."""
        appearance, pose = torch.randn(2, 8, 3, 3), torch.randn(2, 8, 3, 3)
        plain, divided = self.network("weights"), self.network("styles")
        styles = [torch.full((1, 8), 2.0) for _ in range(plain.layer_count)]
        with torch.no_grad():
            changes, offsets = plain(appearance, pose), divided(appearance, pose, styles=styles)
        for change, offset in zip(changes, offsets, strict=True):
            assert (change is None) == (offset is None)
            if change is not None:
                torch.testing.assert_close(2.0 * offset, change, rtol=5e-3, atol=1e-6)

    def test_small_styles_stay_small(self):
        styles = [torch.zeros(1, 8) for _ in range(8)]
        with torch.no_grad():
            offsets = self.network("styles")(torch.randn(1, 8, 3, 3), torch.randn(1, 8, 3, 3), styles=styles)
        assert all(float(offset.abs().max()) == 0 for offset in offsets if offset is not None)

    def test_needs_styles(self):
        with pytest.raises(ValueError, match="`styles` are missing"):
            self.network("styles")(torch.randn(1, 8, 3, 3), torch.randn(1, 8, 3, 3))

    def test_other_bases_are_refused(self):
        with pytest.raises(ValueError, match="`relative_to` is 'codes'"):
            self.network("codes")
