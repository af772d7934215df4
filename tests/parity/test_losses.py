"""Losses and the latent discriminator against the reference's figures."""

import pytest
import torch

from tests.parity.compare import EMBEDDING, IMAGE, assert_close, assert_matches, fill
from training import losses
from vivface import models
from vivface.convert.ir_se50 import identity_keys
from vivface.convert.keymap import KeyMap, parameter_names

RELATIVE, ABSOLUTE = 1e-5, 1e-6  # of scalar losses


@pytest.fixture(scope="module")
def stored(golden):
    return golden("losses/golden.npz")


@pytest.fixture(scope="module")
def discriminator(checkpoint):
    with torch.device("meta"):
        network = models.LatentDiscriminator()
    names = {}
    for i in range(4):  # activations take every second place of the official list
        names |= parameter_names(f"mlp.{2 * i}", f"linears.{i}")
    fill(network, KeyMap(names), checkpoint("losses/manifest_w_discriminator.json"))
    assert sum(p.numel() for p in network.parameters()) == 788_481
    return network


def assert_scalar(actual, stored):
    assert actual.ndim == 0
    assert abs(actual.item() - stored.item()) <= max(RELATIVE * abs(stored.item()), ABSOLUTE)


def assert_gradient(image, stored, name, relative=IMAGE):
    assert_matches(image.grad, stored, f"{name}_grad", relative)
    assert abs(image.grad.norm().item() / stored[f"{name}_grad_norm"].item() - 1) <= IMAGE


def test_gradient_variance(stored, images):
    image = images[:2].clone().requires_grad_()
    loss = losses.gradient_variance(image, images[2:])
    loss.backward()
    assert_scalar(loss, stored["gradient_variance"])
    assert_gradient(image, stored, "gradient_variance")


# In float32 a value that is zero but for rounding can take the other side of a PReLU's kink, and its gradient jumps;
# which one does depends on the kernels. In float64 none does.
@pytest.mark.parametrize(("dtype", "gradient_tolerance"), [(torch.float32, 1e-3), (torch.float64, IMAGE)])
def test_identity(stored, images, checkpoint, dtype, gradient_tolerance):
    with torch.device("meta"):
        network = models.IdentityNetwork()
    fill(network, identity_keys(), checkpoint("arcface/manifest.json"))
    network.eval().requires_grad_(False).to(dtype)
    images = images.to(dtype)
    image = images[:2].clone().requires_grad_()
    output, target, start = network.embed(image), network.embed(images[2:]), network.embed(images[1:3])
    loss = losses.identity_loss(output, target)
    loss.backward()
    dots = torch.stack([(output * target).sum(1), (output * start).sum(1), (target * start).sum(1)], dim=1)
    assert_close(dots.detach(), stored["id_dots"], absolute=EMBEDDING)
    assert_scalar(loss, stored["id_loss"])
    assert_gradient(image, stored, "id_loss", gradient_tolerance)


def test_latent_discriminator(stored, discriminator):
    real = stored["real_w"].clone().requires_grad_()
    real_logits, fake_logits = discriminator(real), discriminator(stored["fake_w"])
    assert_close(real_logits.detach(), stored["disc_real"], absolute=ABSOLUTE)
    assert_close(fake_logits.detach(), stored["disc_fake"], absolute=ABSOLUTE)
    assert_scalar(losses.discriminator_loss(real_logits, fake_logits), stored["disc_loss"])
    assert_scalar(losses.generator_loss(fake_logits), stored["disc_encoder_loss"])
    assert_scalar(losses.r1_penalty(real_logits, real), stored["disc_r1"])
