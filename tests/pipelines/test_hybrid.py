"""Hybrid latent spaces: eq. 1-3, both readings of its motion layers, checkpoints, and the whole job."""

import numpy as np
import pytest
import torch

from tests.conftest import REPOSITORY
from tests.tiny import make_tiny_hybrid
from vivface import load_pipeline
from vivface.editing import AttributeDirections, Direction
from vivface.errors import CheckpointError, MediaError, OptionError
from vivface.hub.index import bundled_checkpoint
from vivface.pipelines.hybrid import MOTION_HEADS_FILE, HybridLatentPipeline
from vivface.reenactment.codes import IdentityCode


@pytest.fixture(scope="module")
def hybrid() -> HybridLatentPipeline:
    return make_tiny_hybrid()


@pytest.fixture(scope="module")
def identity(hybrid, portrait) -> IdentityCode:
    return hybrid.encode_identity(portrait)


@pytest.fixture(scope="module")
def motion() -> torch.Tensor:
    return torch.randn(3, 10, 32, generator=torch.Generator().manual_seed(1))


class TestEquations:
    def test_codes_are_those_of_the_encoder(self, hybrid, identity):
        code = hybrid.encoder(identity.reference)
        torch.testing.assert_close(identity.w_plus, code.identity)
        torch.testing.assert_close(identity.motion, code.motion)

    def test_identity_and_motion_are_added_up(self, hybrid, identity, motion):
        """G(A(W) + S), without a transformer in between."""
        with torch.no_grad():
            expected = hybrid.generator(identity.w_plus.expand(3, -1, -1), motion)
        torch.testing.assert_close(hybrid.generate(identity, motion), expected, atol=1e-4, rtol=1e-4)

    def test_refinement_has_no_effect(self, hybrid, identity, motion):
        images = (hybrid.generate(identity, motion, refine=refine) for refine in (True, False))
        assert torch.equal(*images)

    def test_stylespace_layers(self, portrait, motion):
        """Code i goes to layer i in call order, and to no other."""
        pipeline = make_tiny_hybrid(motion_layers="stylespace")
        identity = pipeline.encode_identity(portrait)
        styles = [style.expand(3, -1) for style in identity.styles]
        moved = pipeline.add_motion(pipeline.generator, styles, motion)
        for index, (before, after) in enumerate(zip(styles, moved, strict=True)):
            expected = before + motion[:, index, : before.shape[1]] if index < 10 else before
            torch.testing.assert_close(after, expected)
        with torch.no_grad():
            expected = pipeline.generator(styles=moved)
        torch.testing.assert_close(pipeline.generate(identity, motion), expected, atol=1e-4, rtol=1e-4)

    def test_the_readings_differ(self, hybrid, identity, motion):
        other = make_tiny_hybrid(motion_layers="stylespace")
        difference = other.generate(identity, motion) - hybrid.generate(identity, motion)
        assert difference.abs().mean() > 1e-3

    def test_unknown_reading(self):
        with pytest.raises(OptionError, match="'layers'.*'w_plus_index' or 'stylespace'"):
            make_tiny_hybrid(motion_layers="layers")


class TestWholeJob:
    def test_portrait_and_clip_to_video(self, hybrid, portrait, face_clip, tmp_path):
        path = hybrid(portrait, face_clip, adapt="cma:2").save(tmp_path / "out.mp4")
        assert path.stat().st_size > 1000

    @pytest.mark.parametrize("adapt", ["portrait:14", "pti:2", "cma:2"])
    def test_tuned_identity_is_made_once(self, hybrid, portrait, face_clip, tmp_path, adapt):
        identity = hybrid(portrait, face_clip, adapt=adapt).identity
        loaded = IdentityCode.load(identity.save(tmp_path / "person.safetensors"))
        first, again = (next(iter(hybrid(code, face_clip))) for code in (identity, loaded))
        assert np.array_equal(first, again)

    def test_saves_and_loads(self, tmp_path, portrait):
        pipeline = make_tiny_hybrid(motion_layers="stylespace", adapt_steps=1)
        vector = torch.ones(pipeline.generator.num_latents, 32)
        pipeline.directions = AttributeDirections([Direction("age", "Age", "w_plus", vector)])
        pipeline.save_pretrained(tmp_path / "saved")
        loaded = load_pipeline(tmp_path / "saved")
        assert isinstance(loaded, HybridLatentPipeline) and list(loaded.directions) == ["age"]
        assert (loaded.config.motion_layers, loaded.config.adapt_steps) == ("stylespace", 1)
        own, others = (p.encode_identity(portrait, adapt=0).motion for p in (pipeline, loaded))
        assert torch.equal(own, others)


class TestFromViVFace:
    def test_the_bundled_checkpoint_serves(self):
        """Its heads make another motion than those that need the transformer, and all else is the same."""
        hybrid, main = load_pipeline(system="hybrid"), load_pipeline()
        assert isinstance(hybrid, HybridLatentPipeline)
        own, others = hybrid.encoder.state_dict(), main.encoder.state_dict()
        changed = {name for name in own if not torch.equal(own[name], others[name])}
        assert changed and all(name.startswith("motion_heads.") and ".linears." in name for name in changed)
        assert set(hybrid.directions) == set(main.directions)

    def test_the_new_heads_replace_the_transformer(self):
        """The clip's first frame under its motion is about as close to the clip as with the transformer."""
        hybrid, main = load_pipeline(system="hybrid"), load_pipeline()
        crops = main.encode_motion(REPOSITORY / "examples" / "driving.mp4").crops(8)
        images = main.images(crops)
        with torch.no_grad():
            code = main.encoder.eval()(images)
            w_plus, memory = code.identity[:1].expand(len(images), -1, -1), code.memory[:1]

            def error(motion: torch.Tensor) -> float:
                return float((main.generator(w_plus, motion) - images)[1:].square().mean())

            with_transformer, without = error(main.transformer(code.motion, memory)), error(code.motion)
            with_heads = error(hybrid.read_motion(images))
        assert with_heads < 1.25 * with_transformer < without
        assert with_heads < 0.8 * without

    def test_codes_of_the_other_system_are_refused(self, portrait):
        hybrid, main = load_pipeline(system="hybrid"), load_pipeline()
        with pytest.raises(MediaError, match="another checkpoint"):
            hybrid.edit(main.encode_identity(portrait, adapt=0))

    def test_one_without_heads_is_refused(self, tiny_checkpoint):
        with pytest.raises(CheckpointError, match="need its transformer"):
            HybridLatentPipeline.from_pretrained(tiny_checkpoint)

    @pytest.mark.parametrize("content", [b"no tensors", None])
    def test_heads_that_do_not_fit(self, tiny_checkpoint, tmp_path, content):
        import shutil

        folder = tmp_path / "copy"
        shutil.copytree(tiny_checkpoint, folder)
        (folder / MOTION_HEADS_FILE).parent.mkdir()
        if content is None:
            shutil.copy(bundled_checkpoint() / MOTION_HEADS_FILE, folder / MOTION_HEADS_FILE)
        else:
            (folder / MOTION_HEADS_FILE).write_bytes(content)
        with pytest.raises(CheckpointError, match="motion heads"):
            HybridLatentPipeline.from_pretrained(folder)

    def test_unknown_system(self):
        with pytest.raises(OptionError, match="'dog'.*vivface, hybrid"):
            load_pipeline(system="dog")
