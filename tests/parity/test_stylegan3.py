"""The alias-free generator against the reference's arrays."""

import json

import pytest
import torch

from tests.parity.compare import CODE, IMAGE, assert_close, fill
from vivface import models
from vivface.convert import stylegan3


@pytest.fixture(scope="module", params=["T", "R"])
def case(request, checkpoint, golden):
    letter = request.param.lower()
    weights = checkpoint(f"stylegan3/manifest_{letter}.json")
    with torch.device("meta"):
        generator = models.StyleGAN3Generator(**stylegan3.generator_config(weights))
    assert (generator.config.size, generator.config.configuration) == (64, request.param)
    fill(generator, stylegan3.generator_keys(generator), weights)
    with torch.no_grad():
        yield generator.eval(), golden(f"stylegan3/golden_{letter}.npz")


def repeated(generator, w):
    return w[:, None].expand(-1, generator.num_latents, -1)


def test_mapping_and_truncation(case):
    generator, golden = case
    w = generator.mapping(golden["z"])
    assert_close(w, golden["ws"][:, 0], CODE)
    assert_close(generator.truncate(w, 0.7), golden["ws_psi07"][:, 0], CODE)
    first = generator.truncate(repeated(generator, w)[:, :8], 0.7)
    assert_close(torch.cat([first, repeated(generator, w)[:, 8:]], 1), golden["ws_psi07_cutoff8"], CODE)


def test_every_layer(case):
    generator, golden = case
    styles = generator.to_stylespace(repeated(generator, golden["ws"][:, 0]))
    state = generator(styles=styles, stop_after="input")
    assert_close(state.feature[:1], golden["input_features"], IMAGE)
    for name, rms in zip(generator.layer_names[1:], golden["layer_rms"], strict=True):
        state = generator(styles=styles, resume=state, stop_after=name)
        assert_close(state.feature.square().mean().sqrt(), rms, IMAGE)


def test_image(case):
    generator, golden = case
    assert_close(generator(repeated(generator, golden["ws"][:, 0])), golden["image"], IMAGE)


def test_rotated_input(case):
    generator, golden = case
    w_plus = repeated(generator, golden["ws"][:, 0])
    assert_close(generator(w_plus, transform=golden["transform_rot25"]), golden["image_rot25"], IMAGE)


def test_image_with_shared_weights(case):
    """The form of the modulated convolution that training uses, and whole images in place of tiles."""
    generator, golden = case
    with torch.enable_grad():
        image = generator(repeated(generator, golden["ws"][:, 0])).detach()
    assert_close(image, golden["image"], IMAGE)


@pytest.mark.parametrize(("letter", "parameters"), [("t", 22_313_167), ("r", 15_093_151)])
def test_layout_1024(meta_checkpoint, parity_dir, letter, parameters):
    weights = meta_checkpoint(f"stylegan3/layout_{letter}_official_1024.json")
    config = stylegan3.generator_config(weights)
    assert config == {"size": 1024, "configuration": letter.upper(), "style_dim": 512, "mapping_layers": 2}
    with torch.device("meta"):
        generator = models.StyleGAN3Generator(**config)
    stylegan3.generator_keys(generator).translate(weights, generator)
    assert sum(p.numel() for p in generator.parameters()) == parameters

    table = json.loads((parity_dir / "measured.json").read_text())[f"stylegan3_{letter}_official_1024"]["layers"]
    for layer, row in zip(generator.layers[:-1], table, strict=False):
        _, sources, targets, source_size, target_size, up, down, padding, _ = row
        filtered = layer.activation
        assert list(layer.weight.shape[:2]) == [targets, sources]
        assert (filtered.up, filtered.down, [*filtered.padding] * 2) == (up, down, padding)
        assert filtered.output_size(source_size + layer.weight.shape[2] - 1) == target_size
