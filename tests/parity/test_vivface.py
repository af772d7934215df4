"""Stages I and II against the reference's arrays."""

import pytest
import torch

from tests.parity.compare import CODE, assert_close, assert_matches, fill
from vivface import models
from vivface.convert import stylegan2, vivface
from vivface.convert.keymap import plain_names
from vivface.convert.stylegan2 import single_latent


class System:
    """The four networks with the weights of a stage II checkpoint (stage I's are among them)."""

    def __init__(self, weights: dict):
        parts = vivface.split(plain_names(weights["state_dict"]))
        average = {"latent_avg": single_latent(weights["latent_avg"])}
        with torch.device("meta"):
            self.encoder = models.HybridEncoder(num_latents=14).eval()
            self.generator = models.StyleGAN2Generator(size=256).eval()
            self.transformer = models.DeformationTransformer().eval()
            self.refinement = models.RefinementNetwork().eval()
        fill(self.encoder, vivface.encoder_keys(14), parts["encoder"], average)
        fill(self.generator, stylegan2.generator_keys(14), parts["generator"], average)
        fill(self.transformer, vivface.transformer_keys(), parts["transformer"])
        fill(self.refinement.aligner, vivface.aligner_keys(), parts["aligner"])
        fill(self.refinement.modulator, vivface.modulator_keys(), parts["modulator"])


@pytest.fixture(scope="module")
def system(checkpoint):
    return System(checkpoint("vivface_stage2/manifest.json"))


@pytest.fixture(scope="module")
def source(system, images):
    with torch.no_grad():
        return system.encoder(images[:1])


@pytest.fixture(scope="module")
def driving(system, images):
    with torch.no_grad():
        return system.encoder(images[1:2])


@pytest.fixture(scope="module")
def cross_motion(system, source, driving):
    with torch.no_grad():
        return system.transformer(driving.motion, source.memory)


@pytest.fixture(scope="module")
def cross(system, source, cross_motion):
    with torch.no_grad():
        return system.generator(source.identity, cross_motion)


@pytest.fixture(scope="module")
def stage1(golden):
    return golden("vivface_stage1/golden.npz")


@pytest.fixture(scope="module")
def stage2(golden):
    return golden("vivface_stage2/golden.npz")


@pytest.fixture(scope="module")
def published():
    """The four networks at the released size, without values."""
    with torch.device("meta"):
        return (
            models.HybridEncoder(),
            models.StyleGAN2Generator(),
            models.DeformationTransformer(),
            models.RefinementNetwork(),
        )


class TestStage1:
    def test_weights_are_those_of_stage_1(self, checkpoint, system):
        parts = vivface.split(plain_names(checkpoint("vivface_stage1/manifest.json")["state_dict"]))
        assert set(parts) == {"encoder", "generator", "transformer", "unused"}
        entries = vivface.encoder_keys(14).translate(parts["encoder"], system.encoder)
        ours = system.encoder.state_dict()
        assert all(torch.equal(tensor, ours[name]) for name, tensor in entries.items())

    def test_identity(self, system, source, driving, stage1):
        assert_close(source.identity, stage1["source_w"], CODE)
        assert_close(driving.identity, stage1["driving_w"], CODE)
        assert_close(source.identity - system.encoder.latent_avg, stage1["source_w_without_avg"], CODE)

    def test_generic_motion(self, source, driving, stage1):
        assert_close(source.motion, stage1["source_generic"], CODE)
        assert_close(driving.motion, stage1["driving_generic"], CODE)

    def test_memory(self, source, driving, stage1):
        assert_close(source.memory.transpose(0, 1), stage1["source_memory"], CODE)
        assert_close(driving.memory.transpose(0, 1)[::8], stage1["driving_memory_every8"], CODE)

    def test_trunk(self, system, images, stage1):
        with torch.no_grad():
            _, c1, c2, _ = system.encoder.trunk(images[:1])
        assert_matches(c1, stage1, "c1")
        assert_matches(c2, stage1, "c2")

    def test_motion(self, system, source, driving, cross_motion, stage1):
        with torch.no_grad():
            assert_close(system.transformer(source.motion, source.memory), stage1["source_ss"], CODE)
            assert_close(system.transformer(driving.motion, driving.memory), stage1["driving_ss"], CODE)
            neutral = system.transformer(torch.zeros_like(source.motion), source.memory)
        assert_close(cross_motion, stage1["cross_ss"], CODE)
        assert_close(neutral, stage1["neutral_ss"], CODE)

    def test_one_memory_serves_a_batch(self, system, source, driving, cross_motion):
        both = torch.cat([source.motion, driving.motion])
        with torch.no_grad():
            assert_close(system.transformer(both, source.memory)[1:], cross_motion, CODE)

    def test_styles(self, system, source, stage1):
        with torch.no_grad():
            styles = system.generator.to_stylespace(source.identity)
        for name, style in zip(system.generator.layer_names, styles, strict=True):
            assert_close(style, stage1[f"cross_style/{name}"], CODE)

    def test_cross_image(self, cross, stage1):
        assert_matches(cross, stage1, "cross")

    def test_other_images(self, system, source, stage1):
        with torch.no_grad():
            own = system.transformer(source.motion, source.memory)
            neutral = system.transformer(torch.zeros_like(source.motion), source.memory)
            assert_matches(system.generator(source.identity, own), stage1, "self")
            assert_matches(system.generator(source.identity, neutral), stage1, "neutral")
            assert_matches(system.generator(source.identity, torch.zeros_like(own)), stage1, "zero_ss")
            assert_matches(system.generator(source.identity), stage1, "zero_ss")


