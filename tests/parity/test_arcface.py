"""The identity network against the reference's arrays."""

import pytest
import torch

from tests.parity.compare import EMBEDDING, IMAGE, assert_close, assert_matches, fill
from vivface import models
from vivface.convert import ir_se50


@pytest.fixture(scope="module")
def network(checkpoint):
    with torch.device("meta"):
        network = models.IdentityNetwork()
    fill(network, ir_se50.identity_keys(), checkpoint("arcface/manifest.json"))
    with torch.no_grad():
        yield network.eval()


def test_embedding(network, golden, images):
    stored = golden("arcface/golden.npz")
    embedding = network.embed(images[:2])
    assert_close(embedding, stored["embedding"], absolute=EMBEDDING)
    assert_close((embedding[0] * embedding[1]).sum(), stored["cosine_0_1"], absolute=EMBEDDING)


def test_crop_and_features(network, golden, images):
    stored = golden("arcface/golden.npz")
    crop = network.crop(images[:2])
    assert_matches(crop, stored, "cropped112")
    assert_close(network.features(crop[:1])[-1], stored["features7_image0"], IMAGE)


def test_parameter_count(network):
    assert sum(p.numel() for p in network.parameters()) == 43_797_696
