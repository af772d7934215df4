"""The hypernetwork, the generator with changed weights, and the appearance crop against the reference's arrays."""

import gc

import pytest
import torch

from tests.parity.compare import EMBEDDING, IMAGE, assert_close, assert_matches, fill
from vivface import models
from vivface.convert import hyperreenact, ir_se50
from vivface.convert.e4e import encoder_keys
from vivface.convert.stylegan2 import generator_keys
from vivface.faces.voxceleb import arcface_transform
from vivface.models.hypernetwork import layer_channels
from vivface.pipelines.hyperreenact import appearance_crop

POSITIONS = (0, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18)


@pytest.fixture(scope="module")
def stored(golden):
    return golden("hyperreenact/golden.npz")


@pytest.fixture(scope="module")
def hypernetwork(checkpoint):
    """1.2 GB of weights."""
    with torch.device("meta"):
        network = models.ReenactmentHypernetwork()
    entries = checkpoint("hyperreenact/manifest_hypernet.json")["state_dict"]
    own = {name.removeprefix("hypernet."): t for name, t in entries.items() if ".hypernet.w" not in name}
    own = {name: t for name, t in own.items() if ".hypernet.b" not in name}
    fill(network, hyperreenact.hypernetwork_keys(network), own)
    del entries, own
    with torch.no_grad():
        yield network.eval()
    del network
    gc.collect()


@pytest.fixture(scope="module")
def generator(checkpoint, stored):
    with torch.device("meta"):
        generator = models.StyleGAN2Generator(size=256, channel_multiplier=1)
    entries = checkpoint("hyperreenact/manifest_generator.json")["g_ema"]
    fill_keys = generator_keys(generator.num_latents)
    entries = {name: t for name, t in entries.items() if name != "latent_avg"}
    fill(generator, fill_keys, entries, {"latent_avg": stored["trunc"][0]})
    return generator.eval()


@pytest.fixture(scope="module")
def offsets(hypernetwork, stored):
    with torch.no_grad():
        return hypernetwork(stored["f_app"], stored["f_pose"])


@pytest.mark.slow
class TestHypernetwork:
    def test_parameter_count(self, hypernetwork):
        assert sum(p.numel() for p in hypernetwork.parameters()) == 302_628_992

    def test_refinement(self, hypernetwork, stored):
        motion = hypernetwork.project(stored["f_pose"])
        assert_close(motion, stored["pose512"], IMAGE)
        assert_close(hypernetwork.refine(stored["f_app"], motion), stored["f_r"], IMAGE)

    def test_offsets(self, offsets, stored):
        assert tuple(i for i, offset in enumerate(offsets) if offset is not None) == POSITIONS
        for position in POSITIONS:
            offset = offsets[position]
            assert_close(offset[0, :48, :48], stored[f"offset_{position}_first48"], IMAGE)
            assert_close(torch.stack([offset.mean(), offset.std()]), stored[f"offset_{position}_mean_std"], IMAGE)

    def test_a_projected_pose_serves_as_well(self, hypernetwork, offsets, stored):
        again = hypernetwork(stored["f_app"], motion=hypernetwork.project(stored["f_pose"]))
        assert all(torch.equal(again[position], offsets[position]) for position in POSITIONS)


@pytest.mark.slow
@torch.no_grad()
def test_images(generator, offsets, stored):
    codes = stored["codes"]
    truncated = generator.truncate(codes, 0.7)
    assert_matches(generator(truncated, offsets=offsets), stored, "image")
    assert_matches(generator(codes, offsets=offsets), stored, "image_no_truncation")


@torch.no_grad()
def test_image_without_offsets(generator, stored):
    assert_matches(generator(generator.truncate(stored["codes"], 0.7)), stored, "image_no_offsets")
    assert sum(p.numel() for p in generator.parameters()) == 24_767_458


@torch.no_grad()
def test_zero_offsets_are_the_plain_generator_bit_for_bit(generator, stored):
    shapes = layer_channels((512, 512, 512, 512, 256, 128, 64))
    zeros = [None if shape is None else torch.zeros(1, shape[1], shape[0]) for shape in shapes]
    assert torch.equal(generator(stored["codes"], offsets=zeros), generator(stored["codes"]))


@torch.no_grad()
def test_appearance(checkpoint, golden, images):
    stored = golden("hyperreenact/appearance.npz")
    with torch.device("meta"):
        network = models.IdentityNetwork()
    fill(network, ir_se50.identity_keys(), checkpoint("arcface/manifest.json"))
    network.eval()
    landmarks = stored["landmarks"].numpy()
    affine = torch.stack([torch.from_numpy(arcface_transform(points, 256)) for points in landmarks])
    assert_close(affine, stored["affine"], absolute=1e-6)
    warped = torch.cat([appearance_crop(images[i : i + 1], landmarks[i]) for i in range(2)])
    assert_matches(torch.nn.functional.avg_pool2d(warped, 2), {"warped": stored["warped112_area56"]}, "warped")
    assert_matches(warped, {"warped_crop32": stored["warped112_crop32"]}, "warped")
    features = network.features(warped)
    assert_close(features[-1], stored["f_app"], IMAGE)
    assert_close(network.read(features), stored["embedding"], absolute=EMBEDDING)


def test_names_of_the_released_encoder(meta_checkpoint):
    entries = meta_checkpoint("hyperreenact/layout_e4e.json")["e"]
    with torch.device("meta"):
        encoder = models.HybridEncoder(num_latents=14, motion_codes=0)
    assert encoder_keys(14, 0).translate(entries, encoder).keys() == encoder.state_dict().keys() - {"latent_avg"}
