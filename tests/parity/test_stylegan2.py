"""The generator against the reference's arrays."""

import pytest
import torch

from tests.parity.compare import CODE, assert_close, assert_matches, fill
from vivface import models
from vivface.convert import stylegan2


@pytest.fixture(scope="module", params=[64, 256])
def case(request, checkpoint, golden):
    size = request.param
    weights = checkpoint(f"stylegan2/manifest_{size}.json")
    with torch.device("meta"):
        generator = models.StyleGAN2Generator(size=size)
    average = {"latent_avg": weights["latent_avg"]}
    fill(generator, stylegan2.generator_keys(generator.num_latents), weights["g_ema"], average)
    with torch.no_grad():
        yield generator.eval(), golden(f"stylegan2/golden_{size}.npz")


def test_mapping(case):
    generator, golden = case
    assert_close(generator.mapping(golden["z"]), golden["w"], CODE)


def test_stylespace(case):
    generator, golden = case
    styles = generator.to_stylespace(golden["wplus"])
    for name, style in zip(generator.layer_names, styles, strict=True):
        assert_close(style, golden[f"style/{name}"], CODE)


def test_image(case):
    generator, golden = case
    assert_matches(generator(golden["wplus"]), golden, "image")


def test_image_with_shared_weights(case):
    """The form of the modulated convolution that training uses."""
    generator, golden = case
    with torch.enable_grad():
        image = generator(golden["wplus"]).detach()
    assert_matches(image, golden, "image")


def test_truncated_image(case):
    generator, golden = case
    w = generator.truncate(generator.mapping(golden["z"]), 0.7)
    image = generator(w[:, None].expand(-1, generator.num_latents, -1))
    assert_matches(image, golden, "image_trunc07")


def test_mixed_styles(case):
    generator, golden = case
    if generator.config.size != 64:
        pytest.skip("stored at size 64 only")
    w = generator.mapping(golden["z"])
    mixed = torch.cat([w[:1].expand(4, -1), w[1:].expand(generator.num_latents - 4, -1)])
    assert_matches(generator(mixed[None]), golden, "image_mix4")


def test_no_noise(case):
    generator, golden = case
    if generator.config.size != 64:
        pytest.skip("stored at size 64 only")
    assert_matches(generator(golden["wplus"][:1], noise="none"), golden, "image_zero_noise")


def test_layout_1024(meta_checkpoint):
    weights = meta_checkpoint("stylegan2/layout_1024.json")
    with torch.device("meta"):
        generator = models.StyleGAN2Generator()
    stylegan2.generator_keys(generator.num_latents).translate(weights["g_ema"], generator)
    assert generator.latent_avg.shape == weights["latent_avg"].shape
    assert sum(p.numel() for p in generator.parameters()) == 30_370_060
