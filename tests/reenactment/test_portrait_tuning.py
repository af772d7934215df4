"""Adaptation to one portrait: a copy learns it, the pipeline's own weights stay."""

import numpy as np
import pytest
import torch

from tests.tiny import make_tiny_pipeline
from vivface import MotionCodes
from vivface.models.refinement import generate_refined
from vivface.reenactment.portrait_tuning import (
    CODE_STEPS,
    eyes_and_mouth,
    likeness_loss,
    portrait_loss,
    tune_to_portrait,
)
from vivface.reenactment.tuning import TuningNetworks

STEPS = 30


@pytest.fixture(scope="module")
def identity(tiny_pipeline, portrait):
    return tiny_pipeline.encode_identity(portrait)


@pytest.fixture(scope="module")
def adapted(tiny_pipeline, portrait):
    return tiny_pipeline.encode_identity(portrait, adapt=STEPS, seed=3)


def own_error(pipeline, identity) -> float:
    """Mean absolute difference between the portrait and its reconstruction under its own motion."""
    return float((pipeline.generate(identity, identity.motion) - identity.reference).abs().mean())


def test_reconstruction_improves(tiny_pipeline, identity, adapted):
    assert own_error(tiny_pipeline, adapted) < 0.7 * own_error(tiny_pipeline, identity)


def test_the_refined_image_is_what_must_show_the_portrait(tiny_pipeline, identity):
    """Tuned for R's image, the generator lets R show the portrait better than tuned for its own."""
    networks = tiny_pipeline.generator, tiny_pipeline.encoder, tiny_pipeline.transformer

    def refined_error(refinement) -> float:
        copies = TuningNetworks(*networks, refinement)
        adapted = tune_to_portrait(copies, identity, identity.reference, STEPS)
        own = tiny_pipeline.transformer(identity.motion, identity.memory)
        with torch.no_grad():
            styles = adapted.generator.add_motion(adapted.styles, own)
            _, image = generate_refined(adapted.generator, tiny_pipeline.refinement, styles, identity.reference)
        return float((image - identity.reference).abs().mean())

    assert refined_error(tiny_pipeline.refinement) < refined_error(None)
    assert all(parameter.grad is None for parameter in tiny_pipeline.refinement.parameters())


def test_generator_belongs_to_the_identity_and_the_pipeline_keeps_its_own(tiny_pipeline, portrait, identity):
    before = {name: value.clone() for name, value in tiny_pipeline.generator.state_dict().items()}
    adapted = tiny_pipeline.encode_identity(portrait, adapt=CODE_STEPS + 4)
    after = tiny_pipeline.generator.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not any(parameter.grad is not None for parameter in tiny_pipeline.generator.parameters())
    assert all(parameter.requires_grad for parameter in tiny_pipeline.generator.parameters())
    assert adapted.generator is not None and identity.generator is None
    assert any(not torch.equal(adapted.generator.state_dict()[name], before[name]) for name in before)


def test_a_few_steps_move_the_code_alone(tiny_pipeline, portrait, identity):
    adapted = tiny_pipeline.encode_identity(portrait, adapt=CODE_STEPS)
    assert adapted.generator is None and not torch.equal(adapted.w_plus, identity.w_plus)
    assert torch.equal(adapted.motion, identity.motion)
    assert own_error(tiny_pipeline, adapted) < own_error(tiny_pipeline, identity)
    assert not any(parameter.grad is not None for parameter in tiny_pipeline.generator.parameters())
    expected = tiny_pipeline.generator.to_stylespace(adapted.w_plus)
    assert all(torch.equal(style, wanted) for style, wanted in zip(adapted.styles, expected, strict=True))


def test_an_identity_network_has_a_say(tiny_pipeline, portrait, identity):
    """With it, the same steps make the portrait more alike to it, and it stays as it is."""
    pipeline = make_tiny_pipeline(recognizer=True)
    network = pipeline.recognizer.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}

    def likeness(adapted) -> float:
        with torch.no_grad():
            picture = pipeline.generate(adapted, adapted.motion, refine=False)
            apart = eyes_and_mouth(identity.reference)
            return likeness_loss(network, picture, identity.reference, apart).item()

    alone = tiny_pipeline.encode_identity(portrait, adapt=CODE_STEPS)
    judged = pipeline.encode_identity(portrait, adapt=CODE_STEPS)
    assert likeness(judged) < likeness(alone)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_identity_network_sees_neither_eyes_nor_mouth_of_the_portrait():
    """Blinking and talking do not count as another face; anything else does."""
    network = make_tiny_pipeline(recognizer=True).recognizer.eval()
    target = torch.rand(1, 3, 64, 64) * 2 - 1
    moving, other = target.clone(), target.clone()
    for left in (22, 38):  # an aligned face has its eyes at 3/8 and 5/8 of the width, a little above the middle
        moving[..., 29:32, left : left + 4] *= -1
    moving[..., 43:47, 26:38] *= -1
    other[..., 36:39, 30:34] *= -1  # the nose
    apart = eyes_and_mouth(target)
    assert likeness_loss(network, moving, target, apart).abs() < 1e-5
    assert min(likeness_loss(network, other, target, apart), likeness_loss(network, moving, target)) > 1e-3


def test_styles_are_those_of_the_adapted_generator(adapted):
    expected = adapted.generator.to_stylespace(adapted.w_plus)
    assert all(torch.equal(style, wanted) for style, wanted in zip(adapted.styles, expected, strict=True))


def test_it_still_moves(tiny_pipeline, adapted, identity, motion_file):
    motion = MotionCodes.load(motion_file)
    moved, still = (np.stack(list(tiny_pipeline.render(adapted, motion, strength=s))).astype(int) for s in (1.0, 0.0))
    assert np.abs(moved - still).mean() > 1


def test_seed_decides(tiny_pipeline, portrait, adapted):
    again, other = (tiny_pipeline.encode_identity(portrait, adapt=STEPS, seed=seed) for seed in (3, 4))
    assert torch.allclose(again.w_plus, adapted.w_plus, atol=1e-4)
    assert not torch.allclose(other.w_plus, adapted.w_plus, atol=1e-4)


def test_global_random_state_is_left_alone(tiny_pipeline, portrait):
    torch.manual_seed(5)
    expected = torch.randn(1)
    torch.manual_seed(5)
    tiny_pipeline.encode_identity(portrait, adapt=2)
    assert torch.equal(torch.randn(1), expected)


def test_checkpoint_decides_by_default(tiny_checkpoint, portrait):
    from vivface import VivFacePipeline

    pipeline = VivFacePipeline.from_pretrained(tiny_checkpoint, adapt_steps=2)
    by_default, asked, none = (pipeline.encode_identity(portrait, adapt=steps).w_plus for steps in (None, 2, 0))
    assert torch.equal(by_default, asked) and not torch.equal(by_default, none)


def test_no_steps_change_nothing(tiny_pipeline, identity):
    assert tiny_pipeline.adjust_manifold(identity, method="portrait", steps=0) is identity


def test_loss_is_zero_for_equal_and_weighs_the_face():
    picture, weight = torch.rand(1, 3, 16, 16), torch.ones(1, 1, 16, 16)
    weight[..., 4:12, 4:12] = 3
    assert portrait_loss(picture, picture, weight) == 0
    border, face = picture.clone(), picture.clone()
    border[..., 0:2, 0:2] += 0.5
    face[..., 7:9, 7:9] += 0.5
    assert portrait_loss(face, picture, weight) > portrait_loss(border, picture, weight) > 0
