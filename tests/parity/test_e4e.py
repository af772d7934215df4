"""The identity part of the encoder, and the generator behind it, against e4e."""

import pytest
import torch

from tests.parity.compare import CODE, assert_close, assert_matches, fill
from vivface import models
from vivface.convert import e4e, stylegan2
from vivface.convert.stylegan2 import single_latent


@pytest.fixture(scope="module")
def case(checkpoint):
    weights = checkpoint("e4e/manifest.json")
    parts = e4e.split(weights["state_dict"])
    average = single_latent(weights["latent_avg"])

    with torch.device("meta"):
        generator = models.StyleGAN2Generator(size=256)
    fill(generator, stylegan2.generator_keys(14), parts["decoder"], {"latent_avg": average})

    encoder = models.HybridEncoder(num_latents=14)
    entries = e4e.encoder_keys(14).translate(parts["encoder"], encoder)
    left = encoder.load_state_dict(entries | {"latent_avg": average}, strict=False)
    assert not left.unexpected_keys and all(name.startswith("motion_heads.") for name in left.missing_keys)
    with torch.no_grad():
        yield encoder.eval(), generator.eval()


def test_codes_and_image(case, golden, images):
    encoder, generator = case
    stored = golden("e4e/golden.npz")
    codes = encoder(images[:1], motion=False, memory=False).identity
    assert_close(codes, stored["wplus"], CODE)
    assert_close(codes - encoder.latent_avg, stored["wplus_without_avg"], CODE)
    assert_matches(generator(codes), stored, "image")


def test_layout_1024(meta_checkpoint):
    weights = meta_checkpoint("e4e/layout_1024.json")
    parts = e4e.split(weights["state_dict"])
    with torch.device("meta"):
        encoder, generator = models.HybridEncoder(), models.StyleGAN2Generator()
    e4e.encoder_keys(18).translate(parts["encoder"], encoder)
    stylegan2.generator_keys(18).translate(parts["decoder"], generator)
    counted = [p for name, p in encoder.named_parameters() if not name.startswith("motion_heads.")]
    assert sum(p.numel() for p in counted) == 267_136_704
    assert single_latent(weights["latent_avg"]).shape == encoder.latent_avg.shape