class TestStage2:
    def test_stage1_image(self, cross, stage2):
        assert_matches(cross, stage2, "cross")

    def test_refined_image(self, system, source, cross_motion, cross, images, stage2):
        self._check_refined(system, source.identity, cross_motion, cross, images, stage2, "refined")

    def test_refined_image_of_an_edited_code(self, system, source, cross_motion, cross, images, stage2):
        # The condition is the one of the code before the edit
        edited = source.identity + stage2["w_edit"]
        self._check_refined(system, edited, cross_motion, cross, images, stage2, "refined_w_edit")

    def _check_refined(self, system, identity, motion, stage1_image, images, stage2, name):
        generator, refinement = system.generator, system.refinement
        with torch.no_grad():
            change = refinement(stage1_image, images[:1])
            assert_matches(change.aligned, stage2, "aligned")
            assert_matches(change.scale, stage2, "scale")
            assert_matches(change.shift, stage2, "shift")
            styles = generator.add_motion(generator.to_stylespace(identity), motion)
            state = generator(styles=styles, stop_after=generator.refinement_layer)
            before = state.feature
            state.feature = refinement.fuse(before, change.scale, change.shift)
            refined = generator(styles=styles, resume=state)
        if name == "refined":
            assert_matches(before, stage2, "feature_before")
            assert_matches(state.feature, stage2, "feature_after")
        assert_matches(refined, stage2, name)

    def test_modules_alone(self, system, golden, images):
        stored = golden("vivface_stage2/modules.npz")
        with torch.no_grad():
            assert_matches(system.refinement.align(images[1:2], images[:1]), stored, "aligner_on_1_0")
            scale, shift = system.refinement.modulation(images[1:2], images[:1])
        assert_matches(scale, stored, "residue_scale_on_1_0")
        assert_matches(shift, stored, "residue_shift_on_1_0")


class TestLayout1024:
    @pytest.mark.parametrize("stage", [1, 2])
    def test_every_entry_is_accounted_for(self, meta_checkpoint, published, stage):
        encoder, generator, transformer, refinement = published
        weights = meta_checkpoint(f"vivface_stage{stage}/layout_1024.json")
        parts = vivface.split(plain_names(weights["state_dict"]))
        vivface.encoder_keys(18).translate(parts.pop("encoder"), encoder)
        stylegan2.generator_keys(18).translate(parts.pop("generator"), generator)
        vivface.transformer_keys().translate(parts.pop("transformer"), transformer)
        if stage == 2:
            vivface.aligner_keys().translate(parts.pop("aligner"), refinement.aligner)
            vivface.modulator_keys().translate(parts.pop("modulator"), refinement.modulator)
        assert len(parts.pop("unused")) == 18
        assert not parts
        assert single_latent(weights["latent_avg"]).shape == encoder.latent_avg.shape

    def test_parameter_counts(self, published):
        encoder, _, transformer, refinement = published
        assert _count(encoder) == 387_753_664
        assert _count(encoder.trunk) == 30_950_080
        assert _count(encoder.identity_heads) == 235_988_992
        assert _count(encoder.motion_heads) == 120_616_960
        assert _count(transformer) == 16_816_128
        assert _count(refinement.aligner) == 596_801
        assert _count(refinement.modulator) == 5_648_208


def _count(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())
